"""One composition of a field with itself and its adjoint, compiled; for `squaring`.

A field is flat, (D * H * W * 4 floats): the three components of a voxel lie beside each other, and
a fourth number, always zero, fills them up to a register. So the corners of a cell are four reads,
each of two neighbours along the last axis in all components, and a voxel needs no other's company.
"""

from __future__ import annotations

import numba
import numpy as np

from nevf_lite.kernels.cpu.lanes import (
    extract,
    floor,
    join,
    larger,
    less,
    load4,
    load8,
    lower_half,
    pack,
    prefetch,
    smaller,
    splat4,
    splat8,
    store,
    sums,
    upper_half,
)

ZERO, ONE = np.float32(0), np.float32(1)
#: Floats by which memory is asked for what will be read two slices ahead. The processor itself
#: foresees reads in a row, but not where they jump with the displacement.
LEAD = 64


@numba.njit(inline="always")
def _bounds(shape, i, j):
    """The displacements that take the first voxel of row (i, j) to the faces of the volume."""
    first = pack(np.float32(-i), np.float32(-j), ZERO, ZERO)
    last = pack(
        np.float32(shape[0] - 1 - i), np.float32(shape[1] - 1 - j), np.float32(shape[2] - 1), ZERO
    )
    return first, last


@numba.njit(inline="always")
def _steps(shape):
    """Floats from a voxel to its next neighbour along the first two axes; none on an axis of one.

    Along the last axis the next voxel follows, and after the last voxel of the volume a spare one.
    """
    rows, columns = 4 * shape[2] * shape[1], 4 * shape[2]
    return (rows if shape[0] > 1 else 0), (columns if shape[1] > 1 else 0)


@numba.njit(inline="always")
def _cell(u, voxel, first, last, shape):
    """Where x + u(x) lies: the cell's first corner, and the fractions of a voxel from there.

    Positions outside are moved to the nearest face, which is what "border" padding reads. NaN
    becomes the first face, so that no read leaves the volume.
    """
    ahead = splat4(ONE)
    moved = smaller(larger(u, first), last)
    low = larger(smaller(floor(moved), last - ahead), first)
    a, b, c = int(extract(low, 0)), int(extract(low, 1)), int(extract(low, 2))
    corner = voxel + 4 * ((a * shape[1] + b) * shape[2] + c)
    return corner, moved - low


@numba.njit(nogil=True, cache=True)
def compose(start, stop, shape, own, read, field, out):
    """Slices start to stop of own * u(x) + read * u(x + u(x)).

    field, out: flat, as the module says, with one spare voxel of zeros at the end.
    """
    along_a, along_b = _steps(shape)
    ahead = pack(ZERO, ZERO, ONE, ZERO)
    own4, read4 = splat4(own), splat4(read)
    for i in range(start, stop):
        for j in range(shape[1]):
            first, last = _bounds(shape, i, j)
            voxel = 4 * (i * shape[1] + j) * shape[2]
            for _ in range(shape[2]):
                prefetch(field, voxel + 2 * along_a + LEAD)
                u = load4(field, voxel)
                p, fraction = _cell(u, voxel, first, last, shape)
                fa, fb = splat8(extract(fraction, 0)), splat8(extract(fraction, 1))
                u00, u01 = load8(field, p), load8(field, p + along_b)
                u10, u11 = load8(field, p + along_a), load8(field, p + along_a + along_b)
                low, high = u00 + fa * (u10 - u00), u01 + fa * (u11 - u01)
                line = low + fb * (high - low)
                low4 = lower_half(line)
                value = low4 + splat4(extract(fraction, 2)) * (upper_half(line) - low4)
                store(out, voxel, own4 * u + read4 * value)
                voxel += 4
                first, last = first - ahead, last - ahead


@numba.njit(inline="always")
def _add(out, index, value):
    """Adds eight lanes to an array, in two halves.

    The next voxel adds to one of the halves again, and what was written as a half can be read as
    one before it has reached the cache.
    """
    store(out, index, load4(out, index) + lower_half(value))
    store(out, index + 4, load4(out, index + 4) + upper_half(value))


@numba.njit(nogil=True, cache=True)
def compose_backward(start, stop, shape, own, read, field, gradient, out):
    """Adds the gradient by u of <gradient, own * u(x) + read * u(x + u(x))> to out.

    For the slices start to stop of x. field, gradient, out: as in `compose`.
    """
    along_a, along_b = _steps(shape)
    ahead = pack(ZERO, ZERO, ONE, ZERO)
    own4, read4 = splat4(own), splat4(read)
    for i in range(start, stop):
        for j in range(shape[1]):
            first, last = _bounds(shape, i, j)
            voxel = 4 * (i * shape[1] + j) * shape[2]
            for _ in range(shape[2]):
                prefetch(field, voxel + 2 * along_a + LEAD)
                prefetch(out, voxel + 2 * along_a + LEAD)
                u, g = load4(field, voxel), load4(gradient, voxel)
                p, fraction = _cell(u, voxel, first, last, shape)
                fa, fb = splat8(extract(fraction, 0)), splat8(extract(fraction, 1))
                fc = splat4(extract(fraction, 2))
                u00, u01 = load8(field, p), load8(field, p + along_b)
                u10, u11 = load8(field, p + along_a), load8(field, p + along_a + along_b)
                # slopes of the interpolation along each axis
                d0, d1 = u10 - u00, u11 - u01
                low, high = u00 + fa * d0, u01 + fa * d1
                by_a, by_b = d0 + fb * (d1 - d0), high - low
                line = low + fb * by_b
                a4, b4, c4 = lower_half(by_a), lower_half(by_b), upper_half(line) - lower_half(line)
                a4, b4 = a4 + fc * (upper_half(by_a) - a4), b4 + fc * (upper_half(by_b) - b4)
                g_read = read4 * g
                slopes = sums(g_read * a4, g_read * b4, g_read * c4)
                inside = less(first, u) * less(u, last)  # elsewhere the position was moved
                store(out, voxel, load4(out, voxel) + own4 * g + inside * slopes)
                # weights of the corners
                upper = fc * g_read
                both = join(g_read - upper, upper)
                g1 = fa * both
                g0 = both - g1
                g01, g11 = fb * g0, fb * g1
                _add(out, p, g0 - g01)
                _add(out, p + along_b, g01)
                _add(out, p + along_a, g1 - g11)
                _add(out, p + along_a + along_b, g11)
                voxel += 4
                first, last = first - ahead, last - ahead


@numba.njit(nogil=True, cache=True)
def interleave(start, stop, size, scale, volume, field):
    """Writes slices of volume (3, D * H * W) times scale into a flat field; size: of a slice."""
    a, b, c = volume[0], volume[1], volume[2]
    for q in range(start * size, stop * size):
        field[4 * q], field[4 * q + 1] = scale * a[q], scale * b[q]
        field[4 * q + 2], field[4 * q + 3] = scale * c[q], ZERO


@numba.njit(nogil=True, cache=True)
def separate(start, stop, size, scale, field, volume):
    """The inverse of `interleave`: writes slices of a field times scale to volume."""
    a, b, c = volume[0], volume[1], volume[2]
    for q in range(start * size, stop * size):
        a[q], b[q], c[q] = scale * field[4 * q], scale * field[4 * q + 1], scale * field[4 * q + 2]
