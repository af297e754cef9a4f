"""The page *Trust*: tables of what `python -m benchmarks.trust` has counted.

The directive `nevf-trust PART` shows one: damaged, interrupted, threads, files and registered of
`python -m benchmarks.real_files`, or coverage of `python -m benchmarks.coverage`; `nevf-trust
provenance` says when and where they were counted.
"""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path

from nevf_lite.viz.report.summary import number

COUNTED = Path(__file__).resolve().parents[1] / "results" / "trust.json"
CUT = COUNTED.with_name("coverage.csv")
#: The columns of each table: their keys and their titles.
COLUMNS = {
    "damaged": {
        "kind": "damaged",
        "tried": "inputs",
        "used": "used",
        "refused": "refused in one line",
        "failed": "traceback, hang or leftover",
    },
    "interrupted": {
        "kind": "by",
        "tried": "runs",
        "finished": "result whole",
        "nothing": "no result",
        "some": "some files, each whole",
        "halves": "half-written files",
        "leftovers": "hidden leftovers",
        "resumed": "repeated: same bytes, leftovers gone",
    },
    "files": {"kind": "files", "files": "number"},
    "registered": {
        "kind": "image",
        "tried": "read",
        "large": "too large to try",
        "refused": "refused in one line",
        "failed": "traceback or hang",
        "finite": "result finite",
        "closer": "correlates more than before",
        "labels": "labels kept",
        "points": "points come back",
    },
    "threads": {
        "kind": "threads",
        "same_bytes": "same bytes",
        "mean_mm": "mean difference, mm",
        "largest_mm": "largest, mm",
    },
}
NAMES = {"batch": "SIGKILL of a batch"}


def trust_table(part: str) -> str:
    """A table in Markdown, with the sums of its counts; or the line on where they are from.

    What has not been counted yet says so.
    """
    if part == "coverage":
        return coverage_table(cut())
    document = counted()
    if part not in (*document, "provenance") or not document:
        counter = "real_files" if part in ("files", "registered") else "trust"
        return f"Not counted yet; `python -m benchmarks.{counter}` does it."
    if part == "provenance":
        rows = [row for found in document.values() for row in found]
        days, commits, machines = (
            sorted({f"{row[key]:.{width}}" for row in rows})
            for key, width in (("ended", 10), ("commit", 7), ("machine", 99))
        )
        marks = ", ".join(f"`{commit}`" for commit in commits)
        return (
            f"Counted by `python -m benchmarks.trust`: {' and '.join(days)}, "
            f"commit {marks}, {'; '.join(machines)}."
        )
    columns, rows = COLUMNS[part], document[part]
    lines = [list(columns.values()), ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[_cell(row[key]) for key in columns] for row in rows]
    if len(rows) > 1 and part != "threads":
        sums = [sum(row[key] for row in rows) for key in list(columns)[1:]]
        lines.append([f"**{cell}**" for cell in ("all", *sums)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def coverage_table(rows: list[dict[str, str]]) -> str:
    """A line for each cut, a column for each preset: Dice of the cut pair and of the whole one."""
    presets = list(dict.fromkeys(row["preset"] for row in rows))
    cells, further = {}, dict.fromkeys(presets, float("-inf"))
    gains = {preset: [] for preset in presets}
    for row in rows:
        place = f"{row['scan']} scan, {row['cut']}", row["preset"]
        cells[place] = f"{float(row['dice_cut']):.3f}\u00a0/\u00a0{float(row['dice_whole']):.3f}"
        gains[row["preset"]].append(float(row["dice_cut"]) - float(row["dice_whole"]))
        more = float(row["furthest_cut"]) - float(row["furthest_whole"])
        further[row["preset"]] = max(further[row["preset"]], more)
    lines = [["cut", *(f"`{preset}`" for preset in presets)]]
    lines.append(["---", *["---:"] * len(presets)])
    for where in dict.fromkeys(where for where, _ in cells):
        lines.append([where, *(cells.get((where, preset), "–") for preset in presets)])
    for name, sign in (("loses at most", -1), ("gains at most", 1)):
        most = (max(0.0, *(sign * gain for gain in gains[preset])) for preset in presets)
        lines.append([name, *(f"{dice:.3f}" for dice in most)])
    lines.append(["moves at most further by, mm", *(f"{further[p]:.1f}" for p in presets)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@functools.cache  # read once for a build
def cut() -> list[dict[str, str]]:
    with CUT.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@functools.cache
def counted() -> dict:
    return json.loads(COUNTED.read_text(encoding="utf-8")) if COUNTED.exists() else {}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else NAMES.get(value, str(value))
