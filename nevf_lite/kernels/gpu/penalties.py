"""Jacobian penalty, smoothness and folds on the GPU: one pass forward, one backward.

Backward gathers: each voxel sums the gradients of the cells of which it is a corner. That reads
every neighbour several times, from cache, and needs no atomic additions, so the gradient is the
same bytes at every run.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import as_3d, block_of_voxels, blocks, launch

BLOCK = 128


@triton.jit
def _difference(field, start, end, voxels, mask, NDIM: tl.constexpr):
    """u(end) - u(start), its components x, y, z; in 2-D y is zero. start, end: voxel numbers."""
    x = tl.load(field + end, mask=mask, other=0.0) - tl.load(field + start, mask=mask, other=0.0)
    y = tl.zeros_like(x)
    field += voxels
    if NDIM == 3:
        y = tl.load(field + end, mask=mask, other=0.0)
        y -= tl.load(field + start, mask=mask, other=0.0)
        field += voxels
    z = tl.load(field + end, mask=mask, other=0.0) - tl.load(field + start, mask=mask, other=0.0)
    return x, y, z


@triton.jit
def _jacobian(field, corner, H, W, voxels, mask, NDIM: tl.constexpr):
    """The rows of I + grad u in the cell whose lowest voxel is `corner`: d phi / dx, / dy, / dz."""
    a, b, c = _difference(field, corner, corner + H * W, voxels, mask, NDIM)
    d, e, f = tl.zeros_like(a), tl.zeros_like(a), tl.zeros_like(a)
    if NDIM == 3:
        d, e, f = _difference(field, corner, corner + W, voxels, mask, NDIM)
    g, h, i = _difference(field, corner, corner + 1, voxels, mask, NDIM)
    return a + 1, b, c, d, e + 1, f, g, h, i + 1


@triton.jit
def _penalties(
    field, totals, D, H, W, voxels, margin, cell_weight, x_weight, y_weight, z_weight,
    NDIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """field (N, NDIM, D, H, W) -> totals (3, blocks): each block's contribution to the three means.

    cell_weight: of a cell in its mean. x_weight, y_weight, z_weight: of a squared difference along
    that axis.
    """
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    along_x, along_z = mask & (i < D - 1), mask & (k < W - 1)
    inside = along_x & along_z
    x, y, z = _difference(field, voxel, voxel + H * W, voxels, along_x, NDIM)
    smooth = x_weight * (x * x + y * y + z * z)
    x, y, z = _difference(field, voxel, voxel + 1, voxels, along_z, NDIM)
    smooth += z_weight * (x * x + y * y + z * z)
    if NDIM == 3:
        along_y = mask & (j < H - 1)
        inside &= along_y
        x, y, z = _difference(field, voxel, voxel + W, voxels, along_y, NDIM)
        smooth += y_weight * (x * x + y * y + z * z)
    a, b, c, d, e, f, g, h, i = _jacobian(field, voxel, H, W, voxels, inside, NDIM)
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    # NaN stays NaN, as in torch's relu; tl.maximum would drop it
    hinge = tl.where(det < margin, margin - det, (det - det) * 0)
    count = tl.num_programs(0) * tl.num_programs(1)
    totals += tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(totals, cell_weight * tl.sum(tl.where(inside, hinge, 0.0), axis=0))
    tl.store(totals + count, tl.sum(smooth, axis=0))
    folded = (inside & (det <= 0)).to(tl.float32)
    tl.store(totals + 2 * count, cell_weight * tl.sum(folded, axis=0))


@triton.jit
def _hinge_gradient(field, corner, H, W, voxels, margin, mask, NDIM: tl.constexpr):
    """Derivatives of a cell's max(margin - det, 0) by the nine entries of J."""
    a, b, c, d, e, f, g, h, i = _jacobian(field, corner, H, W, voxels, mask, NDIM)
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    sign = tl.where(mask & (det < margin), -1.0, 0.0)
    return (
        sign * (e * i - f * h), sign * (f * g - d * i), sign * (d * h - e * g),
        sign * (c * h - b * i), sign * (a * i - c * g), sign * (b * g - a * h),
        sign * (b * f - c * e), sign * (c * d - a * f), sign * (a * e - b * d),
    )  # fmt: skip


@triton.jit
def _smoothness_gradient(field, voxel, stride, index, side, voxels, mask, NDIM: tl.constexpr):
    """Half the derivative of the sum of squared differences along one axis, by component."""
    before, after = mask & (index > 0), mask & (index < side - 1)
    x, y, z = _difference(field, voxel - stride, voxel, voxels, before, NDIM)
    x_next, y_next, z_next = _difference(field, voxel, voxel + stride, voxels, after, NDIM)
    return x - x_next, y - y_next, z - z_next


@triton.jit
def _penalties_backward(
    field, out, grad_jacobian, grad_smoothness, D, H, W, voxels, margin,
    cell_weight, x_weight, y_weight, z_weight, NDIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adjoint of the two differentiable means of `_penalties`: fills out (N, NDIM, D, H, W)."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    out += n * NDIM * voxels
    along_x, along_z = mask & (i < D - 1), mask & (k < W - 1)
    along_y = mask
    if NDIM == 3:
        along_y = mask & (j < H - 1)
    # the cell whose lowest voxel this is: it enters all three differences with a minus
    a, b, c, d, e, f, g, h, l = _hinge_gradient(  # noqa: E741
        field, voxel, H, W, voxels, margin, along_x & along_y & along_z, NDIM
    )
    x, y, z = -(a + g), -(b + h), -(c + l)
    if NDIM == 3:
        x, y, z = x - d, y - e, z - f
    # the cell before it along each axis: it enters one difference with a plus
    a, b, c, d, e, f, g, h, l = _hinge_gradient(  # noqa: E741
        field, voxel - H * W, H, W, voxels, margin, mask & (i > 0) & along_y & along_z, NDIM
    )
    x, y, z = x + a, y + b, z + c
    a, b, c, d, e, f, g, h, l = _hinge_gradient(  # noqa: E741
        field, voxel - 1, H, W, voxels, margin, along_x & along_y & (k > 0), NDIM
    )
    x, y, z = x + g, y + h, z + l
    if NDIM == 3:
        a, b, c, d, e, f, g, h, l = _hinge_gradient(  # noqa: E741
            field, voxel - W, H, W, voxels, margin, along_x & mask & (j > 0) & along_z, NDIM
        )
        x, y, z = x + d, y + e, z + f
    scale = tl.load(grad_jacobian) * cell_weight
    x, y, z = scale * x, scale * y, scale * z
    double = 2 * tl.load(grad_smoothness)
    dx, dy, dz = _smoothness_gradient(field, voxel, H * W, i, D, voxels, mask, NDIM)
    x, y, z = x + double * x_weight * dx, y + double * x_weight * dy, z + double * x_weight * dz
    dx, dy, dz = _smoothness_gradient(field, voxel, 1, k, W, voxels, mask, NDIM)
    x, y, z = x + double * z_weight * dx, y + double * z_weight * dy, z + double * z_weight * dz
    if NDIM == 3:
        dx, dy, dz = _smoothness_gradient(field, voxel, W, j, H, voxels, mask, NDIM)
        x, y, z = x + double * y_weight * dx, y + double * y_weight * dy, z + double * y_weight * dz
    tl.store(out + voxel, x, mask=mask)
    out += voxels
    if NDIM == 3:
        tl.store(out + voxel, y, mask=mask)
        out += voxels
    tl.store(out + voxel, z, mask=mask)


def _weights(displacement: Tensor) -> tuple[float, float, float, float]:
    """The weight of a cell in its mean, and those of a squared difference along x, y and z.

    The weights of an empty mean are NaN, as the mean is in torch.
    """
    batch, ndim, *grid = displacement.shape
    shape = as_3d(grid)

    def reciprocal(count: int) -> float:
        return 1 / count if count else math.nan

    cell_weight = reciprocal(batch * math.prod(n - 1 for n in grid))
    values = displacement.numel()
    return cell_weight, *(reciprocal(ndim * (values // n * (n - 1))) for n in shape)


class Penalties(torch.autograd.Function):
    """displacement (N, ndim, *shape) -> the three scalars of `penalties`."""

    @staticmethod
    def forward(ctx, displacement: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
        displacement = displacement.contiguous()
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        voxels = math.prod(grid)
        programs = blocks(voxels, BLOCK), len(displacement)
        totals = displacement.new_empty(3, programs[0] * programs[1])
        launch(
            _penalties, programs,
            displacement, totals, *as_3d(grid), voxels, margin, *_weights(displacement),
            NDIM=ndim, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.margin = margin
        ctx.save_for_backward(displacement)
        jacobian, smoothness, folds = totals.sum(1).unbind()
        ctx.mark_non_differentiable(folds)
        return jacobian, smoothness, folds

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_jacobian: Tensor, grad_smoothness: Tensor, _grad_folds: Tensor):
        (displacement,) = ctx.saved_tensors
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        voxels = math.prod(grid)
        out = torch.empty_like(displacement)
        launch(
            _penalties_backward, (blocks(voxels, BLOCK), len(displacement)),
            displacement, out, grad_jacobian, grad_smoothness, *as_3d(grid), voxels, ctx.margin,
            *_weights(displacement), NDIM=ndim, BLOCK=BLOCK,
        )  # fmt: skip
        return out, None


def penalties(displacement: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """losses.jacobian_penalty, losses.smoothness and the fraction of cells with det J <= 0.

    displacement: (N, ndim, *shape) in voxels. margin: determinant below which a cell is penalised.
    Returns three scalars, the same bytes at every run; the last has no gradient.
    """
    return Penalties.apply(displacement, margin)
