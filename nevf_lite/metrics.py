"""How good is a registration? Overlap and distance of labels, error at landmarks, folding.

Label maps come as arrays, tensors or nibabel images on one grid. Dice and the distances say how
well anatomy agrees; folds and inverse consistency say whether the deformation is one that tissue
could undergo. A registration is good when both are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from nevf_lite.integrate import compose, determinant
from nevf_lite.readers import as_numpy
from nevf_lite.space import Grid


def dice(fixed_labels, warped_labels, labels: Iterable[int] | None = None) -> dict[int, float]:
    """Overlap 2 |A and B| / (|A| + |B|) of each structure, from 0 to 1.

    fixed_labels, warped_labels: (*shape) whole numbers. labels: which structures; by default all
    that occur, 0 (background) left out.
    A structure absent from both is skipped; one present in a single map counts 0.
    Raises ValueError for maps on different grids.
    """
    fixed, warped = _pair(fixed_labels, warped_labels)
    in_fixed, in_warped = _counts(fixed), _counts(warped)
    shared = _counts(fixed[fixed == warped])
    if labels is None:
        labels = sorted((in_fixed.keys() | in_warped.keys()) - {0})
    scores = {}
    for label in map(int, labels):
        volume = in_fixed.get(label, 0) + in_warped.get(label, 0)
        if volume:
            scores[label] = 2 * shared.get(label, 0) / volume
    return scores


def mean_dice(fixed_labels, warped_labels, labels: Iterable[int] | None = None) -> float:
    """The mean over structures of :func:`dice`. Raises ValueError if none of them occurs."""
    scores = dice(fixed_labels, warped_labels, labels)
    if not scores:
        raise ValueError("labels: none occurs in either label map; check which set is meant")
    return float(np.mean(list(scores.values())))


def hd95(
    fixed_labels, warped_labels, spacing=None, labels: Iterable[int] | None = None
) -> dict[int, float]:
    """The 95th percentile Hausdorff distance of each structure, in mm.

    The surface of a structure is its voxels at the edge of the image or with a neighbour (by face)
    outside it. From each surface voxel of one map the distance to the nearest of the other is
    measured between centres; of the two 95th percentiles, one a direction, the larger counts, as in
    Learn2Reg (Hering et al. 2023).
    spacing: mm along each axis; by default that of the nibabel image, or 1. labels: as for `dice`.
    Absent from both: skipped. Present in one only: infinity.
    """
    fixed, warped = _pair(fixed_labels, warped_labels)
    if spacing is None:
        image = hasattr(fixed_labels, "affine")
        spacing = Grid.of(fixed_labels).spacing if image else (1.0,) * fixed.ndim
    if len(spacing) != fixed.ndim or min(spacing) <= 0:
        raise ValueError(f"spacing: wanted {fixed.ndim} lengths above 0 mm, got {tuple(spacing)}")
    if labels is None:
        labels = sorted((_counts(fixed).keys() | _counts(warped).keys()) - {0})
    distances = {}
    for label, box in _boxes(fixed, warped, labels):
        ours, theirs = _surface(fixed, box, label), _surface(warped, box, label)
        if ours.any() and theirs.any():
            distances[label] = max(
                float(np.percentile(ndimage.distance_transform_edt(~a, sampling=spacing)[b], 95))
                for a, b in ((ours, theirs), (theirs, ours))
            )
        else:
            distances[label] = float("inf")
    return distances


def tre(points_a: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Target registration error: (N,) distances in mm between points (N, 3) that correspond."""
    a, b = np.asarray(points_a, dtype=float), np.asarray(points_b, dtype=float)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"points: wanted (N, 3) twice, got {a.shape} and {b.shape}")
    return np.linalg.norm(a - b, axis=1)


@dataclass(frozen=True)
class Folds:
    """Where a deformation fails to be one-to-one; all fractions run from 0 to 1.

    forward: cells whose Jacobian determinant by forward differences is 0 or below, the figure in
        most papers. central: inner voxels, by central differences: blind to a checkerboard.
    any: cells in which at least one simplex (a triangle, a tetrahedron) is flat or turned over; 0
        means a digital diffeomorphism.
    volume: the non-diffeomorphic volume (area in 2-D), in voxels: how much is turned over.
    fraction: that volume over the number of cells.
    """

    forward: float
    central: float
    any: float
    volume: float
    fraction: float


def folds(displacement: Tensor) -> Folds:
    """Count folding in every way that is reported.

    displacement: (N, ndim, *shape) in voxels, 2-D or 3-D, at least three voxels along each axis.
    At each corner of a cell the edges that meet there span a simplex: one for each choice of
    forward or backward differences. With two more in the middle of a 3-D cell they tile it twice.
    Half the volume of those that come out negative is the non-diffeomorphic volume (Liu et al.,
    IJCV 2024, "On finite difference Jacobian computation in deformable image registration").
    """
    u = torch.as_tensor(displacement)
    ndim = u.ndim - 2
    if ndim not in (2, 3) or u.shape[1] != ndim or min(u.shape[2:]) < 3:
        raise ValueError(
            "displacement: wanted (N, 2, X, Y) or (N, 3, X, Y, Z) with 3 voxels or more along each "
            f"axis, got {tuple(u.shape)}"
        )
    turned, volume = None, 0.0
    for signed in _simplices(u):
        folded = signed <= 0
        if turned is None:  # the first are the forward differences
            forward, turned = float(folded.double().mean()), folded
        turned = turned | folded
        # a determinant is ndim! volumes of its simplex, and the cell is tiled twice
        volume -= float(signed.clamp(max=0).sum(dtype=torch.float64)) / (2 * factorial(ndim))
    inner = (..., *[slice(1, -1)] * ndim)
    slopes = torch.gradient(u, dim=tuple(range(2, ndim + 2)))
    central = _determinant([_plus_one(g[inner], axis) for axis, g in enumerate(slopes)]) <= 0
    return Folds(
        forward=forward,
        central=float(central.double().mean()),
        any=float(turned.double().mean()),
        volume=volume,
        fraction=volume / turned.numel(),
    )


def inverse_consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """How far a point comes back from where it started: |u(x) + v(x + u(x))|, in voxels.

    forward, backward: displacements (N, ndim, *shape) in voxels of one grid. Returns (N, *shape).
    Zero for exact inverses; interpolation alone leaves about 0.01. Near the edge, where points
    leave the grid, the fields are only guessed.
    """
    return compose(forward, backward).norm(dim=1)


def parse_labels(text: str) -> tuple[int, ...]:
    """Label numbers written as "1-62,70": sorted, each once. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            start, stop = int(first), int(last) if dash else int(first)
        except ValueError:
            start, stop = 0, -1
        if not 0 <= start <= stop <= 10**6:
            raise ValueError(f'labels: {part.strip()!r} in {text!r} is not a range like "1-62,70"')
        numbers.update(range(start, stop + 1))
    return tuple(sorted(numbers))


def _pair(fixed_labels, warped_labels) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps as integer arrays of one shape."""
    arrays = []
    for labels in (fixed_labels, warped_labels):
        array = as_numpy(labels.dataobj if hasattr(labels, "dataobj") else labels)
        if array.dtype.kind not in "biu":
            whole = np.rint(array)
            if not (np.isfinite(array) & (array == whole)).all():
                raise ValueError("labels: wanted whole numbers, got fractions")
            array = whole
        arrays.append(array.astype(np.int64))
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"labels: the maps have shapes {arrays[0].shape} and {arrays[1].shape}")
    if all(hasattr(labels, "affine") for labels in (fixed_labels, warped_labels)):
        if Grid.of(fixed_labels) != Grid.of(warped_labels):
            raise ValueError("labels: the maps lie in different places; resample one to the other")
    return arrays[0], arrays[1]


def _counts(labels: np.ndarray) -> dict[int, int]:
    """How many voxels each value has."""
    if labels.size and 0 <= labels.min() and labels.max() < 2**20:
        counts = np.bincount(labels.ravel())
        values = np.flatnonzero(counts)
        return dict(zip(values.tolist(), counts[values].tolist(), strict=True))
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _boxes(fixed: np.ndarray, warped: np.ndarray, labels: Iterable[int]):
    """(label, slices of the box that holds it in both maps), for the labels that occur."""
    known = np.unique(np.array([int(label) for label in labels], dtype=np.int64))
    if not len(known):
        return
    found = []
    for volume in (fixed, warped):  # numbered 1, 2, ..., for find_objects makes a list of them all
        at = np.searchsorted(known, volume).clip(max=len(known) - 1)
        found.append(ndimage.find_objects(np.where(known[at] == volume, at + 1, 0), len(known)))
    for label, *boxes in zip(known.tolist(), *found, strict=True):
        boxes = [box for box in boxes if box is not None]
        if boxes:
            yield (
                label,
                tuple(
                    slice(min(side.start for side in sides), max(side.stop for side in sides))
                    for sides in zip(*boxes, strict=True)
                ),
            )


def _surface(volume: np.ndarray, box: tuple[slice, ...], label: int) -> np.ndarray:
    """The voxels of a structure with a face outside it; outside the box there is none of it."""
    mask = volume[box] == label
    return mask & ~ndimage.binary_erosion(mask)


def _simplices(u: Tensor):
    """For each simplex of a cell, ndim! times its signed volume (N, *(shape - 1)) in every cell.

    u: displacement (N, ndim, *shape). At rest the values are 1, and 2 for those in the middle.
    """
    ndim = u.shape[1]
    steps = [_plus_one(u.diff(dim=axis + 2), axis) for axis in range(ndim)]

    def corner(field: Tensor, at: tuple[int, ...]) -> Tensor:
        """The field at one corner of every cell; along its own axis a step fills the cell."""
        sides = zip(at, field.shape[2:], u.shape[2:], strict=True)
        return field[(..., *(slice(a, a + n - 1) if m == n else slice(None) for a, m, n in sides))]

    for at in product((0, 1), repeat=ndim):
        yield _determinant([corner(step, at) for step in steps])
    if ndim == 2:
        return
    for at, sign in ((0, 1), (1, -1)):  # from opposite corners, the diagonals of the three faces
        diagonals = []
        for still in range(3):
            end = tuple(at if axis == still else 1 - at for axis in range(3))
            diagonal = corner(u, end) - corner(u, (at, at, at))
            for axis in range(3):
                if axis != still:
                    diagonal[:, axis] += sign
            diagonals.append(diagonal)
        yield sign * _determinant(diagonals)


def _plus_one(slope: Tensor, axis: int) -> Tensor:
    """The derivative of x + u along an axis, from that of u."""
    slope = slope.clone()
    slope[:, axis] += 1
    return slope


def _determinant(rows: list[Tensor]) -> Tensor:
    """det of two or three vectors (N, ndim, ...), as (N, ...)."""
    return determinant([row.unbind(1) for row in rows])
