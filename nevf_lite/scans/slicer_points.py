"""Points as Slicer keeps them: markups, `.fcsv` and `.mrk.json`, which state their own space."""

from __future__ import annotations

import copy
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: The coordinate systems by the words, or in older files the numbers, that stand for them.
SPACES = {"ras": "RAS", "0": "RAS", "lps": "LPS", "1": "LPS"}
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)


@dataclass(frozen=True)
class Fiducials:
    """An `.fcsv` file as it was read: comment lines, then a point a line, separated by commas.

    points: (N, 3), in the file's own space. columns: where x, y and z are, and the label or None.
    """

    points: np.ndarray
    space: str
    comments: list[str]
    rows: list[list[str]]
    columns: list[int]
    label_column: int | None

    @property
    def labels(self) -> list[str]:
        column = self.label_column
        return ["" if column is None else "".join(row[column : column + 1]) for row in self.rows]

    def text(self, points: np.ndarray) -> str:
        """The file with other coordinates, (N, 3) in its own space."""
        rows = [list(row) for row in self.rows]
        for row, point in zip(rows, points, strict=True):
            for column, value in zip(self.columns, point, strict=True):
                row[column] = f"{value:.6f}"
        return "\n".join(self.comments) + "\n" + _csv(rows)


@dataclass(frozen=True)
class Markups:
    """A `.mrk.json` file as it was read; all control points of all its markups count.

    points: (N, 3), in LPS, whatever space each markup is in.
    """

    points: np.ndarray
    labels: list[str]
    document: dict
    space: str = "LPS"

    def text(self, points: np.ndarray) -> str:
        """The file with other coordinates, (N, 3) in LPS; each markup keeps its own space."""
        document, remaining = copy.deepcopy(self.document), iter(points.tolist())
        for markup in document["markups"]:
            for point in _defined(markup):
                x, y, z = next(remaining)
                sign = 1 if _markup_space(markup) == "LPS" else -1
                point["position"] = [round(sign * x, 6), round(sign * y, 6), round(z, 6)]
        return json.dumps(document, indent=1) + "\n"


def read_fcsv(path: Path, name: str) -> Fiducials:
    """Read an `.fcsv` file. Raises ValueError for one that is none, or in voxels (IJK)."""
    lines = _text_of(path, name).splitlines()
    comments = [line for line in lines if line.startswith("#")]
    stated = {}
    for line in comments:
        key, _, value = line.lstrip("# ").partition("=")
        stated[key.strip().lower()] = value.strip()
    word = stated.get("coordinatesystem", "0").lower()  # files without the line are old, and RAS
    if word not in SPACES:
        raise ValueError(f"{name}: {path} is in the coordinate system {word!r}; wanted RAS or LPS")
    names = [column.strip() for column in stated.get("columns", FCSV_COLUMNS).split(",")]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{name}: {path} names no columns x, y and z")
    columns = [names.index(axis) for axis in "xyz"]
    rows = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    if not rows:
        raise ValueError(f"{name}: {path} holds no points")
    cells = ([row[c] if c < len(row) else "" for c in columns] for row in rows)
    points = [_position(cell, i, path, name) for i, cell in enumerate(cells)]
    label = names.index("label") if "label" in names else None
    return Fiducials(np.array(points), SPACES[word], comments, rows, columns, label)


def read_markups(path: Path, name: str) -> Markups:
    """Read a `.mrk.json` file. Raises ValueError for one that is none, or not in millimetres."""
    try:
        document = json.loads(_text_of(path, name))
        points, labels = [], []
        for markup in document["markups"]:
            space = _markup_space(markup)
            if space is None or str(markup.get("coordinateUnits", "mm")) not in ("mm", "['mm']"):
                raise ValueError(
                    f"{name}: {path} is in {markup.get('coordinateSystem')}, "
                    f"{markup.get('coordinateUnits', 'mm')}; wanted RAS or LPS in mm"
                )
            for point in _defined(markup):
                x, y, z = _position(point["position"], len(points), path, name)
                points.append([x, y, z] if space == "LPS" else [-x, -y, z])
                labels.append(str(point.get("label", "")))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: {path} is not a markups file of Slicer") from error
    if not points:
        raise ValueError(f"{name}: {path} holds no points")
    return Markups(np.array(points), labels, document)


def new_fcsv(points: np.ndarray, labels: list[str]) -> str:
    """The text of an `.fcsv` file; points: (N, 3) in LPS."""
    comments = ["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS"]
    comments.append(f"# columns = {FCSV_COLUMNS}")
    rows = [
        [i, *(f"{value:.6f}" for value in point), 0, 0, 0, 1, 1, 1, 0, label or f"F-{i}", "", ""]
        for i, (point, label) in enumerate(zip(points, labels, strict=True), start=1)
    ]
    return "\n".join(comments) + "\n" + _csv(rows)


def new_markups(points: np.ndarray, labels: list[str]) -> str:
    """The text of a `.mrk.json` file; points: (N, 3) in LPS."""
    control_points = [
        {
            "id": str(i),
            "label": label or f"F-{i}",
            "position": [round(value, 6) for value in point],
            "positionStatus": "defined",
        }
        for i, (point, label) in enumerate(zip(points.tolist(), labels, strict=True), start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm"}
    markup["controlPoints"] = control_points
    return json.dumps({"@schema": MARKUPS_SCHEMA, "markups": [markup]}, indent=1) + "\n"


def _markup_space(markup: dict) -> str | None:
    return SPACES.get(str(markup.get("coordinateSystem", "LPS")).lower())


def _defined(markup: dict) -> list[dict]:
    """The control points that have been placed."""
    points = markup.get("controlPoints") or []
    return [p for p in points if p.get("positionStatus", "defined") == "defined"]


def _position(cells: list, row: int, path: Path, name: str) -> list[float]:
    """Three finite numbers. Raises ValueError that names the point."""
    try:
        values = [float(cell) for cell in cells]
    except (ValueError, TypeError):
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        raise ValueError(f"{name}: {path}, point {row + 1}: wanted three numbers in millimetres")
    return values


def _text_of(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{name}: {path} is not a text file") from error


def _csv(rows: list[list]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
