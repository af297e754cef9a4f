"""Where the optimisation happens: one lattice of cubic voxels that both images are brought to."""

from __future__ import annotations

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation
from torch import Tensor

from nevf_lite.config import Config
from nevf_lite.grid import downsample_seen
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.io import load_labels
from nevf_lite.memory import check_memory
from nevf_lite.parts import Affine, Part
from nevf_lite.space import Grid
from nevf_lite.transform import Transform

#: Voxels of the finest lattice kept around the heads: half a window, and room to move.
MARGIN = 5
#: Share of folded voxels in an initial deformation above which a note says so.
FOLDED = 1e-4


@dataclass(frozen=True, eq=False)
class Frame:
    """Both images on a common lattice, and how that lattice lies in the world.

    fixed, moving: grids of the images. work: the finest lattice, cubic voxels of `spacing` mm (to a
    per cent: corners are shared with the image's voxels). native: the same box at the fixed image's
    resolution or the lattice's, whichever is finer along each axis; flows are integrated there for
    output. after: parts of the initial transform. tensors: the arguments of `optimise.fit`.
    """

    fixed: Grid
    moving: Grid
    work: Grid
    native: Grid
    spacing: float
    after: tuple[Part, ...]
    tensors: dict[str, Tensor | None]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def settle(
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
        """Choose the lattice and bring everything onto it.

        device: where the optimisation will run; before anything of that size is made, its memory
        is checked. Raises ValueError where no lattice will do, MemoryError where it would not fit.
        """
        fixed_grid, moving_grid = Grid.of(fixed), Grid.of(moving)
        _check_grids(fixed_grid, moving_grid)
        notes: list[str] = []
        after = () if init is None else init.parts
        # The affine end of the initial transform is free: it only changes how the moving image is
        # read. What bends is composed with the field's deformation on the lattice.
        bends = max((i + 1 for i, p in enumerate(after) if not isinstance(p, Affine)), default=0)
        read = Transform(after[bends:], fixed_grid, moving_grid)

        whole = fixed_grid.canonical()[0]
        spacing = choose_spacing(config.spacing, fixed_grid)
        fine_spacing = max(spacing / 2, min(moving_grid.spacing))
        fixed_source, moving_source = _Source.of(fixed), _Source.of(moving)

        fine = whole.at_spacing(fine_spacing)
        still = Transform.identity(fixed_grid)
        seen = moving_source.head(read, fine)
        own = fixed_source.head(still, fine)
        _check_overlap(own, seen, notes)
        box = _crop(whole, fine, own | seen, MARGIN * spacing)

        work = box.at_spacing(spacing)
        if min(work.shape) < 4:
            raise ValueError(
                f"spacing: at {spacing:g} mm the box of the fixed image is only {work.shape} "
                "voxels; choose a smaller spacing"
            )
        if device is not None:
            check_memory(config, work.shape, device)
        native = box.with_shape(
            tuple(max(a, b) for a, b in zip(box.shape, work.shape, strict=True))
        )
        tensors: dict[str, Tensor | None] = {"initial": None}
        for name, source, mask, through, lattice in (
            ("fixed", fixed_source, fixed_mask, still, box),
            ("moving", moving_source, moving_mask, read, box.at_spacing(fine_spacing)),
        ):
            counts = _mask_onto(mask, f"{name}_mask", through, lattice)
            image = torch.from_numpy(source.onto(through, lattice))[None, None]
            tensors[name], tensors[f"{name}_mask"] = downsample_seen(image, counts, work.shape)
        if bends:
            initial = Transform(after[:bends], fixed_grid, fixed_grid)
            tensors["initial"] = initial.voxel_displacement(work)
            folded = float((jacobian_determinant(tensors["initial"]) <= 0).float().mean())
            if folded > FOLDED:
                notes.append(
                    f"The initial deformation folds {100 * folded:.2g} % of the voxels, and what "
                    "it folds stays folded."
                )
        return cls(fixed_grid, moving_grid, work, native, spacing, after, tensors, notes)


def choose_spacing(spacing: float | str | None, fixed: Grid) -> float:
    """Millimetres of the finest lattice.

    None is the fixed image's own finest spacing. "auto": in 2-D the same; in 3-D 1 mm for a head,
    a 192nd of the longest side for smaller things, and never finer than the image.
    """
    own = min(fixed.spacing)
    if spacing is None or (spacing == "auto" and fixed.ndim == 2):
        return own
    if spacing == "auto":
        return max(own, min(1.0, max(fixed.extent) / 192))
    return float(spacing)


def choose_device(device: str) -> torch.device:
    """ "auto" is CUDA where there is a card, else the CPU; ValueError for what is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: {device!r} cannot be used here; try 'cpu' ({str(error).splitlines()[0]})"
        ) from error
    return place


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
    """An image's data and grid, its axes turned to lie closest to RAS+, and what is 0 and 1 in it.

    Flipped copies of an image are then the same numbers in the same places, and the rounding of
    each interpolation is the same too.
    """

    data: np.ndarray
    grid: Grid
    low: float
    high: float

    @classmethod
    def of(cls, image: nib.Nifti1Image) -> _Source:
        """The range is robust against a few very bright or dark voxels."""
        data, grid = _turned(image)
        data = np.ascontiguousarray(data, dtype=np.float32)
        low = float(np.percentile(data, 0.1))
        bright = data[data > low]
        high = float(np.percentile(bright, 99.9)) if bright.size else float(data.max())
        if high <= low:
            low, high = float(data.min()), float(data.max())
        return cls(data, grid, low, high)

    def onto(self, read: Transform, lattice: Grid) -> np.ndarray:
        """The image in [0, 1], read through a transform at the points of a lattice."""
        scaled = np.clip((self.data - self.low) / (self.high - self.low), 0, 1)
        return read.pull_back(scaled, self.grid, lattice)

    def head(self, read: Transform, lattice: Grid) -> np.ndarray:
        """Where there is something to see: brighter than 2 % of the range."""
        bright = self.data > self.low + 0.02 * (self.high - self.low)
        return read.pull_back(bright, self.grid, lattice) > 0.5


def _turned(image: nib.Nifti1Image) -> tuple[np.ndarray, Grid]:
    grid, change = Grid.of(image).canonical()
    return apply_orientation(np.asarray(image.dataobj), change), grid


def _check_overlap(fixed: np.ndarray, moving: np.ndarray, notes: list[str]) -> None:
    both = (fixed & moving).sum()
    if both == 0:
        raise ValueError(
            "moving: it does not overlap the fixed image in the world; compute an affine first "
            "(affine=True, or --affine)"
        )
    if 2 * both < 0.6 * (fixed.sum() + moving.sum()):
        notes.append(
            "The two heads overlap little before registration; an affine start (affine=True, or "
            "--affine) would probably help."
        )


def _crop(whole: Grid, fine: Grid, head: np.ndarray, margin: float) -> Grid:
    """The part of the box within `margin` mm of either head, in whole voxels of the fixed image."""
    first, last = [], []
    for axis, (n, fine_n) in enumerate(zip(whole.shape, fine.shape, strict=True)):
        others = tuple(a for a in range(whole.ndim) if a != axis)
        where = np.flatnonzero(head.any(axis=others)) * ((n - 1) / (fine_n - 1))
        pad = margin / whole.spacing[axis]
        first.append(max(0, int(np.floor(where[0] - pad))))
        last.append(min(n - 1, int(np.ceil(where[-1] + pad))))
    affine = whole.affine.copy()
    affine[:3, 3] = whole.to_world(np.array(first, dtype=float))
    return Grid(tuple(b - a + 1 for a, b in zip(first, last, strict=True)), affine)


def _mask_onto(mask, name: str, read: Transform, lattice: Grid) -> Tensor | None:
    """1 at the points of a lattice that lie wholly within a mask: (1, 1, *shape), or None."""
    if mask is None:
        return None
    labels, grid = _turned(load_labels(mask, name))
    inside = read.pull_back(labels != 0, grid, lattice) > 0.999
    if not inside.any():
        raise ValueError(
            f"{name}: it is empty where the images are; check that it is on their grid"
        )
    return torch.from_numpy(inside.astype(np.float32))[None, None]
