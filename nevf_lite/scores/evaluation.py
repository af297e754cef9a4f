"""Scores of a transform: overlap and distances of labels, folds, inverse consistency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from nevf_lite.scans.io import load_labels, make_image
from nevf_lite.scans.space import Grid
from nevf_lite.scores import metrics
from nevf_lite.scores.deformation import folds_of
from nevf_lite.transforms.transform import Transform


@dataclass(frozen=True)
class LabelScores:
    """Agreement of labels, by structure, before and after the transform.

    dice_before, dice_after: label to Dice, 0 to 1. hd95_before, hd95_after: label to the 95th
    percentile Hausdorff distance in mm. names: label to name. before, after: the moving labels on
    the fixed grid, by the identity and by the transform. fixed: the fixed labels.
    """

    dice_before: dict[int, float]
    dice_after: dict[int, float]
    hd95_before: dict[int, float]
    hd95_after: dict[int, float]
    names: Mapping[int, str]
    fixed: nib.Nifti1Image
    before: nib.Nifti1Image
    after: nib.Nifti1Image

    def table(self) -> dict[str, dict]:
        """For JSON: label to its name and its scores; None for a distance that is not finite."""
        columns = {
            "before": self.dice_before,
            "after": self.dice_after,
            "hd95_before_mm": self.hd95_before,
            "hd95_after_mm": self.hd95_after,
        }
        return {
            str(label): {
                "name": self.names.get(label, str(label)),
                **{column: finite(scores.get(label)) for column, scores in columns.items()},
            }
            for label in self.dice_after
        }

    def summary(self) -> dict[str, float]:
        """Means over structures; of distances, over the structures that occur in both maps."""
        return {
            "dice_before": _mean(self.dice_before),
            "dice_after": _mean(self.dice_after),
            "hd95_before_mm": _mean(self.hd95_before),
            "hd95_after_mm": _mean(self.hd95_after),
        }


def load_label_pair(
    fixed_grid: Grid, fixed_labels, moving_labels, labels: Iterable[int] | None = None
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, list[int]]:
    """Load and check the fixed labels, the moving labels and the structures to score.

    fixed_grid: the grid of the fixed image. Other arguments as for :func:`score_labels`, which
    calls this. A long command calls it at the start, so that unusable labels stop it early.
    Raises ValueError for labels on another grid than the fixed image's, or with no structure in
    common.
    """
    fixed = load_labels(fixed_labels, "fixed_labels")
    moving = load_labels(moving_labels, "moving_labels")
    if Grid.of(fixed) != fixed_grid:
        raise ValueError(
            f"fixed_labels: their grid, {fixed.shape} voxels, is not the fixed image's, "
            f"{fixed_grid.shape}; resample them to the fixed image first"
        )
    common = np.intersect1d(np.asarray(fixed.dataobj), np.asarray(moving.dataobj))
    common = common[common != 0].tolist()
    chosen = common if labels is None else [int(n) for n in labels]
    if not set(chosen) & set(common):
        raise ValueError(
            "labels: no structure to score occurs in both label images; check --labels, and that "
            "both number their structures alike"
        )
    return fixed, moving, chosen


def score_labels(
    transform: Transform,
    fixed_labels,
    moving_labels,
    labels: Iterable[int] | None = None,
    names: Mapping[int, str] | None = None,
) -> LabelScores:
    """Warp the moving labels (nearest neighbour) onto the fixed ones and compare.

    Voxels that the transform or the identity takes out of the moving labels' grid are not scored:
    what was not seen is not missed.
    fixed_labels: path or image on the fixed image's grid. moving_labels: on any grid of the moving
    space. labels: the structures to score; by default every label but 0 that occurs in both maps.
    names: label to name. Raises as :func:`load_label_pair`.
    """
    fixed, moving, chosen = load_label_pair(transform.fixed, fixed_labels, moving_labels, labels)
    identity = Transform.identity(transform.fixed, transform.moving)
    before, after = (_warp_seen(t, moving) for t in (identity, transform))
    seen = before[1] & after[1]
    fixed_values = np.where(seen, np.asarray(fixed.dataobj), 0)
    dice, hd95 = [], []
    for warped, _ in (before, after):
        values = np.where(seen, np.asarray(warped.dataobj), 0)
        dice.append(metrics.dice(fixed_values, values, chosen))
        hd95.append(metrics.hd95(fixed_values, values, transform.fixed.spacing, chosen))
    return LabelScores(*dice, *hd95, dict(names or {}), fixed, before[0], after[0])


def _warp_seen(transform: Transform, labels: nib.Nifti1Image) -> tuple[nib.Nifti1Image, np.ndarray]:
    """The warped labels, and where they were read within the grid of the moving ones, boolean."""
    values = np.asarray(labels.dataobj)
    low, high = int(values.min()), int(values.max())
    background = high + 1 if high < np.iinfo(np.int32).max else low - 1  # a number not in use
    marked = make_image(np.where(values == 0, background, values).astype(np.int32), labels.affine)
    warped = np.array(transform.warp_labels(marked).dataobj)
    seen = warped != 0
    return make_image(np.where(warped == background, 0, warped), transform.fixed.affine), seen


def score_deformation(transform: Transform, mask: np.ndarray | None = None) -> dict[str, float]:
    """Folds and inverse consistency of a transform on its fixed grid.

    mask: (*fixed.shape), the voxels whose inverse consistency is measured; by default all.
    Returns percentages of cells (folds_percent by forward differences, folds_any_percent by all
    simplices, ndv_percent the non-diffeomorphic volume), and the mean and maximum of inverse
    consistency in millimetres.
    """
    folding, shape = folds_of(transform), transform.fixed.shape
    count = int(np.prod(shape) if mask is None else mask.sum())
    stride = max(1, count // 200_000)  # leaves fewer than 400 000 points
    chosen = np.arange(0, count, stride) if mask is None else np.flatnonzero(mask)[::stride]
    points = transform.fixed.to_world(np.stack(np.unravel_index(chosen, shape), axis=-1))
    returned = transform.points_to_fixed(transform.points_to_moving(points))
    error = metrics.tre(points, returned)
    return {
        "folds_percent": 100 * folding.forward,
        "folds_any_percent": 100 * folding.any,
        "ndv_percent": 100 * folding.volume_fraction,
        "inverse_consistency_mm": float(error.mean()),
        "inverse_consistency_max_mm": float(error.max()),
    }


def _mean(values: Mapping[int, float]) -> float:
    """The mean of the finite values; NaN if there are none."""
    numbers = [v for v in values.values() if np.isfinite(v)]
    return float(np.mean(numbers)) if numbers else float("nan")


def finite(value: float | None) -> float | None:
    """The value, or None in place of NaN and infinity, which JSON cannot hold."""
    return None if value is None or not np.isfinite(value) else float(value)
