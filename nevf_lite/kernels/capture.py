"""A loop's step as a CUDA graph: recorded once, then replayed by one launch.

With fused kernels a step of the optimisation is a few hundred short launches, and Python takes
longer to issue them than the GPU takes to run them. A graph issues them all with one launch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def captured(
    step: Callable[[], Result], *, device: torch.device, warmup: int = 3
) -> Callable[[], Result]:
    """The step as a function that records and replays a CUDA graph; the step itself without CUDA.

    Each call performs one step. The first `warmup` calls run the step eagerly, which compiles its
    kernels. The next call records the step, which does not execute it, and then replays it. Every
    later call replays it.

    A graph repeats kernels on the same addresses, so a step must
    - keep its changing inputs in tensors that are updated in place (`copy_`), since numbers and
      shapes are recorded as constants: a learning rate is a tensor;
    - not synchronise: no `.item()` and no branch on a value. Read the result after the call. It is
      the same tensor for every call, so copy what must outlive the next;
    - begin with gradients of None, so that gradients live in the graph's own memory.
    If torch detects that a step breaks these rules, a warning gives the reason, and all calls run
    the step eagerly.
    """
    return _Captured(step, device, warmup) if device.type == "cuda" else step


class _Captured:
    """Runs the warm-up calls eagerly, then records the step, then replays it."""

    def __init__(self, step: Callable[[], Result], device: torch.device, warmup: int) -> None:
        self.step, self.device, self.eager_calls = step, device, warmup  # eager calls that remain
        self.graph: torch.cuda.CUDAGraph | None = None
        self.result: Result | None = None

    def __call__(self) -> Result:
        with torch.cuda.device(self.device):
            if self.eager_calls > 0:
                self.eager_calls -= 1
                return self._run_eagerly()
            if self.graph is None:
                try:
                    self._record()
                except RuntimeError as error:
                    self.eager_calls = sys.maxsize
                    reason = str(error).partition("\n")[0]
                    warnings.warn(
                        f"no CUDA graph of this loop, which costs time: {reason}", stacklevel=2
                    )
                    return self._run_eagerly()
            self.graph.replay()
            return self.result

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = self.step()
        self.graph = graph  # set after the recording, so that a partial one is never replayed

    def _run_eagerly(self) -> Result:
        """One step on a side stream, as torch requires before a recording.

        autograd remembers the stream on which a parameter was first used. The default stream, with
        which every other stream synchronises, must not take part in a recording.
        """
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            result = self.step()
        current.wait_stream(side)
        return result
