"""DICOM: one series of slices as one volume, read through SimpleITK (GDCM)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from nevf_lite.scans.header_checks import check_affine, check_layout
from nevf_lite.scans.io import make_image
from nevf_lite.scans.itk import LPS, captured_stderr, from_itk

#: Tags of DICOM: ImagePositionPatient, SeriesDescription, ImageType.
POSITION, DESCRIPTION, TYPE = "0020|0032", "0008|103e", "0008|0008"
#: Largest deviation of the slices from equal steps, as a share of a step.
UNEVEN = 0.02


def read_series(source: str | os.PathLike, name: str = "image") -> nib.Nifti1Image:
    """Read a DICOM series: a folder that holds one, or any file of one where it holds several.

    Values are those of the scanner, with slope and intercept applied (Hounsfield units in CT). The
    step from slice to slice is that of their positions, so a tilted gantry gives a sheared affine.
    Raises FileNotFoundError, or ValueError for a folder without DICOM or with several series, for
    colour, for slices that are missing, and for a damaged file among them.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{name}: there is no file or folder {path}; check the path")
    name = f"{name} ({path})"
    with _quiet():
        return _read(_files_of_series(path, name), name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ITK and what it reads with print warnings of several lines; what they say is checked here."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with captured_stderr():
            yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _files_of_series(path: Path, name: str) -> tuple[str, ...]:
    """The files of the one series of a folder, or of the series of a file, in order of position."""
    import SimpleITK as sitk

    folder = path if path.is_dir() else path.parent
    reader = sitk.ImageSeriesReader
    try:
        found = {
            series: reader.GetGDCMSeriesFileNames(str(folder), series)
            for series in reader.GetGDCMSeriesIDs(str(folder))
        }
    except RuntimeError as error:  # one damaged file is enough, whatever series it is of
        raise ValueError(
            f"{name}: a file in {folder} is damaged, and none of its series can be listed; put the "
            "files of the series into a folder of their own"
        ) from error
    if path.is_file():
        for files in found.values():
            if any(Path(file).samefile(path) for file in files):
                return files
        raise ValueError(f"{name}: this is not a DICOM image")
    if not found:
        raise ValueError(f"{name}: there is no DICOM series in this folder")
    if len(found) > 1:
        listed = ", ".join(
            f"{_description(files[0])!r} ({len(files)} files)" for files in found.values()
        )
        raise ValueError(
            f"{name}: it holds {len(found)} series: {listed[:160]}; name a file of the one you want"
        )
    return next(iter(found.values()))


def _description(file: str) -> str:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader.GetMetaData(DESCRIPTION).strip() if reader.HasMetaDataKey(DESCRIPTION) else "?"


def _read(files: tuple[str, ...], name: str) -> nib.Nifti1Image:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.LoadPrivateTagsOff()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:120]
        raise ValueError(f"{name}: the series cannot be read ({reason})") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{name}: a colour image; convert it to one grey channel first")
    if reader.HasMetaDataKey(0, TYPE) and "MOSAIC" in reader.GetMetaData(0, TYPE):
        raise ValueError(f"{name}: a mosaic of slices (Siemens); convert it with dcm2niix first")
    if image.GetDimension() == 4:  # one file that holds all frames, and the axis of the series
        image = image[:, :, :, 0]
    data, affine = from_itk(image)
    check_layout(data.shape, data.dtype, name)
    if len(files) > 1 and all(reader.HasMetaDataKey(i, POSITION) for i in range(len(files))):
        texts = [reader.GetMetaData(i, POSITION) for i in range(len(files))]
        positions = np.array([[float(x) for x in text.split("\\")] for text in texts])
        affine[:3, 2] = LPS[:3] * _step(positions, name)
    check_affine(affine, name)
    return make_image(data, affine)


def _step(positions: np.ndarray, name: str) -> np.ndarray:
    """The step from slice to slice, (3,) mm; positions: (slices, 3). ValueError if uneven."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    length = np.linalg.norm(step)
    if length == 0:
        raise ValueError(f"{name}: all slices lie at one position; is it a series over time?")
    if np.linalg.norm(positions - expected, axis=1).max() > UNEVEN * length:
        raise ValueError(
            f"{name}: its {len(positions)} slices are not evenly spaced; are some missing?"
        )
    return step
