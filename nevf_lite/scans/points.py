"""Landmarks in CSV files: x, y, z in RAS millimetres."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from nevf_lite.scans.files import atomic, existing_file

AXES = ("x", "y", "z")


def read_points(path: str | os.PathLike, name: str = "points") -> np.ndarray:
    """Read the points of a CSV file whose first line names at least the columns x, y and z.

    Returns (N, 3), float64, RAS millimetres. Other columns (a name, a label) may be anywhere;
    `write_points(..., like=path)` copies them. CSV files made for ANTs are in LPS: change the signs
    of x and y first.
    Raises FileNotFoundError, or ValueError that names the invalid line and column.
    """
    path, header, rows = _read_rows(path, name)
    columns = _axis_columns(header, path, name)
    points = np.empty((len(rows), 3))
    for row, (line, cells) in enumerate(rows):
        for axis, column in enumerate(columns):
            cell = cells[column].strip() if column < len(cells) else ""
            try:
                points[row, axis] = float(cell)
            except ValueError:
                points[row, axis] = np.nan
            if not np.isfinite(points[row, axis]):
                raise ValueError(
                    f"{name}: {path}, line {line}: {AXES[axis]} is {cell[:40]!r}; "
                    "wanted a number in millimetres"
                )
    return points


def write_points(
    path: str | os.PathLike, points: np.ndarray, like: str | os.PathLike | None = None
) -> None:
    """Write points (N, 3), RAS millimetres, under the header x,y,z with six decimals.

    like: a CSV file with as many points, whose other columns and order of columns are copied.
    Raises ValueError for points of another shape, not finite, or unlike `like` in number.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: wanted the shape (N, 3), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points: some coordinates are NaN or infinite; nothing was written")
    header, rows, columns = list(AXES), [["", "", ""] for _ in points], [0, 1, 2]
    if like is not None:
        source, header, numbered = _read_rows(like, "like")
        columns = _axis_columns(header, source, "like")
        rows = [cells + [""] * (len(header) - len(cells)) for _, cells in numbered]
        if len(rows) != len(points):
            raise ValueError(f"like: {source} has {len(rows)} points, got {len(points)} to write")
    for cells, point in zip(rows, points, strict=True):
        for column, value in zip(columns, point, strict=True):
            cells[column] = f"{value:.6f}"
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read_rows(path, name: str) -> tuple[Path, list[str], list[tuple[int, list[str]]]]:
    """The path, the header and the rows with their line numbers; blank lines are skipped."""
    path = existing_file(path, name)
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            rows = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"{name}: {path} is not a text file of comma-separated values") from error
    if len(rows) < 2:
        raise ValueError(f"{name}: {path} holds no points; wanted the header x,y,z and lines below")
    return path, rows[0][1], rows[1:]


def _axis_columns(header: list[str], path: Path, name: str) -> list[int]:
    """The indices of the columns x, y and z."""
    names = [cell.strip().lower() for cell in header]
    invalid = [axis for axis in AXES if names.count(axis) != 1]
    if invalid:
        raise ValueError(
            f"{name}: {path} should have one column each of x, y and z, separated by commas "
            f"(at fault: {', '.join(invalid)}); its first line is {','.join(header)[:80]!r}"
        )
    return [names.index(axis) for axis in AXES]
