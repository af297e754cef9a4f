"""`nevf apply` on what people have: maps with holes, CT, series, DICOM, Analyze, points of Slicer.

The transform shifts by whole voxels, so every value that should come out is known.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import AFFINE, good, nevf, refused
from test_dicom import DATA, write_series

from nevf_lite.scans.io import save_image, write_displacement
from nevf_lite.scans.points import read_points
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

SHAPE = (20, 22, 18)
STEP = 2  # voxels along the first axis: the fixed voxel i is the moving voxel i + 2
VALUES = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


@pytest.fixture
def shift(tmp_path) -> Path:
    """A transform of 8 mm, which is STEP voxels."""
    matrix, grid = np.eye(4), Grid(SHAPE, AFFINE)
    matrix[0, 3] = STEP * AFFINE[0, 0]
    Transform.from_affine(matrix, grid, grid).save(tmp_path / "shift.safetensors")
    return tmp_path / "shift.safetensors"


def save(path: Path, data, affine=AFFINE) -> Path:
    nib.save(nib.Nifti1Image(np.asarray(data), affine), path)
    return path


def shifted(data: np.ndarray, outside: float) -> np.ndarray:
    out = np.full_like(data, outside)
    out[:-STEP] = data[STEP:]
    return out


def warped(tmp_path: Path, *words) -> np.ndarray:
    result = nevf("apply", *words, "-o", tmp_path / "out.nii.gz")
    assert result.exit_code == 0, result.stderr
    return np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic"])
def test_nan_stays_nan(tmp_path, shift, interpolation):
    """Fault 4: a t map with NaN outside the brain keeps its values, its brain and its NaN."""
    inside = np.zeros(SHAPE, bool)
    inside[4:15, 5:16, 4:12] = True
    source = save(tmp_path / "t.nii.gz", np.where(inside, VALUES, np.nan).astype(np.float32))
    found = warped(tmp_path, shift, source, "--interpolation", interpolation)
    expected = shifted(np.where(inside, VALUES, np.nan), np.nan)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_nan_does_not_eat_into_the_brain(tmp_path):
    """Fault 4: half a voxel away the map is as large as before, and a constant stays constant."""
    grid, matrix = Grid(SHAPE, AFFINE), np.eye(4)
    matrix[0, 3] = 0.4 * AFFINE[0, 0]
    Transform.from_affine(matrix, grid, grid).save(tmp_path / "half.safetensors")
    data = np.full(SHAPE, np.nan, np.float32)
    data[4:15, 5:16, 4:12] = 3.5
    found = warped(tmp_path, tmp_path / "half.safetensors", save(tmp_path / "t.nii.gz", data))
    assert np.isfinite(found).sum() == np.isfinite(data).sum()
    np.testing.assert_allclose(found[np.isfinite(found)], 3.5, rtol=1e-6)


def test_infinity_is_missing_and_said(tmp_path, shift):
    """Fault 4: a map of -log p with infinite values comes out with NaN there, and a note."""
    data = VALUES.copy()
    data[10, 10, 10] = np.inf
    result = nevf("apply", shift, save(tmp_path / "p.nii.gz", data), "-o", tmp_path / "o.nii.gz")
    assert result.exit_code == 0 and "infinite" in result.stderr
    found = nib.load(tmp_path / "o.nii.gz").get_fdata()
    assert (
        np.isnan(found[10 - STEP, 10, 10]) and np.isfinite(found[:-STEP]).sum() == 18 * 22 * 18 - 1
    )


def test_constant_maps_and_empty_labels(tmp_path, shift):
    """Fault 4: a coverage map of one value and a label map of nothing are warped like any other."""
    coverage = save(tmp_path / "c.nii.gz", np.full(SHAPE, 0.7, np.float32))
    expected = shifted(np.full(SHAPE, 0.7, np.float32), 0)
    np.testing.assert_allclose(warped(tmp_path, shift, coverage), expected)
    empty = save(tmp_path / "e.nii.gz", np.zeros(SHAPE, np.int16))
    for kind in ([], ["--kind", "labels"], ["--kind", "image"]):
        result = nevf("apply", shift, empty, "-o", tmp_path / "o.nii.gz", *kind)
        assert result.exit_code == 0 and "everywhere" not in result.stderr
        assert not nib.load(tmp_path / "o.nii.gz").get_fdata().any()


@pytest.mark.parametrize(
    ("fill", "outside"), [([], 0), (["-1000"], -1000), (["min"], VALUES.min()), (["nan"], np.nan)]
)
@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic"])
def test_fill(tmp_path, shift, fill, outside, interpolation):
    """Fault 11: what the moving image does not reach is air in CT, not water."""
    source = save(tmp_path / "ct.nii.gz", VALUES)
    words = ["--interpolation", interpolation, *(["--fill", *fill] if fill else [])]
    found = warped(tmp_path, shift, source, *words)
    np.testing.assert_allclose(found, shifted(VALUES, outside), atol=1e-3)


def test_fill_agrees_with_padding(tmp_path):
    """Fault 11: between the last voxel and the outside, values are those of a padded image."""
    grid, matrix = Grid(SHAPE, AFFINE), np.eye(4)
    matrix[:3, 3] = 5.0, -3.0, 2.0
    Transform.from_affine(matrix, grid, grid).save(tmp_path / "t.safetensors")
    padded = np.pad(VALUES, 4, constant_values=-1000)
    origin = AFFINE.copy()
    origin[:3, 3] -= 16
    words = [tmp_path / "t.safetensors"]
    found = warped(tmp_path, *words, save(tmp_path / "ct.nii.gz", VALUES), "--fill", "-1000")
    wanted = warped(tmp_path, *words, save(tmp_path / "padded.nii.gz", padded, origin))
    np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_the_space_of_the_target_is_kept(tmp_path, shift):
    """Fault 15: MNI (4) stays MNI, from --like or from the field; volumes, series and labels."""
    source = save(tmp_path / "a.nii.gz", VALUES)
    series = save(tmp_path / "s.nii.gz", np.stack([VALUES, VALUES], -1))
    field, like = tmp_path / "field.nii.gz", tmp_path / "mni.nii.gz"
    write_displacement(field, np.ones((*SHAPE, 3), np.float32), AFFINE, code=4)
    save_image(like, VALUES.round(), AFFINE, code=4)
    out = tmp_path / "out.nii.gz"
    for words, code in (
        ([shift, source, "--like", like], 4),
        ([shift, series, "--like", like], 4),
        ([field, source], 4),
        ([field, source, "--kind", "image", "--inverse"], 1),
        ([shift, source], 1),
    ):
        good("apply", *words, "-o", out)
        header = nib.load(out).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (code, code), words
    for warp in (Transform.load(shift).warp_image, Transform.load(shift).warp_labels):
        assert int(warp(like, like=nib.load(like)).header["sform_code"]) == 4


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_series_is_warped_volume_by_volume(tmp_path, shift, ending):
    """Fault 4: 4-D in, 4-D out: each volume where it belongs, with the time step in seconds."""
    data = np.stack([VALUES, 2 * VALUES, VALUES - 300], -1)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((4, 4, 4, 2.2))
    image.header["toffset"] = 4.4
    nib.save(image, tmp_path / "bold.nii.gz")
    out = tmp_path / f"out{ending}"
    good("apply", shift, tmp_path / "bold.nii.gz", "-o", out, "--fill", "7")
    found = nib.load(out)
    assert found.shape == data.shape and found.header.get_xyzt_units() == ("mm", "sec")
    assert found.header.get_zooms()[3] == pytest.approx(2.2)
    assert found.header["toffset"] == pytest.approx(4.4)
    np.testing.assert_allclose(found.affine, AFFINE)
    for index in range(3):
        expected = shifted(data[..., index], 7)
        np.testing.assert_allclose(found.dataobj[..., index], expected, atol=1e-3)
    words = ["apply", shift, save(tmp_path / "small.nii.gz", VALUES[:10, :10, :10])]
    good(*words, "-o", tmp_path / "o.nii.gz", "--like", tmp_path / "bold.nii.gz")
    assert nib.load(tmp_path / "o.nii.gz").shape == SHAPE


def test_a_series_of_labels_stays_whole_numbers(tmp_path, shift):
    """Fault 4: labels over time are read by nearest neighbour, as integers."""
    labels = np.zeros((*SHAPE, 2), np.int16)
    labels[4:10, 4:10, 4:10, 0], labels[8:14, 8:14, 8:14, 1] = 3, 2035
    found = warped(tmp_path, shift, save(tmp_path / "l.nii.gz", labels), "--kind", "labels")
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, shifted(labels, 0))


def test_a_series_is_never_whole_in_memory(tmp_path):
    """Fault 4: 48 volumes of a megabyte, read and written with a few of them in memory."""
    shape = (64, 64, 64)
    grid = Grid(shape, np.eye(4))
    Transform.identity(grid).save(tmp_path / "t.safetensors")
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), shape)
    data = np.broadcast_to(ramp[..., None], (*shape, 48))
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "bold.nii")
    words = ["apply", tmp_path / "t.safetensors", tmp_path / "bold.nii", "--kind", "image"]
    good(*words, "-o", tmp_path / "first.nii.gz")  # imports
    tracemalloc.start()
    good(*words, "-o", tmp_path / "o.nii")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20 < data.nbytes, peak
    assert np.array_equal(nib.load(tmp_path / "o.nii").dataobj[..., 47], ramp)


def test_series_that_cannot_be_warped(tmp_path, shift):
    """Fault 4: vectors, a file that ends early, another ending: a line each, nothing written."""
    out = tmp_path / "o.nii.gz"
    vectors = save(tmp_path / "v.nii.gz", np.zeros((*SHAPE, 1, 3), np.float32))
    line = refused(tmp_path, "apply", shift, vectors, "-o", out)
    assert "vectors" in line and "registered" not in line
    series = save(tmp_path / "s.nii.gz", np.stack([VALUES] * 3, -1))
    assert "output of a series" in refused(
        tmp_path, "apply", shift, series, "-o", tmp_path / "o.mha"
    )
    raw = series.read_bytes()
    series.write_bytes(raw[: int(0.8 * len(raw))])
    assert "truncated" in refused(tmp_path, "apply", shift, series, "-o", out)
    one = save(tmp_path / "one.nii.gz", VALUES)
    assert "number, min or nan" in refused(
        tmp_path, "apply", shift, one, "-o", out, "--fill", "air"
    )
    words = ["apply", shift, one, "-o", out, "--kind", "labels", "--fill", "3"]
    assert "--fill was given without an image" in refused(tmp_path, *words)


def test_dicom_and_analyze(tmp_path):
    """A folder of DICOM and an Analyze pair are warped like the same image in NIfTI."""
    write_series(tmp_path / "series")
    folder = tmp_path / "series"
    affine = np.diag([-1.5, -2, 3, 1])
    affine[:3, 3] = 20, 30, 10
    grid = Grid(DATA.shape, affine)
    Transform.identity(grid).save(tmp_path / "t.safetensors")
    out = tmp_path / "o.nii.gz"
    assert "add --dicom" in refused(
        tmp_path, "apply", tmp_path / "t.safetensors", folder, "-o", out
    )
    one = next(folder.iterdir())
    assert "add --dicom" in refused(tmp_path, "info", "--image", one)
    for source in (folder, one):
        told = json.loads(good("info", "--image", source, "--dicom", "--preset", "paper", "--json"))
        assert len(told["memory"][0]["shape"]) == 3
    words = [tmp_path / "t.safetensors", folder, "--dicom", "--like", folder, "--kind", "image"]
    np.testing.assert_array_equal(warped(tmp_path, *words), DATA)
    data = DATA.astype(np.int16)
    nib.save(nib.AnalyzeImage(data, np.diag([-1.5, 2, 3, 1])), tmp_path / "a.img")
    nib.save(nib.Nifti1Pair(data, affine), tmp_path / "n.img")
    words = ["apply", tmp_path / "t.safetensors"]
    for name, noted in (("a.hdr", True), ("n.hdr", False), ("n.img", False)):
        result = nevf(*words, tmp_path / name, "-o", out, "--like", tmp_path / name)
        assert result.exit_code == 0 and ("no orientation" in result.stderr) == noted, result.stderr
    np.testing.assert_array_equal(nib.load(out).dataobj, data)
    (tmp_path / "n.hdr").unlink()
    assert "there is no file" in refused(tmp_path, *words, tmp_path / "n.img", "-o", out)
    (tmp_path / "a.hdr").write_text("hello")
    assert "Analyze" in refused(tmp_path, *words, tmp_path / "a.img", "-o", out)


def test_points_of_other_tools(tmp_path, shift):
    """Fault 10: ANTs' header is LPS with a note; Slicer's files say it; a word for other tables."""
    point = np.array([[12.0, -30, 7]])
    there = point - [STEP * AFFINE[0, 0], 0, 0]
    (tmp_path / "ants.csv").write_text("x,y,z,t,label,comment\n-12,30,7,0,4,AC\n")
    (tmp_path / "plain.tsv").write_text("name\tx\ty\tz\nAC\t-12\t30\t7\n")
    result = nevf("apply", shift, tmp_path / "ants.csv", "-o", tmp_path / "o.csv")
    assert result.exit_code == 0 and "LPS" in result.stderr and "--ras" in result.stderr
    row = (tmp_path / "o.csv").read_text().splitlines()[1]
    assert row == "-4.000000,30.000000,7.000000,0,4,AC"
    out = tmp_path / "o.mrk.json"
    assert nevf("apply", shift, tmp_path / "plain.tsv", "-o", out, "--lps").stderr == ""
    np.testing.assert_allclose(read_points(out), there)
    good("apply", shift, out, "-o", tmp_path / "o.fcsv", "--inverse")
    np.testing.assert_allclose(read_points(tmp_path / "o.fcsv"), point)
    good("apply", shift, tmp_path / "plain.tsv", "-o", tmp_path / "o.tsv", "--ras")
    row = (tmp_path / "o.tsv").read_text().splitlines()[1]
    assert row == "AC\t-20.000000\t30.000000\t7.000000"
    (tmp_path / "far.csv").write_text("x,y,z\n12,-30,7\n12,-30,907\n")  # micrometres, say
    result = nevf("apply", shift, tmp_path / "far.csv", "-o", tmp_path / "q.csv")
    assert result.exit_code == 0 and "1 of 2 points" in result.stderr
    for name in ("shift.mat", "shift.h5"):  # they say no grid, and points need none
        Transform.load(shift).save(tmp_path / name)
        good("apply", tmp_path / name, tmp_path / "far.csv", "-o", tmp_path / "r.csv")
        np.testing.assert_allclose(read_points(tmp_path / "r.csv")[0], there[0], atol=1e-5)
    words = ["apply", shift, out, "-o", tmp_path / "p.fcsv"]
    assert "--lps was given without a table" in refused(tmp_path, *words, "--lps")
    assert "exclude each other" in refused(tmp_path, *words, "--lps", "--ras")
    points = ["--fixed-points", tmp_path / "ants.csv", "--moving-points", tmp_path / "ants.csv"]
    assert "Landmarks, mean distance      0.00" in good("evaluate", *points, "--lps")
    assert "without --fixed-points" in refused(tmp_path, "evaluate", shift, "--ras")
