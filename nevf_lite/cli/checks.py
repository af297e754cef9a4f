"""Checks before a computation starts: options that depend on each other, outputs, label names."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nevf_lite.scans.files import RESULT_FILES, suffix_of

TABLES = Path(__file__).parents[1] / "data" / "tables"
LABELS_HELP = "Labels to score, such as 1-62,70."
LABELS_DEFAULT = "all that occur in both"
LABEL_NAMES_HELP = (
    "Names of the labels: a table with columns index and name, a FreeSurfer colour table, or "
    "mindboggle, oasis or neurite for a built-in one."
)


def all_or_none(**options: object) -> bool:
    """True if all of these options are set, False if none is.

    options: by their Python names, None where not set. Raises ValueError if only some are set.
    """
    present = [name for name, value in options.items() if value is not None]
    if present and len(present) < len(options):
        missing = [_flag(name) for name in options if name not in present]
        raise ValueError(f"{_flag(present[0])} was given without {' and '.join(missing)}")
    return bool(present)


def require(condition: bool, requirement: str, **options: object) -> None:
    """ValueError if one of the options is set although the condition does not hold.

    requirement: the condition in words, for the message. options: by their Python names, None
    where not set.
    """
    for name, value in options.items():
        if value is not None and not condition:
            raise ValueError(f"{_flag(name)} was given without {requirement}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def protect_inputs(output: Path, inputs: Mapping[str, Path | None]) -> None:
    """ValueError if `output` is one of the inputs, which writing it would destroy."""
    for name, path in inputs.items():
        if path is not None and _same_file(output, path):
            raise ValueError(f"output: {output} is the {name} itself; choose another name")


def protect_result(output: Path, transform: Path) -> None:
    """ValueError if `output` is the transform, or a file of the result folder that holds it."""
    if transform.expanduser().is_dir():
        for name in RESULT_FILES:
            if _same_file(output, transform / name):
                raise ValueError(f"output: {output} belongs to the result; choose another name")
    protect_inputs(output, {"transform": transform})


def _same_file(a: Path, b: Path) -> bool:
    return a.expanduser().resolve() == b.expanduser().resolve()


def channels(fixed: list[Path] | None, moving: list[Path] | None) -> list[tuple[Path, Path]]:
    """The further channels of two images as pairs. ValueError if one image has more of them."""
    fixed, moving = fixed or [], moving or []
    if len(fixed) != len(moving):
        raise ValueError(
            f"--fixed-channel was given {len(fixed)} times and --moving-channel {len(moving)} "
            "times; wanted the same channels of both"
        )
    return list(zip(fixed, moving, strict=True))


def check_result_folder(
    folder: Path,
    inputs: Mapping[str, Path | None],
    size: int = 0,
    files: Sequence[str | Path] = RESULT_FILES,
) -> Path:
    """The expanded path of a result folder, after checking that `size` bytes can be written there.

    files: what will be written, below the folder.
    Raises ValueError if it is a file or if the result would overwrite an input, OSError if the
    folder is not writable or the disk has too little space.
    """
    folder = folder.expanduser()
    for name in files:
        protect_inputs(folder / name, inputs)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {folder} is a file; name a folder")
    parent = nearest_folder(folder)
    free = _free_bytes(parent)
    if free < size:
        raise OSError(
            f"output: the disk of {parent} has {free / 1e6:.0f} MB free and the result may need "
            f"{size / 1e6:.0f} MB; free some space or choose another folder"
        )
    return folder


def check_image_file(path: Path) -> None:
    """ValueError, FileNotFoundError or OSError if no image could be written to this path."""
    from nevf_lite.scans.io import OUTPUT_SUFFIXES

    path = path.expanduser()
    suffix_of(path, OUTPUT_SUFFIXES, "output")
    if path.is_dir():
        raise ValueError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.parent}; create it first")
    _free_bytes(path.parent)


def _free_bytes(folder: Path) -> int:
    """Room on the disk of a folder. OSError if nothing can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise OSError(f"output: nothing can be written to {folder} ({error.strerror})") from error


def nearest_folder(path: Path) -> Path:
    """The path itself or its closest parent that exists. ValueError if that is a file."""
    for ancestor in (path.absolute(), *path.absolute().parents):
        if ancestor.is_dir():
            return ancestor
        if ancestor.exists():
            break
    raise ValueError(f"output: {ancestor} is a file, so {path} cannot be a folder")


def label_names(source: str | None) -> dict[int, str]:
    """Names of labels by number.

    source: a built-in table ("mindboggle", "oasis", "neurite"), or a file: either columns `index`
    and `name` separated by tabs (as in BIDS), commas or semicolons, or a FreeSurfer colour table.
    None gives no names. Raises FileNotFoundError, or ValueError for a file of another format.
    """
    from nevf_lite.scans.files import existing_file
    from nevf_lite.scans.point_tables import separator_of

    if source is None:
        return {}
    built_in = TABLES / f"{source}.tsv"
    is_built_in = os.sep not in source and built_in.is_file()
    path = existing_file(built_in if is_built_in else source, "label_names")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"label_names: {path} is not a text file") from error
    header = lines[0].lower()
    separator = separator_of(header, ",")
    columns = [column.strip() for column in header.split(separator)]
    if {"index", "name"} <= set(columns):
        index, name = columns.index("index"), columns.index("name")
        rows = [(row[index], row[name]) for row in _rows(lines[1:], separator, len(columns))]
    else:  # FreeSurfer: number, name, colour; comments begin with #
        rows = [line.split()[:2] for line in lines if len(line.split()) >= 2]
    names = {int(number): name for number, name in rows if number.strip().isdigit()}
    if not names:
        raise ValueError(
            f"label_names: {path} has no columns `index` and `name`, and is not a FreeSurfer "
            "colour table"
        )
    return names


def _rows(lines: Sequence[str], separator: str, width: int) -> list[list[str]]:
    """Cells of all lines that have at least `width` of them."""
    return [row for row in csv.reader(lines, delimiter=separator) if len(row) >= width]
