"""The lattice of cubic voxels on which two scans are registered."""

from __future__ import annotations

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation
from torch import Tensor

from nevf_lite.config import Config
from nevf_lite.grid import downsample_masked
from nevf_lite.registration.memory import check_memory
from nevf_lite.scans.io import load_labels
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, Component
from nevf_lite.transforms.transform import Transform

#: Voxels of the working lattice kept around the heads: half a window, and room to move.
MARGIN = 5
#: Overlap of the two heads, as a Dice, below which a note recommends an affine start.
LITTLE_OVERLAP = 0.6


@dataclass(frozen=True, eq=False)
class Frame:
    """Both images on a common lattice, and where that lattice lies in the world.

    fixed, moving: grids of the images. working: the finest lattice of the optimisation, with cubic
    voxels of `spacing` mm (to within one per cent, because its corners coincide with voxels of the
    fixed image). output: the same box at the resolution of the fixed image or of the lattice,
    whichever is finer along each axis; flows are integrated there for output. composed,
    resampled: the initial transform in two parts, up to its last component that is not affine, and
    the rest, through which the moving image was resampled. tensors: the arguments of `fit`; its
    `initial` is the displacement of `composed`. notes: caveats for the user.
    """

    fixed: Grid
    moving: Grid
    working: Grid
    output: Grid
    spacing: float
    composed: tuple[Component, ...]
    resampled: tuple[Component, ...]
    tensors: dict[str, Tensor | None]
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

        canonical = fixed_grid.canonical()[0]
        spacing = choose_spacing(config.spacing, fixed_grid)
        fine_spacing = max(spacing / 2, min(moving_grid.spacing))
        fixed_source, moving_source = _Source.of(fixed), _Source.of(moving)

        fine = canonical.at_spacing(fine_spacing)
        moving_head = moving_source.head(resampling, fine)
        fixed_head = fixed_source.head(identity, fine)
        _check_overlap(fixed_head, moving_head, notes)
        box = _crop(canonical, fine, fixed_head | moving_head, MARGIN * spacing)

        working = box.at_spacing(spacing)
        if min(working.shape) < 4:
            raise ValueError(
                f"spacing: at {spacing:g} mm the box of the fixed image is only {working.shape} "
                "voxels; choose a smaller spacing"
            )
        if device is not None:
            check_memory(config, working.shape, device)
        finer = (max(a, b) for a, b in zip(box.shape, working.shape, strict=True))
        output = box.with_shape(tuple(finer))
        tensors: dict[str, Tensor | None] = {"initial": None}
        for name, source, mask, transform, lattice in (
            ("fixed", fixed_source, fixed_mask, identity, box),
            ("moving", moving_source, moving_mask, resampling, box.at_spacing(fine_spacing)),
        ):
            weight = _resample_mask(mask, f"{name}_mask", transform, lattice)
            image = torch.from_numpy(source.resample(transform, lattice))[None, None]
            tensors[name], tensors[f"{name}_mask"] = downsample_masked(image, weight, working.shape)
        if n_composed:
            composed = Transform(components[:n_composed], fixed_grid, fixed_grid)
            tensors["initial"] = composed.voxel_displacement(working)
        split = components[:n_composed], components[n_composed:]
        return cls(fixed_grid, moving_grid, working, output, spacing, *split, tensors, notes)


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
        if min(grid.shape) < 8:
            raise ValueError(f"{name}: wanted at least 8 voxels along each axis, got {grid.shape}")


@dataclass(frozen=True, eq=False)
class _Source:
    """An image in canonical orientation (axes closest to RAS+), and its intensity range.

    low, high: the intensities that become 0 and 1. Copies of an image that are stored flipped
    become the same array here, so they register alike, bit for bit.
    """

    data: np.ndarray
    grid: Grid
    low: float
    high: float

    @classmethod
    def of(cls, image: nib.Nifti1Image) -> _Source:
        """The intensity range ignores a few very bright or dark voxels."""
        data, grid = _canonical(image)
        data = np.ascontiguousarray(data, dtype=np.float32)
        low = float(np.percentile(data, 0.1))
        bright = data[data > low]
        high = float(np.percentile(bright, 99.9)) if bright.size else float(data.max())
        if high <= low:
            low, high = float(data.min()), float(data.max())
        return cls(data, grid, low, high)

    def resample(self, transform: Transform, lattice: Grid) -> np.ndarray:
        """The image scaled to [0, 1] and pulled back through a transform onto a lattice."""
        scaled = np.clip((self.data - self.low) / (self.high - self.low), 0, 1)
        return transform.pull_back(scaled, self.grid, lattice)

    def head(self, transform: Transform, lattice: Grid) -> np.ndarray:
        """The foreground on a lattice, boolean: brighter than 2 % of the intensity range."""
        bright = self.data > self.low + 0.02 * (self.high - self.low)
        return transform.pull_back(bright, self.grid, lattice) > 0.5


def _canonical(image: nib.Nifti1Image) -> tuple[np.ndarray, Grid]:
    grid, change = Grid.of(image).canonical()
    return apply_orientation(np.asarray(image.dataobj), change), grid


def _check_overlap(fixed: np.ndarray, moving: np.ndarray, notes: list[str]) -> None:
    shared = (fixed & moving).sum()
    if shared == 0:
        raise ValueError(
            "moving: it does not overlap the fixed image in the world; compute an affine first "
            "(affine=True, or --affine)"
        )
    if 2 * shared < LITTLE_OVERLAP * (fixed.sum() + moving.sum()):
        notes.append(
            "The two heads overlap little before registration; an affine start (affine=True, or "
            "--affine) would probably help."
        )


def _crop(canonical: Grid, fine: Grid, head: np.ndarray, margin: float) -> Grid:
    """The box around the heads, in whole voxels of the canonical fixed grid.

    head: (*fine.shape), boolean, on a lattice over the same box as the canonical grid. margin: mm
    kept around it.
    """
    first, last = [], []
    for axis, (n, n_fine) in enumerate(zip(canonical.shape, fine.shape, strict=True)):
        others = tuple(a for a in range(canonical.ndim) if a != axis)
        occupied = np.flatnonzero(head.any(axis=others)) * ((n - 1) / (n_fine - 1))
        pad = margin / canonical.spacing[axis]
        first.append(max(0, int(np.floor(occupied[0] - pad))))
        last.append(min(n - 1, int(np.ceil(occupied[-1] + pad))))
    affine = canonical.affine.copy()
    affine[:3, 3] = canonical.to_world(np.array(first, dtype=float))
    return Grid(tuple(b - a + 1 for a, b in zip(first, last, strict=True)), affine)


def _resample_mask(mask, name: str, transform: Transform, lattice: Grid) -> Tensor | None:
    """1 at the points of a lattice that lie wholly within a mask: (1, 1, *shape), or None."""
    if mask is None:
        return None
    labels, grid = _canonical(load_labels(mask, name))
    inside = transform.pull_back(labels != 0, grid, lattice) > 0.999
    if not inside.any():
        raise ValueError(
            f"{name}: it is empty where the images are; check that it is on their grid"
        )
    return torch.from_numpy(inside.astype(np.float32))[None, None]
