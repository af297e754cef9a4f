"""The lattice of a network's input, laid over the fixed image in the world."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from nevf_lite.grid import antialiasing_sigma, blur
from nevf_lite.networks.base import NetworkFrame
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

#: Voxels that may be cut off an axis of the box in total. Without it, an axis that is slightly
#: longer than a multiple of the stride would be padded by almost a full stride.
MAX_TRIM = 2


def lattice_over(
    fixed: Grid, frame: NetworkFrame, stride: int, spacing: float | None = None
) -> Grid:
    """The network's lattice over the box of the fixed image.

    fixed: grid of the fixed image. frame: the network's frame. stride: the sides of the lattice are
    multiples of it. spacing: mm between voxels, the same along each axis; None for the frame's.

    The axes are those of the image, permuted and flipped to lie closest to the frame's orientation
    (in 2-D to RAS). The lattice and the box have the same centre. Where a side of the box is not a
    multiple of stride, the lattice extends beyond it or leaves out one voxel at each end. If the
    image already lies in the frame, the lattice equals its grid. Raises ValueError for a spacing
    that is not positive, or so large that a side has less than half a stride.
    """
    voxel_size = frame.spacing if spacing is None else float(spacing)
    if not 0 < voxel_size < math.inf:
        raise ValueError(f"spacing: wanted millimetres above 0, got {spacing!r}")
    oriented, _ = fixed.reoriented(frame.orientation)
    counts = [
        max(1, round(n * s / voxel_size))
        for n, s in zip(oriented.shape, oriented.spacing, strict=True)
    ]
    if min(counts) < stride / 2:
        raise ValueError(
            f"spacing: at {voxel_size:g} mm the fixed image is only {tuple(counts)} voxels and the "
            f"network halves them down to 1/{stride}; choose a smaller spacing"
        )
    shape = tuple(max(stride, stride * math.ceil((n - MAX_TRIM) / stride)) for n in counts)
    affine = oriented.affine.copy()
    affine[:3, : fixed.ndim] *= voxel_size / np.array(oriented.spacing)
    centre = oriented.to_world((np.array(oriented.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, : fixed.ndim] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def onto_lattice(image: nib.Nifti1Image, lattice: Grid) -> Tensor:
    """Resample an image, scaled to [0, 1] by its minimum and maximum, onto a lattice.

    Interpolation is linear, in world coordinates; the value outside the image is zero. Where the
    lattice is coarser than the image, a blur before it prevents aliasing. Returns
    (1, 1, *lattice.shape), float32.
    """
    grid = Grid.of(image)
    data = np.asarray(image.dataobj, dtype=np.float32).reshape(grid.shape)
    low, high = float(data.min()), float(data.max())
    volume = torch.from_numpy((data - low) / (high - low))[None, None]
    for axis, spacing in enumerate(grid.spacing):
        factor = min(lattice.spacing) / spacing
        if factor > 1.01:
            volume = blur(volume, antialiasing_sigma(factor), axis)
    identity = Transform.identity(lattice)
    return torch.from_numpy(identity.pull_back(volume[0, 0].numpy(), grid, lattice))[None, None]
