"""Measurement of seconds and of peak memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil
import torch

from nevf_lite.study.provenance import PeakMemory


@dataclass
class Times:
    """The least wall and the least processor seconds of a call."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def add(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = min(self.wall, wall), min(self.cpu, cpu)


def time_in_turn(
    calls: Mapping[str, Callable[[], object]], budget: float, device="cpu"
) -> dict[str, Times]:
    """Time several calls in turn, so that other work on the machine affects all alike.

    Each is called once before, to compile and to fill caches, and then at least twice and for about
    `budget` seconds in all.
    """
    times = {name: Times() for name in calls}
    for call in calls.values():
        call()
    turns, started = 0, time.perf_counter()
    while turns < 2 or (time.perf_counter() - started < budget and turns < 200):
        for name, call in calls.items():
            times[name].add(*time_once(call, device))
        turns += 1
    return times


def time_once(call: Callable[[], object], device="cpu") -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    synchronise(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def synchronise(device) -> None:
    """Wait until a GPU has finished its work."""
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()


def peak_mib(call: Callable[[], object], device="cpu") -> float:
    """The peak memory of a call beyond the memory held before it, in MiB.

    On CUDA that of torch's allocator, on the CPU the resident set of this process.
    """
    gc.collect()
    if str(device).startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
    _trim_heap()
    before = psutil.Process().memory_info().rss / 2**20
    with PeakMemory() as memory:
        call()
    return round(max(memory.mib - before, 0.0), 1)


def _trim_heap() -> None:
    """Return freed memory to the system, so that a call cannot reuse it without being measured."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
