"""Points as a table of text: columns x, y and z under a header, and any others beside them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

AXES = ("x", "y", "z")
#: How ANTs' tables of points begin; by its convention they are in LPS.
ANTS_HEADER = ("x", "y", "z", "t")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": " "}
LABELS = ("label", "name")


@dataclass(frozen=True)
class Table:
    """A table of points as it was read.

    points: (N, 3), in the file's own space. header, rows: all cells. columns: where x, y and z are.
    separator: between cells. decimal: "." or ",".
    """

    points: np.ndarray
    header: list[str]
    rows: list[list[str]]
    columns: list[int]
    separator: str
    decimal: str

    @property
    def space(self) -> str | None:
        """The space that the header implies: "LPS" for that of ANTs, else None."""
        names = tuple(cell.strip().lower() for cell in self.header)
        return "LPS" if names[: len(ANTS_HEADER)] == ANTS_HEADER else None

    @property
    def labels(self) -> list[str]:
        """The name of each point, empty where the table has none."""
        names = [cell.strip().lower() for cell in self.header]
        column = next((names.index(name) for name in LABELS if name in names), None)
        return ["" if column is None else row[column].strip() for row in self.rows]

    def text(self, points: np.ndarray, separator: str | None = None) -> str:
        """The table with other coordinates, (N, 3) in its own space."""
        rows = [list(row) for row in self.rows]
        for row, point in zip(rows, points, strict=True):
            for column, value in zip(self.columns, point, strict=True):
                row[column] = f"{value:.6f}".replace(".", self.decimal)
        return _text([self.header, *rows], separator or self.separator)


def new_table(points: np.ndarray, labels: list[str], separator: str) -> str:
    """The text of a table with the columns x, y, z and, where there are labels, label."""
    rows = [[f"{value:.6f}" for value in point] for point in points]
    header = list(AXES)
    if any(labels):
        header.append("label")
        rows = [[*row, label] for row, label in zip(rows, labels, strict=True)]
    return _text([header, *rows], separator)


def read_table(path: Path, name: str) -> Table:
    """Read a table whose first line names at least the columns x, y and z.

    Cells are separated by commas, semicolons, tabs or spaces, whichever the first line has; where
    it is not the comma, numbers may have a decimal comma. Raises ValueError that names the line and
    the column.
    """
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name
        text = path.read_text(encoding="utf-8-sig")
        first = text.lstrip("\r\n").partition("\n")[0]
        separator = separator_of(first, " ")
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ")
        numbered = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"{name}: {path} is not a text file of comma-separated values") from error
    if len(numbered) < 2:
        raise ValueError(f"{name}: {path} holds no points; wanted the header x,y,z and lines below")
    header = numbered[0][1]
    columns = _axis_columns(header, path, name)
    points, decimal = np.empty((len(numbered) - 1, 3)), "."
    for row, (line, cells) in enumerate(numbered[1:]):
        for axis, column in enumerate(columns):
            cell = cells[column].strip() if column < len(cells) else ""
            if separator != "," and cell.count(",") == 1 and "." not in cell:
                decimal = ","
            points[row, axis] = _number(cell.replace(decimal, "."))
            if not np.isfinite(points[row, axis]):
                raise ValueError(
                    f"{name}: {path}, line {line}: {AXES[axis]} is {cell[:40]!r}; "
                    "wanted a number in millimetres"
                )
    rows = [cells + [""] * (len(header) - len(cells)) for _, cells in numbered[1:]]
    return Table(points, header, rows, columns, separator, decimal)


def separator_of(header: str, otherwise: str) -> str:
    """What separates the columns of a table, by its first line: a tab, a semicolon or a comma."""
    return next((mark for mark in "\t;," if mark in header), otherwise)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _axis_columns(header: list[str], path: Path, name: str) -> list[int]:
    """The indices of the columns x, y and z."""
    names = [cell.strip().lower() for cell in header]
    invalid = [axis for axis in AXES if names.count(axis) != 1]
    if invalid:
        raise ValueError(
            f"{name}: {path} should have one column each of x, y and z, separated by commas, "
            "semicolons, tabs or spaces "
            f"(at fault: {', '.join(invalid)}); its first line is {','.join(header)[:80]!r}"
        )
    return [names.index(axis) for axis in AXES]


def _text(rows: list[list[str]], separator: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(rows)
    return stream.getvalue()
