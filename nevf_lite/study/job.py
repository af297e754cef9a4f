"""What a process of its own runs for its jobs: `python -m nevf_lite.study.job RESULT.json`.

It reads the jobs from standard input, runs the method, scores what comes out and writes the columns
it knows to the file, a list with an entry a job. One job is the rule; several are pairs of NeVF at
the same time (see `batches`). It ends with its parent, which keeps the other end of standard input
open.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nevf_lite.study import provenance
from nevf_lite.study.methods import find_method, nevf_many
from nevf_lite.study.plan import Job, MethodSpec, PairSpec, canonical

if TYPE_CHECKING:
    from nevf_lite.data.pairs import Pair
    from nevf_lite.transform import Transform


def main() -> None:
    """Read the jobs, do them, write their columns."""
    parent = os.dup(0)  # the tools below must not read from it
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with os.fdopen(os.dup(parent), "rb", buffering=0) as pipe:
        told = json.loads(pipe.readline())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    jobs = [Job(one["study"], PairSpec(**one["pair"]), MethodSpec(**one["method"])) for one in told]
    try:
        found = [measure(*jobs)] if len(jobs) == 1 else measure_together(jobs)
        rows = [{"status": "done", **columns} for columns in found]
    except Exception as error:
        from nevf_lite.cli.terminal import EXPECTED, describe, one_line

        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        reason = kind + one_line(describe(error))
        rows = [{"status": "failed", "reason": reason} for _ in jobs]
    packages = find_method(jobs[0].method.method).packages
    common = {"machine": provenance.machine(), "commit": provenance.commit()}
    common["versions"] = canonical(provenance.versions(packages))
    written = json.dumps([{**row, **common} for row in rows])
    Path(sys.argv[1]).write_text(written, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # a tool's threads may hang at a tidy exit, and the row is there


def _end_with_parent(pipe: int) -> None:
    """Nobody would write the row: end this process, and what it has started, with its parent."""
    while os.read(pipe, 4096):
        pass
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def measure(job: Job) -> dict:
    """Run the method of a job in this process and score it; the columns that come of it.

    Dice on the fixed image's own grid, labels by nearest neighbour, over the dataset's protocol.
    The seconds are those of the call: for a tool that is a program of its own they hold its start.
    """
    spec, method = job.method, find_method(job.method.method)
    pair = _load(job)
    function = method.function
    watch = _Watch(spec.trajectory, lambda transform: _mean(_dice(pair, transform)))
    watching = {"watch": watch} if method.watchable else {}
    common = {"spacing": spec.spacing, "threads": spec.threads, "seed": spec.seed}
    with provenance.PeakMemory() as memory:
        watch.started, worked = time.perf_counter(), provenance.cpu_seconds()
        transform = function(pair.fixed, pair.moving, **common, **watching, **spec.options)
        seconds = time.perf_counter() - watch.started - watch.paused
        worked = provenance.cpu_seconds() - worked - watch.paused_cpu
    found = _columns(pair, transform, seconds, worked, memory)
    if watch.iterations:
        found["iterations"] = watch.iterations
        found["seconds_per_iteration"] = round(watch.seconds / watch.iterations, 5)
    if spec.trajectory:
        curve = [[0, found["dice_before"]], *watch.curve, [seconds, found["dice"]]]
        found["trajectory"] = canonical([[round(s, 3), round(d, 5)] for s, d in curve])
    return found


def measure_together(jobs: Sequence[Job]) -> list[dict]:
    """`measure` for several pairs of NeVF, registered at the same time.

    The seconds of a row, of the clock and of the processor, are its share; the peak memory is that
    of all.
    """
    spec, pairs = jobs[0].method, [_load(job) for job in jobs]
    common = {"spacing": spec.spacing, "threads": spec.threads, "seed": spec.seed}
    scans = [(pair.fixed, pair.moving) for pair in pairs]
    with provenance.PeakMemory() as memory:
        started, worked = time.perf_counter(), provenance.cpu_seconds()
        results = nevf_many(scans, **common, **spec.options)
        seconds = (time.perf_counter() - started) / len(jobs)
        worked = (provenance.cpu_seconds() - worked) / len(jobs)
    rows = []
    for pair, result in zip(pairs, results, strict=True):
        row = _columns(pair, result.transform, seconds, worked, memory)
        row["iterations"] = len(result.history)
        spent = result.timings["optimise"]  # its share too; preparing is in no iteration
        row["seconds_per_iteration"] = round(spent / max(len(result.history), 1), 5)
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
    from nevf_lite.metrics import dice

    return dice(pair.fixed_labels, transform.warp_labels(pair.moving_labels), pair.protocol)


def _columns(pair: Pair, transform: Transform, seconds: float, worked: float, memory) -> dict:
    """What every row has: scores, folds, seconds of the clock and the processor, memory, device."""
    import torch

    from nevf_lite.metrics import folds

    scores = _dice(pair, transform)
    before = _dice(pair, type(transform).identity(transform.fixed, transform.moving))
    folded = folds(transform.voxel_displacement())
    found = {
        "dice": _mean(scores),
        "dice_before": _mean(before),
        "folds_percent": 100 * folded.forward,
        "ndv_percent": 100 * folded.fraction,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(worked, 2),
        "peak_mib": round(memory.mib, 1),
        "device": "cpu",
        "dice_by_label": canonical({label: round(value, 4) for label, value in scores.items()}),
    }
    if torch.cuda.is_initialized():
        found["device"] = f"cuda ({torch.cuda.get_device_name()})"
        found["device_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def _mean(scores: dict[int, float]) -> float:
    if not scores:
        raise ValueError("labels: none of the protocol's occurs in this pair")
    return math.fsum(scores.values()) / len(scores)


class _Watch:
    """Counts the iterations of a method, and scores it on the way with the clock stopped.

    every: iterations between two scores, 0 for none. curve: [seconds of the method, Dice].
    """

    def __init__(self, every: int, score: Callable) -> None:
        self.every, self.score = every, score
        self.started = self.paused = self.paused_cpu = self.seconds = 0.0
        self.iterations, self.curve = 0, []

    def __call__(self, record: dict, now: Callable) -> None:
        self.iterations, self.seconds = self.iterations + 1, record["seconds"]
        if self.every and self.iterations % self.every == 0:
            since, worked = time.perf_counter(), provenance.cpu_seconds()
            self.curve.append([since - self.started - self.paused, self.score(now())])
            self.paused += time.perf_counter() - since
            self.paused_cpu += provenance.cpu_seconds() - worked


if __name__ == "__main__":
    main()
