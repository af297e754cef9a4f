"""One operation at one size by every backend: `python -m benchmarks.kernel '{"operation": ...}'`.

Prints one JSON list of cases. All backends take turns in one process; ratios are to plain torch.
"""

from __future__ import annotations

import json
import sys

import torch

from benchmarks.clock import compare, peak_mib
from benchmarks.operations import OPERATIONS, Task, shape_at
from nevf_lite import kernels

#: The backend that "auto" takes for a device.
FAST = {"cpu": "numba", "cuda": "triton"}


def main(
    operation: str,
    spacing: float,
    device: str = "cpu",
    threads: int = 1,
    budget: float = 3.0,
    compiled: bool = True,
) -> list[dict]:
    """Cases of one operation: plain torch first, then the fast backend, then torch.compile."""
    torch.set_num_threads(threads)
    kernels.keep_freed_memory()  # as in the method, so for every backend alike
    shape = shape_at(spacing)
    task = OPERATIONS[operation](shape, device)
    calls = {"torch": lambda: _with("torch", task)}
    notes = {}
    fast = FAST.get(device.partition(":")[0])
    try:
        kernels.check_backend(fast)
        calls[fast] = lambda: _with(fast, task)
    except ValueError as error:
        notes[fast] = str(error)
    if compiled:
        call, notes["torch.compile"] = _compiled(task)
        if call is not None:
            calls["torch.compile"] = call
    for call in calls.values():
        call()  # compiling takes memory too
    peaks = {name: peak_mib(call, device) for name, call in calls.items()}
    times = compare(calls, budget, device)
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
    cases = []
    for name in [*calls, *(n for n in notes if n not in calls)]:
        case = {**common, "backend": name, **rates(times.get(name), times["torch"])}
        cases.append({**case, "peak_mib": peaks.get(name), "note": notes.get(name, "")})
    return cases


def rates(times, reference) -> dict:
    """seconds, reference_seconds and ratio, on the clock and on the processor; None: not run."""
    keys = ("seconds", "reference_seconds", "ratio", "cpu_seconds", "cpu_ratio")
    if times is None:
        return dict.fromkeys(keys) | {"reference_seconds": round(reference.wall, 6)}
    values = (times.wall, reference.wall, reference.wall / times.wall)
    values += (times.cpu, reference.cpu / max(times.cpu, 1e-9))
    return dict(zip(keys, (float(f"{value:.4g}") for value in values), strict=True))


def _with(backend: str, task: Task) -> None:
    with kernels.backend(backend):
        task()


def _compiled(task: Task):
    """A call through torch.compile and "", or None and why there is none."""
    forward = torch.compile(task.forward, dynamic=False)

    def call() -> None:
        with kernels.backend("torch"):
            task.run(forward)

    try:
        call()
    except Exception as error:  # the compiler's errors are of many kinds, and none is ours
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return None, f"torch.compile: {type(error).__name__}: {(lines or [''])[0]}"[:200]
    return call, ""


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
