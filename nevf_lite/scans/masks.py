"""Masks: where an image counts, in whatever way a tool has stored it."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from nevf_lite.scans.io import make_image
from nevf_lite.scans.readers import open_image

#: How far a stored number may lie from the whole one that was meant: 0.99999994, 255 / 255.
ROUNDING = 1e-3
#: Probability from which a voxel belongs to the mask.
THRESHOLD = 0.5


def load_mask(source, name: str = "mask", notes: list[str] | None = None) -> nib.Nifti1Image:
    """Load a mask, with uint8 data: 1 where it is set.

    source: as for `io.load_image`. Whole numbers, to within rounding, are set where they are not
    zero, and so are two values of which one is zero. Fractions between 0 and 1 are probabilities,
    set from 0.5, and `notes` gets a line about it. NaN is outside. Raises FileNotFoundError, or
    ValueError for an image that is none of these.
    """
    data, affine, name = open_image(source, name)
    data = np.asarray(data)
    if data.dtype.kind == "f":
        data = np.nan_to_num(data, nan=0.0)
    inside = _inside(data, name, notes)
    return make_image(inside.astype(np.uint8), affine)


def _inside(data: np.ndarray, name: str, notes: list[str] | None) -> np.ndarray:
    """Where a mask is set, boolean."""
    if data.dtype.kind != "f":
        return data != 0
    nearest = np.rint(data)
    if (np.abs(data - nearest) <= ROUNDING).all():
        return nearest != 0
    low, high = float(data.min()), float(data.max())
    if -ROUNDING <= low and high <= 1 + ROUNDING:
        if notes is not None:
            notes.append(
                f"{name} holds probabilities; it is set where they are {THRESHOLD} or more"
            )
        return data >= THRESHOLD
    if ((data == 0) | (data == high)).all():
        return data != 0
    raise ValueError(
        f"{name}: values from {low:g} to {high:g} with fractions are neither a mask nor "
        "probabilities; threshold it first"
    )
