"""One operation at one size on every backend: `python -m benchmarks.kernel '{"operation": ...}'`.

Prints a JSON list of measurements. All backends take turns in one process; ratios are to plain
torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch

from benchmarks.clock import Times, peak_mib, time_in_turn
from benchmarks.operations import OPERATIONS, Task, shape_at
from nevf_lite import kernels
from nevf_lite.kernels.memory import keep_freed_memory

#: The backend that "auto" selects for a type of device.
FAST = {"cpu": "numba", "cuda": "triton"}


def main(
    operation: str,
    spacing: float,
    device: str = "cpu",
    threads: int = 1,
    budget: float = 3.0,
    compiled: bool = True,
) -> list[dict]:
    """Measure one operation with plain torch, the fast backend and torch.compile, in this order."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as `fit` does, for every backend
    shape = shape_at(spacing)
    task = OPERATIONS[operation](shape, device)
    calls = {"torch": lambda: _run_with("torch", task)}
    notes = {}
    fast = FAST.get(device.partition(":")[0])
    try:
        kernels.check_backend(fast)
        calls[fast] = lambda: _run_with(fast, task)
    except ValueError as error:
        notes[fast] = str(error)
    if compiled:
        call, notes["torch.compile"] = _compile(task)
        if call is not None:
            calls["torch.compile"] = call
    for call in calls.values():
        call()  # compile, so that the peak is without compilation
    peaks = {name: peak_mib(call, device) for name, call in calls.items()}
    times = time_in_turn(calls, budget, device)
    common = {
        "case": f"{operation} {spacing:g} mm",
        "kind": "kernel",
        "operation": operation,
        "spacing": spacing,
        "shape": list(shape),
        "device": device,
        "threads": threads,
        "reference": "torch",
        "bytes": task.count.bytes,
        "flops": task.count.flops,
    }
    measurements = []
    for name in [*calls, *(n for n in notes if n not in calls)]:
        timings = timing_columns(times.get(name), times["torch"])
        memory = {"peak_mib": peaks.get(name), "note": notes.get(name, "")}
        measurements.append({**common, "backend": name, **timings, **memory})
    return measurements


def timing_columns(times: Times | None, reference: Times) -> dict:
    """Wall and processor seconds and their ratios to a reference; None for calls that failed."""
    keys = ("seconds", "reference_seconds", "ratio", "cpu_seconds", "cpu_ratio")
    if times is None:
        return dict.fromkeys(keys) | {"reference_seconds": round(reference.wall, 6)}
    values = (times.wall, reference.wall, reference.wall / times.wall)
    values += (times.cpu, reference.cpu / max(times.cpu, 1e-9))
    return dict(zip(keys, (float(f"{value:.4g}") for value in values), strict=True))


def _run_with(backend: str, task: Task) -> None:
    with kernels.backend(backend):
        task()


def _compile(task: Task) -> tuple[Callable[[], None] | None, str]:
    """A call through torch.compile and "", or None and the reason why it fails."""
    forward = torch.compile(task.forward, dynamic=False)

    def call() -> None:
        with kernels.backend("torch"):
            task.run(forward)

    try:
        call()
    except Exception as error:  # a compiler raises errors of many types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return None, f"torch.compile: {type(error).__name__}: {(lines or [''])[0]}"[:200]
    return call, ""


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
