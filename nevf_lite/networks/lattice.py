"""The lattice on which a network sees two images, laid over the fixed image in the world."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from torch import Tensor

from nevf_lite.grid import blur
from nevf_lite.networks.base import NetworkFrame
from nevf_lite.space import Grid
from nevf_lite.transform import Transform

#: Voxels in all that may be cut off an axis of the box, rather than pad almost a whole stride.
SPARE = 2


def lattice_over(fixed: Grid, frame: NetworkFrame, stride: int, spacing: float | None = None):
    """The network's lattice over the box of the fixed image: a `Grid`.

    Its axes are the image's own, permuted and flipped to lie closest to the frame's orientation
    (in 2-D to RAS); its voxels are cubes of `spacing` mm (None: the frame's); both boxes have the
    same centre. Sides are multiples of stride: where the box is not, the lattice reaches beyond it,
    or leaves out one voxel at each end. An image that lies in the network's frame already is its
    own lattice. Raises ValueError for a spacing with which nothing is left.
    """
    size = frame.spacing if spacing is None else float(spacing)
    if not 0 < size < math.inf:
        raise ValueError(f"spacing: wanted millimetres above 0, got {spacing!r}")
    turned = _turned(fixed, frame.orientation)
    counts = [
        max(1, round(n * s / size)) for n, s in zip(turned.shape, turned.spacing, strict=True)
    ]
    if min(counts) < stride / 2:
        raise ValueError(
            f"spacing: at {size:g} mm the fixed image is only {tuple(counts)} voxels and the "
            f"network halves them down to 1/{stride}; choose a smaller spacing"
        )
    shape = tuple(max(stride, stride * math.ceil((n - SPARE) / stride)) for n in counts)
    affine = turned.affine.copy()
    affine[:3, : fixed.ndim] *= size / np.array(turned.spacing)
    centre = turned.to_world((np.array(turned.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, : fixed.ndim] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def onto_lattice(image: nib.Nifti1Image, lattice: Grid) -> Tensor:
    """An image scaled to [0, 1] by its smallest and largest value, seen at the lattice's points.

    Read through the world by linear interpolation, after a blur against aliasing where the lattice
    is coarser than the image; zero outside the image. Returns (1, 1, *lattice.shape), float32.
    """
    grid = Grid.of(image)
    data = np.asarray(image.dataobj, dtype=np.float32).reshape(grid.shape)
    low, high = float(data.min()), float(data.max())
    volume = torch.from_numpy((data - low) / (high - low))[None, None]
    for axis, spacing in enumerate(grid.spacing):
        factor = min(lattice.spacing) / spacing
        if factor > 1.01:  # as `grid.downsample` does
            volume = blur(volume, 0.5 * factor * math.sqrt(1 - factor**-2), axis)
    still = Transform.identity(lattice)
    return torch.from_numpy(still.pull_back(volume[0, 0].numpy(), grid, lattice))[None, None]


def _turned(grid: Grid, orientation: str) -> Grid:
    """The same voxels with axes permuted and flipped to lie closest to an orientation."""
    if grid.ndim == 2:
        return grid.canonical()[0]
    change = ornt_transform(io_orientation(grid.affine), axcodes2ornt(orientation))
    shape = [0] * 3
    for axis, (target, _) in enumerate(change):
        shape[int(target)] = grid.shape[axis]
    return Grid(tuple(shape), grid.affine @ inv_ornt_aff(change, grid.shape))
