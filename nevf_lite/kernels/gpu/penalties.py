"""Jacobian penalty, smoothness and folds of a displacement on the GPU: one pass, one back.

Backward gathers: each voxel adds up what its own cell and the cells before it ask of it. That reads
every neighbour several times, from cache, and needs no atomic additions: the same bytes each run.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import block_of_voxels, blocks, box, launch

BLOCK = 128


@triton.jit
def _step(field, here, there, voxels, mask, NDIM: tl.constexpr):
    """u(there) - u(here), by component x, y, z; in 2-D y is zero."""
    x = tl.load(field + there, mask=mask, other=0.0) - tl.load(field + here, mask=mask, other=0.0)
    y = tl.zeros_like(x)
    field += voxels
    if NDIM == 3:
        y = tl.load(field + there, mask=mask, other=0.0)
        y -= tl.load(field + here, mask=mask, other=0.0)
        field += voxels
    z = tl.load(field + there, mask=mask, other=0.0) - tl.load(field + here, mask=mask, other=0.0)
    return x, y, z


@triton.jit
def _cell(field, corner, H, W, voxels, mask, NDIM: tl.constexpr):
    """The rows of I + grad u in the cell above `corner`: d phi / dx, d phi / dy, d phi / dz."""
    a, b, c = _step(field, corner, corner + H * W, voxels, mask, NDIM)
    d, e, f = tl.zeros_like(a), tl.zeros_like(a), tl.zeros_like(a)
    if NDIM == 3:
        d, e, f = _step(field, corner, corner + W, voxels, mask, NDIM)
    g, h, i = _step(field, corner, corner + 1, voxels, mask, NDIM)
    return a + 1, b, c, d, e + 1, f, g, h, i + 1


@triton.jit
def _penalties(
    field, totals, D, H, W, voxels, margin, cell_share, x_share, y_share, z_share,
    NDIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """field (N, NDIM, D, H, W) -> totals (3, blocks): each block's part of the three means.

    cell_share: what one cell counts for; x_share and so on: one squared difference along an axis.
    """
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    along_x, along_z = mask & (i < D - 1), mask & (k < W - 1)
    inside = along_x & along_z
    x, y, z = _step(field, voxel, voxel + H * W, voxels, along_x, NDIM)
    smooth = x_share * (x * x + y * y + z * z)
    x, y, z = _step(field, voxel, voxel + 1, voxels, along_z, NDIM)
    smooth += z_share * (x * x + y * y + z * z)
    if NDIM == 3:
        along_y = mask & (j < H - 1)
        inside &= along_y
        x, y, z = _step(field, voxel, voxel + W, voxels, along_y, NDIM)
        smooth += y_share * (x * x + y * y + z * z)
    a, b, c, d, e, f, g, h, i = _cell(field, voxel, H, W, voxels, inside, NDIM)
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    # a NaN must stay one, as it does in torch: maximum alone would pass it over
    below = tl.where(det < margin, margin - det, (det - det) * 0)
    count = tl.num_programs(0) * tl.num_programs(1)
    totals += tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(totals, cell_share * tl.sum(tl.where(inside, below, 0.0), axis=0))
    tl.store(totals + count, tl.sum(smooth, axis=0))
    folded = (inside & (det <= 0)).to(tl.float32)
    tl.store(totals + 2 * count, cell_share * tl.sum(folded, axis=0))


@triton.jit
def _pressed(field, corner, H, W, voxels, margin, mask, NDIM: tl.constexpr):
    """Derivatives of max(margin - det, 0) of a cell with respect to the nine entries of J."""
    a, b, c, d, e, f, g, h, i = _cell(field, corner, H, W, voxels, mask, NDIM)
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    sign = tl.where(mask & (det < margin), -1.0, 0.0)
    return (
        sign * (e * i - f * h), sign * (f * g - d * i), sign * (d * h - e * g),
        sign * (c * h - b * i), sign * (a * i - c * g), sign * (b * g - a * h),
        sign * (b * f - c * e), sign * (c * d - a * f), sign * (a * e - b * d),
    )  # fmt: skip


@triton.jit
def _curve(field, voxel, stride, at, side, voxels, mask, NDIM: tl.constexpr):
    """Half the derivative of the sum of squared differences along one axis, by component."""
    before, after = mask & (at > 0), mask & (at < side - 1)
    x, y, z = _step(field, voxel - stride, voxel, voxels, before, NDIM)
    x_next, y_next, z_next = _step(field, voxel, voxel + stride, voxels, after, NDIM)
    return x - x_next, y - y_next, z - z_next


@triton.jit
def _penalties_backward(
    field, out, to_jacobian, to_smoothness, D, H, W, voxels, margin,
    cell_share, x_share, y_share, z_share, NDIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adjoint of the two differentiable means of `_penalties`: fills out, shaped as field."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    out += n * NDIM * voxels
    low_x, low_z = mask & (i < D - 1), mask & (k < W - 1)
    low_y = mask
    if NDIM == 3:
        low_y = mask & (j < H - 1)
    # the cell above this voxel, the minus end of its three differences
    a, b, c, d, e, f, g, h, l = _pressed(  # noqa: E741
        field, voxel, H, W, voxels, margin, low_x & low_y & low_z, NDIM
    )
    x, y, z = -(a + g), -(b + h), -(c + l)
    if NDIM == 3:
        x, y, z = x - d, y - e, z - f
    # the cells before it along each axis, where it is the plus end of one
    a, b, c, d, e, f, g, h, l = _pressed(  # noqa: E741
        field, voxel - H * W, H, W, voxels, margin, mask & (i > 0) & low_y & low_z, NDIM
    )
    x, y, z = x + a, y + b, z + c
    a, b, c, d, e, f, g, h, l = _pressed(  # noqa: E741
        field, voxel - 1, H, W, voxels, margin, low_x & low_y & (k > 0), NDIM
    )
    x, y, z = x + g, y + h, z + l
    if NDIM == 3:
        a, b, c, d, e, f, g, h, l = _pressed(  # noqa: E741
            field, voxel - W, H, W, voxels, margin, low_x & mask & (j > 0) & low_z, NDIM
        )
        x, y, z = x + d, y + e, z + f
    share = tl.load(to_jacobian) * cell_share
    x, y, z = share * x, share * y, share * z
    double = 2 * tl.load(to_smoothness)
    dx, dy, dz = _curve(field, voxel, H * W, i, D, voxels, mask, NDIM)
    x, y, z = x + double * x_share * dx, y + double * x_share * dy, z + double * x_share * dz
    dx, dy, dz = _curve(field, voxel, 1, k, W, voxels, mask, NDIM)
    x, y, z = x + double * z_share * dx, y + double * z_share * dy, z + double * z_share * dz
    if NDIM == 3:
        dx, dy, dz = _curve(field, voxel, W, j, H, voxels, mask, NDIM)
        x, y, z = x + double * y_share * dx, y + double * y_share * dy, z + double * y_share * dz
    tl.store(out + voxel, x, mask=mask)
    out += voxels
    if NDIM == 3:
        tl.store(out + voxel, y, mask=mask)
        out += voxels
    tl.store(out + voxel, z, mask=mask)


def _shares(displacement: Tensor) -> tuple[float, float, float, float]:
    """What one cell counts for in a mean, and one squared difference along x, y and z.

    A mean over nothing is not a number, as in torch.
    """
    batch, ndim, *grid = displacement.shape
    shape = box(grid)

    def share(count: int) -> float:
        return 1 / count if count else math.nan

    cells = share(batch * math.prod(n - 1 for n in grid))
    values = displacement.numel()
    return cells, *(share(ndim * (values // n * (n - 1))) for n in shape)


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
            displacement, totals, *box(grid), voxels, margin, *_shares(displacement),
            NDIM=ndim, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.margin = margin
        ctx.save_for_backward(displacement)
        jacobian, smoothness, folds = totals.sum(1).unbind()
        ctx.mark_non_differentiable(folds)
        return jacobian, smoothness, folds

    @staticmethod
    @once_differentiable
    def backward(ctx, to_jacobian: Tensor, to_smoothness: Tensor, _to_folds: Tensor):
        (displacement,) = ctx.saved_tensors
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        voxels = math.prod(grid)
        out = torch.empty_like(displacement)
        launch(
            _penalties_backward, (blocks(voxels, BLOCK), len(displacement)),
            displacement, out, to_jacobian, to_smoothness, *box(grid), voxels, ctx.margin,
            *_shares(displacement), NDIM=ndim, BLOCK=BLOCK,
        )  # fmt: skip
        return out, None


def penalties(displacement: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """mean(relu(margin - det J)), mean squared forward difference, and the share of folded cells.

    displacement: (N, ndim, *shape) in voxels; the first two are losses.jacobian_penalty and
    losses.smoothness of it, the third the fraction of cells with det J <= 0, without gradient.
    Returns three scalars, the same bytes at every run.
    """
    return Penalties.apply(displacement, margin)
