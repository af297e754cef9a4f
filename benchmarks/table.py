"""A table that a benchmark writes row by row, so that it goes on where it was ended."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from nevf_lite.study import provenance


def rows(table: Path) -> list[dict]:
    """The rows so far, every value a text."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def append(table: Path, columns: Sequence[str], row: dict) -> None:
    """Add a row, with the machine and the commit; a new table begins with its columns."""
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row | {"machine": provenance.machine(), "commit": provenance.commit()})
