"""What a file holds, and how it is read: images, folders of DICOM, labels, series, points."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from nevf_lite.cli.terminal import note

if TYPE_CHECKING:
    import nibabel as nib

    from nevf_lite.scans.points import PointFile

Kind = StrEnum("Kind", ["image", "labels", "points"])
#: Fraction of equal neighbours from which whole numbers are taken for labels. Neighbouring voxels
#: of a label map are mostly equal; in a scan, noise makes them differ.
MIN_EQUAL = 0.5
#: The largest number of float32.
LARGEST = (2 - 2**-23) * 2.0**127
#: How files of DICOM are called, where they have an ending.
DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_HELP = (
    "may be folders of DICOM files, one series each, or one file of a series where a folder holds "
    "several."
)


def stem(path: Path) -> str:
    """The name of a file without its suffix; .nii.gz is one suffix."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def image_source(path: Path, name: str, dicom: bool) -> Path | nib.Nifti1Image:
    """The path itself, or with --dicom the image of the series that it names."""
    from nevf_lite.scans.analyze import lacks_orientation
    from nevf_lite.scans.readers import IMAGE_SUFFIXES

    if dicom and not path.name.lower().endswith(IMAGE_SUFFIXES):
        from nevf_lite.scans.dicom import read_series

        return read_series(path, name)
    if path.expanduser().is_dir():
        raise ValueError(
            f"{name}: {path} is a folder; name a file in it, or add --dicom if it holds DICOM"
        )
    if path.suffix.lower() in DICOM_SUFFIXES:
        raise ValueError(f"{name}: {path} is a file of DICOM; add --dicom to read its whole series")
    if lacks_orientation(path.expanduser()):
        note(f"{path} is Analyze and has no orientation: its x axis is taken to run to the left")
    return path


def read_point_file(path: Path, name: str, space: str | None) -> PointFile:
    """A file of points. space: that of --lps or --ras, or None; an assumed one is noted."""
    from nevf_lite.scans.points import PointFile

    found = PointFile.read(path, name, space)
    if found.note:
        note(found.note)
    return found


def point_space(lps: bool, ras: bool) -> str | None:
    """The space that --lps or --ras states. Raises ValueError for both."""
    if lps and ras:
        raise ValueError("--lps and --ras exclude each other; keep the one that the table is in")
    return "LPS" if lps else "RAS" if ras else None


def parse_fill(text: str | None) -> float | str | None:
    """The value of --fill: a number, "min" or None. Raises ValueError for another word."""
    if text is None or text.lower() == "min":
        return text and "min"
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value) or abs(value) > LARGEST:
        raise ValueError(f"--fill: wanted a number, min or nan, got {text!r}")
    return value


def fill_of(value: float | str | None, data) -> float | None:
    """The number that a value of --fill means for an image; "min" is its darkest voxel's.

    data: (*shape), which may hold NaN and infinity; read for "min" alone.
    """
    import numpy as np

    if value != "min":
        return value
    data = np.asarray(data)
    finite = np.isfinite(data)
    return float(data[finite].min()) if finite.any() else None


def is_points(path: Path, kind: Kind | None) -> bool:
    """Whether a file holds points: as --kind says, or by its ending."""
    from nevf_lite.scans.points import SUFFIXES

    return kind == Kind.points or (kind is None and path.name.lower().endswith(SUFFIXES))


def detect_kind(path: Path, source) -> Kind:
    """Whether an image holds labels, by its voxels; prints a note where this can be wrong.

    source: what is read, the path or a nibabel image.
    """
    from nevf_lite.scans.readers import open_image

    data, _, _ = open_image(source, "input")
    if data.dtype.kind == "f" and (data != data.round()).any():  # NaN included
        return Kind.image
    if looks_like_labels(data):
        note(f"{path} is treated as labels; if it is an image, use --kind image")
        return Kind.labels
    note(f"{path} is treated as an image; if it holds labels, use --kind labels")
    return Kind.image


def looks_like_labels(data) -> bool:
    """True if most neighbouring voxels outside the background are equal.

    data: whole numbers, (*shape). The background is the most frequent value.
    """
    import numpy as np

    values, counts = np.unique(data, return_counts=True)
    foreground = data != values[counts.argmax()]
    pairs = equal = 0
    for axis in range(data.ndim):
        upper, lower = ([slice(None)] * data.ndim for _ in range(2))
        upper[axis], lower[axis] = slice(1, None), slice(None, -1)
        upper, lower = tuple(upper), tuple(lower)
        compared = foreground[upper] & foreground[lower]
        pairs += int(compared.sum())
        equal += int((compared & (data[upper] == data[lower])).sum())
    return equal >= MIN_EQUAL * pairs
