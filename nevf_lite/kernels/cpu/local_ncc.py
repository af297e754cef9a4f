"""Local correlation with Numba: window sums plane by plane, the gradient along with the value.

Plain torch allocates nine arrays of the image's size and passes over each several times. These
kernels hold the planes under one window in the processor's cache, and write each voxel once.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.slabs import FASTMATH, even_slabs, in_slabs
from nevf_lite.kernels.cpu.windows import box, plane_size, sum_shifted, sums_size

ZERO, ONE, TWO, FOUR = (np.float32(n) for n in (0, 1, 2, 4))
EPSILON = np.float32(1e-5)  # as in losses.LocalNCC.map


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _products(warped, fixed, half, stride, planes):
    """Writes one slice into three padded planes: warped, its square, its product with fixed."""
    rows, columns = warped.shape
    for j in range(rows):
        start = (j + half) * stride + half
        w, f = warped[j], fixed[j]
        a = planes[0, start : start + columns]
        b = planes[1, start : start + columns]
        c = planes[2, start : start + columns]
        for k in range(columns):
            a[k] = w[k]
        for k in range(columns):
            b[k] = w[k] * w[k]
        for k in range(columns):
            c[k] = w[k] * f[k]


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _correlate(
    sums, fixed_sum, fixed_variance, scale, stride, differentiate, by_sum, by_square, by_product
):
    """Sum of the squared correlations of one slice.

    With `differentiate` also their derivatives by the three sums: fills by_sum, by_square and
    by_product.
    """
    rows, columns = fixed_sum.shape
    total = 0.0
    for j in range(rows):
        start = j * stride
        s = sums[0, start : start + columns]
        q = sums[1, start : start + columns]
        p = sums[2, start : start + columns]
        fs, fv = fixed_sum[j], fixed_variance[j]
        row_total = ZERO
        for k in range(columns):
            cross = p[k] - fs[k] * s[k] * scale
            variance = max(q[k] - s[k] * s[k] * scale, ZERO)
            row_total += cross * cross / (fv[k] * variance + EPSILON)
        total += row_total
        if not differentiate:
            continue
        ds, dq, dp = by_sum[j], by_square[j], by_product[j]
        for k in range(columns):  # one result per loop: LLVM does not vectorise three at once
            variance = max(q[k] - s[k] * s[k] * scale, ZERO)
            dp[k] = TWO * (p[k] - fs[k] * s[k] * scale) / (fv[k] * variance + EPSILON)
        for k in range(columns):
            inside = ONE if q[k] >= s[k] * s[k] * scale else ZERO
            dq[k] = -inside * dp[k] * dp[k] * fv[k] / FOUR
        for k in range(columns):
            ds[k] = -scale * (dp[k] * fs[k] + TWO * dq[k] * s[k])
    return total


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _forward(
    first, last, warped, fixed, fixed_sum, fixed_variance, window, depth, differentiate,
    partials, totals,
):  # fmt: skip
    """Slices first to last: fills totals (D,) of the squared correlation.

    depth: the window along the first axis, 1 for a 2-D image. With `differentiate` also fills
    partials (3, D, H, W): derivatives by the sums of warped, its square, its product with fixed.
    """
    slices, rows, columns = warped.shape
    half, reach = window // 2, depth // 2
    stride = columns + window - 1
    planes = np.zeros((3, plane_size(rows, stride, window)), np.float32)
    row_sums = np.zeros_like(planes[0])
    size = sums_size(rows, stride)
    ring = np.zeros((3, depth * size), np.float32)  # the planes of a window, one after the other
    sums = np.zeros((3, size), np.float32)
    scale = ONE / np.float32(depth * window * window)
    for i in range(first - reach, last + reach):
        slot = (i + depth) % depth * size
        ring[:, slot : slot + size] = ZERO
        if 0 <= i < slices:
            _products(warped[i], fixed[i], half, stride, planes)
            for q in range(3):
                box(planes[q], rows, stride, window, row_sums, ring[q, slot : slot + size])
        centre = i - reach
        if centre >= first:
            for q in range(3):
                sum_shifted(ring[q], size, depth, size, sums[q])
            n = centre if differentiate else 0
            totals[centre] = _correlate(
                sums, fixed_sum[centre], fixed_variance[centre], scale, stride, differentiate,
                partials[0, n], partials[1, n], partials[2, n],
            )  # fmt: skip


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def gather(first, last, warped, fixed, partials, window, depth, gradient):
    """Slices first to last of the gradient (D, H, W), from window sums of the partials.

    A window sum is its own adjoint.
    """
    slices, rows, columns = warped.shape
    half, reach = window // 2, depth // 2
    stride = columns + window - 1
    plane = np.zeros(plane_size(rows, stride, window), np.float32)
    row_sums = np.zeros_like(plane)
    size = sums_size(rows, stride)
    ring = np.zeros((3, depth * size), np.float32)
    sums = np.zeros((3, size), np.float32)
    for i in range(first - reach, last + reach):
        slot = (i + depth) % depth * size
        ring[:, slot : slot + size] = ZERO
        if 0 <= i < slices:
            for q in range(3):
                for j in range(rows):
                    start = (j + half) * stride + half
                    plane[start : start + columns] = partials[q, i, j]
                box(plane, rows, stride, window, row_sums, ring[q, slot : slot + size])
        centre = i - reach
        if centre >= first:
            for q in range(3):
                sum_shifted(ring[q], size, depth, size, sums[q])
            for j in range(rows):
                start = j * stride
                s = sums[0, start : start + columns]
                squares = sums[1, start : start + columns]
                p = sums[2, start : start + columns]
                w, f, g = warped[centre, j], fixed[centre, j], gradient[centre, j]
                for k in range(columns):
                    g[k] = s[k] + TWO * w[k] * squares[k] + f[k] * p[k]


class LocalNCC(torch.autograd.Function):
    """The mean squared local correlation; `forward` computes the gradient along with the value."""

    @staticmethod
    def forward(ctx, warped, fixed, fixed_sum, fixed_variance, window: int) -> Tensor:
        differentiate = ctx.needs_input_grad[0]
        middle, depth = ([], window) if warped.ndim == 5 else ([1], 1)
        volumes = [
            t.detach().contiguous().view(-1, *middle, *t.shape[2:]).numpy()
            for t in (warped, fixed, fixed_sum, fixed_variance)
        ]
        gradient = None
        if differentiate:
            gradient = torch.empty_like(warped, memory_format=torch.contiguous_format)
        shape = volumes[0].shape[1:]
        partials = np.empty((3, *(shape if differentiate else (1, 1, 1))), np.float32)
        totals = np.empty(volumes[0].shape[:2])
        slabs = even_slabs(shape[0])
        for n in range(len(totals)):
            images = [volume[n] for volume in volumes]
            in_slabs(_forward, slabs, *images, window, depth, differentiate, partials, totals[n])
            if differentiate:
                result = gradient.view(volumes[0].shape)[n].numpy()
                in_slabs(gather, slabs, *images[:2], partials, window, depth, result)
        if differentiate:
            ctx.save_for_backward(gradient)
        ctx.voxels = warped.numel()
        return warped.new_tensor(totals.sum() / warped.numel())

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * (grad_mean / ctx.voxels), None, None, None, None


def local_ncc(
    warped: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, window: int
) -> Tensor:
    """Mean over voxels of `losses.LocalNCC.map` without weights: a scalar, gradient to `warped`.

    All (N, C, *shape). fixed_sum: window sums of fixed. fixed_variance: window sums of its squared
    difference from the window's mean. window: voxels along each side, odd.
    """
    return LocalNCC.apply(warped, fixed, fixed_sum, fixed_variance, window)
