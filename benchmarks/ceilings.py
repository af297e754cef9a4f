"""The machine's own limits, measured beside what is compared with them.

`python -m benchmarks.ceilings '{"threads": 1}'` prints one JSON object.
"""

from __future__ import annotations

import json
import sys

import torch

from benchmarks.clock import compare

#: Bytes of each of the two arrays: far beyond a cache, and within that of one core.
LARGE, SMALL = 2**28, 2**19
SIDE = 1536  # of the matrices


def main(device: str = "cpu", threads: int = 1, large: int = LARGE, side: int = SIDE) -> dict:
    """bandwidth and cache_bandwidth in bytes a second, a copy reading and writing; flops a second.

    large: bytes of the array that is copied; side: of the matrices that are multiplied.
    """
    torch.set_num_threads(threads)
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    product = torch.empty_like(a)
    times = compare(
        {
            "memory": _copies(large, 1, device),
            "cache": _copies(min(SMALL, large), 200, device),
            "gemm": lambda: torch.mm(a, b, out=product),
        },
        6.0,
        device,
    )
    # all threads work all the time, so what the processor counted is theirs, other work or not
    took = {
        name: found.wall if device.startswith("cuda") else found.cpu / threads
        for name, found in times.items()
    }
    return {
        "bandwidth": float(f"{2 * large / took['memory']:.4g}"),
        "cache_bandwidth": float(f"{400 * min(SMALL, large) / took['cache']:.4g}"),
        "flops": float(f"{2 * side**3 / took['gemm']:.4g}"),
    }


def _copies(size: int, times: int, device: str):
    source = torch.ones(size // 4, device=device)
    to = torch.empty_like(source)

    def call() -> None:
        for _ in range(times):
            to.copy_(source)

    return call


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
