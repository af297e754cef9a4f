"""Interpolation: read a volume at positions that need not be voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nevf_lite.grid import identity
from nevf_lite.kernels import find


def sample(
    volume: Tensor, positions: Tensor, mode: str = "linear", padding: str = "zeros"
) -> Tensor:
    """Read a volume at positions given in its voxels.

    volume: (N, C, *shape). positions: (N, ndim, *out), components in the order of the axes, out a
    grid or any list of points. mode: "linear" or "nearest". padding: what lies outside, "zeros" or
    "border" (the nearest edge).
    Returns (N, C, *out). Raises ValueError for shapes that do not belong together.
    """
    ndim = volume.ndim - 2
    if positions.shape[1] != ndim:
        raise ValueError(
            f"positions: a volume of {ndim} axes is read at (N, {ndim}, ...) positions, "
            f"got {tuple(positions.shape)}"
        )
    shape = volume.shape[2:]
    scale = [2 / max(n - 1, 1) for n in shape]
    out = positions.shape[2:]
    if len(out) != ndim:  # torch wants as many axes as the volume has
        positions = positions.reshape(len(positions), ndim, -1, *[1] * (ndim - 1))
    # and the components last, in reverse order of the axes, in [-1, 1]
    grid = torch.stack([positions[:, i] * scale[i] - 1 for i in reversed(range(ndim))], dim=-1)
    torch_mode = "bilinear" if mode == "linear" else mode
    read = F.grid_sample(volume, grid, mode=torch_mode, padding_mode=padding, align_corners=True)
    return read.reshape(*read.shape[:2], *out)


def warp(
    image: Tensor, displacement: Tensor, mode: str = "linear", padding: str = "zeros"
) -> Tensor:
    """Pull an image back through a displacement: the result at x is image(x + u(x)).

    image: (N, C, *shape), usually the moving one. displacement: (N, ndim, *grid) in voxels; it maps
    a fixed voxel x to the moving position x + u(x), both on grids with the same voxels.
    Returns (N, C, *grid).
    """
    if mode == "linear" and padding in ("zeros", "border"):
        if (fast := find("pull", image, displacement)) is not None:
            return fast(image, displacement, padding == "border")
    grid = identity(displacement.shape[2:], displacement.device, displacement.dtype)
    return sample(image, grid + displacement, mode, padding)
