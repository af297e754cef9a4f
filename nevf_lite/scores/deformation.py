"""Scores of a deformation alone: volume change, folds and inverse consistency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import torch
from torch import Tensor

from nevf_lite.integrate import compose, determinant, jacobian_determinant
from nevf_lite.transforms.resample import SLAB_VOXELS
from nevf_lite.transforms.transform import Transform


@dataclass(frozen=True)
class Folds:
    """How much of a deformation is not one-to-one; fractions run from 0 to 1.

    forward: fraction of cells whose Jacobian determinant by forward differences is 0 or below, the
        number in most papers.
    central: fraction of inner voxels, by central differences, which miss a checkerboard of folds; 0
        where there are none.
    any: fraction of cells in which at least one simplex (triangle, tetrahedron) is flat or turned
        over; 0 means a digital diffeomorphism.
    volume: the non-diffeomorphic volume (area in 2-D), in voxels: the volume that is turned over.
    volume_fraction: that volume over the number of cells.
    """

    forward: float
    central: float
    any: float
    volume: float
    volume_fraction: float


def folds(displacement: Tensor) -> Folds:
    """Folds by forward differences, by central differences and by simplices.

    displacement: (N, ndim, *shape) in voxels, 2-D or 3-D, at least two voxels along each axis.
    The edges that meet at a corner of a cell span a simplex: one for each choice of forward or
    backward differences. Together with two in the middle of a 3-D cell they tile the cell twice.
    Half the volume of the negative simplices is the non-diffeomorphic volume (Liu et al., IJCV
    2024, "On finite difference Jacobian computation in deformable image registration").
    Raises ValueError for another shape.
    """
    u = torch.as_tensor(displacement)
    ndim = u.ndim - 2
    if ndim not in (2, 3) or u.shape[1] != ndim or min(u.shape[2:]) < 2:
        raise ValueError(
            "displacement: wanted (N, 2, X, Y) or (N, 3, X, Y, Z) with 2 voxels or more along each "
            f"axis, got {tuple(u.shape)}"
        )
    return _as_fractions([_count_folds(u)])


def folds_of(transform: Transform) -> Folds:
    """`folds` of a transform on its fixed grid, a slab at a time."""
    return _as_fractions(_count_folds(*slab) for slab in _voxel_slabs(transform))


def _voxel_slabs(transform: Transform) -> Iterator[tuple[Tensor, int]]:
    """The displacement on the fixed grid in slabs of cells along the first axis, in voxels.

    Yields the displacement of the vertices of the cells, with one more layer where there is one,
    and the number of layers of cells.
    """
    grid, displacement = transform.fixed, transform.displacement()
    to_voxels = np.linalg.inv(grid.affine)[: grid.ndim, :3].T.astype(np.float32)
    cells = grid.shape[0] - 1
    height = max(1, SLAB_VOXELS // int(np.prod(grid.shape[1:])))
    for start in range(0, cells, height):
        stop = min(start + height, cells)
        rows = np.moveaxis(displacement[start : stop + 2] @ to_voxels, -1, 0)
        yield torch.from_numpy(np.ascontiguousarray(rows))[None], stop - start


def _count_folds(u: Tensor, layers: int | None = None) -> np.ndarray:
    """Cells, cells folded by forward differences and by any simplex, the volume that is turned
    over, inner voxels, and those folded by central differences.

    u: (N, ndim, *shape). layers: of cells along the first axis that count; by default all.
    """
    ndim, rim = u.ndim - 2, u
    if layers is not None:
        u = u[:, :, : layers + 1]
    any_folded, volume = None, 0.0
    for signed in _simplices(u):
        folded = signed <= 0
        if any_folded is None:  # the first simplex is that of the forward differences
            forward, any_folded = float(folded.double().sum()), folded
        any_folded = any_folded | folded
        # a determinant is ndim! times the volume of its simplex; the simplices tile a cell twice
        volume -= float(signed.clamp(max=0).sum(dtype=torch.float64)) / (2 * factorial(ndim))
    cells = any_folded.numel(), forward, float(any_folded.double().sum()), volume
    if min(rim.shape[2:]) < 3:  # no inner voxels
        return np.array([*cells, 0, 0])
    inner = (..., *[slice(1, -1)] * ndim)
    gradients = torch.gradient(rim, dim=tuple(range(2, ndim + 2)))
    central = _determinant([_add_identity(g[inner], axis) for axis, g in enumerate(gradients)]) <= 0
    return np.array([*cells, central.numel(), float(central.double().sum())])


def _as_fractions(counts: Iterable[np.ndarray]) -> Folds:
    cells, forward, any_folded, volume, inner, central = sum(counts)
    return Folds(
        forward=float(forward / cells),
        central=float(central / max(inner, 1)),
        any=float(any_folded / cells),
        volume=float(volume),
        volume_fraction=float(volume / cells),
    )


def inverse_consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """Distance of a point from itself after both maps: |u(x) + v(x + u(x))|, in voxels.

    forward, backward: displacements (N, ndim, *shape) in voxels of one grid. Returns (N, *shape).
    Zero for exact inverses; linear interpolation alone gives about 0.01. Points that leave the grid
    take the displacement of its edge, so values near the edge are less exact.
    """
    return compose(forward, backward).norm(dim=1)


def determinant_map(transform: Transform) -> np.ndarray:
    """The Jacobian determinant at each voxel of the fixed grid, (*shape), float32.

    1 means no change of volume. Forward differences; the last value along each axis is repeated.
    """
    slabs = (jacobian_determinant(u)[0, :layers].numpy() for u, layers in _voxel_slabs(transform))
    values = np.concatenate(list(slabs))
    return np.pad(values, [(0, 1)] * values.ndim, mode="edge")


def _simplices(u: Tensor):
    """Yield, for each simplex of a cell, ndim! times its signed volume in every cell.

    u: displacement (N, ndim, *shape). Each array is (N, *(shape - 1)). For a displacement of zero
    its values are 1 for a simplex at a corner and 2 for one in the middle of the cell.
    """
    ndim = u.shape[1]
    edges = [_add_identity(u.diff(dim=axis + 2), axis) for axis in range(ndim)]

    def at_corner(field: Tensor, corner: tuple[int, ...]) -> Tensor:
        """A field of vertices or of edges at one corner of every cell.

        Edges are one shorter than u along their axis: each belongs to one cell along it.
        """
        axes = zip(corner, field.shape[2:], u.shape[2:], strict=True)
        return field[(..., *(slice(c, c + n - 1) if m == n else slice(None) for c, m, n in axes))]

    for corner in product((0, 1), repeat=ndim):
        yield _determinant([at_corner(edge, corner) for edge in edges])
    if ndim == 2:
        return
    # the tetrahedra in the middle: from two opposite corners, the diagonals of the three faces
    for start, sign in ((0, 1), (1, -1)):
        diagonals = []
        for normal in range(3):
            end = tuple(start if axis == normal else 1 - start for axis in range(3))
            diagonal = at_corner(u, end) - at_corner(u, (start, start, start))
            for axis in range(3):
                if axis != normal:
                    diagonal[:, axis] += sign
            diagonals.append(diagonal)
        yield sign * _determinant(diagonals)


def _add_identity(derivative: Tensor, axis: int) -> Tensor:
    """The derivative of x + u along an axis, from the derivative of u, (N, ndim, ...)."""
    derivative = derivative.clone()
    derivative[:, axis] += 1
    return derivative


def _determinant(rows: list[Tensor]) -> Tensor:
    """The determinant (N, ...) of two or three rows (N, ndim, ...)."""
    return determinant([row.unbind(1) for row in rows])
