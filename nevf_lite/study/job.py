"""The child process of `process.run_jobs`: `python -m nevf_lite.study.job RESULT.json`.

It reads a list of jobs from standard input, runs and scores them, and writes a list with the
columns of each to the file. The list has one job, or several pairs of NeVF that are registered at
the same time (see `batches`). The parent keeps its end of standard input open; this process ends
when the parent does.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nevf_lite.registration.folder import versions
from nevf_lite.scans.errors import EXPECTED, describe, one_line
from nevf_lite.study import provenance
from nevf_lite.study.child import receive_document
from nevf_lite.study.methods import find_method, nevf_many
from nevf_lite.study.plan import Job, MethodSpec, PairSpec
from nevf_lite.study.rows import canonical_json

if TYPE_CHECKING:
    from nevf_lite.data.pairs import Pair
    from nevf_lite.transforms.transform import Transform


def main() -> None:
    """Read the jobs, run them and write their columns."""
    jobs = [
        Job(record["study"], PairSpec(**record["pair"]), MethodSpec(**record["method"]))
        for record in receive_document()
    ]
    try:
        measured = [measure(*jobs)] if len(jobs) == 1 else measure_batch(jobs)
        rows = [{"status": "done", **columns} for columns in measured]
    except Exception as error:
        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        reason = kind + one_line(describe(error))
        rows = [{"status": "failed", "reason": reason} for _ in jobs]
    packages = find_method(jobs[0].method.method).packages
    common = {"machine": provenance.machine(), "commit": provenance.commit()}
    common["versions"] = canonical_json(versions((*provenance.PACKAGES, *packages)))
    document = json.dumps([{**row, **common} for row in rows])
    Path(sys.argv[1]).write_text(document, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # the threads of some tools never end, and a normal exit would wait for them


def measure(job: Job) -> dict:
    """Run the method of a job in this process and score it; returns the columns measured.

    Dice on the grid of the fixed image, labels by nearest neighbour, over the labels of the
    dataset's protocol. The seconds are those of the call. For a tool in a process of its own they
    include the start of that process.
    """
    spec, method = job.method, find_method(job.method.method)
    pair, function, watchable = _load(job), method.function, method.watchable
    common = {"spacing": spec.spacing, "threads": spec.threads, "seed": spec.seed}
    with provenance.PeakMemory() as memory:
        clock = _Clock()
        recorder = _Recorder(clock, spec.trajectory, lambda t: _mean(_dice(pair, t)))
        if watchable:
            common["watch"] = recorder
        transform = function(pair.fixed, pair.moving, **common, **spec.options)
        seconds, cpu_seconds = clock.read()
    row = _columns(pair, transform, seconds, cpu_seconds, memory)
    if recorder.iterations:
        row["iterations"] = recorder.iterations
        row["seconds_per_iteration"] = round(recorder.seconds / recorder.iterations, 5)
    if spec.trajectory:
        curve = [(0, row["dice_before"]), *recorder.curve, (seconds, row["dice"])]
        row["trajectory"] = canonical_json([[round(s, 3), round(d, 5)] for s, d in curve])
    return row


def measure_batch(jobs: Sequence[Job]) -> list[dict]:
    """`measure` for several pairs of NeVF, registered at the same time.

    The wall and processor seconds of a row are those of the batch divided by its size. The peak
    memory is that of the batch.
    """
    spec, pairs = jobs[0].method, [_load(job) for job in jobs]
    common = {"spacing": spec.spacing, "threads": spec.threads, "seed": spec.seed}
    images = [(pair.fixed, pair.moving) for pair in pairs]
    with provenance.PeakMemory() as memory:
        clock = _Clock()
        results = nevf_many(images, **common, **spec.options)
        seconds, cpu_seconds = (total / len(jobs) for total in clock.read())
    rows = []
    for pair, result in zip(pairs, results, strict=True):
        row = _columns(pair, result.transform, seconds, cpu_seconds, memory)
        row["iterations"] = len(result.history)
        optimise_seconds = result.timings["optimise"]  # divided by the size of the batch too
        row["seconds_per_iteration"] = round(optimise_seconds / max(len(result.history), 1), 5)
        rows.append(row)
    return rows


def _load(job: Job) -> Pair:
    """The pair of a job, which must have labels; sets the threads of this process."""
    import torch

    from nevf_lite.data import load_pair

    torch.set_num_threads(job.method.threads)
    if job.pair.dataset == "simulated":
        pair = load_pair("simulated", seed=job.pair.seed, ndim=job.pair.ndim)
    else:
        pair = load_pair(job.pair.dataset, job.pair.fixed, job.pair.moving)
    if pair.fixed_labels is None or pair.moving_labels is None:
        raise ValueError(f"{pair.name}: one of them has no labels to score with")
    return pair


def _dice(pair: Pair, transform: Transform) -> dict[int, float]:
    from nevf_lite.scores.metrics import dice

    return dice(pair.fixed_labels, transform.warp_labels(pair.moving_labels), pair.protocol)


def _columns(
    pair: Pair,
    transform: Transform,
    seconds: float,
    cpu_seconds: float,
    memory: provenance.PeakMemory,
) -> dict:
    """The columns of every method: scores, folds, wall and processor seconds, memory, device."""
    import torch

    from nevf_lite.scores.deformation import folds

    scores = _dice(pair, transform)
    before = _dice(pair, type(transform).identity(transform.fixed, transform.moving))
    folded = folds(transform.voxel_displacement())
    row = {
        "dice": _mean(scores),
        "dice_before": _mean(before),
        "folds_percent": 100 * folded.forward,
        "ndv_percent": 100 * folded.volume_fraction,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_mib": round(memory.mib, 1),
        "device": "cpu",
        "dice_by_label": canonical_json(
            {label: round(value, 4) for label, value in scores.items()}
        ),
    }
    if torch.cuda.is_initialized():
        row["device"] = f"cuda ({torch.cuda.get_device_name()})"
        row["device_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return row


def _mean(scores: dict[int, float]) -> float:
    if not scores:
        raise ValueError("labels: none of the protocol's occurs in this pair")
    return math.fsum(scores.values()) / len(scores)


class _Clock:
    """Wall and processor seconds since its creation, without those within `paused`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), provenance.cpu_seconds()

    def read(self) -> tuple[float, float]:
        """Wall and processor seconds."""
        return time.perf_counter() - self._wall, provenance.cpu_seconds() - self._cpu

    @contextlib.contextmanager
    def paused(self) -> Iterator[float]:
        """Stop the clock within `with`; yields the wall seconds at which it stands."""
        wall, cpu = self.read()
        yield wall
        wall_after, cpu_after = self.read()
        self._wall += wall_after - wall
        self._cpu += cpu_after - cpu


class _Recorder:
    """A `watch` that counts iterations and records the Dice with the clock stopped.

    every: iterations between two records of the Dice, 0 for none. score: the Dice of a transform.
    curve: (seconds, Dice) of each record. seconds: of all iterations so far.
    """

    def __init__(self, clock: _Clock, every: int, score: Callable[[Transform], float]) -> None:
        self.clock, self.every, self.score = clock, every, score
        self.iterations, self.seconds = 0, 0.0
        self.curve: list[tuple[float, float]] = []

    def __call__(self, record: dict, current_transform: Callable[[], Transform]) -> None:
        self.iterations, self.seconds = self.iterations + 1, record["seconds"]
        if self.every and self.iterations % self.every == 0:
            with self.clock.paused() as seconds:
                self.curve.append((seconds, self.score(current_transform())))


if __name__ == "__main__":
    main()
