"""DICOM folders: one series is one volume, in the place and with the values of the scanner."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nevf_lite.scans.dicom import read_series
from nevf_lite.scans.itk import from_itk

DATA = np.random.default_rng(0).integers(0, 900, (12, 14, 10))
STRAIGHT = np.eye(3)
TURN = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])


def write_series(
    folder: Path, directions=STRAIGHT, uid="1.2.3.4", skip=(), shift=0.0, name="T1"
) -> None:
    """A series of slices of 1.5 x 2 mm, 3 mm apart; shift: mm along y from slice to slice."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in set(range(DATA.shape[2])) - set(skip):
        image = sitk.GetImageFromArray(np.ascontiguousarray(DATA[:, :, k].T).astype(np.int16))
        image.SetSpacing((1.5, 2.0))
        position = [-20, -30, 10] + directions[:, 2] * 3.0 * k + directions[:, 1] * shift * k
        tags = {
            "0008|0060": "MR",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{k + 1}",
            "0008|103e": name,
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(DATA.shape[2] - k),  # against the order of the positions
            "0020|0032": "\\".join(f"{x:.4f}" for x in position),
            "0020|0037": "\\".join(f"{x:.6f}" for x in directions.T[:2].ravel()),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{name}{(7 * k) % 10}{k}.dcm"))
        writer.Execute(image)


@pytest.mark.parametrize("directions", [STRAIGHT, TURN])
def test_a_series_is_a_volume(tmp_path, directions):
    """Values and affine of a straight and an oblique series, as ITK places them, in RAS."""
    write_series(tmp_path / "s", directions)
    image = read_series(tmp_path / "s")
    np.testing.assert_array_equal(image.dataobj, DATA)
    expected = np.eye(4)
    expected[:3, :3] = np.diag([-1, -1, 1]) @ directions @ np.diag([1.5, 2, 3])
    expected[:3, 3] = 20, 30, 10
    np.testing.assert_allclose(image.affine, expected, atol=1e-3)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s"))
    _, of_itk = from_itk(sitk.ReadImage(files))
    np.testing.assert_allclose(image.affine, of_itk, atol=1e-3)


def test_a_tilted_gantry_is_a_shear(tmp_path):
    """The step between slices is that of their positions, not the normal of the slices."""
    write_series(tmp_path / "s", shift=0.5)
    np.testing.assert_allclose(read_series(tmp_path / "s").affine[:3, 2], [0, -0.5, 3], atol=1e-3)


def test_two_series_in_a_folder(tmp_path, capfd):
    """The folder is refused with both named; a file of one of them reads that one."""
    write_series(tmp_path / "s")
    write_series(tmp_path / "s", uid="1.2.3.5", name="T2")
    with pytest.raises(ValueError, match=r"2 series: .*'T1' \(10 files\).*name a file"):
        read_series(tmp_path / "s")
    np.testing.assert_array_equal(read_series(tmp_path / "s" / "T200.dcm").dataobj, DATA)
    assert capfd.readouterr().err == ""  # no words of ITK


def test_files_of_real_scanners(tmp_path):
    """A whole head in one enhanced file (Philips) is read, a mosaic of Siemens is refused."""
    folder = Path(nib.__file__).parent / "nicom" / "tests" / "data"
    path = tmp_path / "mprage.dcm"
    path.write_bytes(gzip.decompress((folder / "philips_mprage.dcm.gz").read_bytes()))
    image = read_series(path)
    assert image.shape == (256, 256, 176) and nib.aff2axcodes(image.affine) == ("P", "I", "R")
    np.testing.assert_allclose(image.header.get_zooms(), 1, atol=1e-3)
    with pytest.raises(ValueError, match="mosaic.*dcm2niix"):
        read_series(folder / "1.dcm")


def test_refusals(tmp_path, capfd, monkeypatch):
    """Missing slices, no DICOM, nothing there: one line each, and no words of ITK."""
    write_series(tmp_path / "s", skip=(4, 5))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "notes.txt").write_text("hello")
    for path, words, error in (
        ("s", "missing", ValueError),
        ("e", "no DICOM series", ValueError),
        ("e/notes.txt", "not a DICOM image", ValueError),
        ("none", "no file or folder", FileNotFoundError),
    ):
        with pytest.raises(error, match=words):
            read_series(tmp_path / path)
    assert capfd.readouterr().err == ""

    def broken(*_) -> None:
        raise RuntimeError("gdcmAttribute.h:443:\nAn invalid logic behavior occurred")

    monkeypatch.setattr(sitk.ImageSeriesReader, "GetGDCMSeriesIDs", broken)
    with pytest.raises(ValueError, match="is damaged.*a folder of their own"):
        read_series(tmp_path / "s")
