"""Headers that say two things, one askew, or nothing: we and ITK see the image in one place."""

from __future__ import annotations

import logging
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nevf_lite.scans import placement
from nevf_lite.scans.io import load_image, read_displacement, write_displacement
from nevf_lite.scans.itk import LPS, from_itk
from nevf_lite.scans.readers import open_grid
from nevf_lite.scans.space import Grid

SHAPE = (9, 10, 11)
SFORM = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -40], [0, 0, 2, -20], [0, 0, 0, 1]])
TURN = np.deg2rad(20)
QFORM = SFORM.copy()
QFORM[:2, :3] = [
    [-2 * np.cos(TURN), -2 * np.sin(TURN), 0],
    [-2 * np.sin(TURN), 2 * np.cos(TURN), 0],
]
QFORM[:3, 3] += [5, 3, -7]
SHEARED = SFORM.copy()
SHEARED[0, 1] += 0.4
NEAR = SFORM.copy()
NEAR[0, 3] += 3e-5
#: The largest distance between the two places of a voxel.
APART = np.linalg.norm(Grid(SHAPE, QFORM).points() - Grid(SHAPE, SFORM).points(), axis=-1).max()
DATA = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh_notes():
    placement._noted.clear()


def write(path, qform, sform, codes, data=DATA) -> None:
    """A file with these forms and codes (of the qform, of the sform), and a spacing of 2 mm."""
    image = nib.Nifti1Image(data, None)
    image.header.set_zooms((2,) * 3)
    image.header.set_qform(qform, 1)
    image.header.set_sform(sform, 1)
    raw = bytearray(image.to_bytes())
    struct.pack_into("<2h", raw, 252, *codes)
    path.write_bytes(raw)


@pytest.mark.parametrize("form", [SFORM, SHEARED, NEAR, SFORM @ np.diag([1.1, 1, 1, 1])])
@pytest.mark.parametrize("codes", [(q, s) for q in range(3) for s in range(5)])
def test_we_and_itk_see_one_place(tmp_path, form, codes):
    """Whatever the codes; a sheared sform alone is read by us, and refused by ITK."""
    path = tmp_path / "scan.nii"
    write(path, SFORM if form is NEAR else QFORM, form, codes)
    ours = load_image(path)
    np.testing.assert_array_equal(load_image(nib.load(path)).affine, ours.affine)
    assert open_grid(path, "image") == Grid(SHAPE, ours.affine)
    if codes[0] == 0 and codes[1] and form is SHEARED:
        np.testing.assert_allclose(ours.affine, SHEARED, atol=1e-5)
        with pytest.raises(RuntimeError, match="orthonormal"):
            sitk.ReadImage(str(path))
        return
    _, theirs = from_itk(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(ours.affine, theirs, atol=2e-4)


@pytest.mark.parametrize(
    ("forms", "codes", "words"),
    [
        ((QFORM, SFORM), (1, 2), ("qform, which is taken", f"{APART:.1f} mm")),
        ((QFORM, SFORM), (1, 1), ("sform, which is taken", f"{APART:.1f} mm")),
        ((QFORM, SHEARED), (1, 1), ("qform, which is taken",)),
        ((QFORM, SFORM), (0, 0), ("both codes are 0", "left is a guess")),
        ((QFORM, SHEARED), (0, 1), ("right angles", "ITK cannot read")),
        ((QFORM, SFORM), (0, 2), ()),
        ((QFORM, SFORM), (1, 0), ()),
        ((SFORM, NEAR), (1, 2), ()),
    ],
)
def test_one_note_with_the_size(tmp_path, caplog, forms, codes, words):
    """One line for each file however often it is read, with mm; none where nothing disagrees."""
    write(tmp_path / "scan.nii", *forms, codes)
    with caplog.at_level(logging.WARNING, "nevf_lite"):
        for _ in range(3):
            load_image(tmp_path / "scan.nii", "fixed")
    assert len(caplog.messages) == bool(words)
    for word in (*words, "fixed", "scan.nii") if words else ():
        assert word in caplog.messages[0]
    if words:
        assert "\n" not in caplog.messages[0]


def test_the_size_is_in_millimetres(tmp_path, caplog):
    """Also where the header counts in micrometres, and then 5 of them are not worth a note."""
    shifted = SFORM.copy()
    shifted[:3, 3] += [3, 0, 4]
    write(tmp_path / "a.nii", shifted, SFORM, (1, 4))
    load_image(tmp_path / "a.nii")
    assert "5.0 mm" in caplog.messages[0]
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[123] = 3
    (tmp_path / "b.nii").write_bytes(raw)
    np.testing.assert_allclose(load_image(tmp_path / "b.nii").affine[:3] * 1e3, shifted[:3])
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("shape", [(9, 10), (9, 10, 1)])
def test_the_axis_across_a_slice_is_not_compared(tmp_path, caplog, shape):
    """A 2-D header has no spacing across the slice, and that is no disagreement."""
    image = nib.Nifti1Image(DATA[:, :, 0].reshape(shape), SFORM)
    image.set_qform(SFORM, 1)
    image.header["pixdim"][3] = 1
    nib.save(image, tmp_path / "slice.nii")
    found = load_image(tmp_path / "slice.nii")
    np.testing.assert_array_equal(found.affine, nib.load(tmp_path / "slice.nii").affine)
    assert caplog.messages == []


def test_an_affine_given_in_memory_stays():
    """An image whose affine was set by hand is where its owner put it, without rounding."""
    image = nib.Nifti1Image(DATA, QFORM)
    np.testing.assert_array_equal(load_image(image).affine, QFORM)
    image = nib.Nifti1Image(DATA, SHEARED)
    np.testing.assert_array_equal(load_image(image).affine, SHEARED)
    np.testing.assert_array_equal(load_image(nib.Nifti1Image(DATA, None)).affine, np.eye(4))


def test_a_quaternion_that_is_none_leaves_the_sform(tmp_path):
    """A damaged qform beside a good sform: the good one is taken."""
    write(tmp_path / "a.nii", QFORM, SFORM, (1, 2))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3f", raw, 256, 3.0, np.nan, 5.0)
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_allclose(load_image(tmp_path / "a.nii").affine, SFORM)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[:2]])
def test_a_grid_at_right_angles_covers_the_sheared_one(shape):
    """Every corner of the box lies in it, its spacing is kept, and no axis can be made shorter."""
    sheared = Grid(shape, SHEARED)
    upright = sheared.at_right_angles()
    axes = upright.directions / upright.spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(len(shape)), atol=1e-12)
    np.testing.assert_allclose(upright.spacing, sheared.spacing, atol=1e-12)
    inside = upright.to_voxels(sheared.points()).reshape(-1, len(shape))
    last = np.array(upright.shape) - 1
    assert (inside >= -1e-5).all() and (inside <= last + 1e-5).all()
    assert (inside.min(axis=0) < 1).all() and (inside.max(axis=0) > last - 1).all()


def test_itk_reads_the_field_of_a_sheared_grid(tmp_path):
    """The field moves points as the one that was given, wherever the sheared grid reaches."""
    grid = Grid((16, 18, 14), SHEARED)
    field = np.stack([3 * np.sin(grid.points()[..., i - 1] / 25) for i in range(3)], -1)
    write_displacement(tmp_path / "warp.nii.gz", field.astype(np.float32), grid)
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64)
    )
    voxels = np.random.default_rng(0).uniform(1, np.array(grid.shape) - 2, (60, 3))
    start = grid.to_world(voxels)
    end = [transform.TransformPoint(p) for p in (start * LPS[:3]).tolist()]
    moved = [ndimage.map_coordinates(field[..., i], voxels.T, order=1) for i in range(3)]
    assert np.abs(end * LPS[:3] - start - np.transpose(moved)).max() < 0.02  # resampled once more
    back, affine = read_displacement(tmp_path / "warp.nii.gz")
    assert Grid(back.shape[:-1], affine) == grid.at_right_angles()
