"""The least bytes to and from memory, and floating-point operations, that an operation needs.

Forward and backward together, for float32 in three dimensions. Bytes are compulsory traffic: each
array that an operation reads, saves or returns is transferred once per pass, as if everything else
stayed in the cache. Operations are the additions and products of the formulas; a sine counts as
one. An implementation may do more of both, for example recompute. A rate computed from these
numbers therefore compares the task, not the implementation, with the limits of the machine.
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
        """Operations per byte, which decides whether memory or arithmetic is the limit."""
        return self.flops / self.bytes

    def seconds(self, bandwidth: float, rate: float) -> float:
        """The least seconds on a machine. bandwidth: bytes per second. rate: flops per second."""
        return max(self.bytes / bandwidth, self.flops / rate)


#: The two neighbours of a coordinate and their weights, on three axes.
WEIGHTS = 3 * 4
#: One trilinear interpolation among eight neighbours: seven times a p + b q.
LOOKUP = 7 * 3


def pull(voxels: int) -> Count:
    """image(x + u(x)) of one channel, with the gradient of u alone, as for the moving image.

    Forward reads image and u and writes the result. Backward reads image, u and the gradient of the
    result and writes the three components of the gradient of u. The derivatives along three axes
    share interpolations: 12, 10, 10 and 22 operations.
    """
    floats = (1 + 3 + 1) + (1 + 3 + 1 + 3)
    flops = (WEIGHTS + LOOKUP) + (WEIGHTS + 12 + 10 + 10 + 22)
    return Count(FLOAT * floats * voxels, flops * voxels)


def squaring(voxels: int, steps: int) -> Count:
    """All squarings u(x) + u(x + u(x)), saved for the backward pass, and their adjoints.

    An adjoint reads u and a gradient and writes a gradient. It computes the derivatives of three
    components and adds three gradients to eight neighbours each.
    """
    forward = WEIGHTS + 3 * LOOKUP + 3
    adjoint = WEIGHTS + 3 * 54 + 6 + 12 + 3 * 8 * 2 + 3
    return Count(FLOAT * (6 + 9) * steps * voxels, (forward + adjoint) * steps * voxels)


def local_ncc(voxels: int, window: int) -> Count:
    """Separable window sums of three images, the correlation, and three sums for its derivative.

    Reads two images and two statistics and writes the gradient, which is then scaled.
    """
    sums = 3 * 3 * (window - 1)
    flops = (2 + sums + 12) + (11 + sums + 5 + 1)
    return Count(FLOAT * (4 + 1 + 2) * voxels, flops * voxels)


def weighted_ncc(voxels: int, window: int) -> Count:
    """As `local_ncc`, with weights: six window sums forward, and the statistics are among them.

    Reads two images and the weights and writes the gradient, which is then weighted and scaled.
    """
    sums = 3 * (window - 1)
    flops = (7 + 6 * sums + 19) + (14 + 3 * sums + 5 + 2)
    return Count(FLOAT * (3 + 1 + 3 + 2) * voxels, flops * voxels)


def penalties(voxels: int) -> Count:
    """Jacobian determinant, its margin, folds and smoothness of a displacement.

    Backward recomputes the determinant. Cells below the margin are few and are not counted.
    """
    forward = 12 + 14 + 4 + 18
    backward = 12 + 14 + 1 + 54
    return Count(FLOAT * (3 + 3 + 3) * voxels, (forward + backward) * voxels)


def siren(points: int, width: int, depth: int) -> Count:
    """A network of sine layers, (points, 3) to (points, 3); sines and cosines are saved.

    The matrix products are those of the forward pass, of the gradients of the weights, and of the
    gradients of the inputs of all layers but the first.
    """
    first, hidden, last = 3 * width, (depth - 1) * width**2, 3 * width
    products = 3 * (first + hidden + last) - first
    units = width * depth
    sines = 3 * units  # sine, cosine, and the product with the cosine
    return Count(FLOAT * (12 + 2 * 2 * units) * points, (2 * products + sines) * points)
