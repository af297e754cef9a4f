"""Files in and out: places kept to the voxel, one clear line for every kind of bad input."""

from __future__ import annotations

import errno
import gzip
import os
import shlex
import shutil
import struct
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nevf_lite.scans.files import atomic
from nevf_lite.scans.io import (
    load_image,
    load_labels,
    read_displacement,
    save_image,
    write_displacement,
)
from nevf_lite.scans.itk import LPS, from_itk, to_itk
from nevf_lite.scans.points import read_points, write_points
from nevf_lite.scans.space import Grid

ANGLE = np.deg2rad(20)
OBLIQUE = np.array(
    [
        [2 * np.cos(ANGLE), -np.sin(ANGLE), 0, -31],
        [2 * np.sin(ANGLE), np.cos(ANGLE), 0, 12],
        [0, 0, -3, 40],
        [0, 0, 0, 1.0],
    ]
)
SUFFIXES = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def refuses(source, *words: str, load=load_image, error=ValueError) -> None:
    """load(source) raises `error` with one line that holds the words."""
    with pytest.raises(error) as caught:
        load(source, "fixed")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for word in ("fixed", *words):
        assert word in message, message


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6)])
def test_image_round_trip(tmp_path, suffix, shape):
    """What is saved in any format comes back: values, shape and place, in 3-D and 2-D."""
    data = noise(*shape)
    path = tmp_path / f"image{suffix}"
    save_image(path, data, Grid(shape, OBLIQUE))
    back = load_image(path)
    assert back.shape == shape and back.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), data)
    assert Grid.of(back) == Grid(shape, OBLIQUE)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", (".nii.gz", ".nrrd"))
def test_another_reader_sees_the_same_voxel_in_the_same_place(tmp_path, suffix):
    """SimpleITK, reading our file itself, puts a marked voxel at our RAS position, in LPS."""
    data = np.zeros((5, 6, 7), np.float32)
    data[1, 4, 2] = 1
    save_image(tmp_path / f"m{suffix}", data, OBLIQUE)
    image = sitk.ReadImage(str(tmp_path / f"m{suffix}"))
    index = np.argwhere(sitk.GetArrayFromImage(image).T)[0]
    point = np.array(image.TransformIndexToPhysicalPoint(index.tolist()))
    expected = Grid(data.shape, OBLIQUE).to_world(np.array([1, 4, 2]))
    np.testing.assert_allclose(point * LPS[:3], expected, atol=1e-4)


def test_sform_and_qform_agree_and_say_so(tmp_path):
    """Readers that prefer either form find the same affine, marked as valid, in millimetres."""
    save_image(tmp_path / "a.nii", noise(4, 5, 6), OBLIQUE)
    header = nib.load(tmp_path / "a.nii").header
    for affine, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(affine, OBLIQUE, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_shear_is_never_put_in_a_qform(tmp_path):
    """A qform cannot hold shear: better none than a wrong one. ITK is told no, with a reason."""
    sheared = OBLIQUE.copy()
    sheared[0, 1] += 0.4
    save_image(tmp_path / "a.nii", noise(4, 5, 6), sheared)
    header = nib.load(tmp_path / "a.nii").header
    assert header["qform_code"] == 0 and header["sform_code"] == 1
    np.testing.assert_allclose(load_image(tmp_path / "a.nii").affine, sheared, atol=1e-5)
    with pytest.raises(ValueError, match="right angles"):
        save_image(tmp_path / "a.nrrd", noise(4, 5, 6), sheared)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (np.array([[0.5, 1], [2, 3]]), np.float32),
        (np.array([[True, False], [False, True]]), np.int16),
        (np.array([[0, 1], [2, 32767]], np.int64), np.int16),
        (np.array([[0, 1], [2, 32768]], np.int64), np.int32),
        (np.array([[-40000, 1], [2, 3]], np.int64), np.int32),
    ],
)
def test_stored_types(tmp_path, data, stored):
    """Data keep their values in the smallest of three types that every tool reads."""
    save_image(tmp_path / "a.nii", data, np.eye(4))
    back = nib.load(tmp_path / "a.nii")
    assert back.get_data_dtype() == stored and back.shape == (2, 2, 1)
    np.testing.assert_array_equal(np.asanyarray(back.dataobj)[..., 0], data)


def test_the_same_image_makes_the_same_bytes(tmp_path):
    """No time stamp (bytes 4 to 7 of a gzip file), no file name inside the compressed file."""
    save_image(tmp_path / "a.nii.gz", noise(4, 5, 6), OBLIQUE)
    save_image(tmp_path / "b.nii.gz", noise(4, 5, 6), OBLIQUE)
    raw = (tmp_path / "a.nii.gz").read_bytes()
    assert raw == (tmp_path / "b.nii.gz").read_bytes() and raw[4:8] == bytes(4)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_single_slice_is_a_2d_image_in_its_place(across):
    """One slice, across any axis: two axes come out, and every voxel keeps its place."""
    shape = [5, 6, 7]
    shape[across] = 1
    volume = nib.Nifti1Image(noise(*shape), OBLIQUE)
    flat = load_image(volume)
    assert flat.shape == tuple(n for n in shape if n > 1)
    volume_points = Grid(tuple(shape), OBLIQUE).points().reshape(*flat.shape, 3)
    np.testing.assert_allclose(Grid.of(flat).points(), volume_points, atol=1e-4)
    np.testing.assert_array_equal(
        np.asanyarray(flat.dataobj).ravel(), np.asanyarray(volume.dataobj).ravel()
    )


def test_arrays_tensors_and_nibabel_images_are_sources_too():
    """An array lies on 1 mm voxels at the origin; an image keeps its affine."""
    data = noise(4, 5, 6)
    for source in (data, torch.from_numpy(data), torch.from_numpy(data).double().requires_grad_()):
        image = load_image(source)
        np.testing.assert_array_equal(image.affine, np.eye(4))
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)
    assert load_image(torch.from_numpy(data).bfloat16()).shape == (4, 5, 6)
    np.testing.assert_array_equal(load_image(nib.Nifti1Image(data, OBLIQUE)).affine, OBLIQUE)
    refuses([[1, 2], [3, 4]], "list")
    refuses(None, "NoneType")


def test_a_fourth_axis_of_one_volume_is_dropped(tmp_path):
    """(X, Y, Z, 1) and (X, Y, 1, 1) are one image."""
    nib.save(nib.Nifti1Image(noise(4, 5, 6, 1), np.eye(4)), tmp_path / "a.nii.gz")
    assert load_image(tmp_path / "a.nii.gz").shape == (4, 5, 6)
    assert load_image(nib.Nifti1Image(noise(4, 5, 1, 1), np.eye(4))).shape == (4, 5)


def test_scaled_integers_and_foreign_byte_order(tmp_path):
    """scl_slope and scl_inter are applied; big-endian files read the same."""
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    assert raw[:4] == struct.pack(">i", 348)
    expected = nib.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_allclose(np.asanyarray(load_image(tmp_path / "a.nii").dataobj), expected)


def test_units_other_than_millimetres(tmp_path):
    """A file in micrometres says so, and ITK listens; so do we, or the two would disagree."""
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = 5, 6, 7
    image = nib.Nifti1Image(noise(4, 5, 6), affine)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    ours = load_image(tmp_path / "a.nii").affine
    _, itk = from_itk(sitk.ReadImage(str(tmp_path / "a.nii")))
    np.testing.assert_allclose(ours, itk, atol=1e-8)
    np.testing.assert_allclose(ours[0, 0], 0.002)


def test_gzip_is_known_by_its_bytes(tmp_path):
    """A .nii.gz that is not compressed, and a .nii that is, are read all the same."""
    nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(raw)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(raw))
    for name in ("plain.nii.gz", "packed.nii"):
        np.testing.assert_array_equal(load_image(tmp_path / name).get_fdata(), noise(4, 5, 6))


def test_itk_conversion_is_its_own_inverse():
    """to_itk then from_itk changes nothing, oblique and anisotropic; 2-D images stay in place."""
    data = noise(4, 5, 6)
    back, affine = from_itk(to_itk(data, OBLIQUE))
    np.testing.assert_array_equal(back, data)
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-12)
    flat = sitk.GetImageFromArray(noise(6, 5))
    flat.SetOrigin((3.0, 4.0))
    _, affine = from_itk(flat)
    np.testing.assert_allclose(affine, [[-1, 0, 0, -3], [0, -1, 0, -4], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_real_brain(nevf_data):
    """A real scan and its labels load on one grid, as nibabel has them."""
    path = nevf_data / "mindboggle" / "trt01_t1.nii.gz"
    image = load_image(path, "fixed")
    labels = load_labels(nevf_data / "mindboggle" / "trt01_seg.nii.gz")
    assert image.shape == (160, 192, 160) and Grid.of(image) == Grid.of(labels)
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)
    assert labels.get_data_dtype() == np.int32 and labels.get_fdata().max() == 95


# --------------------------------------------------------------------------------------- labels


def test_labels_as_floats(tmp_path):
    """Whole numbers stored as floats are labels; fractions are not, and the value is named."""
    data = np.array([[0, 1], [2, 1035]], np.float32)
    labels = load_labels(data)
    assert labels.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asanyarray(labels.dataobj), data)
    refuses(data + np.float32(0.5), "0.5", "whole number", load=load_labels)
    refuses(np.array([[0, np.nan], [1, 2]]), "NaN", load=load_labels)


def test_labels_must_fit():
    """Values beyond 32 bits are refused, not wrapped round."""
    refuses(np.array([[0, 2**31], [1, 2]]), "32 bits", load=load_labels)
    refuses(np.array([[0, 1e12], [1, 2]]), "32 bits", load=load_labels)
    np.testing.assert_array_equal(
        load_labels(np.array([[-(2**31), 2**31 - 1], [1, 2]])).dataobj,
        [[-(2**31), 2**31 - 1], [1, 2]],
    )


def test_mask_of_one_value_is_fine():
    """A map of ones, or of booleans, is a mask that covers everything."""
    assert load_labels(np.ones((3, 4), bool)).get_fdata().min() == 1


# ------------------------------------------------------------------------------------ bad input


def test_missing_folder_wrong_ending_empty_file(tmp_path):
    """Each says which file and what is wrong with it."""
    refuses(tmp_path / "no.nii.gz", "no file", "no.nii.gz", error=FileNotFoundError)
    refuses(str(tmp_path), "folder")
    (tmp_path / "notes.txt").write_text("hello")
    refuses(tmp_path / "notes.txt", ".nii.gz", "notes.txt")
    (tmp_path / "zero.nii.gz").touch()
    refuses(tmp_path / "zero.nii.gz", "empty")
    os.mkfifo(tmp_path / "pipe.nii")
    refuses(tmp_path / "pipe.nii", "ordinary file")


@pytest.mark.parametrize("suffix", (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha", ".mhd", ".nhdr"))
def test_a_file_of_something_else(tmp_path, suffix):
    """Text under an image's name."""
    (tmp_path / f"a{suffix}").write_text("this is not an image\n" * 40)
    refuses(tmp_path / f"a{suffix}", f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated(tmp_path, suffix, kept):
    """A copy that stopped half-way, in every format."""
    path = tmp_path / f"a{suffix}"
    save_image(path, noise(16, 17, 18), np.eye(4))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    refuses(path, path.name)


def test_damaged_in_the_middle_of_a_gzip(tmp_path):
    """A bit that flipped in transfer is noticed through the checksum."""
    path = tmp_path / "a.nii.gz"
    save_image(path, noise(16, 17, 18), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)
    refuses(path, "a.nii.gz")


@pytest.mark.parametrize("packed", [False, True])
def test_header_that_promises_petabytes(tmp_path, packed):
    """The promise is compared with the file before any memory is asked for."""
    nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    for dims, word in (
        ((3, 32767, 32767, 32767), "too large"),
        ((3, 1200, 1200, 1200), "it promises"),
    ):
        struct.pack_into("<4h", raw, 40, *dims)
        path = tmp_path / ("b.nii.gz" if packed else "b.nii")
        path.write_bytes(gzip.compress(raw) if packed else raw)
        refuses(path, word)
    save_image(tmp_path / "a.nrrd", noise(4, 5, 6), np.eye(4))
    text = (tmp_path / "a.nrrd").read_bytes()
    for sizes, word in ((b"32000 32000 32000", "too large"), (b"1200 1200 1200", "it promises")):
        (tmp_path / "b.nrrd").write_bytes(text.replace(b"sizes: 4 5 6", b"sizes: " + sizes))
        refuses(tmp_path / "b.nrrd", word)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (noise(4, 5, 6, 3), "several volumes"),
        (noise(1, 5, 6, 4), "first axis of (1, 5, 6, 4)"),
        (noise(4, 5, 6, 1, 3), "several volumes"),
        (np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
        (noise(4, 5, 6) + 1j, "complex"),
        (np.zeros((4, 5, 6), np.float32), "constant"),
        (np.where(noise(4, 5, 6) > 2, np.nan, 1.0), "NaN"),
        (np.where(noise(4, 5, 6) > 1, np.inf, 1.0), "infinite"),
        (noise(4, 5, 6).astype(float) * 1e39, "float32"),
    ],
)
def test_unusable_data(tmp_path, data, word):
    """The same line whether the image comes from a file or from memory."""
    image = nib.Nifti1Image(data, np.eye(4))
    refuses(image, word)
    nib.save(image, tmp_path / "a.nii.gz")
    refuses(tmp_path / "a.nii.gz", word, "a.nii.gz")


@pytest.mark.parametrize("shape", [(0, 5, 6), (4, 0), (7,), (), (1, 1, 9), (5, 1)])
def test_empty_and_flat_shapes(shape):
    """No voxels, or a line of them, is not an image."""
    refuses(np.ones(shape, np.float32), str(shape))


def test_arrays_that_hold_no_numbers():
    """Text and objects are refused by type."""
    refuses(np.full((3, 4), "a"), "numbers")
    refuses(np.full((3, 4), None, dtype=object), "numbers")


@pytest.mark.parametrize(("slope", "inter"), [(1e37, 0), (3e38, 3e38)])
def test_scl_slope_that_overflows(tmp_path, slope, inter):
    """Integers times a broken slope leave float32: the header's fields are named."""
    data = np.arange(1, 121, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2f", raw, 112, slope, inter)
    (tmp_path / "a.nii").write_bytes(raw)
    refuses(tmp_path / "a.nii", "scl_slope")


@pytest.mark.parametrize("zoom", [0.0, -1.0, np.nan, np.inf, 1e-9, 1e9])
def test_absurd_spacing(tmp_path, zoom):
    """Zero, NaN, nanometres and parsecs; a negative one, for which ITK mirrors the axis."""
    nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", raw, 84, zoom)  # pixdim[2]
    struct.pack_into("<2h", raw, 252, 1, 0)  # qform 1, sform 0: pixdim counts
    (tmp_path / "a.nii").write_bytes(raw)
    refuses(tmp_path / "a.nii", "a.nii", "repair the header")


def test_a_negative_spacing_is_repaired_by_the_command_that_is_named(tmp_path):
    """The line's own command makes a file that is read, and that ITK and we see alike."""
    image = nib.Nifti1Image(noise(4, 5, 6), np.diag([2.0, 3, 4, 1]))
    raw = bytearray(image.to_bytes())
    struct.pack_into("<f", raw, 80, -2.0)  # pixdim[1]
    (tmp_path / "IN.nii.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(ValueError, match="mirrors such an axis") as caught:
        load_image(tmp_path / "IN.nii.gz")
    words = shlex.split(str(caught.value).partition("repair the header: ")[2])
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    repaired = load_image(tmp_path / "OUT.nii.gz")
    assert (repaired.affine == image.affine).all()
    seen = sitk.ReadImage(str(tmp_path / "OUT.nii.gz"))
    assert seen.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)


@pytest.mark.parametrize("broken", ["singular", "nan", "far", "zero"])
def test_unusable_affine(broken):
    """An affine under which voxels have no volume or no place."""
    affine = np.eye(4)
    if broken == "singular":
        affine[:3, 1] = affine[:3, 0]
    elif broken == "nan":
        affine[1, 3] = np.nan
    elif broken == "far":
        affine[1, 3] = 1e8
    else:
        affine[:3, :3] = 0
    image = nib.Nifti1Image(noise(4, 5, 6), np.eye(4))
    image._affine = affine  # nibabel's constructor would refuse some of these in its own words
    refuses(image, "repair the header")


def test_a_lazy_image_whose_file_went_bad(tmp_path):
    """nibabel reads data late; a file damaged meanwhile is still one line."""
    save_image(tmp_path / "a.nii.gz", noise(16, 17, 18), np.eye(4))
    image = nib.load(tmp_path / "a.nii.gz")
    raw = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(raw[: len(raw) // 2])
    refuses(image)


def test_colour_complex_and_missing_parts_in_itk_files(tmp_path):
    """The same refusals for .nrrd and .mha, and for a header whose data file is gone."""
    colour = sitk.GetImageFromArray(noise(6, 5, 4, 3), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "c.nrrd"))
    refuses(tmp_path / "c.nrrd", "colour or vector")
    sitk.WriteImage(sitk.GetImageFromArray(noise(6, 5, 4) + 1j), str(tmp_path / "z.mha"))
    refuses(tmp_path / "z.mha", "z.mha")
    sitk.WriteImage(sitk.GetImageFromArray(noise(6, 5, 4)), str(tmp_path / "d.mhd"))
    assert load_image(tmp_path / "d.mhd").shape == (4, 5, 6)
    (tmp_path / "d.raw").unlink()
    refuses(tmp_path / "d.mhd", "d.mhd")


def test_4d_itk_file_of_one_volume(tmp_path):
    """(X, Y, Z, 1) in an .nrrd is one image; (X, Y, Z, 2) is not."""
    volumes = [sitk.GetImageFromArray(noise(6, 5, 4, seed=i)) for i in (1, 2)]
    sitk.WriteImage(sitk.JoinSeries(volumes[:1]), str(tmp_path / "one.nrrd"))
    np.testing.assert_array_equal(
        load_image(tmp_path / "one.nrrd").get_fdata(), noise(6, 5, 4, seed=1).T
    )
    sitk.WriteImage(sitk.JoinSeries(volumes), str(tmp_path / "two.nrrd"))
    refuses(tmp_path / "two.nrrd", "several volumes")


def test_save_refuses_what_does_not_fit(tmp_path):
    """Wrong shape, type, range or ending: nothing is written."""
    grid = Grid((4, 5, 6), np.eye(4))
    for data, path, word in (
        (noise(4, 5, 7), "a.nii", "shape"),
        (noise(4, 5, 6).astype(float) * 1e39, "a.nii", "float32"),
        (np.full((4, 5, 6), 2**40), "a.nii", "32 bits"),
        (noise(4, 5, 6) + 1j, "a.nii", "numbers"),
        (noise(4, 5, 6), "a.png", ".nii.gz"),
    ):
        with pytest.raises(ValueError, match=word):
            save_image(tmp_path / path, data, grid)
    assert os.listdir(tmp_path) == []


# --------------------------------------------------------------------------------- displacements


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5)])
def test_displacement_round_trip(tmp_path, shape):
    """RAS mm in, LPS mm on disk with the vector intent, RAS mm out."""
    field = noise(*shape, 3)
    path = tmp_path / "warp.nii.gz"
    write_displacement(path, field, Grid(shape, OBLIQUE))
    stored = nib.load(path)
    assert stored.shape == ((4, 5, 6, 1, 3) if len(shape) == 3 else (4, 5, 2, 1, 3))
    assert stored.header["intent_code"] == 1007
    first, ours = (0,) * 4, field[(0,) * len(shape)]
    np.testing.assert_array_equal(np.asanyarray(stored.dataobj)[first], ours * [-1, -1, 1])
    back, affine = read_displacement(path)
    np.testing.assert_array_equal(back, field)
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-5)


def test_displacement_of_one_slice_by_others(tmp_path):
    """A field of a single slice is two-dimensional; two slices that differ are a volume."""
    field = noise(4, 5, 2, 1, 3)
    for slices, shape in ((field[:, :, :1], (4, 5, 3)), (field, (4, 5, 2, 3))):
        image = nib.Nifti1Image(slices, OBLIQUE)
        image.header.set_intent("vector")
        nib.save(image, tmp_path / "warp.nii")
        assert read_displacement(tmp_path / "warp.nii")[0].shape == shape


def test_displacement_refusals(tmp_path):
    """Wrong shapes, NaN, an image instead of a field, a truncated field."""
    path = tmp_path / "warp.nii.gz"
    for field, word in ((noise(4, 5, 6), "wanted"), (noise(4, 5, 6, 3) * np.nan, "NaN")):
        with pytest.raises(ValueError, match=word):
            write_displacement(path, field, np.eye(4))
    with pytest.raises(ValueError, match="wanted"):
        write_displacement(path, noise(4, 5, 6, 3), Grid((4, 5, 7), np.eye(4)))
    assert not path.exists()
    refuses(path, "no file", load=read_displacement, error=FileNotFoundError)
    save_image(path, noise(4, 5, 6), np.eye(4))
    refuses(path, "displacement field", load=read_displacement)
    write_displacement(path, noise(14, 15, 16, 3), np.eye(4))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refuses(path, "truncated", load=read_displacement)


# ---------------------------------------------------------------------------------------- points


def test_points_round_trip_with_other_columns(tmp_path):
    """Names and labels stay beside their points, in the order of the columns."""
    source = tmp_path / "in.csv"
    source.write_text('\ufeffname, X ,y,z,label\nAC,1,2.5,-3,7\n\n"a, b",4e1,5,6\n', "utf-8")
    points = read_points(source)
    np.testing.assert_allclose(points, [[1, 2.5, -3], [40, 5, 6]])
    write_points(tmp_path / "out.csv", points + 1, like=source)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "name, X ,y,z,label",
        "AC,2.000000,3.500000,-2.000000,7",
        '"a, b",41.000000,6.000000,7.000000,',
    ]
    write_points(tmp_path / "plain.csv", points)
    np.testing.assert_allclose(read_points(tmp_path / "plain.csv"), points)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", ("z", "'x,y'")),
        ("x|y|z\n1|2|3\n", ("commas", "semicolons")),
        ("x,y,z,x\n1,2,3,4\n", ("x",)),
        ("x,y,z\n1,2,3\n4,five,6\n", ("line 3", "y", "'five'")),
        ("x,y,z\n1,2\n", ("line 2", "z", "''")),
        ("x,y,z\n1,2,nan\n", ("line 2", "nan")),
        ("x,y,z\n", ("no points",)),
        ("1,2,3\n4,5,6\n", ("column",)),
        ("", ("empty",)),
    ],
)
def test_bad_points(tmp_path, text, words):
    """The line and the column at fault are named."""
    (tmp_path / "p.csv").write_text(text)
    refuses(tmp_path / "p.csv", "p.csv", *words, load=read_points)


def test_points_that_are_not_text(tmp_path):
    """An image where a CSV was wanted."""
    (tmp_path / "p.csv").write_bytes(bytes(range(256)))
    refuses(tmp_path / "p.csv", "text", load=read_points)
    refuses(tmp_path / "q.csv", "no file", load=read_points, error=FileNotFoundError)


def test_write_points_refusals(tmp_path):
    """Shape, finiteness and number are checked before anything is written."""
    write_points(tmp_path / "one.csv", np.ones((1, 3)))
    for points, like, word in (
        (np.ones((2, 2)), None, "shape"),
        (np.full((1, 3), np.nan), None, "NaN"),
        (np.ones((2, 3)), tmp_path / "one.csv", "1 points"),
    ):
        with pytest.raises(ValueError, match=word):
            write_points(tmp_path / "out.csv", points, like)
    assert not (tmp_path / "out.csv").exists()


# ------------------------------------------------------------------------------ whole or nothing


def test_atomic_keeps_the_old_file_on_failure(tmp_path):
    """A failure, Ctrl-C included, leaves what was there and no temporary file."""
    path = tmp_path / "a.b.nii.gz"
    path.write_text("old")
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure), atomic(path) as temporary:
            assert temporary.parent == tmp_path and temporary.name.endswith("a.b.nii.gz")
            temporary.write_text("half")
            raise failure
        assert os.listdir(tmp_path) == ["a.b.nii.gz"] and path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.b.nii.gz"] and path.read_text() == "new"


def test_atomic_places(tmp_path):
    """A missing folder, or a folder where a file should go, is said before any work."""
    with pytest.raises(FileNotFoundError, match="no folder"), atomic(tmp_path / "no" / "a.nii"):
        pass
    with pytest.raises(ValueError, match="is a folder"), atomic(tmp_path):
        pass


def test_full_disk_by_error_code(tmp_path, monkeypatch):
    """ENOSPC in the middle of a write becomes one line and leaves nothing."""

    def no_space(stream, data):
        stream.fileobj.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", no_space)
    with pytest.raises(OSError, match="disk is full") as caught:
        save_image(tmp_path / "a.nii.gz", noise(4, 5, 6), np.eye(4))
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 200 kB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


@pytest.mark.parametrize("suffix", (*SUFFIXES, "warp", "csv"))
def test_full_disk_for_real(tiny_disk, suffix):
    """Every writer, on a disk that fills up under it: one line, nothing left."""
    with pytest.raises(OSError, match="disk") as caught:
        if suffix == "warp":
            write_displacement(tiny_disk / "a.nii.gz", noise(40, 40, 40, 3), np.eye(4))
        elif suffix == "csv":
            write_points(tiny_disk / "a.csv", noise(40000, 3))
        else:
            save_image(tiny_disk / f"a{suffix}", noise(64, 64, 64), np.eye(4))
    assert "\n" not in str(caught.value) and os.listdir(tiny_disk) == []
