"""Landmarks in files: tables of text, and the markups of Slicer. In memory, RAS millimetres."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nevf_lite.scans.files import atomic, existing_file, suffix_of
from nevf_lite.scans.itk import LPS
from nevf_lite.scans.point_tables import SEPARATORS, Table, new_table, read_table
from nevf_lite.scans.slicer_points import (
    Fiducials,
    Markups,
    new_fcsv,
    new_markups,
    read_fcsv,
    read_markups,
)

SUFFIXES = (*SEPARATORS, ".fcsv", ".mrk.json")
_READERS = {".fcsv": read_fcsv, ".mrk.json": read_markups}
_NEW = {".fcsv": new_fcsv, ".mrk.json": new_markups}


@dataclass(frozen=True)
class PointFile:
    """A file of points as it was read.

    content: what it held, in its own space. space: "RAS" or "LPS". suffix: of the file. note: how
    the space was found where nobody stated it, for the user; else None.
    """

    content: Table | Fiducials | Markups
    space: str
    suffix: str
    note: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike, name: str = "points", space: str | None = None):
        """Read a file of points. Arguments and errors as of :func:`read_points`."""
        path = existing_file(path, name)
        suffix = suffix_of(path, SUFFIXES, name)
        content = _READERS.get(suffix, read_table)(path, name)
        if not isinstance(content, Table):
            return cls(content, content.space, suffix)
        note = None
        if space is None and content.space is not None:
            note = (
                f"{path} has the header of ANTs, so its points are taken as {content.space}; "
                "if they are RAS, use --ras"
            )
        return cls(content, space or content.space or "RAS", suffix, note)

    @property
    def states_space(self) -> bool:
        """Whether the file itself says what it is in, as Slicer's do."""
        return not isinstance(self.content, Table)

    @property
    def points(self) -> np.ndarray:
        """(N, 3), RAS millimetres."""
        return _flipped(self.content.points, self.space)


def read_points(
    path: str | os.PathLike, name: str = "points", space: str | None = None
) -> np.ndarray:
    """Read points: a table (.csv, .tsv, .txt) or Slicer's markups (.fcsv, .mrk.json).

    The first line of a table names at least the columns x, y and z; commas, semicolons, tabs or
    spaces separate them. Other columns (a name, a label) may be anywhere;
    `write_points(..., like=path)` copies them.
    space: "RAS" or "LPS", of a table. By default RAS, or LPS under the header of ANTs, which begins
    with x,y,z,t. Slicer's files state their own.
    Returns (N, 3), float64, RAS millimetres. Raises FileNotFoundError, or ValueError that names the
    invalid line and column.
    """
    return PointFile.read(path, name, space).points


def write_points(
    path: str | os.PathLike,
    points: np.ndarray,
    like: str | os.PathLike | PointFile | None = None,
    space: str | None = None,
) -> None:
    """Write points (N, 3), RAS millimetres, with six decimals, in the format of the path's ending.

    like: a file with as many points, whose space, other columns and order of columns are copied; if
    it is of another format, its labels alone. space: "RAS" or "LPS", of a table; by default that
    of `like`, if it is a table, else RAS. Slicer's files are written in the space of `like`, or
    else in LPS.
    Raises ValueError for points of another shape, not finite, or unlike `like` in number.
    """
    path = Path(path)
    suffix = suffix_of(path, SUFFIXES, "output")
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: wanted the shape (N, 3), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points: some coordinates are NaN or infinite; nothing was written")
    if like is not None and not isinstance(like, PointFile):
        like = PointFile.read(like, "like", space)
    if like is not None and len(like.content.points) != len(points):
        count = len(like.content.points)
        raise ValueError(f"like: it has {count} points, got {len(points)} to write")
    text = _text(suffix, points, like, space)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _text(suffix: str, points: np.ndarray, like: PointFile | None, space: str | None) -> str:
    labels = [""] * len(points) if like is None else like.content.labels
    if suffix in SEPARATORS:
        if like is not None and not like.states_space:
            same = like.suffix == suffix
            separator = like.content.separator if same else SEPARATORS[suffix]
            return like.content.text(_flipped(points, like.space), separator)
        return new_table(_flipped(points, space or "RAS"), labels, SEPARATORS[suffix])
    if like is not None and like.suffix == suffix:
        return like.content.text(_flipped(points, like.space))
    return _NEW[suffix](_flipped(points, "LPS"), labels)


def _flipped(points: np.ndarray, space: str) -> np.ndarray:
    """RAS to a space and back, which is the same."""
    if space not in ("RAS", "LPS"):
        raise ValueError(f"space: wanted 'RAS' or 'LPS', got {space!r}")
    return points * LPS[:3] + 0.0 if space == "LPS" else points  # and no -0
