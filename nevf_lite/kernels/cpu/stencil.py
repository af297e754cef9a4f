"""One squaring and its adjoint, compiled: see `squaring`, which calls them seven times."""

from __future__ import annotations

import math

import numba
import numpy as np

from nevf_lite.kernels.cpu.lanes import (
    COUNT,
    absolute,
    equals,
    extract,
    floor,
    larger,
    largest,
    load,
    smallest,
    splat,
    store,
)

ZERO, ONE = np.float32(0), np.float32(1)
#: Offsets beyond which each of sixteen voxels is cheaper by itself: eight offsets each.
MANY = 8 * COUNT


@numba.njit(inline="always")
def _clip(position, low, high):
    """Not a number becomes low: what is read by it must stay in the volume."""
    position = position if position > low else low
    return position if position < high else high


@numba.njit(nogil=True)
def _copy(values, out):
    """A plain loop: assigning slices of arrays of two axes is several times slower."""
    for q in range(len(values)):
        out[q] = values[q]


@numba.njit(nogil=True, cache=True)
def _displacements(field, start, shape, i, moved):
    """Displacements of slice i, cut where x + u leaves the volume: moved (3, H * W and more).

    Brought back to the edge, as "border" asks for, is the same as displaced to it.
    """
    slices, rows, columns = shape
    size = rows * columns
    low, high = np.float32(-i), np.float32(slices - 1 - i)
    source, out = field[0, start : start + size], moved[0]
    for q in range(size):
        out[q] = _clip(source[q], low, high)
    for j in range(rows):
        low, high = np.float32(-j), np.float32(rows - 1 - j)
        source = field[1, start + j * columns : start + (j + 1) * columns]
        out = moved[1, j * columns : (j + 1) * columns]
        for k in range(columns):
            out[k] = _clip(source[k], low, high)
        source = field[2, start + j * columns : start + (j + 1) * columns]
        out = moved[2, j * columns : (j + 1) * columns]
        for k in range(columns):
            out[k] = _clip(source[k], np.float32(-k), np.float32(columns - 1 - k))
    for n in range(3):  # what fills the last sixteen
        moved[n, size:] = moved[n, size - 1]


@numba.njit(inline="always")
def _bounds(low, high, last):
    """The first and last offset that linear interpolation between these displacements reads."""
    first = int(math.floor(low))
    return first, max(min(int(math.floor(high)) + 1, last), first)


@numba.njit(inline="always")
def _hat(displacement, offset):
    return larger(splat(ONE) - absolute(displacement - splat(np.float32(offset))), splat(ZERO))


@numba.njit(inline="always")
def _slope(below, offset):
    """Derivative of the hat; below: the displacement's floor."""
    here = splat(np.float32(offset))
    return equals(below, here - splat(ONE)) - equals(below, here)


@numba.njit(nogil=True)
def _read(u0, u1, u2, at, columns, size, d0, d1, d2, bounds, seen, s0, s1, s2):
    """Adds u at the displaced positions of the lanes that are seen to s0, s1, s2."""
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    for a in range(a_first, a_last + 1):
        by_a = seen * _hat(d0, a)
        for b in range(b_first, b_last + 1):
            by_b = by_a * _hat(d1, b)
            start = at + a * size + b * columns
            for c in range(c_first, c_last + 1):
                weight = by_b * _hat(d2, c)
                s0 = s0 + weight * load(u0, start + c)
                s1 = s1 + weight * load(u1, start + c)
                s2 = s2 + weight * load(u2, start + c)
    return s0, s1, s2


@numba.njit(nogil=True)
def _write(
    u0, u1, u2, at, columns, size, d0, d1, d2, bounds, seen, g0, g1, g2, to0, to1, to2, s0, s1, s2
):  # fmt: skip
    """Adjoint of `_read`: adds g to the neighbours in to0, to1, to2, and slopes to s0, s1, s2.

    The innermost loops go over rows: sixteen floats just written, one further, would be slow to
    read again.
    """
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    f0, f1, f2 = floor(d0), floor(d1), floor(d2)
    for c in range(c_first, c_last + 1):
        hat_c, slope_c = seen * _hat(d2, c), seen * _slope(f2, c)
        for a in range(a_first, a_last + 1):
            hat_a, slope_a = _hat(d0, a), _slope(f0, a)
            by_c, by_a, both = hat_a * slope_c, slope_a * hat_c, hat_a * hat_c
            for b in range(b_first, b_last + 1):
                start = at + a * size + b * columns + c
                hat_b = _hat(d1, b)
                product = g0 * load(u0, start) + g1 * load(u1, start) + g2 * load(u2, start)
                s0 = s0 + by_a * hat_b * product
                s1 = s1 + both * _slope(f1, b) * product
                s2 = s2 + by_c * hat_b * product
                weight = both * hat_b
                store(to0, start, load(to0, start) + weight * g0)
                store(to1, start, load(to1, start) + weight * g1)
                store(to2, start, load(to2, start) + weight * g2)
    return s0, s1, s2


@numba.njit(nogil=True)
def _all_bounds(d0, d1, d2, a_end, b_end, c_end):
    a_first, a_last = _bounds(smallest(d0), largest(d0), a_end)
    b_first, b_last = _bounds(smallest(d1), largest(d1), b_end)
    c_first, c_last = _bounds(smallest(d2), largest(d2), c_end)
    return a_first, a_last, b_first, b_last, c_first, c_last


@numba.njit(nogil=True)
def _lane_bounds(d0, d1, d2, a_end, b_end, c_end, lane):
    x, y, z = extract(d0, lane), extract(d1, lane), extract(d2, lane)
    return (*_bounds(x, x, a_end), *_bounds(y, y, b_end), *_bounds(z, z, c_end))


@numba.njit(inline="always")
def _count(bounds):
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    return (a_last - a_first + 1) * (b_last - b_first + 1) * (c_last - c_first + 1)


@numba.njit(nogil=True, cache=True)
def square(first, last, shape, guard, numbers, field, out):
    """Slices first to last of u(x) + u(x + u(x)); field, out (3, guard + D * H * W + guard)."""
    slices, rows, columns = shape
    size = rows * columns
    room = (size + COUNT - 1) // COUNT * COUNT
    moved, result = np.empty((3, room), np.float32), np.empty((3, room), np.float32)
    m0, m1, m2 = moved[0], moved[1], moved[2]
    r0, r1, r2 = result[0], result[1], result[2]
    u0, u1, u2 = field[0], field[1], field[2]
    everyone, lanes = splat(ONE), load(numbers, 0)
    for i in range(first, last):
        start = guard + i * size
        _displacements(field, start, shape, i, moved)
        for q in range(0, size, COUNT):
            at = start + q
            d0, d1, d2 = load(m0, q), load(m1, q), load(m2, q)
            s0, s1, s2 = load(u0, at), load(u1, at), load(u2, at)
            ends = slices - 1 - i, rows - 1 - q // columns, columns
            bounds = _all_bounds(d0, d1, d2, *ends)
            if _count(bounds) <= MANY:
                s0, s1, s2 = _read(
                    u0, u1, u2, at, columns, size, d0, d1, d2, bounds, everyone, s0, s1, s2
                )
            else:
                for lane in range(COUNT):
                    bounds = _lane_bounds(d0, d1, d2, *ends, lane)
                    seen = equals(lanes, splat(np.float32(lane)))
                    s0, s1, s2 = _read(
                        u0, u1, u2, at, columns, size, d0, d1, d2, bounds, seen, s0, s1, s2
                    )
            store(r0, q, s0)
            store(r1, q, s1)
            store(r2, q, s2)
        for n in range(3):
            _copy(result[n, :size], out[n, start : start + size])


@numba.njit(nogil=True, cache=True)
def square_backward(first, last, shape, guard, numbers, field, gradient, out):
    """Adds to out the gradient by u of <gradient, u(x) + u(x + u(x))>, slices first to last of x.

    All (3, guard + D * H * W + guard).
    """
    slices, rows, columns = shape
    size = rows * columns
    room = (size + COUNT - 1) // COUNT * COUNT
    moved, g = np.empty((3, room), np.float32), np.zeros((3, room), np.float32)
    slopes = np.empty((3, room), np.float32)
    m0, m1, m2 = moved[0], moved[1], moved[2]
    u0, u1, u2 = field[0], field[1], field[2]
    to0, to1, to2 = out[0], out[1], out[2]
    everyone, lanes = splat(ONE), load(numbers, 0)
    for i in range(first, last):
        start = guard + i * size
        _displacements(field, start, shape, i, moved)
        for n in range(3):
            _copy(gradient[n, start : start + size], g[n, :size])
        for q in range(0, size, COUNT):
            at = start + q
            d0, d1, d2 = load(m0, q), load(m1, q), load(m2, q)
            g0, g1, g2 = load(g[0], q), load(g[1], q), load(g[2], q)
            s0, s1, s2 = splat(ZERO), splat(ZERO), splat(ZERO)
            ends = slices - 1 - i, rows - 1 - q // columns, columns
            bounds = _all_bounds(d0, d1, d2, *ends)
            if _count(bounds) <= MANY:
                s0, s1, s2 = _write(
                    u0, u1, u2, at, columns, size, d0, d1, d2, bounds, everyone, g0, g1, g2,
                    to0, to1, to2, s0, s1, s2,
                )  # fmt: skip
            else:
                for lane in range(COUNT):
                    bounds = _lane_bounds(d0, d1, d2, *ends, lane)
                    seen = equals(lanes, splat(np.float32(lane)))
                    s0, s1, s2 = _write(
                        u0, u1, u2, at, columns, size, d0, d1, d2, bounds, seen, g0, g1, g2,
                        to0, to1, to2, s0, s1, s2,
                    )  # fmt: skip
            store(slopes[0], q, s0)
            store(slopes[1], q, s1)
            store(slopes[2], q, s2)
        _finish(field, start, shape, i, slopes, g, out)


@numba.njit(nogil=True, cache=True)
def _finish(field, start, shape, i, slopes, g, out):
    """Adds gradient and slopes of slice i; no slope where x + u was brought back to the edge."""
    slices, rows, columns = shape
    for n in range(3):
        for j in range(rows):
            line = start + j * columns
            u, to = field[n, line : line + columns], out[n, line : line + columns]
            s = slopes[n, j * columns : (j + 1) * columns]
            h = g[n, j * columns : (j + 1) * columns]
            if n < 2:
                x = i if n == 0 else j
                low, high = np.float32(-x), np.float32((slices if n == 0 else rows) - 1 - x)
                for k in range(columns):
                    inside = ONE if low < u[k] < high else ZERO
                    to[k] += h[k] + inside * s[k]
            else:
                for k in range(columns):
                    low, high = np.float32(-k), np.float32(columns - 1 - k)
                    inside = ONE if low < u[k] < high else ZERO
                    to[k] += h[k] + inside * s[k]
