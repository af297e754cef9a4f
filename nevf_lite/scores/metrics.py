"""Scores of anatomical agreement: overlap and distance of labels, errors at landmarks.

Label maps are arrays, tensors or nibabel images on one grid. They say nothing of the deformation
between the labels: `deformation` scores that.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from nevf_lite.scans.readers import as_numpy
from nevf_lite.scans.space import Grid


def dice(fixed_labels, warped_labels, labels: Iterable[int] | None = None) -> dict[int, float]:
    """Overlap 2 |A and B| / (|A| + |B|) of each structure, from 0 to 1.

    fixed_labels, warped_labels: (*shape) whole numbers. labels: the structures to score; by
    default all that occur but 0, the background.
    A structure absent from both maps is skipped; one present in a single map scores 0.
    Raises ValueError for maps on different grids.
    """
    fixed, warped = _label_arrays(fixed_labels, warped_labels)
    in_fixed, in_warped = _voxel_counts(fixed), _voxel_counts(warped)
    overlap = _voxel_counts(fixed[fixed == warped])
    if labels is None:
        labels = sorted((in_fixed.keys() | in_warped.keys()) - {0})
    scores = {}
    for label in map(int, labels):
        total = in_fixed.get(label, 0) + in_warped.get(label, 0)
        if total:
            scores[label] = 2 * overlap.get(label, 0) / total
    return scores


def mean_dice(fixed_labels, warped_labels, labels: Iterable[int] | None = None) -> float:
    """The mean over structures of :func:`dice`. Raises ValueError if no structure occurs."""
    scores = dice(fixed_labels, warped_labels, labels)
    if not scores:
        raise ValueError("labels: none occurs in either label map; check which set is meant")
    return float(np.mean(list(scores.values())))


def hd95(
    fixed_labels, warped_labels, spacing=None, labels: Iterable[int] | None = None
) -> dict[int, float]:
    """The 95th percentile Hausdorff distance of each structure, in mm.

    The surface of a structure is its voxels at the edge of the image or with a neighbour (by face)
    outside it. Distances are measured between voxel centres, from each surface voxel of one map to
    the nearest of the other. Of the two 95th percentiles, one a direction, the larger is returned,
    as in Learn2Reg (Hering et al. 2023).
    spacing: mm along each axis; by default that of the nibabel image, or 1. labels: as for `dice`.
    A structure absent from both maps is skipped; one present in a single map scores infinity.
    Raises ValueError for maps on different grids and for an unusable spacing.
    """
    fixed, warped = _label_arrays(fixed_labels, warped_labels)
    if spacing is None:
        is_image = hasattr(fixed_labels, "affine")
        spacing = Grid.of(fixed_labels).spacing if is_image else (1.0,) * fixed.ndim
    if len(spacing) != fixed.ndim or min(spacing) <= 0:
        raise ValueError(f"spacing: wanted {fixed.ndim} lengths above 0 mm, got {tuple(spacing)}")
    if labels is None:
        labels = sorted((_voxel_counts(fixed).keys() | _voxel_counts(warped).keys()) - {0})
    distances = {}
    for label, box in _bounding_boxes(fixed, warped, labels):
        surfaces = _surface(fixed, box, label), _surface(warped, box, label)
        if all(surface.any() for surface in surfaces):
            distances[label] = max(
                float(np.percentile(ndimage.distance_transform_edt(~a, sampling=spacing)[b], 95))
                for a, b in (surfaces, surfaces[::-1])
            )
        else:
            distances[label] = float("inf")
    return distances


def tre(points_a: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Target registration error: (N,) distances in mm between corresponding points.

    points_a, points_b: (N, 3) in mm. Raises ValueError for other shapes.
    """
    a, b = np.asarray(points_a, dtype=float), np.asarray(points_b, dtype=float)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"points: wanted (N, 3) twice, got {a.shape} and {b.shape}")
    return np.linalg.norm(a - b, axis=1)


def parse_labels(text: str) -> tuple[int, ...]:
    """Label numbers from a text such as "1-62,70", sorted and unique. Raises ValueError."""
    numbers: set[int] = set()
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        try:
            start, stop = int(first), int(last) if dash else int(first)
        except ValueError:
            start, stop = 0, -1
        if not 0 <= start <= stop <= 10**6:
            raise ValueError(f'labels: {item.strip()!r} in {text!r} is not a range like "1-62,70"')
        numbers.update(range(start, stop + 1))
    return tuple(sorted(numbers))


def _label_arrays(fixed_labels, warped_labels) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps as integer arrays of one shape. Raises ValueError if their grids differ."""
    arrays = []
    for labels in (fixed_labels, warped_labels):
        array = as_numpy(labels.dataobj if hasattr(labels, "dataobj") else labels)
        if array.dtype.kind not in "biu":
            rounded = np.rint(array)
            if not (np.isfinite(array) & (array == rounded)).all():
                raise ValueError("labels: wanted whole numbers, got fractions")
            array = rounded
        arrays.append(array.astype(np.int64))
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"labels: the maps have shapes {arrays[0].shape} and {arrays[1].shape}")
    if all(hasattr(labels, "affine") for labels in (fixed_labels, warped_labels)):
        if Grid.of(fixed_labels) != Grid.of(warped_labels):
            raise ValueError("labels: the maps lie on different grids; resample one to the other")
    return arrays[0], arrays[1]


def _voxel_counts(labels: np.ndarray) -> dict[int, int]:
    """The number of voxels of each value."""
    if labels.size and 0 <= labels.min() and labels.max() < 2**20:
        counts = np.bincount(labels.ravel())
        values = np.flatnonzero(counts)
        return dict(zip(values.tolist(), counts[values].tolist(), strict=True))
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _bounding_boxes(fixed: np.ndarray, warped: np.ndarray, labels: Iterable[int]):
    """Yield each label that occurs and the slices of the box that holds it in both maps."""
    values = np.unique(np.array([int(label) for label in labels], dtype=np.int64))
    if not len(values):
        return
    boxes_by_map = []
    for label_map in (fixed, warped):
        # labels renumbered from 1: find_objects lists every number up to the largest
        index = np.searchsorted(values, label_map).clip(max=len(values) - 1)
        boxes_by_map.append(
            ndimage.find_objects(np.where(values[index] == label_map, index + 1, 0), len(values))
        )
    for label, *boxes in zip(values.tolist(), *boxes_by_map, strict=True):
        boxes = [box for box in boxes if box is not None]
        if boxes:
            yield (
                label,
                tuple(
                    slice(min(side.start for side in sides), max(side.stop for side in sides))
                    for sides in zip(*boxes, strict=True)
                ),
            )


def _surface(label_map: np.ndarray, box: tuple[slice, ...], label: int) -> np.ndarray:
    """The voxels of a structure with a face outside it, as a mask of its bounding box."""
    mask = label_map[box] == label
    return mask & ~ndimage.binary_erosion(mask)
