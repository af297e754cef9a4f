"""Jacobian penalty, smoothness and folds with Numba: one pass forward, one backward.

Plain torch allocates some forty arrays of the field's size for them. These kernels read each row
with its neighbours, and store three values.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.cells import ZERO, determinants, read_edges, workspace
from nevf_lite.kernels.cpu.slabs import FASTMATH, even_slabs, in_slabs, slabs_of


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _squared_difference(a, b):
    """Sum of (b - a)^2 over two rows."""
    total = ZERO
    for k in range(len(a)):
        difference = b[k] - a[k]
        total += difference * difference
    return total


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _forward(first, last, field, margin, sides, totals, below):
    """Slices first to last of field (3, D, H, W); fills totals (D, 5) and below (D, H).

    sides: 1 for the first corner of each cell, 2 for all of them. The columns of totals are the sum
    of relu(margin - det), the number of cells that are folded at the first corner, and the sums of
    squared differences along each of the three axes. below: a bit for each corner at which a cell
    of the row is below the margin.
    """
    _, slices, rows, columns = field.shape
    along_a, along_b, along_c, dets = workspace(sides, columns)
    for i in range(first, last):
        jacobian, folds, squares_a, squares_b, squares_c = 0.0, 0, 0.0, 0.0, 0.0
        for j in range(rows):
            for n in range(3):
                row = field[n, i, j]
                if i + 1 < slices:
                    squares_a += _squared_difference(row, field[n, i + 1, j])
                if j + 1 < rows:
                    squares_b += _squared_difference(row, field[n, i, j + 1])
                squares_c += _squared_difference(row[:-1], row[1:])
            if i + 1 < slices and j + 1 < rows:
                read_edges(field, i, j, along_a, along_b, along_c)
                for corner in range(sides**3):
                    determinants(along_a, along_b, along_c, corner, dets)
                    shortfall = ZERO
                    for k in range(columns - 1):
                        shortfall += max(margin - dets[k], ZERO)
                    jacobian += shortfall
                    if shortfall != ZERO:
                        below[i, j] |= 1 << corner
                    if corner == 0:
                        folded = np.int32(0)
                        for k in range(columns - 1):
                            folded += np.int32(dets[k] <= ZERO)
                        folds += folded
        totals[i, 0], totals[i, 1] = jacobian, folds
        totals[i, 2], totals[i, 3], totals[i, 4] = squares_a, squares_b, squares_c


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _add_difference(out, row, neighbour, weight):
    """Adds weight (row - neighbour), half the derivative of weight (row - neighbour)^2, to out."""
    for k in range(len(out)):
        out[k] += weight * (row[k] - neighbour[k])


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _smooth_backward(first, last, field, weights, gradient):
    """Slices first to last of the gradient of sum over axes of weight x squared differences / 2.

    field, gradient: (3, D, H, W); fills gradient. weights: one for each axis.
    """
    _, slices, rows, _ = field.shape
    for n in range(3):
        for i in range(first, last):
            for j in range(rows):
                row, out = field[n, i, j], gradient[n, i, j]
                out[:] = ZERO
                if i > 0:
                    _add_difference(out, row, field[n, i - 1, j], weights[0])
                if i + 1 < slices:
                    _add_difference(out, row, field[n, i + 1, j], weights[0])
                if j > 0:
                    _add_difference(out, row, field[n, i, j - 1], weights[1])
                if j + 1 < rows:
                    _add_difference(out, row, field[n, i, j + 1], weights[1])
                _add_difference(out[1:], row[1:], row[:-1], weights[2])
                _add_difference(out[:-1], row[:-1], row[1:], weights[2])


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _jacobian_backward(first, last, field, margin, weight, sides, below, gradient):
    """Adds the gradient of weight x relu(margin - det) of the cells of slices first to last.

    Few cells are below the margin, so each of these is computed separately. field, gradient:
    (3, D, H, W). sides, below: of `_forward`.
    """
    _, slices, rows, columns = field.shape
    along_a, along_b, along_c, dets = workspace(sides, columns)
    for i in range(first, min(last, slices - 1)):
        for j in range(rows - 1):
            if below[i, j] == 0:
                continue
            read_edges(field, i, j, along_a, along_b, along_c)
            for corner in range(sides**3):
                if not below[i, j] >> corner & 1:
                    continue
                determinants(along_a, along_b, along_c, corner, dets)
                p, q, r = corner >> 2, corner >> 1 & 1, corner & 1
                for k in range(columns - 1):
                    if dets[k] >= margin:
                        continue
                    a, b, c = along_a[q, 0, k + r], along_a[q, 1, k + r], along_a[q, 2, k + r]
                    d, e, f = along_b[p, 0, k + r], along_b[p, 1, k + r], along_b[p, 2, k + r]
                    g, h, m = along_c[p, q, 0, k], along_c[p, q, 1, k], along_c[p, q, 2, k]
                    cofactors = (
                        (e * m - f * h, f * g - d * m, d * h - e * g),
                        (c * h - b * m, a * m - c * g, b * g - a * h),
                        (b * f - c * e, c * d - a * f, a * e - b * d),
                    )
                    for n in range(3):
                        pa = -weight * cofactors[0][n]
                        pb = -weight * cofactors[1][n]
                        pc = -weight * cofactors[2][n]
                        gradient[n, i + 1, j + q, k + r] += pa
                        gradient[n, i, j + q, k + r] -= pa
                        gradient[n, i + p, j + 1, k + r] += pb
                        gradient[n, i + p, j, k + r] -= pb
                        gradient[n, i + p, j + q, k + 1] += pc
                        gradient[n, i + p, j + q, k] -= pc


class Penalties(torch.autograd.Function):
    """displacement (N, ndim, *shape) -> the three scalars of `penalties`."""

    @staticmethod
    def forward(ctx, displacement: Tensor, margin: float, sides: int):
        volumes = _volumes(displacement)
        totals = np.empty((len(volumes), volumes.shape[2], 5))
        ctx.below = np.zeros((len(volumes), *volumes.shape[2:4]), np.uint8)
        slabs = even_slabs(volumes.shape[2])
        for volume, *out in zip(volumes, totals, ctx.below, strict=True):
            in_slabs(_forward, slabs, volume, np.float32(margin), sides, *out)
        jacobian, folds, *squares = totals.sum((0, 1))
        ctx.save_for_backward(displacement)
        ctx.margin, ctx.sides = np.float32(margin), sides
        ctx.cells, ctx.differences = _counts(displacement.shape, volumes.shape)
        smooth = sum(s / n for s, n in zip(squares, ctx.differences, strict=True))
        folds = displacement.new_tensor(folds / ctx.cells)
        ctx.mark_non_differentiable(folds)
        tensor = displacement.new_tensor
        return tensor(jacobian / (sides**3 * ctx.cells)), tensor(smooth), folds

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_jacobian: Tensor, grad_smoothness: Tensor, _grad_folds: Tensor):
        (displacement,) = ctx.saved_tensors
        volumes = _volumes(displacement)
        gradient = np.empty_like(volumes)
        weight = np.float32(grad_jacobian.item() / (ctx.sides**3 * ctx.cells))
        weights = np.array([2 * grad_smoothness.item() / n for n in ctx.differences], np.float32)
        slabs = slabs_of(volumes.shape[2:], 1)
        for volume, below, out in zip(volumes, ctx.below, gradient, strict=True):
            in_slabs(_smooth_backward, slabs, volume, weights, out)
            # A slab also adds to the first slice of the next slab. Every other slab runs at a
            # time, so that the order of additions is fixed.
            for half in (slabs[0::2], slabs[1::2]):
                in_slabs(
                    _jacobian_backward, half, volume, ctx.margin, weight, ctx.sides, below, out
                )
        if displacement.ndim == 4:
            gradient = gradient[:, [0, 2]].sum(3)
        return torch.from_numpy(gradient), None, None


def _volumes(field: Tensor) -> np.ndarray:
    """(N, 3, D, H, W). 2-D gets a middle axis of two equal voxels, whose differences are zero."""
    field = field.detach()
    if field.ndim == 4:
        middle = torch.zeros_like(field[:, :1])
        field = torch.cat([field[:, :1], middle, field[:, 1:]], 1).unsqueeze(3)
        field = field.expand(-1, -1, -1, 2, -1)
    return field.contiguous().numpy()


def _counts(shape: torch.Size, volume_shape: tuple[int, ...]) -> tuple[int, list[float]]:
    """The number of cells, and the divisor of each axis's sum of squared differences.

    shape: of the displacement (N, ndim, *shape). volume_shape: of its `_volumes`.
    """
    copies = 2 if len(shape) == 4 else 1
    _, _, *axes = volume_shape
    cells = shape[0] * int(np.prod([n - 1 for n in axes]))
    values = shape[0] * shape[1] * int(np.prod(shape[2:])) * copies
    ndim = shape[1]
    differences = [values // n * (n - 1) * ndim for n in axes]
    if copies == 2:
        differences[1] = values  # the sum is zero; any divisor will do
    return cells, differences


def penalties(displacement: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """losses.jacobian_penalty, losses.smoothness and the fraction of cells with det J <= 0.

    displacement: (N, ndim, *shape) in voxels, at least two along each axis. margin: determinant
    below which a cell is penalised. Returns three scalars; the last has no gradient.
    """
    return Penalties.apply(displacement, margin, 1)


def corner_penalties(displacement: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """`penalties`, the first of them at all corners of each cell."""
    return Penalties.apply(displacement, margin, 2)
