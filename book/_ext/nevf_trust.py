"""The page *Trust*: tables of what `python -m benchmarks.trust` has counted.

The directive `nevf-trust PART` shows one: damaged, interrupted, threads, files and registered of
`python -m benchmarks.real_files`, coverage of `python -m benchmarks.coverage`, or forecast of
`python -m benchmarks.forecast`; `nevf-trust provenance` says when and where they were counted.
"""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from statistics import fmean

from nevf_lite.viz.report.summary import number

COUNTED = Path(__file__).resolve().parents[1] / "results" / "trust.json"
CUT, MEMORY = COUNTED.with_name("coverage.csv"), COUNTED.with_name("forecast.csv")
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
        return coverage_table(table(CUT))
    if part == "forecast":
        return forecast_table(table(MEMORY))
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
    """A line for each cut, a column for each preset: Dice of the cut pair and of the whole one.

    Means over the seeds, with how many there are; the last lines are the extremes of these means.
    """
    means = cases(rows)
    presets = list(dict.fromkeys(preset for preset, *_ in means))
    lines = [["cut", *(f"`{preset}`" for preset in presets)]]
    lines.append(["---", *["---:"] * len(presets)])
    for scan, side in dict.fromkeys(case[1:] for case in means):
        found = [means.get((preset, scan, side)) for preset in presets]
        cells = (f"{m['cut']:.3f}\u00a0/\u00a0{m['whole']:.3f}" if m else "–" for m in found)
        lines.append([f"{scan} scan, {side}", *cells])
    of_preset = [[m for case, m in means.items() if case[0] == preset] for preset in presets]
    for name, sign in (("loses at most", -1), ("gains at most", 1)):
        most = (max(0.0, *(sign * m["gain"] for m in found)) for found in of_preset)
        lines.append([name, *(f"{dice:.3f}" for dice in most)])
    for name, key in (("moves further by, mm", "further"), ("with one of the seeds", "furthest")):
        most = (max(m[key] for m in found) for found in of_preset)
        lines.append([name, *(f"{mm:.1f}" for mm in most)])
    seeds = ({m["seeds"] for m in found} for found in of_preset)
    lines.append(["seeds", *(" to ".join(map(str, sorted(some))) for some in seeds)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cases(rows: list[dict[str, str]]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Each preset, scan and cut: Dice cut and whole, the gain, how much further a voxel moves.

    All are means over the seeds, but `furthest`, in mm, which is the largest `further` of any.
    """
    together = {}
    for row in rows:
        together.setdefault((row["preset"], row["scan"], row["cut"]), []).append(row)
    found = {}
    for case, same in together.items():
        cut = fmean(float(row["dice_cut"]) for row in same)
        whole = fmean(float(row["dice_whole"]) for row in same)
        more = [float(row["furthest_cut"]) - float(row["furthest_whole"]) for row in same]
        found[case] = {"cut": cut, "whole": whole, "gain": cut - whole, "seeds": len(same)}
        found[case] |= {"further": fmean(more), "furthest": max(more)}
    return found


def forecast_table(rows: list[dict[str, str]]) -> str:
    """A line for each setting, forecast and peak in GiB; last the largest difference in percent."""
    columns = {"whole": "whole scans", "cut": "a scan that ends inside the head"}
    cells, off = {}, {column: [] for column in columns}
    for row in rows:
        column = row["moving"]
        forecast, peak = (float(row[f"{name}_mib"]) / 1024 for name in ("forecast", "peak"))
        cells[row["label"], column] = f"{forecast:.2f}\u00a0/\u00a0{peak:.2f}"
        off[column].append(100 * (forecast / peak - 1))
    lines = [["setting", *columns.values()], ["---", *["---:"] * len(columns)]]
    for label in dict.fromkeys(label for label, _ in cells):
        lines.append([f"`{label}`", *(cells.get((label, column), "–") for column in columns)])
    for name, most in (("most above, %", max), ("most below, %", min)):
        sign = 1 if most is max else -1
        furthest = (max(0, sign * most(some, default=0)) for some in off.values())
        lines.append([name, *(f"{percent:.0f}" for percent in furthest)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@functools.cache  # read once for a build
def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@functools.cache
def counted() -> dict:
    return json.loads(COUNTED.read_text(encoding="utf-8")) if COUNTED.exists() else {}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else NAMES.get(value, str(value))
