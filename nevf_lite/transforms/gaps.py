"""Resampling where values are missing: beyond the edge of an image, and where it holds NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt


def pull_back_with_gaps(
    volume: np.ndarray,
    pull: Callable[[np.ndarray, str], np.ndarray],
    interpolation: str,
    fill: float | None,
) -> np.ndarray:
    """Resample a volume that may hold NaN or infinity, and give what it does not reach a value.

    volume: (*shape), float32. pull: resamples an array of that shape to (*out) by an interpolation,
    with zeros outside. fill: the value outside; None is 0, or NaN where the volume itself holds
    NaN. Returns (*out), float32.

    A missing voxel gives its nearest neighbour's value to the interpolation, so nothing is lost at
    the edge of a brain; the result is missing where at least half of what it would be read from is.
    """
    missing = ~np.isfinite(volume)
    has_gaps = bool(missing.any())
    if fill is None:
        fill = np.nan if has_gaps else 0.0
    if has_gaps:
        if missing.all():
            return pull(np.zeros_like(volume), interpolation) + np.float32(np.nan)
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        volume = volume[tuple(nearest)]
    share = "nearest" if interpolation == "nearest" else "linear"  # weights that are never negative
    if np.isnan(fill):
        values = pull(volume, interpolation)
        values[pull(~missing, share) < 0.5] = np.nan
        return values
    base = np.float32(fill)
    values = pull(volume - base, interpolation) + base if fill else pull(volume, interpolation)
    if has_gaps:
        values[pull(missing, share) > 0.5] = np.nan
    return values
