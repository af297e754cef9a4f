"""Coordinates: voxel lattices, normalised points for the field, and sparse sampling.

Two systems, both with their axes in the order of the array's axes:

* *voxels* of the fixed grid, 0 to S - 1 along an axis of S voxels; images and displacements;
* *normalised* points, the input of a velocity field: 0 at the centre and 1 at the end of the
  longest axis. One scale serves all axes, so that a frequency omega_0 means the same in each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def identity(shape: Sequence[int], device=None, dtype=torch.float32) -> Tensor:
    """The identity map of a grid: each voxel's own coordinates.

    shape: (D, H, W) or (H, W). Returns (1, ndim, *shape), in voxels.
    """
    axes = [torch.arange(n, device=device, dtype=dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def sparse_shape(shape: Sequence[int], step: float) -> tuple[int, ...]:
    """How many samples a grid gets when every `step`-th voxel is asked (section 3.2 of the paper).

    shape: voxels along each axis. step: L, in voxels, >= 1. Returns ceil(S / L), at least 2, so
    that both ends of each axis are sampled: the sparse lattice shares its corners with the full
    one, and upsampling it with `resize` needs no extrapolation.
    """
    if step < 1:
        raise ValueError(f"step: wanted L >= 1 voxel, got {step}")
    return tuple(min(n, max(2, math.ceil(n / step))) for n in shape)


def normalised(
    nodes: Sequence[int], shape: Sequence[int], device=None, dtype=torch.float32
) -> Tensor:
    """A lattice of `nodes` samples over the box of a grid of `shape` voxels, corners shared.

    Returns (1, ndim, *nodes), normalised. The grid's voxels are taken to be cubes.
    """
    longest = max(n - 1 for n in shape)
    axes = [
        torch.linspace(-1, 1, n, device=device, dtype=dtype) * ((extent - 1) / longest)
        for n, extent in zip(nodes, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation of (N, C, *any) to (N, C, *shape) with corners kept in place.

    Values are not rescaled; for a field in voxels see :func:`resize_field`.
    """
    if tuple(volume.shape[2:]) == tuple(shape):
        return volume
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    return F.interpolate(volume, size=tuple(shape), mode=mode, align_corners=True)


def resize_field(field: Tensor, shape: Sequence[int]) -> Tensor:
    """`resize` for a vector field in voxels: (N, ndim, *any) to (N, ndim, *shape).

    The same motion is more voxels on a finer grid, so each component is scaled by its own axis.
    """
    return resize(field, shape) * voxel_ratio(field.shape[2:], shape, like=field)


def voxel_ratio(old: Sequence[int], new: Sequence[int], like: Tensor) -> Tensor:
    """(1, ndim, 1, ...): voxels of the grid `new` in one voxel of the grid `old`, by axis."""
    ratio = tuple((n - 1) / (o - 1) for o, n in zip(old, new, strict=True))
    return _by_axis(ratio, like.device, like.dtype)


@functools.lru_cache(maxsize=64)
def _by_axis(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """One number for each axis, (1, ndim, 1, ...); made once, for a CUDA graph may not make it."""
    return torch.tensor(values, device=device, dtype=dtype).view(1, -1, *[1] * len(values))


def downsample(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Blur (N, C, *any) just enough for the coarser grid `shape`, then `resize` to it.

    The Gaussian has a standard deviation of half the reduction factor in old voxels (none where an
    axis keeps its size), the usual compromise between aliasing and detail.
    """
    for axis, (old, new) in enumerate(zip(image.shape[2:], shape, strict=True)):
        factor = (old - 1) / (new - 1)
        if factor > 1.01:
            image = blur(image, 0.5 * factor * math.sqrt(1 - factor**-2), axis)
    return resize(image, shape)


def downsample_seen(
    image: Tensor, mask: Tensor | None, shape: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """`downsample` an image from only what its mask (N, 1, *any) lets count, and the mask with it.

    A plain blur would spread what is masked into its surroundings, where it counts.
    """
    if mask is None:
        return downsample(image, shape), None
    weight = downsample(mask, shape)
    return downsample(image * mask, shape) / weight.clamp_min(1e-6), weight


def blur(image: Tensor, sigma: float, axis: int) -> Tensor:
    """Gaussian smoothing of (N, C, *shape) along one spatial axis; sigma in voxels."""
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    size = image.shape[axis + 2]
    index = torch.arange(-radius, size + radius, device=image.device).clamp(0, size - 1)
    padded = image.index_select(axis + 2, index)
    # summed copies, shifted along the axis: several times faster than a convolution of this shape
    return sum(k * padded.narrow(axis + 2, i, size) for i, k in enumerate(kernel.tolist()))
