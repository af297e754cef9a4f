"""Whole iterations of one level: `python -m benchmarks.iteration '{"setting": ..., ...}'`.

Prints one JSON object: the fastest iteration's seconds, peak memory, and the memory predicted. A
process has one backend, so that its peak is its own.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.clock import Times, peak_mib, wait
from benchmarks.operations import DEPTH, HEAD, STEP, WIDTH, smooth
from nevf_lite import kernels
from nevf_lite.config import Config, Level, preset
from nevf_lite.memory import predict_memory
from nevf_lite.optimise import fit

#: Iterations that are timed, after one that fills caches.
TIMED = {4: 10, 2: 5, 1: 2}


def config_of(setting: str, iterations: int) -> Config:
    """One level of a setting: "default", its finest, or "siren", 128 wide at L = 3."""
    if setting == "default":
        last = preset("default").levels[-1]
        level = Level(1, iterations, last.step, last.lr, last.window)
        return preset("default", levels=(level,), patience=1000)
    if setting == "siren":
        level = Level(1, iterations, STEP, 1e-3, 9)
        return preset("siren", levels=(level,), patience=1000, width=WIDTH, depth=DEPTH)
    raise ValueError(f"setting: wanted 'default' or 'siren', got {setting!r}")


def main(
    setting: str,
    spacing: float,
    backend: str,
    device: str = "cpu",
    threads: int = 1,
    shape: tuple[int, ...] | None = None,
) -> dict:
    """Seconds of an iteration on two smooth images; shape: of them, by default a head's."""
    torch.set_num_threads(threads)
    shape = tuple(shape or (max(2, round(n / spacing)) for n in HEAD))
    config = config_of(setting, 1 + TIMED.get(int(spacing), 3))
    common = smooth(1, shape, 8, 0, device)
    fixed = (0.5 + 0.1 * common).clamp(0, 1)
    moving = (0.5 + 0.1 * common + 0.05 * smooth(1, shape, 8, 1, device)).clamp(0, 1)
    times, moments = Times(), []

    def moment(_: dict) -> None:
        wait(device)
        moments.append((time.perf_counter(), time.process_time()))

    small = smooth(1, (12, 12, 12), 4, 0, device)
    with kernels.backend(backend):
        fit(small, small, config_of(setting, 1))  # compiling and loading take memory too
        peak = peak_mib(lambda: fit(fixed, moving, config, callback=moment), device)
        predicted = predict_memory(config, shape, device)
    for before, after in zip(moments, moments[1:], strict=False):
        times.add(after[0] - before[0], after[1] - before[1])
    return {
        "case": f"iteration {setting} {spacing:g} mm",
        "kind": "iteration",
        "setting": setting,
        "spacing": spacing,
        "shape": list(shape),
        "backend": backend,
        "device": device,
        "threads": threads,
        "reference": "torch",
        "wall": times.wall,
        "cpu": times.cpu,
        "peak_mib": peak,
        "predicted_mib": round(predicted / 2**20, 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
