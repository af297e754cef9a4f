"""Coordinates: voxel lattices, normalised points for the field, and sparse sampling.

There are two coordinate systems. Both have their components in the order of the array's axes.

* *voxels* of the fixed grid, from 0 to S - 1 along an axis of S voxels, for images and
  displacements;
* *normalised* points, the input of a velocity field: 0 at the centre and 1 at the end of the
  longest axis. All axes share one scale, so that a frequency omega_0 means the same along each.
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
    """Nodes along each axis of a lattice with about one in L voxels (section 2.2 of the paper).

    shape: voxels S along each axis. step: L, in voxels, >= 1. Returns ceil(S / L), at least 2 where
    an axis has as many voxels. The nodes are spread evenly from the first voxel to the last, so
    upsampling needs no extrapolation. Raises ValueError for a step below 1.
    """
    if step < 1:
        raise ValueError(f"step: wanted L >= 1 voxel, got {step}")
    return tuple(min(n, max(2, math.ceil(n / step))) for n in shape)


def normalised(
    nodes: Sequence[int], shape: Sequence[int], device=None, dtype=torch.float32
) -> Tensor:
    """The normalised points of a lattice over the box of a grid, corners shared.

    nodes: samples of the lattice along each axis. shape: voxels of the grid, which are cubes.
    Returns (1, ndim, *nodes).
    """
    longest = max(n - 1 for n in shape)
    axes = [
        torch.linspace(-1, 1, n, device=device, dtype=dtype) * ((extent - 1) / longest)
        for n, extent in zip(nodes, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate (N, C, *any) linearly to (N, C, *shape), corners kept in place.

    It is one product along each axis, of a small matrix and all lines of the volume: faster than
    torch's `interpolate`, three times so with the gradient. Values are not rescaled; for a field in
    voxels use :func:`resize_field`.
    """
    for axis, (old, new) in enumerate(zip(volume.shape[2:], shape, strict=True), start=2):
        if old != new:
            matrix = _interpolation(old, new, volume.device, volume.dtype)
            if axis + 1 == volume.ndim:
                volume = volume @ matrix.T
            else:
                lines = matrix @ volume.flatten(0, axis - 1).flatten(2)
                volume = lines.view(*volume.shape[:axis], new, *volume.shape[axis + 1 :])
    return volume


def resize_field(field: Tensor, shape: Sequence[int]) -> Tensor:
    """`resize` for a vector field in voxels: (N, ndim, *any) to (N, ndim, *shape).

    Each component is scaled by the ratio of its axis: the same motion is more voxels on a finer
    grid.
    """
    return resize(field, shape) * voxel_ratio(field.shape[2:], shape, like=field)


def voxel_ratio(old: Sequence[int], new: Sequence[int], like: Tensor) -> Tensor:
    """Voxels of the grid `new` per voxel of the grid `old`, along each axis: (1, ndim, 1, ...)."""
    ratio = tuple((n - 1) / (o - 1) for o, n in zip(old, new, strict=True))
    return _by_axis(ratio, like.device, like.dtype)


@functools.lru_cache(maxsize=64)
def _interpolation(old: int, new: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrix (new, old) of linear interpolation; cached, since a CUDA graph cannot make it."""
    positions = torch.linspace(0, old - 1, new, dtype=torch.float64)[:, None]
    return (1 - (positions - torch.arange(old)).abs()).clamp_min(0).to(device, dtype)


@functools.lru_cache(maxsize=64)
def _by_axis(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """One number for each axis, (1, ndim, 1, ...); cached, since a CUDA graph cannot create it."""
    return torch.tensor(values, device=device, dtype=dtype).view(1, -1, *[1] * len(values))


def downsample(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Blur (N, C, *any) by `antialiasing_sigma`, then `resize` to the coarser grid `shape`.

    Axis by axis, so that each axis finds an image that is smaller already.
    """
    for axis, new in enumerate(shape):
        before, (old, *after) = image.shape[2 : axis + 2], image.shape[axis + 2 :]
        factor = (old - 1) / (new - 1)
        if factor > 1.01:
            image = blur(image, antialiasing_sigma(factor), axis)
        image = resize(image, (*before, new, *after))
    return image


def antialiasing_sigma(factor: float) -> float:
    """Standard deviation, in voxels, of the blur before a grid is made `factor` (>= 1) coarser.

    It is about half the factor, and 0 where the factor is 1: the usual compromise between aliasing
    and detail.
    """
    return 0.5 * factor * math.sqrt(1 - factor**-2)


def downsample_masked(
    image: Tensor, mask: Tensor | None, shape: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """`downsample` an image and its mask (N, 1, *any), using only the voxels inside the mask.

    A plain blur would spread masked intensities into their surroundings, where they would count.
    Returns the image and the mask on the coarser grid.
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
    # a sum of shifted copies is several times faster than a convolution with this kernel
    first, *others = kernel.tolist()
    total = first * padded.narrow(axis + 2, 0, size)
    for i, k in enumerate(others, start=1):
        total.add_(padded.narrow(axis + 2, i, size), alpha=k)
    return total


class BoxSum(torch.autograd.Function):
    """Sum over a centred window, zeros outside, axis by axis. It is its own adjoint."""

    @staticmethod
    def forward(ctx, x: Tensor, window: int) -> Tensor:
        ctx.window = window
        ndim = x.ndim - 2
        for axis in range(ndim):
            size, padding = [1] * ndim, [0] * ndim
            size[axis] = window
            if x.shape[axis + 2] < window:  # torch refuses windows longer than the image
                x = F.pad(x, [0, 0] * (ndim - 1 - axis) + [window // 2] * 2)
            else:
                padding[axis] = window // 2
            pool = F.avg_pool2d if ndim == 2 else F.avg_pool3d
            x = pool(x, size, stride=1, padding=padding) * window
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return BoxSum.apply(gradient, ctx.window), None


def box_sum(x: Tensor, window: int) -> Tensor:
    """Sum of (N, C, *shape) over a centred window of an odd number of voxels along each axis."""
    check_window(window)
    return BoxSum.apply(x, window)


def check_window(window: int) -> None:
    """Raise ValueError for a window that has no middle."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: wanted an odd number of voxels, got {window}")


def mirrored(displacement: Tensor) -> list[Tensor]:
    """A field (N, ndim, *shape) mirrored along each set of its axes, itself first.

    Forward differences of a mirrored field are differences at another corner of the cells.
    """
    fields = [displacement]
    for axis in range(displacement.ndim - 2):
        sign = torch.ones_like(displacement[:1, :, *[slice(1)] * (displacement.ndim - 2)])
        sign[:, axis] = -1
        fields += [sign * u.flip(axis + 2) for u in fields]
    return fields
