"""Whole iterations of one level: `python -m benchmarks.iteration '{"setting": ..., ...}'`.

Prints one JSON object: the seconds of the fastest iteration, the peak memory and the predicted
memory. A process measures one backend, so that the peak memory is that backend's.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.clock import Times, peak_mib, synchronise
from benchmarks.operations import DEPTH, STEP, WIDTH, shape_at, smooth_noise
from nevf_lite import kernels
from nevf_lite.config import Config, Level, preset
from nevf_lite.optimise import fit
from nevf_lite.registration.memory import predict_memory

#: Number of iterations that are timed at each spacing in mm, after one that fills caches.
TIMED = {4: 10, 2: 5, 1: 2}


def config_of(setting: str, iterations: int) -> Config:
    """A config of one level: the finest of "default", or a SIREN of width 128 at L = 3."""
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
    """Measure iterations on two smooth images. shape: of the images, by default that of a head."""
    torch.set_num_threads(threads)
    shape = tuple(shape or shape_at(spacing))
    config = config_of(setting, 1 + TIMED.get(int(spacing), 3))
    common = smooth_noise(1, shape, 8, 0, device)
    fixed = (0.5 + 0.1 * common).clamp(0, 1)
    moving = (0.5 + 0.1 * common + 0.05 * smooth_noise(1, shape, 8, 1, device)).clamp(0, 1)
    times, timestamps = Times(), []

    def add_timestamp(_: dict) -> None:
        synchronise(device)
        timestamps.append((time.perf_counter(), time.process_time()))

    small = smooth_noise(1, (12, 12, 12), 4, 0, device)
    with kernels.backend(backend):
        fit(small, small, config_of(setting, 1))  # so that the peak is without compilation
        peak = peak_mib(lambda: fit(fixed, moving, config, callback=add_timestamp), device)
        predicted = predict_memory(config, shape, device)
    for before, after in zip(timestamps, timestamps[1:], strict=False):
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
