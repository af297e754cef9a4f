"""Interpolation: sampling a volume between its voxels, and warping an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nevf_lite.grid import identity
from nevf_lite.kernels import find_kernel


def sample(
    volume: Tensor, positions: Tensor, mode: str = "linear", padding: str = "zeros"
) -> Tensor:
    """Sample a volume at positions given in its voxels.

    volume: (N, C, *shape). positions: (N, ndim, *out), components in the order of the axes; `out`
    is the shape of a grid or the length of a list of points. mode: "linear" or "nearest". padding:
    the value outside, "zeros" or "border" (that of the nearest edge).
    Returns (N, C, *out). Raises ValueError for positions with another number of axes.
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
    if len(out) != ndim:  # grid_sample requires as many axes as the volume has
        positions = positions.reshape(len(positions), ndim, -1, *[1] * (ndim - 1))
    # grid_sample takes the components last, in reverse order of the axes, in [-1, 1]
    grid = torch.stack([positions[:, i] * scale[i] - 1 for i in reversed(range(ndim))], dim=-1)
    torch_mode = "bilinear" if mode == "linear" else mode
    values = F.grid_sample(volume, grid, mode=torch_mode, padding_mode=padding, align_corners=True)
    return values.reshape(*values.shape[:2], *out)


def warp(
    image: Tensor, displacement: Tensor, mode: str = "linear", padding: str = "zeros"
) -> Tensor:
    """Pull an image back through a displacement: the result at x is image(x + u(x)).

    image: (N, C, *shape), usually the moving one. displacement: (N, ndim, *grid) in voxels; it maps
    a fixed voxel x to the moving position x + u(x), both on grids with the same voxels. mode,
    padding: see `sample`. Returns (N, C, *grid).
    """
    if mode == "linear" and padding in ("zeros", "border"):
        if (kernel := find_kernel("pull", image, displacement)) is not None:
            return kernel(image, displacement, padding == "border")
    grid = identity(displacement.shape[2:], displacement.device, displacement.dtype)
    return sample(image, grid + displacement, mode, padding)


def warp_masked(
    image: Tensor, mask: Tensor | None, displacement: Tensor
) -> tuple[Tensor, Tensor | None]:
    """`warp` an image and its mask (N, 1, *shape) so that masked voxels do not leak in at its edge.

    Returns the warped image and the warped mask. The mask passes no gradient on: how much of the
    image counts must not become a goal of the optimisation.
    """
    return read_masked(image, mask, lambda volume: warp(volume, displacement))


def read_masked(
    image: Tensor, mask: Tensor | None, read: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """What `read` reads of an image and of its mask, as `warp_masked` does it.

    read: interpolates a volume (N, C, *shape) linearly, somewhere.
    """
    if mask is None:
        return read(image), None
    values = read(torch.cat([image * mask, mask], dim=1))
    weight = values[:, -1:]
    return values[:, :-1] / weight.clamp_min(1e-6), weight.detach()
