"""One squaring and its adjoint, compiled; `squaring` calls each once a squaring."""

from __future__ import annotations

import math

import numba
import numpy as np

from nevf_lite.kernels.cpu.edges import add_gradients, clip_displacements
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
#: Offsets up to which sixteen voxels are read together. A single voxel needs eight offsets, so
#: beyond this number sixteen separate reads are cheaper.
MAX_SHARED_OFFSETS = 8 * COUNT


@numba.njit(nogil=True)
def _copy(values, out):
    """A plain loop: assigning slices of 2-D arrays is several times slower."""
    for q in range(len(values)):
        out[q] = values[q]


@numba.njit(inline="always")
def _bounds(low, high, last):
    """The first and last offset that linear interpolation between these displacements reads."""
    first = int(math.floor(low))
    return first, max(min(int(math.floor(high)) + 1, last), first)


@numba.njit(inline="always")
def _hat(displacement, offset):
    """The weight of linear interpolation that a displacement gives to the voxel at `offset`."""
    return larger(splat(ONE) - absolute(displacement - splat(np.float32(offset))), splat(ZERO))


@numba.njit(inline="always")
def _slope(floored, offset):
    """Derivative of the hat. floored: the displacement rounded down."""
    node = splat(np.float32(offset))
    return equals(floored, node - splat(ONE)) - equals(floored, node)


@numba.njit(nogil=True)
def _read(u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, mask, s0, s1, s2):
    """Adds u at the displaced positions of the lanes in the mask to s0, s1, s2."""
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    for a in range(a_first, a_last + 1):
        weight_a = mask * _hat(d0, a)
        for b in range(b_first, b_last + 1):
            weight_ab = weight_a * _hat(d1, b)
            start = voxel + a * size + b * columns
            for c in range(c_first, c_last + 1):
                weight = weight_ab * _hat(d2, c)
                s0 = s0 + weight * load(u0, start + c)
                s1 = s1 + weight * load(u1, start + c)
                s2 = s2 + weight * load(u2, start + c)
    return s0, s1, s2


@numba.njit(nogil=True)
def _write(
    u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, mask, g0, g1, g2,
    out0, out1, out2, s0, s1, s2,
):  # fmt: skip
    """Adjoint of `_read`: adds g to the neighbours in out0, out1, out2, and slopes to s0, s1, s2.

    The innermost loop goes over rows. Along a row, each step would read floats that the step before
    has just written, one position off, which is slow.
    """
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    f0, f1, f2 = floor(d0), floor(d1), floor(d2)
    for c in range(c_first, c_last + 1):
        hat_c, slope_c = mask * _hat(d2, c), mask * _slope(f2, c)
        for a in range(a_first, a_last + 1):
            hat_a, slope_a = _hat(d0, a), _slope(f0, a)
            dc, da, hat_ac = hat_a * slope_c, slope_a * hat_c, hat_a * hat_c
            for b in range(b_first, b_last + 1):
                start = voxel + a * size + b * columns + c
                hat_b = _hat(d1, b)
                product = g0 * load(u0, start) + g1 * load(u1, start) + g2 * load(u2, start)
                s0 = s0 + da * hat_b * product
                s1 = s1 + hat_ac * _slope(f1, b) * product
                s2 = s2 + dc * hat_b * product
                weight = hat_ac * hat_b
                store(out0, start, load(out0, start) + weight * g0)
                store(out1, start, load(out1, start) + weight * g1)
                store(out2, start, load(out2, start) + weight * g2)
    return s0, s1, s2


@numba.njit(nogil=True)
def _shared_bounds(d0, d1, d2, a_end, b_end, c_end):
    """Bounds of the offsets that any of the lanes reads."""
    a_first, a_last = _bounds(smallest(d0), largest(d0), a_end)
    b_first, b_last = _bounds(smallest(d1), largest(d1), b_end)
    c_first, c_last = _bounds(smallest(d2), largest(d2), c_end)
    return a_first, a_last, b_first, b_last, c_first, c_last


@numba.njit(nogil=True)
def _lane_bounds(d0, d1, d2, a_end, b_end, c_end, lane):
    """Bounds of the offsets that one lane reads."""
    x, y, z = extract(d0, lane), extract(d1, lane), extract(d2, lane)
    return (*_bounds(x, x, a_end), *_bounds(y, y, b_end), *_bounds(z, z, c_end))


@numba.njit(inline="always")
def _count(bounds):
    a_first, a_last, b_first, b_last, c_first, c_last = bounds
    return (a_last - a_first + 1) * (b_last - b_first + 1) * (c_last - c_first + 1)


@numba.njit(nogil=True, cache=True)
def square(first, last, shape, guard, numbers, field, out):
    """Slices first to last of u(x) + u(x + u(x)).

    numbers: 0 to 15, float32. field, out: (3, guard + D * H * W + guard).
    """
    slices, rows, columns = shape
    size = rows * columns
    padded = (size + COUNT - 1) // COUNT * COUNT
    clipped, result = np.empty((3, padded), np.float32), np.empty((3, padded), np.float32)
    c0, c1, c2 = clipped[0], clipped[1], clipped[2]
    r0, r1, r2 = result[0], result[1], result[2]
    u0, u1, u2 = field[0], field[1], field[2]
    all_lanes, lane_numbers = splat(ONE), load(numbers, 0)
    for i in range(first, last):
        start = guard + i * size
        clip_displacements(field, start, shape, i, clipped)
        for q in range(0, size, COUNT):
            voxel = start + q
            d0, d1, d2 = load(c0, q), load(c1, q), load(c2, q)
            s0, s1, s2 = load(u0, voxel), load(u1, voxel), load(u2, voxel)
            ends = slices - 1 - i, rows - 1 - q // columns, columns
            bounds = _shared_bounds(d0, d1, d2, *ends)
            if _count(bounds) <= MAX_SHARED_OFFSETS:
                s0, s1, s2 = _read(
                    u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, all_lanes, s0, s1, s2
                )
            else:
                for lane in range(COUNT):
                    bounds = _lane_bounds(d0, d1, d2, *ends, lane)
                    mask = equals(lane_numbers, splat(np.float32(lane)))
                    s0, s1, s2 = _read(
                        u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, mask, s0, s1, s2
                    )
            store(r0, q, s0)
            store(r1, q, s1)
            store(r2, q, s2)
        for n in range(3):
            _copy(result[n, :size], out[n, start : start + size])


@numba.njit(nogil=True, cache=True)
def square_backward(first, last, shape, guard, numbers, field, gradient, out):
    """Adds to out the gradient by u of <gradient, u(x) + u(x + u(x))>, slices first to last of x.

    numbers: 0 to 15, float32. field, gradient, out: (3, guard + D * H * W + guard).
    """
    slices, rows, columns = shape
    size = rows * columns
    padded = (size + COUNT - 1) // COUNT * COUNT
    clipped, g = np.empty((3, padded), np.float32), np.zeros((3, padded), np.float32)
    slopes = np.empty((3, padded), np.float32)
    c0, c1, c2 = clipped[0], clipped[1], clipped[2]
    u0, u1, u2 = field[0], field[1], field[2]
    out0, out1, out2 = out[0], out[1], out[2]
    all_lanes, lane_numbers = splat(ONE), load(numbers, 0)
    for i in range(first, last):
        start = guard + i * size
        clip_displacements(field, start, shape, i, clipped)
        for n in range(3):
            _copy(gradient[n, start : start + size], g[n, :size])
        for q in range(0, size, COUNT):
            voxel = start + q
            d0, d1, d2 = load(c0, q), load(c1, q), load(c2, q)
            g0, g1, g2 = load(g[0], q), load(g[1], q), load(g[2], q)
            s0, s1, s2 = splat(ZERO), splat(ZERO), splat(ZERO)
            ends = slices - 1 - i, rows - 1 - q // columns, columns
            bounds = _shared_bounds(d0, d1, d2, *ends)
            if _count(bounds) <= MAX_SHARED_OFFSETS:
                s0, s1, s2 = _write(
                    u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, all_lanes, g0, g1, g2,
                    out0, out1, out2, s0, s1, s2,
                )  # fmt: skip
            else:
                for lane in range(COUNT):
                    bounds = _lane_bounds(d0, d1, d2, *ends, lane)
                    mask = equals(lane_numbers, splat(np.float32(lane)))
                    s0, s1, s2 = _write(
                        u0, u1, u2, voxel, columns, size, d0, d1, d2, bounds, mask, g0, g1, g2,
                        out0, out1, out2, s0, s1, s2,
                    )  # fmt: skip
            store(slopes[0], q, s0)
            store(slopes[1], q, s1)
            store(slopes[2], q, s2)
        add_gradients(field, start, shape, i, slopes, g, out)
