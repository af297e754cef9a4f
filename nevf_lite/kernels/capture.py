"""A loop's step as a CUDA graph: recorded once, then replayed by one launch.

With the kernels fused a step of the optimisation is a few hundred short launches, and Python takes
longer to ask for them than the card to do them. A graph asks once.
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
    """The same step, recorded as a CUDA graph; on any device but CUDA the step itself.

    Each call is one step, as without: the first `warmup` calls run it as it is, which compiles what
    must be compiled; the next records it, which does nothing yet, and replays what it recorded.

    A graph repeats kernels on addresses, so a step must
    - find what changes in tensors that stay where they are (`copy_` into them), since numbers and
      shapes are recorded as they were: a learning rate is a tensor;
    - wait for nothing: no `.item()` and no branch on a value. Read the result after the call; it
      is the same tensor at every one, so copy what must outlive the next;
    - begin with gradients of None, so that gradients live in the graph's own memory.
    A step that does otherwise in a way that torch can see is not recorded: a warning says why, and
    the loop goes on step by step.
    """
    return _Captured(step, device, warmup) if device.type == "cuda" else step


class _Captured:
    """Counts the calls down to the recording, then replays."""

    def __init__(self, step: Callable[[], Result], device: torch.device, warmup: int) -> None:
        self.step, self.device, self.left = step, device, warmup
        self.graph: torch.cuda.CUDAGraph | None = None
        self.result: Result | None = None

    def __call__(self) -> Result:
        with torch.cuda.device(self.device):
            if self.left > 0:
                self.left -= 1
                return self._aside()
            if self.graph is None:
                try:
                    self._record()
                except RuntimeError as error:
                    self.left = sys.maxsize
                    why = str(error).partition("\n")[0]
                    warnings.warn(
                        f"no CUDA graph of this loop, which costs time: {why}", stacklevel=2
                    )
                    return self._aside()
            self.graph.replay()
            return self.result

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = self.step()
        self.graph = graph  # only a whole recording is ever replayed

    def _aside(self) -> Result:
        """One step on a stream of its own, as torch asks of what is to be recorded later.

        autograd remembers the stream on which a parameter was first used, and the one that
        everything else waits for must not enter a recording.
        """
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            result = self.step()
        here.wait_stream(aside)
        return result
