"""The limits of the machine: memory bandwidth and floating-point operations per second.

`python -m benchmarks.ceilings '{"threads": 1}'` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch

from benchmarks.clock import time_in_turn

#: Bytes of each of the two arrays that are copied: larger than any cache, and within one core's.
LARGE, SMALL = 2**28, 2**19
SIDE = 1536  # of the matrices


def main(device: str = "cpu", threads: int = 1, large: int = LARGE, side: int = SIDE) -> dict:
    """bandwidth and cache_bandwidth in bytes per second, read and written, and flops per second.

    large: bytes of the array that is copied. side: of the square matrices that are multiplied.
    """
    torch.set_num_threads(threads)
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    product = torch.empty_like(a)
    times = time_in_turn(
        {
            "memory": _copies(large, 1, device),
            "cache": _copies(min(SMALL, large), 200, device),
            "gemm": lambda: torch.mm(a, b, out=product),
        },
        6.0,
        device,
    )
    # all threads are busy all the time; processor time excludes other work on the machine
    seconds = {
        name: time.wall if device.startswith("cuda") else time.cpu / threads
        for name, time in times.items()
    }
    return {
        "bandwidth": float(f"{2 * large / seconds['memory']:.4g}"),
        "cache_bandwidth": float(f"{400 * min(SMALL, large) / seconds['cache']:.4g}"),
        "flops": float(f"{2 * side**3 / seconds['gemm']:.4g}"),
    }


def _copies(size: int, count: int, device: str) -> Callable[[], None]:
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)

    def call() -> None:
        for _ in range(count):
            target.copy_(source)

    return call


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
