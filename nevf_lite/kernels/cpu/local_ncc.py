"""Local correlation with Numba: window sums plane by plane, the gradient along with the value.

Plain torch makes nine arrays of the image's size and passes over each several times. Here the
planes under the window's reach stay in the processor's cache, and each voxel is written once.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.slabs import FAST, even_slabs, in_slabs

ZERO, ONE, TWO, FOUR = (np.float32(n) for n in (0, 1, 2, 4))
EPS = np.float32(1e-5)  # as losses.LocalNCC.map


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _box(plane, rows, stride, window, line, out):
    """Window sums of one plane, which is flat and padded by half a window of zeros all round.

    plane: rows + window - 1 lines of `stride` = columns + window - 1. out: rows lines of `stride`,
    of which the last window - 1 mean nothing. Whole planes are added to shifted ones, which keeps
    every lane of the processor busy, and nothing is ever subtracted: a background of zeros sums to
    exactly zero.
    """
    total = (rows + window - 1) * stride - (window - 1)
    line[:total] = plane[:total]
    for o in range(1, window):
        shifted = plane[o : o + total]
        for p in range(total):
            line[p] += shifted[p]
    total = rows * stride - (window - 1)
    out[:total] = line[:total]
    for o in range(1, window):
        shifted = line[o * stride : o * stride + total]
        for p in range(total):
            out[p] += shifted[p]


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _sum_planes(ring, out):
    """Sum of a ring of planes (window, size), each in turn."""
    size = len(out)
    out[:] = ring[0]
    for o in range(1, len(ring)):
        plane = ring[o]
        for p in range(size):
            out[p] += plane[p]


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _products(warped, fixed, half, stride, planes):
    """Pads one slice into three planes: warped, its square, its product with fixed."""
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


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _correlate(sums, fixed_sum, fixed_variance, scale, stride, keep, by_sum, by_square, by_product):
    """Squared correlations of one slice, summed; with `keep`, their slopes in the three sums."""
    rows, columns = fixed_sum.shape
    total = 0.0
    for j in range(rows):
        start = j * stride
        s = sums[0, start : start + columns]
        q = sums[1, start : start + columns]
        p = sums[2, start : start + columns]
        fs, fv = fixed_sum[j], fixed_variance[j]
        line = ZERO
        for k in range(columns):
            cross = p[k] - fs[k] * s[k] * scale
            variance = max(q[k] - s[k] * s[k] * scale, ZERO)
            line += cross * cross / (fv[k] * variance + EPS)
        total += line
        if not keep:
            continue
        ds, dq, dp = by_sum[j], by_square[j], by_product[j]
        for k in range(columns):  # one result a loop: three would not be vectorised
            variance = max(q[k] - s[k] * s[k] * scale, ZERO)
            dp[k] = TWO * (p[k] - fs[k] * s[k] * scale) / (fv[k] * variance + EPS)
        for k in range(columns):
            inside = ONE if q[k] >= s[k] * s[k] * scale else ZERO
            dq[k] = -inside * dp[k] * dp[k] * fv[k] / FOUR
        for k in range(columns):
            ds[k] = -scale * (dp[k] * fs[k] + TWO * dq[k] * s[k])
    return total


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _forward(
    first, last, warped, fixed, fixed_sum, fixed_variance, window, deep, keep, slopes, totals
):
    """Slices first to last: totals (D,) of squared correlation, slopes (3, D, H, W) of it.

    deep: the window along the first axis, 1 for an image of two axes.
    """
    slices, rows, columns = warped.shape
    half, reach = window // 2, deep // 2
    stride = columns + window - 1
    planes = np.zeros((3, (rows + window - 1) * stride), np.float32)
    line = np.empty_like(planes[0])
    ring = np.zeros((3, deep, rows * stride), np.float32)
    sums = np.zeros((3, rows * stride), np.float32)
    scale = ONE / np.float32(deep * window * window)
    for i in range(first - reach, last + reach):
        slot = (i + deep) % deep
        ring[:, slot] = ZERO
        if 0 <= i < slices:
            _products(warped[i], fixed[i], half, stride, planes)
            for q in range(3):
                _box(planes[q], rows, stride, window, line, ring[q, slot])
        done = i - reach
        if done >= first:
            for q in range(3):
                _sum_planes(ring[q], sums[q])
            n = done if keep else 0
            totals[done] = _correlate(
                sums, fixed_sum[done], fixed_variance[done], scale, stride, keep,
                slopes[0, n], slopes[1, n], slopes[2, n],
            )  # fmt: skip


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def _gather(first, last, warped, fixed, slopes, window, deep, gradient):
    """Slices first to last of the gradient (D, H, W): a box sum is its own adjoint."""
    slices, rows, columns = warped.shape
    half, reach = window // 2, deep // 2
    stride = columns + window - 1
    plane = np.zeros((rows + window - 1) * stride, np.float32)
    line = np.empty_like(plane)
    ring = np.zeros((3, deep, rows * stride), np.float32)
    sums = np.zeros((3, rows * stride), np.float32)
    for i in range(first - reach, last + reach):
        slot = (i + deep) % deep
        ring[:, slot] = ZERO
        if 0 <= i < slices:
            for q in range(3):
                for j in range(rows):
                    start = (j + half) * stride + half
                    plane[start : start + columns] = slopes[q, i, j]
                _box(plane, rows, stride, window, line, ring[q, slot])
        done = i - reach
        if done >= first:
            for q in range(3):
                _sum_planes(ring[q], sums[q])
            for j in range(rows):
                start = j * stride
                s = sums[0, start : start + columns]
                squares = sums[1, start : start + columns]
                p = sums[2, start : start + columns]
                w, f, g = warped[done, j], fixed[done, j], gradient[done, j]
                for k in range(columns):
                    g[k] = s[k] + TWO * w[k] * squares[k] + f[k] * p[k]


class LocalNCC(torch.autograd.Function):
    """The mean squared local correlation; its gradient is ready when its value is."""

    @staticmethod
    def forward(ctx, warped, fixed, fixed_sum, fixed_variance, window: int) -> Tensor:
        keep = ctx.needs_input_grad[0]
        middle, deep = ([], window) if warped.ndim == 5 else ([1], 1)
        volumes = [
            t.detach().contiguous().view(-1, *middle, *t.shape[2:]).numpy()
            for t in (warped, fixed, fixed_sum, fixed_variance)
        ]
        gradient = torch.empty_like(warped, memory_format=torch.contiguous_format) if keep else None
        shape = volumes[0].shape[1:]
        slopes = np.empty((3, *(shape if keep else (1, 1, 1))), np.float32)
        totals = np.empty(volumes[0].shape[:2])
        slabs = even_slabs(shape[0])
        for n in range(len(totals)):
            images = [volume[n] for volume in volumes]
            in_slabs(_forward, slabs, *images, window, deep, keep, slopes, totals[n])
            if keep:
                result = gradient.view(volumes[0].shape)[n].numpy()
                in_slabs(_gather, slabs, *images[:2], slopes, window, deep, result)
        if keep:
            ctx.save_for_backward(gradient)
        ctx.voxels = warped.numel()
        return warped.new_tensor(totals.sum() / warped.numel())

    @staticmethod
    @once_differentiable
    def backward(ctx, by_value: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * (by_value / ctx.voxels), None, None, None, None


def local_ncc(
    warped: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, window: int
) -> Tensor:
    """Mean over voxels of `losses.LocalNCC.map` without weights: a scalar, gradient to `warped`.

    All (N, C, *shape). fixed_sum: window sums of fixed; fixed_variance: window sums of its squared
    difference from the window's mean.
    """
    return LocalNCC.apply(warped, fixed, fixed_sum, fixed_variance, window)
