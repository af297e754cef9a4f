"""The pairs of a batch: from a table, or from a BIDS folder."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from nevf_lite.scans.files import existing_file
from nevf_lite.scans.point_tables import separator_of

#: Endings of a scan in a BIDS folder.
_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class ScanPair:
    """One line of a batch. name: of its result folder; the others: paths, "" where there is none.

    fixed_labels and moving_labels go together, and are scored, not used.
    """

    name: str
    fixed: str
    moving: str
    fixed_mask: str = ""
    moving_mask: str = ""
    fixed_labels: str = ""
    moving_labels: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^/\\\s.][^/\\]*", self.name):
            raise ValueError(
                f"name: wanted a name for a folder, without slashes, got {self.name!r}"
            )
        if bool(self.fixed_labels) != bool(self.moving_labels):
            raise ValueError(f"{self.name}: wanted fixed_labels and moving_labels, or neither")


def find_pairs(
    source: str | os.PathLike, fixed: str | os.PathLike | None = None, suffix: str = "T1w"
) -> list[ScanPair]:
    """The pairs of a table, or of a BIDS folder.

    source: a table (commas, semicolons or tabs) with the columns fixed and moving, and perhaps
    name, fixed_mask, moving_mask, fixed_labels and moving_labels, whose paths are relative to it;
    or a BIDS folder.
    fixed: the scan to which every scan of the folder is registered; without it, each person's
    later sessions are registered to the first. suffix: the kind of scan, in the folder.
    Raises FileNotFoundError, or ValueError that names the line or the column.
    """
    source = Path(source).expanduser()
    if source.is_dir():
        pairs = _in_bids(source, fixed, suffix)
    elif fixed is not None:
        raise ValueError("fixed: it goes with a BIDS folder; a table has a column of that name")
    else:
        pairs = _in_table(existing_file(source, "pairs"))
    return checked(pairs)


def find_atlases(table: str | os.PathLike) -> list[tuple[Path, Path]]:
    """The images and labels of atlases: a table with these columns, whose paths are relative to it.

    Raises FileNotFoundError, or ValueError that names the line or the columns.
    """
    table = existing_file(table, "atlases")
    rows, atlases = _rows(table, "atlases"), []
    if not {"image", "labels"} <= set(rows.fieldnames):
        raise ValueError(f"atlases: {table} wants the columns image and labels")
    for row in rows:
        cells = _cells(row)
        if not cells["image"] or not cells["labels"]:
            raise ValueError(f"atlases: line {rows.line_num} of {table} does not fit its columns")
        atlases.append(
            tuple(table.parent / Path(cells[k]).expanduser() for k in ("image", "labels"))
        )
    if not atlases:
        raise ValueError(f"atlases: {table} has no lines below its header")
    return atlases


def checked(pairs: Iterable[ScanPair]) -> list[ScanPair]:
    """The pairs, with names that differ (in case-blind file systems too) and files that exist."""
    pairs, names = list(pairs), set()
    if not pairs:
        raise ValueError("pairs: there is none")
    for pair in pairs:
        if pair.name.lower() in names:
            raise ValueError(f"name: {pair.name} occurs twice; give each pair a name of its own")
        names.add(pair.name.lower())
        for field in fields(pair)[1:]:
            if path := getattr(pair, field.name):
                existing_file(path, f"{pair.name}, {field.name}")
    return pairs


def _in_table(path: Path) -> list[ScanPair]:
    known = [field.name for field in fields(ScanPair)]
    rows = _rows(path, "pairs")
    columns = rows.fieldnames
    if not {"fixed", "moving"} <= set(columns) <= set(known):
        raise ValueError(
            f"pairs: {path} has the columns {', '.join(columns)}; wanted fixed and moving, and "
            f"perhaps {', '.join(name for name in known if name not in ('fixed', 'moving'))}"
        )
    pairs = []
    for row in rows:
        cells = _cells(row)
        if "more" in row or not cells["fixed"] or not cells["moving"]:
            raise ValueError(f"pairs: line {rows.line_num} of {path} does not fit its columns")
        name = cells.pop("name", "") or f"{_stem(cells['moving'])}_to_{_stem(cells['fixed'])}"
        paths = {k: str(path.parent / Path(v).expanduser()) for k, v in cells.items() if v}
        pairs.append(ScanPair(name, **paths))
    return pairs


def _rows(path: Path, name: str) -> csv.DictReader:
    """The lines of a table; cells beyond its columns are under "more"."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {path} is not a text file") from error
    rows = csv.DictReader(lines, delimiter=separator_of(lines[0], ","), restkey="more")
    rows.fieldnames = [column.strip() for column in rows.fieldnames or ()]
    return rows


def _cells(row: dict) -> dict[str, str]:
    return {column: (value or "").strip() for column, value in row.items() if column != "more"}


def _in_bids(folder: Path, fixed: str | os.PathLike | None, suffix: str) -> list[ScanPair]:
    scans: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("sub-*/**/anat/sub-*")):
        if path.name.endswith(tuple(f"_{suffix}{ending}" for ending in _SUFFIXES)):
            scans.setdefault(path.relative_to(folder).parts[0], []).append(path)
    if not scans:
        raise ValueError(f"pairs: {folder} holds no sub-*/anat/*_{suffix}.nii.gz; is it BIDS?")
    pairs = []
    for of_person in scans.values():
        first, *others = of_person if fixed is None else [Path(fixed).expanduser(), *of_person]
        pairs += [ScanPair(f"{_stem(s)}_to_{_stem(first)}", str(first), str(s)) for s in others]
    if not pairs:
        raise ValueError(
            f"pairs: each person of {folder} has one {suffix} alone; name the scan that all are "
            "registered to (fixed, --fixed)"
        )
    return pairs


def _stem(path: str | os.PathLike) -> str:
    """The name of a file without its ending; .nii.gz is one ending."""
    return Path(path).name.removesuffix(".gz").rsplit(".", 1)[0]
