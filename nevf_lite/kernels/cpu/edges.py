"""Displacements at the edge of a volume for `stencil`, compiled: clipping and its derivative."""

from __future__ import annotations

import numba
import numpy as np

ZERO, ONE = np.float32(0), np.float32(1)


@numba.njit(inline="always")
def _clip(position, low, high):
    """A position within [low, high]. NaN becomes low, so that no read leaves the volume."""
    position = position if position > low else low
    return position if position < high else high


@numba.njit(nogil=True, cache=True)
def clip_displacements(field, start, shape, i, clipped):
    """Displacements of slice i, clipped so that x + u lies in the volume.

    field: (3, floats), the slice from `start` on. clipped: (3, H * W or more), filled. Reading the
    nearest edge, as "border" padding does, is the same as a displacement clipped to that edge.
    """
    slices, rows, columns = shape
    size = rows * columns
    low, high = np.float32(-i), np.float32(slices - 1 - i)
    source, out = field[0, start : start + size], clipped[0]
    for q in range(size):
        out[q] = _clip(source[q], low, high)
    for j in range(rows):
        low, high = np.float32(-j), np.float32(rows - 1 - j)
        source = field[1, start + j * columns : start + (j + 1) * columns]
        out = clipped[1, j * columns : (j + 1) * columns]
        for k in range(columns):
            out[k] = _clip(source[k], low, high)
        source = field[2, start + j * columns : start + (j + 1) * columns]
        out = clipped[2, j * columns : (j + 1) * columns]
        for k in range(columns):
            out[k] = _clip(source[k], np.float32(-k), np.float32(columns - 1 - k))
    for n in range(3):  # the lanes beyond the last voxel repeat it
        clipped[n, size:] = clipped[n, size - 1]


@numba.njit(nogil=True, cache=True)
def add_gradients(field, start, shape, i, slopes, gradient, out):
    """Adds gradient and slopes of slice i to out; the slope is zero where x + u was clipped."""
    slices, rows, columns = shape
    for n in range(3):
        for j in range(rows):
            line = start + j * columns
            u, out_row = field[n, line : line + columns], out[n, line : line + columns]
            s = slopes[n, j * columns : (j + 1) * columns]
            g = gradient[n, j * columns : (j + 1) * columns]
            if n < 2:
                x = i if n == 0 else j
                low, high = np.float32(-x), np.float32((slices if n == 0 else rows) - 1 - x)
                for k in range(columns):
                    inside = ONE if low < u[k] < high else ZERO
                    out_row[k] += g[k] + inside * s[k]
            else:
                for k in range(columns):
                    low, high = np.float32(-k), np.float32(columns - 1 - k)
                    inside = ONE if low < u[k] < high else ZERO
                    out_row[k] += g[k] + inside * s[k]
