"""How seconds and peak memory are measured, the same way for every case."""

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
    """Of one call, in seconds: what the clock and what the processor counted; each its minimum."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def add(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = min(self.wall, wall), min(self.cpu, cpu)


def compare(calls: Mapping[str, Callable[[], object]], budget: float, device="cpu") -> dict:
    """Time several ways of doing one thing: name to `Times`.

    Each is called once before it counts, to compile and to fill caches. Then all take turns, so
    that what else the machine does meets them alike, at least twice and for about `budget` seconds.
    """
    found = {name: Times() for name in calls}
    for call in calls.values():
        call()
    turns, started = 0, time.perf_counter()
    while turns < 2 or (time.perf_counter() - started < budget and turns < 200):
        for name, call in calls.items():
            found[name].add(*once(call, device))
        turns += 1
    return found


def once(call: Callable[[], object], device="cpu") -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wait(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def wait(device) -> None:
    """Until a card has done what it was asked for."""
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()


def peak_mib(call: Callable[[], object], device="cpu") -> float:
    """The most memory that a call holds beyond what was held before it, in MiB.

    On CUDA as its allocator counts it; on the CPU the resident set of this process.
    """
    gc.collect()
    if str(device).startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
    _give_back_freed_memory()
    before = psutil.Process().memory_info().rss / 2**20
    with PeakMemory() as memory:
        call()
    return round(max(memory.mib - before, 0.0), 1)


def _give_back_freed_memory() -> None:
    """Else a call could take what an earlier one freed, and seem to need nothing."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
