"""Test-time refinement: a trained network is fine-tuned on the pair that it registers."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from nevf_lite.descent import NonFiniteLoss
from nevf_lite.kernels.memory import keep_freed_memory
from nevf_lite.networks.base import Network


def refine(
    network: Network,
    fixed: Tensor,
    moving: Tensor,
    iterations: int,
    *,
    lr: float = 1e-4,
    progress: bool = True,
    callback: Callable[[dict, Tensor], None] | None = None,
) -> Network:
    """Fine-tune a copy of a network on one pair (Balakrishnan et al. 2019).

    This is the test-time training (TTR) of the NeVF paper, section 3.3.

    fixed, moving: (1, 1, *shape) on the network's lattice, in [0, 1]. iterations: steps of Adam on
    the network's training loss. lr: Adam's learning rate. progress: show a bar on standard error.
    callback: called at each iteration, before the step, with a record and the displacement
    (1, ndim, *shape) in voxels. The record has the iteration, the loss, its terms and the seconds
    since the start, without the time spent in callback.
    Returns the copy at its smallest loss; `network` is not changed. Raises ValueError for arguments
    that do not fit, NonFiniteLoss where the learning rate is too high.
    """
    if iterations < 0:
        raise ValueError(f"iterations: wanted 0 or more, got {iterations!r}")
    if not 0 < lr < 1:
        raise ValueError(f"lr: wanted between 0 and 1, got {lr!r}")
    network.check(fixed, moving)
    keep_freed_memory()
    # channels last is 1.5 times as fast
    memory_format = {2: torch.channels_last, 3: torch.channels_last_3d}[network.ndim]
    refined = copy.deepcopy(network).requires_grad_(True).to(memory_format=memory_format)
    optimiser = torch.optim.Adam(refined.parameters(), lr=lr)
    best, best_state = math.inf, refined.state_dict()
    started = time.perf_counter()
    with tqdm(total=iterations, disable=not progress, unit="it", dynamic_ncols=True) as bar:
        for iteration in range(iterations + 1):
            with torch.set_grad_enabled(iteration < iterations):
                loss = refined.loss(fixed, moving)
            numbers = loss.numbers()
            value = numbers["loss"]
            if not math.isfinite(value):
                raise NonFiniteLoss(
                    f"the loss became {value} at iteration {iteration}: try a third of the "
                    f"learning rate {lr:g}"
                )
            if value < best:
                best, best_state = value, copy.deepcopy(refined.state_dict())
            bar.set_postfix_str(f"loss {value:.4f}, best {best:.4f}", refresh=False)
            if iteration == iterations:  # after the last step only the loss is computed
                break
            if callback is not None:
                called = time.perf_counter()
                record = {"iteration": iteration, **numbers, "seconds": called - started}
                callback(record, loss.displacement.detach())
                started += time.perf_counter() - called
            optimiser.zero_grad(set_to_none=True)
            loss.total.backward()
            optimiser.step()
            bar.update()
    refined.load_state_dict(best_state)
    return refined.requires_grad_(False)
