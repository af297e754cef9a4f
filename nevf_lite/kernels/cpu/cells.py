"""The edges of a row of cells, and the determinants at their corners, with Numba."""

from __future__ import annotations

import numba
import numpy as np

from nevf_lite.kernels.cpu.slabs import FASTMATH

ZERO, ONE = np.float32(0), np.float32(1)


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def _difference(end, start, one, out):
    """end - start of two rows, plus 1 in the component along the edge; fills out."""
    for k in range(len(out)):
        out[k] = end[k] - start[k] + one


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def read_edges(field, i, j, along_a, along_b, along_c):
    """The edges of phi = x + u in the row (i, j) of cells, each as a difference along one axis.

    field: u (3, D, H, W), in voxels. Fills along_a and along_b (sides, 3, W) and along_c (sides,
    sides, 3, W - 1); an edge along a lies on one of the `sides` along b, and so on. One side is
    enough for forward differences.
    """
    for n in range(3):
        for side in range(len(along_a)):
            _difference(
                field[n, i + 1, j + side],
                field[n, i, j + side],
                ONE if n == 0 else ZERO,
                along_a[side, n],
            )
            _difference(
                field[n, i + side, j + 1],
                field[n, i + side, j],
                ONE if n == 1 else ZERO,
                along_b[side, n],
            )
            for other in range(len(along_a)):
                row = field[n, i + side, j + other]
                _difference(row[1:], row, ONE if n == 2 else ZERO, along_c[side, other, n])


@numba.njit(nogil=True, fastmath=FASTMATH, cache=True)
def determinants(along_a, along_b, along_c, corner, out):
    """The determinants at a corner, 0 to 7, of a row of cells; fills out (W - 1,)."""
    p, q, r = corner >> 2, corner >> 1 & 1, corner & 1
    a, b, c = along_a[q, 0, r:], along_a[q, 1, r:], along_a[q, 2, r:]
    d, e, f = along_b[p, 0, r:], along_b[p, 1, r:], along_b[p, 2, r:]
    g, h, m = along_c[p, q]
    for k in range(len(out)):
        out[k] = (
            a[k] * (e[k] * m[k] - f[k] * h[k])
            - b[k] * (d[k] * m[k] - f[k] * g[k])
            + c[k] * (d[k] * h[k] - e[k] * g[k])
        )


@numba.njit(nogil=True, cache=True)
def workspace(sides, columns):
    """Empty arrays for `read_edges` and `_determinants`."""
    along_a = np.empty((sides, 3, columns), np.float32)
    along_c = np.empty((sides, sides, 3, columns - 1), np.float32)
    return along_a, np.empty_like(along_a), along_c, np.empty(columns - 1, np.float32)
