"""Resampling where values are missing: beyond the edge of an image, and where it holds NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt


def pull_back_with_gaps(
    volume: np.ndarray,
    pull: Callable[[np.ndarray], np.ndarray],
    pull_share: Callable[[np.ndarray], np.ndarray],
    fill: float | None,
) -> np.ndarray:
    """Resample a volume that may hold NaN or infinity, and give what it does not reach a value.

    volume: (*shape), float32. pull: resamples an array of that shape to (*out), with zeros outside.
    pull_share: the same with weights that are nowhere negative. fill: the value outside; None is 0,
    or NaN where the volume itself holds NaN. Returns (*out), float32.

    A missing voxel gives its nearest neighbour's value to the interpolation, so nothing is lost at
    the edge of a brain; the result is missing where at least half of what it would be read from is.
    """
    missing = ~np.isfinite(volume)
    has_gaps = bool(missing.any())
    if fill is None:
        fill = np.nan if has_gaps else 0.0
    if has_gaps:
        if missing.all():
            return pull(np.zeros_like(volume)) + np.float32(np.nan)
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        volume = volume[tuple(nearest)]
    if np.isnan(fill):
        values = pull(volume)
        values[pull_share(~missing) < 0.5] = np.nan
        return values
    values = pull(volume - np.float32(fill)) + np.float32(fill) if fill else pull(volume)
    if has_gaps:
        values[pull_share(missing) > 0.5] = np.nan
    return values
