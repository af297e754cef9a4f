"""What breaks, counted: the numbers of the book's page *Trust*.

    python -m benchmarks.trust [--damaged 1000] [--interrupted 50] [--output FILE]

Damages good files and hands them to `nevf apply`; interrupts `nevf register` and `nevf batch` at
random moments, and repeats them; registers with one seed on one and two threads. Files are damaged
by hypothesis, always in the same way; the moments are random numbers of one seed. A disk that fills
up is a real one of a few MiB, for which this has to be allowed to mount one (Linux, root). Rows
that the file holds already, with as many tries, are kept; remove it to count them again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from benchmarks.damage import KINDS, damage_inputs
from benchmarks.interruptions import STRIKES, interrupt, run_alone
from nevf_lite.data import load_pair
from nevf_lite.scans.files import atomic
from nevf_lite.scans.io import read_displacement
from nevf_lite.study import provenance

#: What the page shows.
TABLE = Path(__file__).parents[1] / "book" / "results" / "trust.json"
SPACING = 4  # mm, so that a run takes seconds
SEARCH = ["--spacing", str(SPACING), "--seed", "0", "--iterations", "20,20,20", "--quiet"]
PAIRS = 3  # of the batch that is interrupted
BATCH = ["--preset", "fast", "--spacing", str(SPACING), "--size", str(PAIRS)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--damaged", type=int, default=1000, help="damaged inputs in all")
    parser.add_argument("--interrupted", type=int, default=50, help="interrupted runs in all")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    document: dict[str, list[dict]] = {}
    if options.output.exists():
        document = json.loads(options.output.read_text(encoding="utf-8"))
    kept = {(t, row["kind"], row.get("tried")) for t, found in document.items() for row in found}
    source = {"machine": provenance.machine(), "commit": provenance.commit()}
    with tempfile.TemporaryDirectory(prefix="nevf-trust-") as folder:
        for table, row in rows(Path(folder), options.damaged, options.interrupted, kept):
            row |= {**source, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
            print(table, row, file=sys.stderr, flush=True)
            found = [r for r in document.get(table, []) if r["kind"] != row["kind"]]
            document[table] = [*found, row]
            with atomic(options.output) as temporary:
                temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rows(
    folder: Path, damaged: int, interrupted: int, kept: Collection[tuple] = ()
) -> Iterator[tuple[str, dict]]:
    """The rows of the three tables, as they are counted: (table, row).

    kept: table, kind and number of tries (None for threads) of rows that are not wanted again.
    """
    search = write_pair(folder)
    result = folder / "result"
    labels = [
        word
        for side in ("fixed", "moving")
        for word in (f"--{side}-labels", str(folder / f"{side}_labels.nii.gz"))
    ]
    run_alone([*search, *labels, "-o", str(result)])
    work = folder / "work"
    work.mkdir()
    for kind in KINDS:
        share = damaged // len(KINDS)
        if ("damaged", kind, share) not in kept:
            yield "damaged", damage_inputs(kind, result, work, share)
    moments = np.random.default_rng(0).random(interrupted)
    parts = np.split(moments, np.rint(interrupted * np.cumsum([0.3, 0.3, 0.3])).astype(int))
    for kind, share in zip(STRIKES, parts, strict=True):
        words = search
        if kind == "batch":
            words = ["batch", str(folder / "pairs.csv"), *BATCH]
        if ("interrupted", kind, len(share)) not in kept:
            yield "interrupted", interrupt(kind, words, work, share)
    for counts in ((1, 1), (1, 2)):
        if ("threads", _name(counts), None) not in kept:
            yield "threads", compare_threads(search, work, counts)


def write_pair(folder: Path) -> list[str]:
    """Write the simulated pair, and a table of pairs; return the words that register it."""
    pair = load_pair("simulated", spacing=SPACING)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        nib.save(getattr(pair, name), folder / f"{name}.nii.gz")
    paths = [str(folder / f"{name}.nii.gz") for name in ("fixed", "moving")]
    lines = [f"{paths[0]},{paths[1]},pair{number}" for number in range(PAIRS)]
    (folder / "pairs.csv").write_text("\n".join(["fixed,moving,name", *lines]) + "\n")
    return ["register", *paths, *SEARCH]


def compare_threads(search: list[str], folder: Path, counts: tuple[int, int]) -> dict:
    """Register twice with one seed, on these numbers of threads: the same bytes, or how far off."""
    fields = []
    for number, threads in enumerate(counts):
        output = folder / f"threads{number}"
        run_alone([*search, "--threads", str(threads), "-o", str(output)])
        fields.append(output / "warp.nii.gz")
    maps = [read_displacement(path)[0] for path in fields]
    apart = np.linalg.norm(maps[0] - maps[1], axis=-1)
    return {
        "kind": _name(counts),
        "same_bytes": fields[0].read_bytes() == fields[1].read_bytes(),
        "mean_mm": float(apart.mean()),
        "largest_mm": float(apart.max()),
        "cores": os.cpu_count(),
    }


def _name(counts: tuple[int, int]) -> str:
    return f"{counts[0]} and {counts[1]}"


if __name__ == "__main__":
    main()
