"""Local correlation where voxels have weights, as masks and scans that end inside the head give.

The statistics of the fixed image belong to the weights, and those of a mask that is warped change
in every iteration. So all six window sums are made here, beside each other.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.local_ncc import EPSILON, FOUR, ONE, TWO, ZERO, gather
from nevf_lite.kernels.cpu.slabs import FASTMATH, even_slabs, in_slabs
from nevf_lite.kernels.cpu.windows import box, plane_size, sum_shifted, sums_size

#: Window sums of the weight, and weighted of fixed, its square, warped, its square, the product.
SUMS = 6


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _products(warped, fixed, weight, half, stride, planes):
    """Writes one slice into the six padded planes."""
    rows, columns = warped.shape
    for j in range(rows):
        start = (j + half) * stride + half
        w, f, m = warped[j], fixed[j], weight[j]
        for q in range(SUMS):
            plane = planes[q, start : start + columns]
            for k in range(columns):
                plane[k] = m[k]
            if q == 1 or q == 2 or q == 5:
                for k in range(columns):
                    plane[k] *= f[k]
            if q == 2:
                for k in range(columns):
                    plane[k] *= f[k]
            if q >= 3:
                for k in range(columns):
                    plane[k] *= w[k]
            if q == 4:
                for k in range(columns):
                    plane[k] *= w[k]


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _correlate(sums, weight, stride, differentiate, by_sum, by_square, by_product):
    """Weighted sum of the squared correlations of one slice.

    With `differentiate` also its derivatives by the sums of warped, its square and the product:
    fills by_sum, by_square and by_product.
    """
    rows, columns = weight.shape
    scale, fixed_variance = np.empty(columns, np.float32), np.empty(columns, np.float32)
    total = 0.0
    for j in range(rows):
        start = j * stride
        count = sums[0, start : start + columns]
        f = sums[1, start : start + columns]
        ff = sums[2, start : start + columns]
        s = sums[3, start : start + columns]
        q = sums[4, start : start + columns]
        p = sums[5, start : start + columns]
        m = weight[j]
        for k in range(columns):
            scale[k] = ONE / max(count[k], ONE)
        for k in range(columns):
            fixed_variance[k] = max(ff[k] - f[k] * f[k] * scale[k], ZERO)
        row_total = ZERO
        for k in range(columns):
            cross = p[k] - f[k] * s[k] * scale[k]
            variance = max(q[k] - s[k] * s[k] * scale[k], ZERO)
            row_total += m[k] * cross * cross / (fixed_variance[k] * variance + EPSILON)
        total += row_total
        if not differentiate:
            continue
        ds, dq, dp = by_sum[j], by_square[j], by_product[j]
        for k in range(columns):  # of the correlation itself; its weight comes last
            variance = max(q[k] - s[k] * s[k] * scale[k], ZERO)
            cross = p[k] - f[k] * s[k] * scale[k]
            dp[k] = TWO * cross / (fixed_variance[k] * variance + EPSILON)
        for k in range(columns):
            inside = ONE if q[k] >= s[k] * s[k] * scale[k] else ZERO
            dq[k] = -inside * dp[k] * dp[k] * fixed_variance[k] / FOUR * m[k]
        for k in range(columns):
            dp[k] *= m[k]
        for k in range(columns):
            ds[k] = -scale[k] * (dp[k] * f[k] + TWO * dq[k] * s[k])
    return total


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _forward(
    first, last, warped, fixed, weight, window, depth, differentiate, partials, totals
):  # fmt: skip
    """Slices first to last: fills totals (D,), and partials (3, D, H, W) with `differentiate`.

    depth: the window along the first axis, 1 for a 2-D image.
    """
    slices, rows, columns = warped.shape
    half, reach = window // 2, depth // 2
    stride = columns + window - 1
    planes = np.zeros((SUMS, plane_size(rows, stride, window)), np.float32)
    row_sums = np.zeros_like(planes[0])
    size = sums_size(rows, stride)
    ring = np.zeros((SUMS, depth * size), np.float32)  # the planes of a window
    sums = np.zeros((SUMS, size), np.float32)
    for i in range(first - reach, last + reach):
        slot = (i + depth) % depth * size
        ring[:, slot : slot + size] = ZERO
        if 0 <= i < slices:
            _products(warped[i], fixed[i], weight[i], half, stride, planes)
            for q in range(SUMS):
                box(planes[q], rows, stride, window, row_sums, ring[q, slot : slot + size])
        centre = i - reach
        if centre >= first:
            for q in range(SUMS):
                sum_shifted(ring[q], size, depth, size, sums[q])
            n = centre if differentiate else 0
            totals[centre] = _correlate(
                sums, weight[centre], stride, differentiate,
                partials[0, n], partials[1, n], partials[2, n],
            )  # fmt: skip


class WeightedNCC(torch.autograd.Function):
    """The weighted mean of the squared local correlation; `forward` computes the gradient too."""

    @staticmethod
    def forward(ctx, warped, fixed, weight, window: int) -> Tensor:
        differentiate = ctx.needs_input_grad[0]
        middle, depth = ([], window) if warped.ndim == 5 else ([1], 1)
        images, references, weights = (
            t.detach().contiguous().view(-1, *middle, *t.shape[2:]).numpy()
            for t in (warped, fixed, weight)
        )
        shape = images.shape[1:]
        gradient = np.empty(images.shape, np.float32) if differentiate else None
        partials = np.empty((3, *(shape if differentiate else (1, 1, 1))), np.float32)
        totals = np.empty(images.shape[:2])
        slabs = even_slabs(shape[0])
        for n in range(len(images)):
            counts = weights[n // warped.shape[1]]
            pair = images[n], references[n]
            in_slabs(
                _forward, slabs, *pair, counts, window, depth, differentiate, partials, totals[n]
            )
            if differentiate:
                in_slabs(gather, slabs, *pair, partials, window, depth, gradient[n])
                gradient[n] *= counts
        counted = max(float(weight.sum()) * warped.shape[1], 1e-6)
        if differentiate:
            ctx.save_for_backward(torch.from_numpy(gradient).view(warped.shape))
        ctx.counted = counted
        return warped.new_tensor(totals.sum() / counted)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * (grad_mean / ctx.counted), None, None, None


def weighted_ncc(warped: Tensor, fixed: Tensor, weight: Tensor, window: int) -> Tensor:
    """Weighted mean of `losses.LocalNCC.map` with this weight: a scalar, gradient to `warped`.

    warped, fixed: (N, C, *shape). weight: (N, 1, *shape). window: voxels along each side, odd.
    """
    return WeightedNCC.apply(warped, fixed, weight, window)
