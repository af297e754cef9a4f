"""What each operation needs at least: bytes to and from memory, and floating-point operations.

Forward and backward together, for float32 in three dimensions. Bytes are compulsory traffic: each
array that an operation is given, keeps or returns crosses once a pass, as if everything between
stayed in the cache. Operations are those of the formulas, additions and products alike; a sine
counts as one. A version may do more of both (recompute, or count a hat's weight where a lookup
would do), so a rate that is computed from these numbers says how near the *task* is to the
machine's limits.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Count:
    """bytes: to and from memory. flops: floating-point operations."""

    bytes: int
    flops: int

    @property
    def intensity(self) -> float:
        """Operations a byte: what decides whether memory or arithmetic is the limit."""
        return self.flops / self.bytes

    def seconds(self, bandwidth: float, rate: float) -> float:
        """The least time on a machine: bandwidth in bytes a second, rate in operations a second."""
        return max(self.bytes / bandwidth, self.flops / rate)


#: The two neighbours of a coordinate, and how much each counts, on three axes.
WEIGHTS = 3 * 4
#: One linear interpolation among eight neighbours: seven times a p + b q.
LOOKUP = 7 * 3


def pull(voxels: int) -> Count:
    """image(x + u(x)) of one channel; the gradient goes to u alone, as for the moving image.

    Forward reads image and u, writes the result; backward reads them and the gradient, writes
    three components. The slopes along three axes share interpolations: 12, 10, 10 and 22.
    """
    floats = (1 + 3 + 1) + (1 + 3 + 1 + 3)
    flops = (WEIGHTS + LOOKUP) + (WEIGHTS + 12 + 10 + 10 + 22)
    return Count(FLOAT * floats * voxels, flops * voxels)


def squaring(voxels: int, steps: int) -> Count:
    """All squarings u(x) + u(x + u(x)), kept for the backward pass, and their adjoints.

    An adjoint reads u and the gradient and writes another; it needs the slopes of three
    components, and adds three gradients to eight neighbours each.
    """
    forward = WEIGHTS + 3 * LOOKUP + 3
    adjoint = WEIGHTS + 3 * 54 + 6 + 12 + 3 * 8 * 2 + 3
    return Count(FLOAT * (6 + 9) * steps * voxels, (forward + adjoint) * steps * voxels)


def local_ncc(voxels: int, window: int) -> Count:
    """Separable window sums of three images, the correlation, and three sums of its slopes.

    Reads two images and two statistics, writes the gradient, which is then scaled.
    """
    sums = 3 * 3 * (window - 1)
    flops = (2 + sums + 12) + (11 + sums + 5 + 1)
    return Count(FLOAT * (4 + 1 + 2) * voxels, flops * voxels)


def penalties(voxels: int) -> Count:
    """Jacobian determinant, its margin, folds and smoothness of a field.

    Backward computes the determinant again; cells below the margin are few and not counted.
    """
    forward = 12 + 14 + 4 + 18
    backward = 12 + 14 + 1 + 54
    return Count(FLOAT * (3 + 3 + 3) * voxels, (forward + backward) * voxels)


def siren(points: int, width: int, depth: int) -> Count:
    """A network of sine layers, (points, 3) to (points, 3); sines and cosines are kept.

    Products of matrices: forward, gradients of weights, and of the inputs of all layers but the
    first.
    """
    first, hidden, last = 3 * width, (depth - 1) * width**2, 3 * width
    multiplied = 3 * (first + hidden + last) - first
    units = width * depth
    sines = 3 * units  # sine, cosine, and the product with the latter
    return Count(FLOAT * (12 + 2 * 2 * units) * points, (2 * multiplied + sines) * points)
