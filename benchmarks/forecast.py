"""The forecast of memory beside the peak of a process: a table of the book's page *Trust*.

    python -m benchmarks.forecast

A process reads a pair of OASIS's train split at 1 mm, registers it with two iterations a level and
writes the result with its report. Each preset runs with a whole moving scan and with one that ends
inside the head; the paper's network also with other steps, narrower, in chunks and in half
precision. (In plain torch it is in `book/results/memory.yml`.) Writes `book/results/forecast.csv`
and goes on with what it does not hold yet. Takes a quarter of an hour of a core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import torch

from benchmarks.coverage import PAIR, with_cut
from benchmarks.table import append, rows
from nevf_lite import config, register
from nevf_lite.data import load_pair
from nevf_lite.registration.memory import predict_process
from nevf_lite.study.provenance import process_peak_mib

TABLE = Path(__file__).parents[1] / "book" / "results" / "forecast.csv"
KEYS = ("label", "moving")
COLUMNS = (*KEYS, "forecast_mib", "peak_mib", "cpu_seconds", "machine", "commit")
#: The side of the moving scan that is cut off, see `benchmarks.coverage`.
CUT = "bottom"


@dataclass(frozen=True)
class Case:
    """A preset with changes, and L where it is not the preset's."""

    label: str
    preset: str
    step: int | None = None
    changes: dict = field(default_factory=dict)

    def config(self) -> config.Config:
        """With two iterations a level."""
        settings = config.preset(self.preset, **self.changes)
        levels = (replace(lv, iterations=2, step=self.step or lv.step) for lv in settings.levels)
        return replace(settings, levels=tuple(levels))


CASES = (
    *(Case(name, name) for name in config.PRESETS),
    *(Case(f"paper, L = {step}", "paper", step) for step in (4, 5)),
    *(Case(f"paper, 128 wide, L = {step}", "paper", step, {"width": 128}) for step in (2, 3)),
    Case("paper, chunks of 40 000", "paper", None, {"chunk": 40_000}),
    Case("paper, bfloat16", "paper", None, {"bfloat16": True}),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=TABLE)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)  # of the process of one case
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(measured(*options.case)))
        return
    done = {tuple(row[key] for key in KEYS) for row in rows(options.output)}
    with tempfile.TemporaryDirectory() as folder:
        pair, scans = load_pair(*PAIR), Path(folder)
        cut = with_cut(pair, "moving", CUT)["moving"]
        for name, image in (("fixed", pair.fixed), ("whole", pair.moving), ("cut", cut)):
            nib.save(image, scans / f"{name}.nii")
        for case, moving in cases():
            if (case.label, moving) in done:
                continue
            row = dict(zip(KEYS, (case.label, moving), strict=True))
            row |= in_a_process(case, moving, folder)
            print(row, flush=True)
            append(options.output, COLUMNS, row)


def cases() -> list[tuple[Case, str]]:
    """Each with a moving scan: the presets also with one that ends in the head."""
    found = [(case, "whole") for case in CASES]
    return found + [(case, "cut") for case in CASES if case.label in config.PRESETS]


def in_a_process(case: Case, moving: str, folder: str) -> dict:
    """Of the second of two processes where the first has compiled the kernels."""
    command = [sys.executable, "-m", "benchmarks.forecast", "--case"]
    command += [case.label, moving, folder]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if "compiling" not in done.stderr:
            break
    return json.loads(done.stdout.splitlines()[-1])


def measured(label: str, moving: str, folder: str) -> dict:
    """Register and write one case in this process: forecast and peak in MiB."""
    settings = next(case for case in CASES if case.label == label).config()
    scans = {"fixed": Path(folder, "fixed.nii"), "moving": Path(folder, f"{moving}.nii")}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as output:
        result = register(**scans, config=settings, progress=False)
        result.save(Path(output, "result"))
        shapes = [nib.load(scan).shape for scan in scans.values()]
        working = result.transform.components[0].field.shape
        forecast = predict_process(settings, working, *shapes, weighted=moving == "cut")
    return {
        "forecast_mib": round(forecast / 2**20),
        "peak_mib": round(process_peak_mib()),
        "cpu_seconds": round(time.process_time(), 1),
    }


if __name__ == "__main__":
    main()
