"""Masks as tools store them, and lesions that do not count."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nevf_lite.registration.masks import counting_mask
from nevf_lite.scans.io import make_image
from nevf_lite.scans.masks import load_mask

SHAPE = (8, 9, 10)
INSIDE = np.zeros(SHAPE, bool)
INSIDE[2:6, 3:7, 4:8] = True


@pytest.mark.parametrize(
    "data",
    [
        INSIDE,
        INSIDE.astype(np.uint8),
        7 * INSIDE.astype(np.int16),
        np.float32(0.99999994) * INSIDE,
        255 * INSIDE.astype(np.float32),
        np.float32(3.7) * INSIDE,
        np.where(INSIDE, 1, np.nan),
        -1.0 * INSIDE,
    ],
)
def test_masks_of_any_kind(data):
    """Fault 7: 0 and 0.99999994, 255, any two values, NaN outside: the same mask, no note."""
    notes = []
    mask = load_mask(data, "mask", notes)
    np.testing.assert_array_equal(mask.dataobj, INSIDE)
    assert not notes


def test_a_slope_of_one_over_255(tmp_path):
    """Fault 7: 0 and 255 stored in bytes, with a slope of 1/255 in the header."""
    raw = bytearray(nib.Nifti1Image(255 * INSIDE.astype(np.uint8), np.eye(4)).to_bytes())
    raw[112:116] = np.float32(1 / 255).tobytes()
    (tmp_path / "mask.nii").write_bytes(raw)
    stored = np.asarray(nib.load(tmp_path / "mask.nii").dataobj)
    assert stored.max() != 0 and stored.dtype.kind == "f"
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii").dataobj, INSIDE)


def test_probabilities_count_from_one_half():
    """Fault 7: fractions between 0 and 1 are probabilities, and a note says where they are cut."""
    notes = []
    data = np.where(INSIDE, 0.5, 0.4999).astype(np.float32)
    mask = load_mask(make_image(data, np.eye(4)), "mask", notes)
    np.testing.assert_array_equal(mask.dataobj, INSIDE)
    assert len(notes) == 1 and "0.5" in notes[0]


def test_an_image_is_no_mask():
    """A scan in the place of a mask is a mistake, and is told."""
    data = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    with pytest.raises(ValueError, match="neither a mask nor probabilities"):
        load_mask(make_image(data, np.eye(4)))


def test_a_lesion_is_cut_out_of_the_mask():
    """Cost-function masking: inside the mask and outside the lesion, on the image's own grid."""
    image = make_image(np.ones(SHAPE, np.float32), np.eye(4))
    lesion = np.zeros((4, 4, 4), np.uint8)
    lesion[:2] = 1
    affine = np.eye(4)
    affine[:3, 3] = 2, 3, 4  # a small image of the lesion alone: beyond it there is no lesion
    notes = []
    counted = counting_mask(image, None, make_image(lesion, affine), "fixed", notes)
    expected = np.ones(SHAPE, bool)
    expected[2:4, 3:7, 4:8] = False
    np.testing.assert_array_equal(counted.dataobj, expected)
    assert "0.032 ml" in notes[0] and "do not count" in notes[0]
    mask = make_image(INSIDE.astype(np.uint8), np.eye(4))
    both = counting_mask(image, mask, make_image(lesion, affine), "fixed", [])
    np.testing.assert_array_equal(both.dataobj, INSIDE & expected)
    assert counting_mask(image, None, None, "fixed", []) is None
    with pytest.raises(ValueError, match="leaves no voxel"):
        counting_mask(image, None, image, "fixed", [])
