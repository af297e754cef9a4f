"""What can be known before the work begins: options that fit together, places to write to."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nevf_lite.files import RESULT_FILES

TABLES = Path(__file__).parents[1] / "data" / "tables"
LABEL_NAMES_HELP = (
    "Their names: a table with columns index and name, a FreeSurfer colour table, or one of "
    "mindboggle, oasis, neurite."
)


def together(**options: object) -> bool:
    """Were these options given? ValueError if only some were; names as Python writes them."""
    given = [name for name, value in options.items() if value is not None]
    if given and len(given) < len(options):
        missing = [_flag(name) for name in options if name not in given]
        raise ValueError(f"{_flag(given[0])} was given without {' and '.join(missing)}")
    return bool(given)


def needs(condition: bool, wanted: str, **options: object) -> None:
    """ValueError for the options that were given although what they belong to was not."""
    for name, value in options.items():
        if value is not None and not condition:
            raise ValueError(f"{_flag(name)} was given without {wanted}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def keep_inputs(output: Path, inputs: Mapping[str, Path | None]) -> None:
    """ValueError if writing `output` would destroy one of the inputs."""
    for name, path in inputs.items():
        if path is not None and _same(output, path):
            raise ValueError(f"output: {output} is the {name} itself; choose another name")


def keep_result(output: Path, transform: Path) -> None:
    """ValueError if `output` is a file of the result (a folder, or one of its files) in use."""
    if transform.expanduser().is_dir():
        for name in RESULT_FILES:
            if _same(output, transform / name):
                raise ValueError(f"output: {output} belongs to the result; choose another name")
    keep_inputs(output, {"transform": transform})


def _same(a: Path, b: Path) -> bool:
    return a.expanduser().resolve() == b.expanduser().resolve()


def result_folder(folder: Path, inputs: Mapping[str, Path | None], size: int = 0) -> Path:
    """The folder of a result, once it is known that one of `size` bytes can be written there.

    Raises ValueError for a file of that name or an input that would be overwritten, OSError where
    nothing can be written or the disk is nearly full.
    """
    folder = folder.expanduser()
    for name in RESULT_FILES:
        keep_inputs(folder / name, inputs)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {folder} is a file; name a folder")
    place = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise OSError(f"output: nothing can be written to {place} ({error.strerror})") from error
    if free < size:
        raise OSError(
            f"output: the disk of {place} has {free / 1e6:.0f} MB free and the result may need "
            f"{size / 1e6:.0f} MB; free some space or choose another folder"
        )
    return folder


def nearest_folder(path: Path) -> Path:
    """The path itself, or the closest of its parents that exists. ValueError if that is a file."""
    for place in (path.absolute(), *path.absolute().parents):
        if place.is_dir():
            return place
        if place.exists():
            break
    raise ValueError(f"output: {place} is a file, so {path} cannot be a folder")


def label_names(source: str | None) -> dict[int, str]:
    """Numbers and names of labels.

    source: a built-in table ("mindboggle", "oasis", "neurite"), or a file: columns `index` and
    `name` separated by tabs or commas, as BIDS has it, or a FreeSurfer colour table. Raises
    FileNotFoundError, or ValueError for a file that is neither.
    """
    from nevf_lite.files import existing_file

    if source is None:
        return {}
    built_in = TABLES / f"{source}.tsv"
    is_ours = os.sep not in source and built_in.is_file()
    path = existing_file(built_in if is_ours else source, "label_names")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"label_names: {path} is not a text file") from error
    header = lines[0].lower()
    separator = "\t" if "\t" in header else ","
    columns = [column.strip() for column in header.split(separator)]
    if {"index", "name"} <= set(columns):
        index, name = columns.index("index"), columns.index("name")
        rows = [(row[index], row[name]) for row in _rows(lines[1:], separator, len(columns))]
    else:  # FreeSurfer: number, name, colour; comments begin with #
        rows = [line.split()[:2] for line in lines if len(line.split()) >= 2]
    names = {int(number): name for number, name in rows if number.strip().isdigit()}
    if not names:
        raise ValueError(
            f"label_names: {path} has no column `index` with a column `name`, and is no FreeSurfer "
            "colour table either"
        )
    return names


def _rows(lines: Sequence[str], separator: str, width: int) -> list[list[str]]:
    return [row for row in csv.reader(lines, delimiter=separator) if len(row) >= width]
