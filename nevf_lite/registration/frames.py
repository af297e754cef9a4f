"""The lattice of cubic voxels on which two scans are registered."""

from __future__ import annotations

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from nevf_lite.config import Config
from nevf_lite.grid import downsample, downsample_masked
from nevf_lite.registration.coverage import Scan, canonical, check_alignment, profile
from nevf_lite.registration.memory import check_memory, check_result_memory
from nevf_lite.scans.io import load_labels
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, Component
from nevf_lite.transforms.transform import Transform

#: Voxels of the working lattice kept around the heads: half a window, and room to move.
MARGIN = 5
#: Voxels of the working lattice beyond a face where the fixed image cuts the head: what the moving
#: image shows there can move into view.
BEYOND = 10
#: How far, in mm, from a cut of the moving scan the fixed image begins to count. What belongs to
#: nearer points may lie beyond the cut, and the next that looks alike would be taken for it.
EDGE = 3


@dataclass(frozen=True, eq=False)
class Frame:
    """Both images on a common lattice, and where that lattice lies in the world.

    fixed, moving: grids of the images. working: the finest lattice of the optimisation, with cubic
    voxels of `spacing` mm (to within one per cent, because its corners coincide with voxels of the
    fixed image). output: the same box at the resolution of the fixed image or of the lattice,
    whichever is finer along each axis; flows are integrated there for output. composed,
    resampled: the initial transform in two parts, up to its last component that is not affine, and
    the rest, through which the moving image was resampled. tensors: the arguments of `fit`; its
    `initial` is the displacement of `composed`. coverage: the share of the lattice that both images
    show, an argument of `fit` as well. notes: caveats for the user.
    """

    fixed: Grid
    moving: Grid
    working: Grid
    output: Grid
    spacing: float
    composed: tuple[Component, ...]
    resampled: tuple[Component, ...]
    tensors: dict[str, Tensor | None]
    coverage: float = 1.0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def build(
        cls,
        fixed: nib.Nifti1Image,
        moving: nib.Nifti1Image,
        init: Transform | None,
        config: Config,
        fixed_mask=None,
        moving_mask=None,
        *,
        device: torch.device | None = None,
    ) -> Frame:
        """Choose the lattice and resample both images and masks onto it.

        device: where the optimisation will run; its memory is checked before anything large is
        allocated. Raises ValueError if no lattice fits, MemoryError if memory would run out.
        """
        fixed_grid, moving_grid = Grid.of(fixed), Grid.of(moving)
        _check_grids(fixed_grid, moving_grid)
        notes: list[str] = []
        components = () if init is None else init.components
        # The affine end of the initial transform costs nothing: the moving image is resampled
        # through it. The rest is composed with the field's deformation on the lattice.
        deformable = [i for i, c in enumerate(components) if not isinstance(c, Affine)]
        n_composed = deformable[-1] + 1 if deformable else 0
        resampling = Transform(components[n_composed:], fixed_grid, moving_grid)
        identity = Transform.identity(fixed_grid)

        spacing = choose_spacing(config.spacing, fixed_grid)
        fine_spacing = max(spacing / 2, min(moving_grid.spacing))
        scans = Scan.of(fixed), Scan.of(moving)
        canvas = scans[0].beyond_cuts(BEYOND * spacing)
        fine = canvas.at_spacing(fine_spacing)
        heads = scans[0].head(identity, fine), scans[1].head(resampling, fine)
        check_alignment(scans, heads, resampling, fine, notes)
        bounds = None if scans[1].cut.any() else scans[1].bounds(resampling, canvas)
        box = _crop(canvas, fine, heads, bounds, MARGIN * spacing)

        working = box.at_spacing(spacing)
        if sorted(working.shape)[-2] < 4:
            raise ValueError(
                f"spacing: at {spacing:g} mm the box of the fixed image is only {working.shape} "
                "voxels; choose a smaller spacing"
            )
        if device is not None:
            masks = (fixed_mask, moving_mask)
            weighted = any(m is not None for m in masks) or any(s.cut.any() for s in scans)
            check_memory(config, working.shape, device, weighted)
            check_result_memory(fixed_grid.shape, moving_grid.shape)
        finer = (max(a, b) for a, b in zip(box.shape, working.shape, strict=True))
        output = box.with_shape(tuple(finer))
        tensors: dict[str, Tensor | None] = {"initial": None}
        shown = asked = torch.ones(1, 1, *working.shape)
        for name, scan, mask, transform, lattice in (
            ("fixed", scans[0], fixed_mask, identity, box),
            ("moving", scans[1], moving_mask, resampling, box.at_spacing(fine_spacing)),
        ):
            weight = _resample_mask(mask, f"{name}_mask", transform, lattice)
            if name == "fixed" and weight is not None:
                asked = downsample(weight, working.shape)
            if (seen := scan.seen(transform, lattice)) is not None:
                seen = torch.from_numpy(seen.astype(np.float32))[None, None]
                shown = shown * downsample(seen, working.shape)
                weight = seen if weight is None else weight * seen
            image = torch.from_numpy(scan.resample(transform, lattice))[None, None]
            tensors[name], tensors[f"{name}_mask"] = downsample_masked(image, weight, working.shape)
        coverage = (shown * asked).sum().item() / asked.sum().item()
        start = Transform(components, fixed_grid, moving_grid)
        if (seen := scans[1].seen(start, working)) is not None:
            depth = ndimage.distance_transform_edt(seen, sampling=working.spacing)
            inner = seen & (depth >= min(EDGE, depth.max() / 2))  # a slab has no more than that
            inner = torch.from_numpy(inner.astype(np.float32))[None, None]
            weight = tensors["fixed_mask"]
            tensors["fixed_mask"] = inner if weight is None else weight * inner
        if n_composed:
            composed = Transform(components[:n_composed], fixed_grid, fixed_grid)
            tensors["initial"] = composed.voxel_displacement(working)
        split = components[:n_composed], components[n_composed:]
        return cls(
            fixed_grid, moving_grid, working, output, spacing, *split, tensors, coverage, notes
        )


def choose_spacing(spacing: float | str | None, fixed: Grid) -> float:
    """Millimetres of the working lattice.

    None means the fixed image's own finest spacing. "auto" means the same in 2-D; in 3-D 1 mm for a
    head, a 192nd of the longest side for smaller objects, and never finer than the image.
    """
    finest = min(fixed.spacing)
    if spacing is None or (spacing == "auto" and fixed.ndim == 2):
        return finest
    if spacing == "auto":
        return max(finest, min(1.0, max(fixed.extent) / 192))
    return float(spacing)


def choose_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is CUDA if there is a GPU, else the CPU.

    Raises ValueError for a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: {device!r} cannot be used here; try 'cpu' ({str(error).splitlines()[0]})"
        ) from error
    return chosen


def _check_grids(fixed: Grid, moving: Grid) -> None:
    if fixed.ndim != moving.ndim:
        raise ValueError(
            f"moving: wanted {fixed.ndim}-D like the fixed image, got {moving.ndim}-D; "
            "register slices with slices and volumes with volumes"
        )
    for name, grid in (("fixed", fixed), ("moving", moving)):
        if sorted(grid.shape)[-2] < 8:  # a slab may have few slices
            raise ValueError(f"{name}: wanted at least 8 voxels along two axes, got {grid.shape}")


def _crop(
    canvas: Grid,
    fine: Grid,
    heads: tuple[np.ndarray, np.ndarray],
    moving_bounds: tuple[np.ndarray, np.ndarray] | None,
    margin: float,
) -> Grid:
    """The box around the heads, in whole voxels of the canvas.

    heads: fixed and moving, (*fine.shape), boolean, on a lattice over the same box as the canvas.
    moving_bounds: of the moving image's grid, in voxels of the canvas: beyond it and the fixed head
    there is nothing to compare, so a fixed image with more background around it has the same box.
    margin: mm kept around the heads.
    """
    first, last = [], []
    for axis, (n, n_fine) in enumerate(zip(canvas.shape, fine.shape, strict=True)):
        ratio = (n - 1) / (n_fine - 1)
        own, both = (
            np.flatnonzero(profile(h, axis)) * ratio for h in (heads[0], heads[0] | heads[1])
        )
        pad = margin / canvas.spacing[axis]
        start, stop = max(0, np.floor(both[0] - pad)), min(n - 1, np.ceil(both[-1] + pad))
        if moving_bounds is not None:  # rounding must not add a voxel
            low, high = moving_bounds[0][axis] + 1e-6, moving_bounds[1][axis] - 1e-6
            start = max(start, min(np.floor(low), np.floor(own[0])))
            stop = min(stop, max(np.ceil(high), np.ceil(own[-1])))
        first.append(int(start))
        last.append(int(stop))
    affine = canvas.affine.copy()
    affine[:3, 3] = canvas.to_world(np.array(first, dtype=float))
    return Grid(tuple(b - a + 1 for a, b in zip(first, last, strict=True)), affine)


def _resample_mask(mask, name: str, transform: Transform, lattice: Grid) -> Tensor | None:
    """1 at the points of a lattice that lie wholly within a mask: (1, 1, *shape), or None."""
    if mask is None:
        return None
    labels, grid = canonical(load_labels(mask, name))
    inside = transform.pull_back(labels != 0, grid, lattice) > 0.999
    if not inside.any():
        raise ValueError(
            f"{name}: it is empty where the images are; check that it is on their grid"
        )
    return torch.from_numpy(inside.astype(np.float32))[None, None]
