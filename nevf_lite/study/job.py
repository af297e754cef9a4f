"""What a process of its own runs for one job: `python -m nevf_lite.study.job RESULT.json`.

It reads the job from standard input, runs the method, scores what comes out and writes the columns
it knows to the file. It ends with its parent, which keeps the other end of standard input open.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nevf_lite.study import provenance
from nevf_lite.study.methods import find_method
from nevf_lite.study.plan import Job, MethodSpec, PairSpec, canonical


def main() -> None:
    """Read the job, do it, write its columns."""
    parent = os.dup(0)  # the tools below must not read from it
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with os.fdopen(os.dup(parent), "rb", buffering=0) as pipe:
        told = json.loads(pipe.readline())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    job = Job(told["study"], PairSpec(**told["pair"]), MethodSpec(**told["method"]))
    try:
        row = {"status": "done", **measure(job)}
    except Exception as error:
        from nevf_lite.cli.terminal import EXPECTED, describe, one_line

        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        row = {"status": "failed", "reason": kind + one_line(describe(error))}
    row["machine"], row["commit"] = provenance.machine(), provenance.commit()
    row["versions"] = canonical(provenance.versions(find_method(job.method.method).packages))
    Path(sys.argv[1]).write_text(json.dumps(row), encoding="utf-8")
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
    import torch

    from nevf_lite.data import load_pair
    from nevf_lite.metrics import dice, folds
    from nevf_lite.transform import Transform

    spec, method = job.method, find_method(job.method.method)
    torch.set_num_threads(spec.threads)
    if job.pair.dataset == "simulated":
        pair = load_pair("simulated", seed=job.pair.seed, ndim=job.pair.ndim)
    else:
        pair = load_pair(job.pair.dataset, job.pair.fixed, job.pair.moving)
    if pair.fixed_labels is None or pair.moving_labels is None:
        raise ValueError(f"{pair.name}: one of them has no labels to score with")

    def score(transform: Transform) -> dict[int, float]:
        warped = transform.warp_labels(pair.moving_labels)
        return dice(pair.fixed_labels, warped, pair.protocol)

    function = method.function
    watch = _Watch(spec.trajectory, lambda transform: _mean(score(transform)))
    watching = {"watch": watch} if method.watchable else {}
    common = {"spacing": spec.spacing, "threads": spec.threads, "seed": spec.seed}
    with provenance.PeakMemory() as memory:
        watch.started, worked = time.perf_counter(), provenance.cpu_seconds()
        transform = function(pair.fixed, pair.moving, **common, **watching, **spec.options)
        seconds = time.perf_counter() - watch.started - watch.paused
        worked = provenance.cpu_seconds() - worked - watch.paused_cpu
    scores, before = score(transform), score(Transform.identity(transform.fixed, transform.moving))
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
    if watch.iterations:
        found["iterations"] = watch.iterations
        found["seconds_per_iteration"] = round(watch.seconds / watch.iterations, 5)
    if torch.cuda.is_initialized():
        found["device"] = f"cuda ({torch.cuda.get_device_name()})"
        found["device_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if spec.trajectory:
        curve = [[0, _mean(before)], *watch.curve, [seconds, found["dice"]]]
        found["trajectory"] = canonical([[round(s, 3), round(d, 5)] for s, d in curve])
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
