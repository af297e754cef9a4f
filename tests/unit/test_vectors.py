"""Foreign vector fields: the frame and the kind of vectors that the header says, or a refusal."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nevf_lite.scans.io import read_displacement
from nevf_lite.scans.itk import to_itk
from nevf_lite.scans.space import Grid

AFFINE = np.array([[0, -1.5, 0, 9], [2, 0, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1.0]])
GRID = Grid((6, 7, 8), AFFINE)
FLIP = np.array([-1, -1, 1])
#: Displacements in RAS mm, the truth.
FIELD = np.random.default_rng(0).normal(size=(6, 7, 8, 3)).astype(np.float32)


def save(path, vectors, code, name="", p1=0.0) -> None:
    image = nib.Nifti1Image(vectors[:, :, :, None].astype(np.float32), AFFINE)
    image.header["intent_code"], image.header["intent_name"] = code, name.encode()
    image.header["intent_p1"] = p1
    nib.save(image, path)


@pytest.mark.parametrize(
    ("vectors", "code", "name", "p1"),
    [
        (FIELD * FLIP, 1007, "", 0),
        (FIELD, 1006, "", 0),
        (FIELD + GRID.points(), 1007, "Mapping", 0),
        (FIELD + GRID.points(), 1007, "NREG_TRANS", 0),
        (FIELD, 1007, "NREG_TRANS", 1),
    ],
    ids=["ITK", "Slicer", "SPM", "NiftyReg positions", "NiftyReg displacements"],
)
def test_what_the_header_says(tmp_path, vectors, code, name, p1):
    """One displacement in the words of five programs comes out the same."""
    save(tmp_path / "warp.nii.gz", vectors, code, name, p1)
    field, affine = read_displacement(tmp_path / "warp.nii.gz")
    np.testing.assert_allclose(field, FIELD, atol=1e-5)
    np.testing.assert_allclose(affine, AFFINE)


@pytest.mark.parametrize("code", [1006, 1007])
def test_itk_understands_the_vectors_alike(tmp_path, code):
    """SimpleITK, on the very same file: +9 is +9 under 1006 and -9 under 1007."""
    save(tmp_path / "warp.nii", np.broadcast_to([9.0, 4, 1], (6, 7, 8, 3)), code)
    image = sitk.ReadImage(str(tmp_path / "warp.nii"), sitk.sitkVectorFloat64)
    theirs = np.array(image[2, 3, 4]) * FLIP
    ours = read_displacement(tmp_path / "warp.nii")[0][2, 3, 4]
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, [9, 4, 1] if code == 1006 else [-9, -4, 1])


def test_gaps_of_positions_are_continued(tmp_path):
    """SPM leaves NaN where its map is not defined: the nearest displacement goes on there."""
    vectors = np.full((6, 7, 8, 3), [2.0, -3, 1]) + GRID.points()
    vectors[0, :, :4] = np.nan
    save(tmp_path / "y_scan.nii", vectors, 1007, "Mapping")
    field = read_displacement(tmp_path / "y_scan.nii")[0]
    np.testing.assert_allclose(field, np.broadcast_to([2, -3, 1], field.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("vectors", "code", "name", "p1", "words"),
    [
        (FIELD, 0, "", 0, ("intent 0", "set_intent")),
        (FIELD, 1005, "", 0, ("intent 1005", "set_intent")),
        (FIELD, 1007, "Velocity", 0, ("'Velocity'", "set_intent")),
        (FIELD, 2006, "", 0, ("FSL", "wb_command")),
        (FIELD, 2007, "", 0, ("FSL", "wb_command")),
        (FIELD, 1007, "NREG_TRANS", 2, ("control points", "reg_transform")),
        (FIELD, 1007, "NREG_TRANS", 5, ("velocities", "reg_transform")),
        (FIELD, 1007, "NREG_TRANS", np.nan, ("NiftyReg",)),
        (FIELD + GRID.points(), 1007, "", 0, ("positions", "subtract")),
        (FIELD + GRID.points() * FLIP, 1007, "", 0, ("positions", "subtract")),
        (FIELD + GRID.points(), 1006, "", 0, ("positions", "subtract")),
        (FIELD * np.nan, 1007, "", 0, ("NaN",)),
        (FIELD * np.nan, 1007, "Mapping", 0, ("NaN",)),
        (FIELD[..., :2], 1007, "", 0, ("shape",)),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path, vectors, code, name, p1, words):
    """One line with the file's name, what it is, and the way out."""
    save(tmp_path / "warp.nii.gz", vectors, code, name, p1)
    with pytest.raises(ValueError) as caught:
        read_displacement(tmp_path / "warp.nii.gz")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for word in ("warp.nii.gz", *words):
        assert word in message, message


def test_a_large_scaling_is_no_position(tmp_path):
    """From a mouse to a rat, or half the size, with a shift: still displacements."""
    for factor in (0.7, -0.5):
        save(tmp_path / "warp.nii", factor * GRID.points() + 40, 1006)
        field = read_displacement(tmp_path / "warp.nii")[0]
        np.testing.assert_allclose(field, factor * GRID.points() + 40, atol=1e-4)


@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_fields_of_itk_in_its_own_formats(tmp_path, ending):
    """Written by SimpleITK, read as the same displacement on the same grid."""
    right_angled = Grid(GRID.shape, AFFINE)
    image = to_itk(FIELD * FLIP, right_angled.affine, vectors=True)
    sitk.WriteImage(image, str(tmp_path / f"warp{ending}"))
    field, affine = read_displacement(tmp_path / f"warp{ending}")
    np.testing.assert_allclose(field, FIELD, atol=1e-6)
    assert Grid(field.shape[:-1], affine) == right_angled


def test_itk_images_that_are_no_fields(tmp_path):
    """Scalars, colours, positions and truncated files, each in one line."""
    scalar = sitk.GetImageFromArray(FIELD[..., 0])
    two = sitk.GetImageFromArray(FIELD[..., :2], isVector=True)
    positions = to_itk((FIELD + GRID.points()) * FLIP, AFFINE, vectors=True)
    for image, word in ((scalar, "1 numbers"), (two, "2 numbers"), (positions, "positions")):
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        with pytest.raises(ValueError, match=f"a.mha.*{word}"):
            read_displacement(tmp_path / "a.mha")
    raw = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="a.mha"):
        read_displacement(tmp_path / "a.mha")


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_slices_of_two_components(tmp_path, ending):
    """Fields of ANTs and ITK in two dimensions: vectors in the plane, on a 2-D grid."""
    image = sitk.GetImageFromArray(FIELD[0, :, :, :2].astype(np.float64), isVector=True)
    image.SetSpacing((1.5, 2.0))
    image.SetOrigin((3.0, -4.0))
    sitk.WriteImage(image, str(tmp_path / f"warp{ending}"))
    field, affine = read_displacement(tmp_path / f"warp{ending}")
    assert field.shape == (8, 7, 3)
    np.testing.assert_allclose(field[5, 2, :2], -FIELD[0, 2, 5, :2], atol=1e-6)
    assert not field[..., 2].any()
    start = Grid((8, 7), affine).to_world(np.array([5, 2]))
    np.testing.assert_allclose(start[:2], -np.array([3 + 5 * 1.5, -4 + 2 * 2.0]), atol=1e-5)
