"""Shared by the Triton kernels: voxel indices, linear interpolation, its adjoint, and launches.

One program computes a block of voxels in memory order, so that neighbouring threads read and write
neighbouring addresses along the last axis. The images of a batch are the launch grid's second axis.
2-D is 3-D with a middle axis of size 1, whose neighbours are left out at compile time. Offsets
within one volume have 32 bits, offsets of volumes 64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Voxels that a 32-bit offset can reach, less a block that extends beyond the end.
MAX_VOXELS = 2**31 - 2**12


def as_3d(grid: Sequence[int]) -> tuple[int, int, int]:
    """(D, H, W) of a 2-D or 3-D grid; ValueError for more voxels than a 32-bit offset can reach."""
    if math.prod(grid) > MAX_VOXELS:
        raise ValueError(f"grid: wanted at most {MAX_VOXELS} voxels, got {tuple(grid)}")
    return (grid[0], 1, grid[1]) if len(grid) == 2 else tuple(grid)


def blocks(voxels: int, block: int) -> int:
    """How many blocks cover `voxels`."""
    return -(-voxels // block)


def launch(kernel, programs: tuple[int, ...], *arguments, **constants) -> None:
    """Run a kernel on the device of its first tensor, which need not be the current one.

    programs: the launch grid. An empty one does nothing, as torch does with an empty tensor.
    Multiplications and additions are fused; this is explicit since triton's default differs between
    versions.
    """
    if math.prod(programs) == 0:
        return
    first = next(a for a in arguments if isinstance(a, Tensor))
    with torch.cuda.device_of(first):
        kernel[programs](*arguments, enable_fp_fusion=True, **constants)


@triton.jit
def unravel(voxel, H, W):
    """Index along each axis of voxels numbered in memory order."""
    row = voxel // W
    return row // H, row % H, voxel % W


@triton.jit
def block_of_voxels(H, W, voxels, BLOCK: tl.constexpr):
    """A program's image, its voxels, the mask of those that exist, and their index on each axis."""
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, j, k = unravel(voxel, H, W)
    return tl.program_id(1).to(tl.int64), voxel, voxel < voxels, i, j, k


@triton.jit
def position(field, voxel, voxels, i, j, k, mask, NDIM: tl.constexpr):
    """x + u(x) at a block of voxels of one displacement (NDIM, voxels); i, j, k: their indices."""
    x = i + tl.load(field + voxel, mask=mask, other=0.0)
    y = j + tl.zeros_like(x)
    field += voxels
    if NDIM == 3:
        y += tl.load(field + voxel, mask=mask, other=0.0)
        field += voxels
    z = k + tl.load(field + voxel, mask=mask, other=0.0)
    return x, y, z


@triton.jit
def _weights(coordinate, size, BORDER: tl.constexpr):
    """The two neighbours of one coordinate, their weights and the weights' slopes.

    Outside the image a neighbour has weight zero. With BORDER a position outside is clipped to the
    edge, and its slopes are zero. Without it positions are clipped a little outside the image, so
    that infinity and NaN become valid indices too: a comparison with NaN is false.
    """
    if BORDER:
        first, last = 0.0, size - 1.0
        slope = ((coordinate > first) & (coordinate < last)).to(tl.float32)
    else:
        first, last = -2.0, size + 1.0
        slope = tl.full(coordinate.shape, 1.0, tl.float32)
    coordinate = tl.where(coordinate > first, coordinate, first)
    coordinate = tl.where(coordinate < last, coordinate, last)
    floor = tl.floor(coordinate)
    low = floor.to(tl.int32)
    high = low + 1
    low_inside = ((low >= 0) & (low < size)).to(tl.float32)
    high_inside = ((high >= 0) & (high < size)).to(tl.float32)
    fraction = coordinate - floor
    low = tl.minimum(tl.maximum(low, 0), size - 1)
    high = tl.minimum(tl.maximum(high, 0), size - 1)
    return (
        low,
        high,
        low_inside * (1 - fraction),
        high_inside * fraction,
        -low_inside * slope,
        high_inside * slope,
    )


@triton.jit
def _along_row(row, low, high, low_weight, high_weight, low_slope, high_slope, mask):
    """Value and slope along the last axis; row: pointers to the first voxel of each row."""
    a = tl.load(row + low, mask=mask, other=0.0)
    b = tl.load(row + high, mask=mask, other=0.0)
    return low_weight * a + high_weight * b, low_slope * a + high_slope * b


@triton.jit
def interpolate(volume, x, y, z, D, H, W, mask, NDIM: tl.constexpr, BORDER: tl.constexpr):
    """One channel (D, H, W) at positions x, y, z: the value, and its slope along each axis.

    Callers call it for each channel with the same positions. The compiler computes the weights once
    for all channels, and removes slopes that are not used.
    """
    a0, a1, wa0, wa1, da0, da1 = _weights(x, D, BORDER)
    c0, c1, wc0, wc1, dc0, dc1 = _weights(z, W, BORDER)
    if NDIM == 3:
        b0, b1, wb0, wb1, db0, db1 = _weights(y, H, BORDER)
        near, far = volume + a0 * H * W, volume + a1 * H * W
        e00, f00 = _along_row(near + b0 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        e01, f01 = _along_row(near + b1 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        e10, f10 = _along_row(far + b0 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        e11, f11 = _along_row(far + b1 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        e0, e1 = wb0 * e00 + wb1 * e01, wb0 * e10 + wb1 * e11
        f0, f1 = wb0 * f00 + wb1 * f01, wb0 * f10 + wb1 * f11
        along_y = wa0 * (db0 * e00 + db1 * e01) + wa1 * (db0 * e10 + db1 * e11)
    else:
        e0, f0 = _along_row(volume + a0 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        e1, f1 = _along_row(volume + a1 * W, c0, c1, wc0, wc1, dc0, dc1, mask)
        along_y = tl.zeros_like(e0)
    return wa0 * e0 + wa1 * e1, da0 * e0 + da1 * e1, along_y, wa0 * f0 + wa1 * f1


@triton.jit
def _add(target, offset, value, weight, mask):
    """Atomic addition of value * weight; a weight of zero, as outside the image, writes nothing."""
    tl.atomic_add(target + offset, value * weight, mask=mask & (weight != 0), sem="relaxed")


@triton.jit
def spread(target, value, x, y, z, D, H, W, mask, NDIM: tl.constexpr, BORDER: tl.constexpr):
    """Adjoint of `interpolate`'s value: adds to one channel (D, H, W) by atomic additions."""
    a0, a1, wa0, wa1, _, _ = _weights(x, D, BORDER)
    c0, c1, wc0, wc1, _, _ = _weights(z, W, BORDER)
    if NDIM == 3:
        b0, b1, wb0, wb1, _, _ = _weights(y, H, BORDER)
        _add(target, (a0 * H + b0) * W + c0, value, wa0 * wb0 * wc0, mask)
        _add(target, (a0 * H + b0) * W + c1, value, wa0 * wb0 * wc1, mask)
        _add(target, (a0 * H + b1) * W + c0, value, wa0 * wb1 * wc0, mask)
        _add(target, (a0 * H + b1) * W + c1, value, wa0 * wb1 * wc1, mask)
        _add(target, (a1 * H + b0) * W + c0, value, wa1 * wb0 * wc0, mask)
        _add(target, (a1 * H + b0) * W + c1, value, wa1 * wb0 * wc1, mask)
        _add(target, (a1 * H + b1) * W + c0, value, wa1 * wb1 * wc0, mask)
        _add(target, (a1 * H + b1) * W + c1, value, wa1 * wb1 * wc1, mask)
    else:
        _add(target, a0 * W + c0, value, wa0 * wc0, mask)
        _add(target, a0 * W + c1, value, wa0 * wc1, mask)
        _add(target, a1 * W + c0, value, wa1 * wc0, mask)
        _add(target, a1 * W + c1, value, wa1 * wc1, mask)
