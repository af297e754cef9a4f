"""Window sums of a plane and of a stack of planes, for the local correlations."""

from __future__ import annotations

import numba

from nevf_lite.kernels.cpu.lanes import load16, store
from nevf_lite.kernels.cpu.waves import COUNT


@numba.njit(nogil=True, cache=True)
def sum_shifted(values, shift, window, size, out):
    """out[p] = values[p] + values[p + shift] + ..., `window` terms, for p up to size, in sixteens.

    Nothing is subtracted, so a background of zeros sums to exactly zero.
    """
    for p in range(0, size, COUNT):
        total = load16(values, p)
        for o in range(1, window):
            total = total + load16(values, p + o * shift)
        store(out, p, total)


@numba.njit(nogil=True, cache=True)
def box(plane, rows, stride, window, row_sums, out):
    """Window sums of one flat plane, padded on every side by half a window of zeros.

    plane, row_sums: see `plane_size`. out: rows lines of `stride`, of which the last window - 1
    values are undefined.
    """
    sum_shifted(plane, 1, window, (rows + window - 1) * stride, row_sums)
    sum_shifted(row_sums, stride, window, rows * stride, out)


@numba.njit(inline="always")
def plane_size(rows, stride, window):
    """Floats of a padded plane: lines of stride = columns + window - 1, and room for lanes."""
    return (rows + window - 1) * stride + window + COUNT


@numba.njit(inline="always")
def sums_size(rows, stride):
    """Floats of the window sums of a plane, whole sixteens."""
    return (rows * stride + COUNT - 1) // COUNT * COUNT
