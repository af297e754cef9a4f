"""Damaged files: whatever a header says, one clear line or a usable image comes out, in no time."""

from __future__ import annotations

import gzip
import tempfile
import tracemalloc
import warnings
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nevf_lite.scans.io import (
    load_image,
    load_labels,
    read_displacement,
    save_image,
    write_displacement,
)
from nevf_lite.scans.space import Grid

DATA = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
AFFINE = np.array([[0, -1.5, 0, 9], [2, 0, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1.0]])
HEADER = 352
#: A damage: where, and the byte to put there. Most land in the header, which decides everything.
DAMAGE = st.lists(
    st.tuples(st.integers(0, HEADER - 1) | st.integers(0, 2000), st.integers(0, 255)), max_size=12
)
FUZZ = settings(
    max_examples=150,
    deadline=10_000,  # milliseconds: a hang is a failure, a busy machine is not
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@lru_cache
def original(name: str) -> bytes:
    """The unpacked bytes of a good file."""
    with tempfile.TemporaryDirectory() as folder:
        return _good_files(Path(folder))[name]


def _good_files(folder: Path) -> dict[str, bytes]:
    for suffix in (".nii", ".mgz", ".nrrd", ".mha"):
        save_image(folder / f"a{suffix}", DATA, AFFINE)
    nib.save(nib.Nifti2Image(DATA, AFFINE), folder / "b.nii")
    nib.save(nib.Nifti1Image(DATA, AFFINE, nib.Nifti1Header(endianness=">")), folder / "c.nii")
    write_displacement(folder / "warp.nii", np.stack([DATA] * 3, -1), AFFINE)
    raw = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    raw["a.mgz"] = gzip.decompress(raw["a.mgz"])
    return raw


def survives(path: Path, load) -> None:
    """load gives something finite of two or three axes, or one line; never more than 32 MB."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            result = load(path)
    except (ValueError, OSError) as error:
        message = str(error)
        assert path.name in message and "\n" not in message and len(message) < 500, message
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32e6, f"{peak / 1e6:.0f} MB for a file of {path.stat().st_size} bytes"
    if isinstance(result, tuple):
        values, affine = result
        assert values.shape[-1] == 3
        grid = Grid(values.shape[:-1], affine)
    else:
        values = np.asanyarray(result.dataobj)
        grid = Grid.of(result)
    assert values.dtype in (np.float32, np.int32) and np.isfinite(values).all()
    assert grid.ndim in (2, 3) and min(grid.shape) > 1 and min(grid.spacing) > 0


@pytest.mark.parametrize("name", ["a.nii", "b.nii", "c.nii", "a.mgz"])
@pytest.mark.parametrize("packed", [False, True])
@FUZZ
@given(damage=DAMAGE, cut=st.none() | st.integers(0, 2100))
@example(damage=[(40, 7)], cut=None)
@example(damage=[(43, 8), (45, 8)], cut=None)  # dim: 135 MB
@example(damage=[(70, 0), (71, 8)], cut=None)  # datatype: float128
@example(damage=[(108, 0), (109, 0), (110, 128), (111, 127)], cut=None)  # vox_offset: infinity
@example(damage=[(110, 128), (111, 207)], cut=None)  # vox_offset: far below zero
@example(damage=[(348, 1), (352, 255), (353, 255), (354, 255), (355, 127)], cut=None)  # extension
def test_damaged_nifti_and_mgh(tmp_path, name, packed, damage, cut):
    """Bytes changed in the header or the data, and files cut short, compressed or not."""
    raw = bytearray(original(name))
    for where, value in damage:
        if where < len(raw):
            raw[where] = value
    raw = raw[:cut]
    path = tmp_path / (name.replace(".nii", ".nii.gz") if packed and "nii" in name else name)
    path.write_bytes(gzip.compress(raw, 1) if packed else raw)
    survives(path, load_image)


@FUZZ
@given(where=st.integers(0, 2500), value=st.integers(0, 255), cut=st.integers(0, 2500))
def test_damaged_gzip(tmp_path, where, value, cut):
    """Damage to the compressed bytes themselves."""
    raw = bytearray(gzip.compress(original("a.nii"), 6))
    raw[where % len(raw)] = value
    path = tmp_path / "a.nii.gz"
    path.write_bytes(raw[: len(raw) - cut % 40] if cut % 2 else raw)
    survives(path, load_image)
    survives(path, load_labels)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@FUZZ
@given(damage=DAMAGE, cut=st.none() | st.integers(0, 2100))
def test_damaged_itk_files(tmp_path, name, damage, cut):
    """The same for files that SimpleITK reads for us."""
    raw = bytearray(original(name))
    for where, value in damage:
        if where < len(raw):
            raw[where] = value
    path = tmp_path / name
    path.write_bytes(raw[:cut])
    survives(path, load_image)


@FUZZ
@given(damage=DAMAGE, cut=st.none() | st.integers(0, 5000))
def test_damaged_displacement(tmp_path, damage, cut):
    """The same for displacement fields."""
    raw = bytearray(original("warp.nii"))
    for where, value in damage:
        if where < len(raw):
            raw[where] = value
    path = tmp_path / "warp.nii"
    path.write_bytes(raw[:cut])
    survives(path, read_displacement)
