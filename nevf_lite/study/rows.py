"""The rows of a study: a CSV file with a line per job, which survives interruption."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "study",
    "dataset",
    "fixed",
    "moving",
    "method",
    "label",
    "options",
    "config_hash",
    "spacing_mm",
    "threads",
    "seed",
    "status",
    "reason",
    "dice",
    "dice_before",
    "folds_percent",
    "ndv_percent",
    "seconds",
    "cpu_seconds",
    "iterations",
    "seconds_per_iteration",
    "peak_mib",
    "device_peak_mib",
    "device",
    "machine",
    "commit",
    "versions",
    "started",
    "dice_by_label",
    "trajectory",
)
#: The columns that identify a job.
KEY = ("dataset", "fixed", "moving", "config_hash")
_NUMERIC = ("spacing_mm", "threads", "seed", "dice", "dice_before", "folds_percent", "ndv_percent")
_NUMERIC += ("seconds", "cpu_seconds", "iterations", "seconds_per_iteration", "peak_mib")
_NUMERIC += ("device_peak_mib",)


class RowFile:
    """The file while a study runs; :func:`open_rows` opens it. notes: repairs of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        if not path.exists() or path.stat().st_size == 0:
            self._append(COLUMNS)
            return
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1  # bytes of the complete lines
        if complete < len(content):
            os.truncate(path, complete)
            self.notes.append(f"{path}: the last line was cut short and has been removed")
        if complete == 0:
            self._append(COLUMNS)
        _records(path)  # raises for other columns

    def append(self, row: Mapping) -> None:
        """Write one row in one call and flush it to the disk."""
        unknown = set(row) - set(COLUMNS)
        if unknown:
            raise ValueError(f"row: no such columns: {', '.join(sorted(unknown))}")
        self._append([_cell(row.get(name)) for name in COLUMNS])

    def status(self) -> dict[tuple[str, ...], str]:
        """The status of each job in the file, "done" or "failed", by its newest row."""
        return {tuple(r[k] for k in KEY): r["status"] for r in _records(self.path)}

    def _append(self, cells) -> None:
        from nevf_lite.scans.files import disk_errors

        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        with disk_errors(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line.getvalue().encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def open_rows(path: str | os.PathLike) -> Iterator[RowFile]:
    """Open the file of rows for a single writer; an incomplete last line is removed.

    Raises ValueError if another study is writing to it or its columns are not those of this
    version, FileNotFoundError if its folder does not exist.
    """
    from filelock import FileLock, Timeout

    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.parent}; create it first")
    try:
        # the system releases the lock when the process ends in any way; the lock file may remain
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield RowFile(path)
    except Timeout as error:
        raise ValueError(f"output: {path} is being written by another study") from error


def read_rows(path: str | os.PathLike, *, every: bool = False) -> pd.DataFrame:
    """The rows of a study as a table.

    every: all rows; otherwise the newest of each job. May be called while the study runs. Labels
    are those of `names.true_label`: a row that was written as "NeVF" and is another field of this
    package is called after what it is. Raises ValueError for a file that is not one of rows.
    """
    import pandas as pd

    from nevf_lite.scans.files import existing_file
    from nevf_lite.study.names import true_labels

    rows = pd.DataFrame(_records(existing_file(path, "rows")), columns=COLUMNS, dtype=object)
    for name in _NUMERIC:
        rows[name] = pd.to_numeric(rows[name])
    rows = true_labels(rows)
    return rows if every else rows.drop_duplicates(list(KEY), keep="last", ignore_index=True)


def _records(path: Path) -> list[dict[str, str]]:
    """The complete lines; the part after the last line break is still being written."""
    try:
        text = path.read_bytes().rpartition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"rows: {path} is not text") from error
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        differences = sorted(set(header) ^ set(COLUMNS)) or ["their order"]
        raise ValueError(
            f"rows: the columns of {path} are not those of a study of this version "
            f"({', '.join(differences[:4])}); name another file"
        )
    records = []
    for cells in reader:
        if len(cells) != len(COLUMNS):
            raise ValueError(
                f"rows: line {reader.line_num} of {path} has {len(cells)} columns, wanted "
                f"{len(COLUMNS)}; remove it"
            )
        records.append(dict(zip(COLUMNS, cells, strict=True)))
    return records


def _cell(value) -> str:
    """The value as text without line breaks, so that a line without an end is incomplete."""
    return "" if value is None else " ".join(str(value).split())


def canonical_json(value) -> str:
    """JSON with sorted keys, in which 10 and 10.0 are equal; ValueError for NaN or other types."""
    return json.dumps(_json_value(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _json_value(value):
    if isinstance(value, Mapping):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"options: wanted numbers, words and lists, got {value!r}")
