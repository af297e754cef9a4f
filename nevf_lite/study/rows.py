"""The rows of a study: one CSV file, one line a job, safe to append to and to be interrupted."""

from __future__ import annotations

import contextlib
import csv
import io
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
#: What makes two rows the same job.
KEY = ("dataset", "fixed", "moving", "config_hash")
_NUMBERS = ("spacing_mm", "threads", "seed", "dice", "dice_before", "folds_percent", "ndv_percent")
_NUMBERS += ("seconds", "cpu_seconds", "iterations", "seconds_per_iteration", "peak_mib")
_NUMBERS += ("device_peak_mib",)


class RowFile:
    """The file while a study runs; get it from :func:`open_rows`. notes: what was put right."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        if not path.exists() or path.stat().st_size == 0:
            self._append(COLUMNS)
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
            self.notes.append(f"{path}: the last line was cut short and has been removed")
        if whole == 0:
            self._append(COLUMNS)
        _records(path)  # its columns are known

    def append(self, row: Mapping) -> None:
        """Write one row, in one piece, and see it onto the disk."""
        unknown = set(row) - set(COLUMNS)
        if unknown:
            raise ValueError(f"row: no such columns: {', '.join(sorted(unknown))}")
        self._append([_cell(row.get(name)) for name in COLUMNS])

    def status(self) -> dict[tuple[str, ...], str]:
        """Each job in the file, and whether it is done or failed; its newest row counts."""
        return {tuple(r[k] for k in KEY): r["status"] for r in _records(self.path)}

    def _append(self, cells) -> None:
        from nevf_lite.files import disk_errors

        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        with disk_errors(self.path):
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, line.getvalue().encode())
                os.fsync(file)
            finally:
                os.close(file)


@contextlib.contextmanager
def open_rows(path: str | os.PathLike) -> Iterator[RowFile]:
    """The file of rows for one writer alone; what an interrupted one left behind is put right.

    Raises ValueError if another study is writing to it or its columns are others,
    FileNotFoundError where there is no such folder.
    """
    from filelock import FileLock, Timeout

    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.parent}; create it first")
    try:
        # the lock goes with its process, however that ends; the file of it may stay
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield RowFile(path)
    except Timeout as error:
        raise ValueError(f"output: {path} is being written by another study") from error


def read_rows(path: str | os.PathLike, *, every: bool = False) -> pd.DataFrame:
    """The rows of a study as a table, the newest of each job; every=True: all that were written.

    May be called while the study runs. Raises ValueError for a file that is none of rows.
    """
    import pandas as pd

    from nevf_lite.files import existing_file

    rows = pd.DataFrame(_records(existing_file(path, "rows")), columns=COLUMNS, dtype=object)
    for name in _NUMBERS:
        rows[name] = pd.to_numeric(rows[name])
    return rows if every else rows.drop_duplicates(list(KEY), keep="last", ignore_index=True)


def _records(path: Path) -> list[dict[str, str]]:
    """Every whole line; one that is being written is not there yet."""
    try:
        text = path.read_bytes().rpartition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"rows: {path} is not text") from error
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        odd = sorted(set(header) ^ set(COLUMNS)) or ["their order"]
        raise ValueError(
            f"rows: the columns of {path} are not those of a study of this version "
            f"({', '.join(odd[:4])}); name another file"
        )
    found = []
    for cells in reader:
        if len(cells) != len(COLUMNS):
            raise ValueError(
                f"rows: line {reader.line_num} of {path} has {len(cells)} columns, wanted "
                f"{len(COLUMNS)}; remove it"
            )
        found.append(dict(zip(COLUMNS, cells, strict=True)))
    return found


def _cell(value) -> str:
    """No line breaks: a row is a line, so a torn one can be told."""
    return "" if value is None else " ".join(str(value).split())
