"""One case of the benchmark: python iteration.py SPACING BACKEND DEVICE prints one JSON object."""

from __future__ import annotations

import json
import sys
import threading
import time

import psutil
import torch

from nevf_lite import kernels
from nevf_lite.config import Level, preset
from nevf_lite.data import load_pair
from nevf_lite.frames import Frame
from nevf_lite.memory import predict_memory
from nevf_lite.optimise import fit

#: Iterations that are timed, after one that compiles and fills caches.
TIMED = {4: 10, 2: 5, 1: 2}


def main(spacing: float, backend: str, device: str) -> dict:
    """The default configuration's finest level on the embedded pair at this spacing."""
    finest = preset("default").levels[-1]
    repeats = TIMED.get(int(spacing), 3)
    level = Level(1, 1 + repeats, finest.step, finest.lr, finest.window)
    config = preset("default", levels=(level,), spacing=spacing, patience=1000)
    pair = load_pair("simulated", seed=0, spacing=min(spacing, 2))
    frame = Frame.settle(pair.fixed, pair.moving, None, config)
    inputs = {k: None if v is None else v.to(device) for k, v in frame.tensors.items()}
    moments: list[float] = []

    def moment(_: dict) -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        moments.append(time.perf_counter())

    with kernels.backend(backend), PeakMemory(device) as peak:
        fit(**inputs, config=config, callback=moment)
        predicted = predict_memory(config, frame.work.shape, device)
    shape = "x".join(map(str, frame.work.shape))
    return {
        "case": f"{spacing:g} mm {shape}",
        "backend": backend,
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": round((moments[-1] - moments[0]) / repeats, 4),
        "peak_mib": round(peak.bytes / 2**20),
        "predicted_mib": round(predicted / 2**20),
    }


class PeakMemory:
    """The most memory that a block holds at once beyond what was there before it, in bytes.

    On CUDA as its allocator counts it; on the CPU the resident set, looked at every 5 ms.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)

    def __exit__(self, *_) -> None:
        if self.cuda:
            self.bytes = torch.cuda.max_memory_allocated() - self._before
            return
        self._done.set()
        self._watcher.join()


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), sys.argv[2], sys.argv[3])))
