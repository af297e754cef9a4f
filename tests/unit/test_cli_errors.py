"""Whatever is wrong, `nevf` says it in one line, exits with status 2 and leaves nothing behind."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import (
    AFFINE,
    SHAPES,
    forbid_registration,
    label_options,
    nevf,
    refused,
    write_inputs,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_inputs(tmp_path_factory.mktemp("good"))


# --------------------------------------------------------------------------------- bad images


def _image(data, affine=AFFINE):
    return lambda path: nib.save(nib.Nifti1Image(np.asarray(data), affine), path)


def _truncated(path: Path) -> None:
    _image(np.random.default_rng(0).normal(size=SHAPES[3]))(path)
    path.write_bytes(path.read_bytes()[:2000])


def _overflowing(path: Path) -> None:
    """Stored as integers, with a slope in the header that takes them beyond any float."""
    image = nib.Nifti1Image(np.full(SHAPES[3], 30000, np.int16), AFFINE)
    image.header.set_slope_inter(1e38, 0)
    raw = bytearray(image.to_bytes())
    raw[112:116] = struct.pack("<f", 1e38)
    path.write_bytes(raw)


SOLID = np.linspace(0, 1, int(np.prod(SHAPES[3])), dtype=np.float32).reshape(SHAPES[3])
HOLED = np.where(SOLID > 0.5, np.nan, SOLID)
BAD_IMAGES = {
    "missing": (None, "there is no file"),
    "folder": (Path.mkdir, "is a folder"),
    "empty file": (Path.touch, "empty"),
    "text": (lambda path: path.write_text("hello"), "not a NIfTI"),
    "truncated": (_truncated, "truncated"),
    "four axes": (_image(np.stack([SOLID, SOLID], -1)), "several volumes"),
    "constant": (_image(np.ones(SHAPES[3], np.float32)), "constant"),
    "NaN": (_image(HOLED), "NaN"),
    "infinite": (_image(np.where(SOLID > 0.5, np.inf, SOLID).astype(np.float32)), "infinite"),
    "complex": (_image(SOLID.astype(np.complex64)), "complex"),
    "overflowing": (_overflowing, "float32"),
    "too small": (_image(SOLID[:5, :5, :5]), "at least 8 voxels"),
    "a line": (_image(SOLID[:, :1, :1]), "not an image"),
}


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_unusable_images(tmp_path, files, kind, role):
    """Each kind of unusable image is told by its role, its file and its fault, before any work."""
    make, words = BAD_IMAGES[kind]
    # the pixels of a header that overflows are seen through its raw bytes
    path = tmp_path / ("bad.nii" if kind == "overflowing" else "bad.nii.gz")
    if make is not None:
        make(path)
    pair = {"fixed": files["fixed"], "moving": files["moving"], role: path}
    line = refused(tmp_path, "register", pair["fixed"], pair["moving"], "-o", tmp_path / "r")
    assert words in line and role in line


def test_a_slice_and_a_volume(tmp_path, files):
    """They cannot be registered with each other, whichever comes first."""
    for one, other in ((files["fixed"], files["slice"]), (files["slice"], files["fixed"])):
        line = refused(tmp_path, "register", one, other, "-o", tmp_path / "r")
        assert "slices with slices" in line


def test_images_apart(tmp_path, files):
    """No overlap: --affine is proposed."""
    far = AFFINE.copy()
    far[:3, 3] = 5000
    _image(SOLID, far)(tmp_path / "far.nii.gz")
    words = ["register", files["fixed"], tmp_path / "far.nii.gz", "-o", tmp_path / "r"]
    assert "--affine" in refused(tmp_path, *words)


@pytest.mark.parametrize("option", ["--fixed-mask", "--moving-mask", "--init", "--resume"])
def test_bad_side_inputs(tmp_path, files, option):
    """Masks and transforms are read before the optimisation, not after."""
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r", option]
    assert "there is no" in refused(tmp_path, *words, tmp_path / "missing.nii.gz")
    _truncated(tmp_path / "cut.nii.gz")
    assert "cut.nii.gz" in refused(tmp_path, *words, tmp_path / "cut.nii.gz")


def test_a_mask_without_anything(tmp_path, files):
    """A mask that is zero everywhere leaves nothing to register."""
    _image(np.zeros(SHAPES[3], np.uint8))(tmp_path / "mask.nii.gz")
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    assert "empty" in refused(tmp_path, *words, "--fixed-mask", tmp_path / "mask.nii.gz")


# --------------------------------------------------------------------------------- bad labels


@pytest.fixture
def unregistered(monkeypatch) -> None:
    """The optimisation must not start: what is wrong can be known before."""
    forbid_registration(monkeypatch)


def test_labels_are_checked_first(tmp_path, files, unregistered):
    """Labels of the wrong kind, on the wrong grid, in other numbers: nothing starts."""
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    both = label_options(files)
    assert "no structure" in refused(tmp_path, *words, *both, "--labels", "7-9")
    assert "range" in refused(tmp_path, *words, *both, "--labels", "1..2")
    assert "there is no file" in refused(tmp_path, *words, *both, "--label-names", "nobody.tsv")
    _image(np.ones((9, 9, 9), np.int16))(tmp_path / "other.nii.gz")
    options = label_options({**files, "fixed_labels": tmp_path / "other.nii.gz"})
    assert "grid" in refused(tmp_path, *words, *options)
    _image(np.full(SHAPES[3], 9, np.int16))(tmp_path / "nine.nii.gz")
    options = label_options({**files, "moving_labels": tmp_path / "nine.nii.gz"})
    assert "number their structures alike" in refused(tmp_path, *words, *options)
    options = label_options({**files, "moving_labels": files["moving"]})
    assert "whole number" in refused(tmp_path, *words, *options)
    table = tmp_path / "names.txt"
    table.write_text("nothing of use\n")
    assert "label_names" in refused(tmp_path, *words, *both, "--label-names", table)


def test_options_that_need_each_other(tmp_path, files, unregistered):
    """Half a pair of options, or two that exclude each other, is told before any image is read."""
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    labels = ["--fixed-labels", files["fixed_labels"]]
    assert "--moving-labels" in refused(tmp_path, *words, *labels)
    assert "--fixed-labels" in refused(tmp_path, *words, "--labels", "1")
    start = ["--init", files["transform"]]
    assert "--init" in refused(tmp_path, *words, *start, "--affine")
    assert "--resume" in refused(tmp_path, *words, *start, "--resume", files["transform"])
    assert "iterations" in refused(tmp_path, *words, "--iterations", "5")
    assert "iterations" in refused(tmp_path, *words, "--iterations", "many,few")
    assert "spacing" in refused(tmp_path, *words, "--spacing", "-2")
    landmarks = ["--fixed-points", files["transform"]]
    assert "--moving-points" in refused(tmp_path, "evaluate", files["transform"], *landmarks)
    assert "wanted a transform" in refused(tmp_path, "evaluate")


def test_usage_errors_have_status_2(tmp_path):
    """A missing argument, an unknown command or preset, an empty word: the usage and one line."""
    cases = {
        ("register",): "Missing argument",
        ("register", "a", "b"): "--output",
        ("regster",): "regster",
        ("register", "a", "b", "-o", "c", "--preset", "slow"): "slow",
        ("register", "a", "b", "-o", ""): "empty",
        ("register", "a", "b", "--output="): "empty",
        ("register", "a", "b", "-o", "c", "--threads", "0"): "--threads",
    }
    for words, said in cases.items():
        result = nevf(*words)
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith("Error: ") and said in result.stderr
