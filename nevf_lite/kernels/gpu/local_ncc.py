"""Local correlation on the GPU: window sums axis by axis, fused with the arithmetic between them.

Each pass sums three fields at once along one axis, by reading all voxels of the window. A running
sum would read two voxels instead of nine, but it is sequential along a line and accumulates
rounding errors. The nine voxels are in cache, and the time of a pass is that of its writes. The
three sums of an image are adjacent: (N C, 3, voxels).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import as_3d, blocks, launch

BLOCK = 512
EPSILON = 1e-5


@triton.jit
def _window(
    source, voxel, index, side, stride, voxels, mask, WINDOW: tl.constexpr, BLOCK: tl.constexpr
):
    """Sums of the three fields of one image over a window along one axis, zeros outside.

    index: each voxel's index along the axis, of length `side`. stride: voxels between neighbours.
    """
    a = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    c = tl.zeros([BLOCK], tl.float32)
    for tap in range(WINDOW):
        offset = tap - WINDOW // 2
        inside = mask & (index + offset >= 0) & (index + offset < side)
        neighbour = source + (voxel + offset * stride)
        a += tl.load(neighbour, mask=inside, other=0.0)
        neighbour += voxels
        b += tl.load(neighbour, mask=inside, other=0.0)
        neighbour += voxels
        c += tl.load(neighbour, mask=inside, other=0.0)
    return a, b, c


@triton.jit
def _store(target, voxel, voxels, a, b, c, mask):
    """Writes a block of the three fields of one image."""
    tl.store(target + voxel, a, mask=mask)
    target += voxels
    tl.store(target + voxel, b, mask=mask)
    target += voxels
    tl.store(target + voxel, c, mask=mask)


@triton.jit
def _products(warped, fixed, sums, W, voxels, WINDOW: tl.constexpr, BLOCK: tl.constexpr):
    """First pass: m, m^2 and m f of each image, summed along the last axis.

    m: the warped image, f: the fixed one, (images, voxels); sums: (images, 3, voxels).
    """
    image = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    warped += image * voxels
    fixed += image * voxels
    a = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    c = tl.zeros([BLOCK], tl.float32)
    for tap in range(WINDOW):
        offset = tap - WINDOW // 2
        inside = mask & (voxel % W + offset >= 0) & (voxel % W + offset < W)
        m = tl.load(warped + (voxel + offset), mask=inside, other=0.0)
        a += m
        b += m * m
        c += m * tl.load(fixed + (voxel + offset), mask=inside, other=0.0)
    _store(sums + image * 3 * voxels, voxel, voxels, a, b, c, mask)


@triton.jit
def _sums(source, target, side, stride, voxels, WINDOW: tl.constexpr, BLOCK: tl.constexpr):
    """A middle pass: the three fields of each image, summed along one axis."""
    start = tl.program_id(1).to(tl.int64) * 3 * voxels
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    index = voxel // stride % side
    a, b, c = _window(source + start, voxel, index, side, stride, voxels, mask, WINDOW, BLOCK)
    _store(target + start, voxel, voxels, a, b, c, mask)


@triton.jit
def _correlation(
    source, fixed_sum, fixed_variance, totals, partials, D, stride, voxels, per_window, epsilon,
    PARTIALS: tl.constexpr, WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Last pass, along the first axis: each block's sum of squared correlations, in totals.

    With PARTIALS also their derivatives by the sums of m, m^2 and m f, in partials (images, 3,
    voxels).
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
    negative = variance < 0  # by rounding only; clamped to 0, with gradient 0
    denominator = f_variance * tl.where(negative, 0.0, variance) + epsilon
    ratio = cross / denominator
    tl.store(
        totals + image * tl.num_programs(0) + block,
        tl.sum(tl.where(mask, cross * ratio, 0.0), axis=0),
    )
    if PARTIALS:
        by_squares = tl.where(negative, 0.0, -ratio * ratio * f_variance)
        by_total = -2 * (ratio * f_sum + by_squares * total) / per_window
        _store(partials + start, voxel, voxels, by_total, by_squares, 2 * ratio, mask)


@triton.jit
def _to_warped(
    source, warped, fixed, factor, out, W, voxels, scale,
    WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Last pass of the adjoint, along the last axis: sums of the partials to the gradient by m.

    factor: the gradient by the mean, one value. scale: 1 / number of values in the mean.
    """
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
            continue  # the middle axis in 2-D
        target = torch.empty_like(source)
        stride = math.prod(shape[axis + 1 :])
        launch(
            _sums, (blocks(voxels, BLOCK), len(source)),
            source, target, shape[axis], stride, voxels, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        source = target
    return source


class LocalNCC(torch.autograd.Function):
    """The mean squared local correlation; see `local_ncc`."""

    @staticmethod
    def forward(
        ctx, warped: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, window: int
    ) -> Tensor:
        warped, fixed = warped.contiguous(), fixed.contiguous()
        grid = warped.shape[2:]
        shape, voxels = as_3d(grid), math.prod(grid)
        images = warped.shape[0] * warped.shape[1]
        programs = blocks(voxels, BLOCK), images
        sums = warped.new_empty(images, 3, voxels)
        launch(
            _products, programs,
            warped, fixed, sums, shape[2], voxels, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        sums = _summed(sums, shape, (1,), window)
        needs_gradient = ctx.needs_input_grad[0]
        totals = warped.new_empty(images, programs[0])
        partials = torch.empty_like(sums) if needs_gradient else sums
        launch(
            _correlation, programs,
            sums, fixed_sum.contiguous(), fixed_variance.contiguous(), totals, partials,
            shape[0], shape[1] * shape[2], voxels, float(window ** len(grid)), EPSILON,
            PARTIALS=needs_gradient, WINDOW=window, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.window = window
        if needs_gradient:
            ctx.save_for_backward(warped, fixed, partials)
        return totals.sum() / warped.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        warped, fixed, partials = ctx.saved_tensors
        shape = as_3d(warped.shape[2:])
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

    All (N, C, *shape). fixed_sum: window sums of the fixed image, zeros outside. fixed_variance:
    window sums of squares - fixed_sum^2 / count, count = window^ndim everywhere. window: voxels
    along each side, odd. Returns a scalar, the same bytes at every run; only `warped` gets a
    gradient.
    """
    return LocalNCC.apply(warped, fixed, fixed_sum, fixed_variance, window)
