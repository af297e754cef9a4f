"""What `nevf` does when the output cannot be, or something fails on the way: one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from cli_inputs import forbid_registration, nevf, refused, write_inputs

from nevf_lite.descent import NonFiniteLoss


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_inputs(tmp_path_factory.mktemp("good"))


@pytest.fixture
def unregistered(monkeypatch) -> None:
    """The optimisation must not start: what is wrong can be known before."""
    forbid_registration(monkeypatch)


# --------------------------------------------------------------------------------- bad outputs


def test_outputs_that_would_destroy_inputs(tmp_path, files, unregistered):
    """No command writes over what it reads."""
    folder = tmp_path / "r"
    folder.mkdir()
    shutil.copy(files["moving"], folder / "warped.nii.gz")
    line = refused(tmp_path, "register", files["fixed"], folder / "warped.nii.gz", "-o", folder)
    assert "is the moving image itself" in line
    line = refused(tmp_path, "apply", files["transform"], files["moving"], "-o", files["moving"])
    assert "is the input itself" in line
    link = tmp_path / "link.nii.gz"
    link.symlink_to(files["moving"])
    line = refused(tmp_path, "apply", files["transform"], files["moving"], "-o", link)
    assert "is the input itself" in line
    line = refused(tmp_path, "invert", files["transform"], "-o", files["transform"])
    assert "is the transform itself" in line
    shutil.copy(files["transform"], folder / "velocity.safetensors")
    for words in (["invert", folder], ["apply", folder, files["moving"]]):
        line = refused(tmp_path, *words, "-o", folder / "warp.nii.gz")
        assert "belongs to the result" in line


def test_outputs_that_cannot_be(tmp_path, files, unregistered):
    """A file where a folder should be, a folder that is missing, an ending nobody writes."""
    (tmp_path / "file").write_text("mine")
    words = ["register", files["fixed"], files["moving"], "-o"]
    assert "is a file" in refused(tmp_path, *words, tmp_path / "file")
    assert "is a file" in refused(tmp_path, *words, tmp_path / "file" / "deeper")
    words = ["apply", files["transform"], files["moving"], "-o"]
    assert "create it first" in refused(tmp_path, *words, tmp_path / "no" / "a.nii.gz")
    assert "should end in" in refused(tmp_path, *words, tmp_path / "a.txt")
    assert "should end in" in refused(tmp_path, "invert", files["transform"], "-o", tmp_path / "a")
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    words = ["apply", files["transform"], tmp_path / "p.csv", "-o"]
    assert ".csv" in refused(tmp_path, *words, tmp_path / "a.nii.gz")
    like = ["--like", files["fixed"]]
    assert "--like" in refused(tmp_path, *words, tmp_path / "a.csv", *like)


def test_a_place_that_may_not_be_written(tmp_path, files, unregistered, monkeypatch):
    """Tried before the work: no permission, a read-only disk, a disk that is nearly full."""
    from nevf_lite.cli import checks

    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(checks.shutil, "disk_usage", lambda _: usage(1, 1, 1000))
        assert "MB free" in refused(tmp_path, *words)
    for number in (errno.EACCES, errno.EROFS):

        def deny(number=number, **_):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(checks.tempfile, "TemporaryFile", deny)
            assert os.strerror(number) in refused(tmp_path, *words)


def test_a_disk_that_fills_up(tmp_path, files, monkeypatch):
    """While the result is written: one line, no half of a file, and the old one as it was."""
    from nevf_lite.registration import folder
    from nevf_lite.scans import files as on_disk

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = ["register", files["fixed"], files["moving"], "--quiet", "--iterations", "1,0,0", "-o"]
    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_displacement", full)
        assert "disk is full" in refused(tmp_path, *words, tmp_path / "r")
    words = ["apply", files["transform"], files["moving"], "-o"]
    (tmp_path / "old.nii.gz").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(on_disk.os, "replace", full)
        for name in ("new.nii.gz", "old.nii.gz"):
            assert "disk is full" in refused(tmp_path, *words, tmp_path / name)
    assert (tmp_path / "old.nii.gz").read_text() == "old"


# ------------------------------------------------------------------------------- other failures


def test_memory_is_checked_first(tmp_path, files, monkeypatch):
    """Too large for the machine: what would fit is named."""
    from nevf_lite.registration import memory

    monkeypatch.setattr(memory, "available_memory", lambda _: 1_000_000)
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    assert "GiB" in refused(tmp_path, *words)


def test_a_device_that_is_not_here(tmp_path, files):
    """It says which, and what to use instead."""
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    line = refused(tmp_path, *words, "--device", "abacus")
    assert "abacus" in line and "cpu" in line


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (NonFiniteLoss("the loss became nan; try a third"), 2, "try a third"),
        (MemoryError("memory: too large"), 2, "too large"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "--spacing"),
        (KeyboardInterrupt(), 130, "nothing was written"),
        (KeyError("oops"), 1, "NEVF_DEBUG=1"),
        (ValueError("two\nlines and \x1b[31mcolour"), 2, "two lines and ?[31mcolour"),
    ],
)
def test_failures_on_the_way(tmp_path, files, monkeypatch, error, status, said):
    """Divergence, memory, Ctrl-C and mistakes of ours each have their line and exit status."""
    from nevf_lite.registration import register as registration

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(registration, "register", fail)
    words = ["register", files["fixed"], files["moving"], "-o", tmp_path / "r"]
    assert said in refused(tmp_path, *words, status=status)


def test_debugging_shows_the_traceback(tmp_path, files, monkeypatch):
    """NEVF_DEBUG=1, for reports; the last line and the exit status stay."""
    monkeypatch.setenv("NEVF_DEBUG", "1")
    result = nevf("register", tmp_path / "none.nii", files["moving"], "-o", tmp_path / "r")
    assert result.exit_code == 2 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("nevf: error: fixed: there is no file")


def test_bad_transforms_and_points(tmp_path, files):
    """A folder without a result, a damaged file, an image that is no displacement, a bad table."""
    words = ["-o", tmp_path / "out.nii.gz"]
    assert "nevf register" in refused(tmp_path, "invert", tmp_path, *words)
    assert "displacement field" in refused(tmp_path, "invert", files["moving"], *words)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(files["transform"].read_bytes()[:100])
    assert "damaged" in refused(tmp_path, "invert", damaged, *words)
    (tmp_path / "p.csv").write_text("x,y\n1,2\n")
    words = ["apply", files["transform"], tmp_path / "p.csv", "-o", tmp_path / "out.csv"]
    assert "x, y and z" in refused(tmp_path, *words)
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "q.csv").write_text("x,y,z\n1,2,3\n4,5,6\n")
    points = ["--fixed-points", tmp_path / "p.csv", "--moving-points", tmp_path / "q.csv"]
    assert "same landmarks" in refused(tmp_path, "evaluate", files["transform"], *points)


def test_applying_to_what_does_not_fit(tmp_path, files):
    """A slice through a 3-D transform; settings of images for labels."""
    words = ["apply", files["transform"], "-o", tmp_path / "out.nii.gz"]
    assert "3-D" in refused(tmp_path, *words, files["slice"])
    line = refused(tmp_path, *words, files["moving_labels"], "--interpolation", "cubic")
    assert "--interpolation" in line
    line = refused(tmp_path, *words, files["moving"], "--label-mode", "onehot")
    assert "--label-mode" in line


def test_data_that_is_not_known(tmp_path, monkeypatch):
    """An unknown dataset, and one that has not been fetched."""
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path))
    monkeypatch.delenv("NEVF_DATA", raising=False)
    assert "wanted one of" in refused(tmp_path, "data", "fetch", "everything")
    assert "nevf data fetch neurite" in refused(tmp_path, "data", "prepare", "neurite")
    assert "oasis" in refused(tmp_path, "demo", "--data", "oasis", "-o", tmp_path / "d")
