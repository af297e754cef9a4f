"""Local correlation on the GPU: window sums axis by axis, everything between them fused.

Each pass sums three fields at once, one axis, by reading the window's voxels directly. A running
sum would read two instead of nine, but walks a line one voxel after the other and gathers rounding
errors as it goes; the nine lie in cache, and the passes are bound by what they write. The three
sums of an image lie together, (N C, 3, voxels).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import blocks, box, launch

BLOCK = 512
EPSILON = 1e-5


@triton.jit
def _window(
    source, voxel, at, side, stride, voxels, mask, WINDOW: tl.constexpr, BLOCK: tl.constexpr
):
    """Sums of the three fields of one image over a window along one axis, zeros outside.

    at: each voxel's index along the axis, of length `side`; stride: voxels between neighbours.
    """
    a = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    c = tl.zeros([BLOCK], tl.float32)
    for tap in range(WINDOW):
        off = tap - WINDOW // 2
        there = mask & (at + off >= 0) & (at + off < side)
        here = source + (voxel + off * stride)
        a += tl.load(here, mask=there, other=0.0)
        here += voxels
        b += tl.load(here, mask=there, other=0.0)
        here += voxels
        c += tl.load(here, mask=there, other=0.0)
    return a, b, c


@triton.jit
def _store(target, voxel, voxels, a, b, c, mask):
    """The three fields of one image."""
    tl.store(target + voxel, a, mask=mask)
    target += voxels
    tl.store(target + voxel, b, mask=mask)
    target += voxels
    tl.store(target + voxel, c, mask=mask)


@triton.jit
def _products(warped, fixed, sums, W, voxels, WINDOW: tl.constexpr, BLOCK: tl.constexpr):
    """First pass: m, m^2 and m f of each image, summed along the last axis."""
    image = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    warped += image * voxels
    fixed += image * voxels
    a = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    c = tl.zeros([BLOCK], tl.float32)
    for tap in range(WINDOW):
        off = tap - WINDOW // 2
        there = mask & (voxel % W + off >= 0) & (voxel % W + off < W)
        m = tl.load(warped + (voxel + off), mask=there, other=0.0)
        a += m
        b += m * m
        c += m * tl.load(fixed + (voxel + off), mask=there, other=0.0)
    _store(sums + image * 3 * voxels, voxel, voxels, a, b, c, mask)


@triton.jit
def _sums(source, target, side, stride, voxels, WINDOW: tl.constexpr, BLOCK: tl.constexpr):
    """A pass between: the three fields of each image, summed along one axis."""
    start = tl.program_id(1).to(tl.int64) * 3 * voxels
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    at = voxel // stride % side
    a, b, c = _window(source + start, voxel, at, side, stride, voxels, mask, WINDOW, BLOCK)
    _store(target + start, voxel, voxels, a, b, c, mask)


@triton.jit
def _correlation(
    source, fixed_sum, fixed_variance, totals, partials, D, stride, voxels, per_window, epsilon,
    PARTIALS: tl.constexpr, WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Last pass, along the first axis: squared correlations, added up by block in totals.

    With PARTIALS also their derivatives with respect to the sums of m, m^2 and m f.
    """
    image = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0)
    voxel = block * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    start = image * 3 * voxels
    total, squares, products = _window(
        source + start, voxel, voxel // stride, D, stride, voxels, mask, WINDOW, BLOCK
    )
    f_sum = tl.load(fixed_sum + image * voxels + voxel, mask=mask, other=0.0)
    f_variance = tl.load(fixed_variance + image * voxels + voxel, mask=mask, other=0.0)
    cross = products - f_sum * total / per_window
    variance = squares - total * total / per_window
    below = variance < 0  # by rounding only; the clamp stops the gradient there
    denominator = f_variance * tl.where(below, 0.0, variance) + epsilon
    ratio = cross / denominator
    tl.store(
        totals + image * tl.num_programs(0) + block,
        tl.sum(tl.where(mask, cross * ratio, 0.0), axis=0),
    )
    if PARTIALS:
        by_squares = tl.where(below, 0.0, -ratio * ratio * f_variance)
        by_total = -2 * (ratio * f_sum + by_squares * total) / per_window
        _store(partials + start, voxel, voxels, by_total, by_squares, 2 * ratio, mask)


@triton.jit
def _to_warped(
    source, warped, fixed, factor, out, W, voxels, scale,
    WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Last pass of the adjoint, along the last axis: from sums of the derivatives to m's."""
    image = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    by_total, by_squares, by_products = _window(
        source + image * 3 * voxels, voxel, voxel % W, W, 1, voxels, mask, WINDOW, BLOCK
    )
    m = tl.load(warped + image * voxels + voxel, mask=mask, other=0.0)
    f = tl.load(fixed + image * voxels + voxel, mask=mask, other=0.0)
    gradient = tl.load(factor) * scale * (by_total + 2 * m * by_squares + f * by_products)
    tl.store(out + image * voxels + voxel, gradient, mask=mask)


def _summed(source: Tensor, shape: tuple[int, int, int], axes: tuple[int, ...], window: int):
    """Three fields of each image, (images, 3, voxels), summed over a window along some axes."""
    voxels = source.shape[2]
    for axis in axes:
        if shape[axis] == 1:
            continue  # the middle axis of 2-D
        target = torch.empty_like(source)
        stride = math.prod(shape[axis + 1 :])
        launch(
            _sums, (blocks(voxels, BLOCK), len(source)),
            source, target, shape[axis], stride, voxels, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        source = target
    return source


class LocalNCC(torch.autograd.Function):
    """The mean of the squared local correlations; see `local_ncc`."""

    @staticmethod
    def forward(
        ctx, warped: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, window: int
    ) -> Tensor:
        warped, fixed = warped.contiguous(), fixed.contiguous()
        grid = warped.shape[2:]
        shape, voxels = box(grid), math.prod(grid)
        images = warped.shape[0] * warped.shape[1]
        programs = blocks(voxels, BLOCK), images
        sums = warped.new_empty(images, 3, voxels)
        launch(
            _products, programs,
            warped, fixed, sums, shape[2], voxels, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        sums = _summed(sums, shape, (1,), window)
        needed = ctx.needs_input_grad[0]
        totals = warped.new_empty(images, programs[0])
        partials = torch.empty_like(sums) if needed else sums
        launch(
            _correlation, programs,
            sums, fixed_sum.contiguous(), fixed_variance.contiguous(), totals, partials,
            shape[0], shape[1] * shape[2], voxels, float(window ** len(grid)), EPSILON,
            PARTIALS=needed, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.window = window
        if needed:
            ctx.save_for_backward(warped, fixed, partials)
        return totals.sum() / warped.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        warped, fixed, partials = ctx.saved_tensors
        shape = box(warped.shape[2:])
        images, _, voxels = partials.shape
        sums = _summed(partials, shape, (0, 1), ctx.window)
        out = torch.empty_like(warped)
        launch(
            _to_warped, (blocks(voxels, BLOCK), images),
            sums, warped, fixed, gradient, out, shape[2], voxels, 1 / max(warped.numel(), 1),
            WINDOW=ctx.window, BLOCK=BLOCK,
        )  # fmt: skip
        return out, None, None, None, None


def local_ncc(
    warped: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, window: int
) -> Tensor:
    """Mean over all voxels of cross^2 / (fixed_variance * variance + 1e-5), as losses.LocalNCC.

    All (N, C, *shape). fixed_sum: sums of the fixed image over windows of `window` voxels an axis,
    zeros outside; fixed_variance: sum of squares - fixed_sum^2 / count, count = window^ndim
    everywhere. window: odd. Returns a scalar; its gradient goes to `warped` alone. The same bytes
    at every run.
    """
    return LocalNCC.apply(warped, fixed, fixed_sum, fixed_variance, window)
