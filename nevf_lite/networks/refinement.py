"""Test-time refinement: a trained network is trained a little more, on the one pair at hand."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from nevf_lite.descent import NonFiniteLoss
from nevf_lite.kernels import keep_freed_memory
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
    """A copy of a network that fits one pair better (Balakrishnan et al. 2019).

    fixed, moving: (1, 1, *shape) on the network's lattice, in [0, 1]. iterations: steps of Adam on
    the network's own training loss. progress: a bar on standard error. callback: is given, for each
    iteration, a record with iteration, loss, its terms and seconds, all before the step, and the
    displacement (1, ndim, *shape) in voxels; the time it takes is in no seconds of a record.
    Returns the network with the smallest loss; the one given stays as it is. Raises ValueError for
    arguments that do not fit, NonFiniteLoss where the learning rate is too high.
    """
    if iterations < 0:
        raise ValueError(f"iterations: wanted 0 or more, got {iterations!r}")
    if not 0 < lr < 1:
        raise ValueError(f"lr: wanted between 0 and 1, got {lr!r}")
    network.check(fixed, moving)
    keep_freed_memory()
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[network.ndim]  # 1.5 times as fast
    copied = copy.deepcopy(network).requires_grad_(True).to(memory_format=last)
    optimiser = torch.optim.Adam(copied.parameters(), lr=lr)
    best, best_state = math.inf, copied.state_dict()
    started = time.perf_counter()
    with tqdm(total=iterations, disable=not progress, unit="it", dynamic_ncols=True) as bar:
        for iteration in range(iterations + 1):
            with torch.set_grad_enabled(iteration < iterations):
                loss = copied.loss(fixed, moving)
            numbers = loss.numbers()
            value = numbers["loss"]
            if not math.isfinite(value):
                raise NonFiniteLoss(
                    f"the loss became {value} at iteration {iteration}: try a third of the "
                    f"learning rate {lr:g}"
                )
            if value < best:
                best, best_state = value, copy.deepcopy(copied.state_dict())
            bar.set_postfix_str(f"loss {value:.4f}, best {best:.4f}", refresh=False)
            if iteration == iterations:  # the last network is only looked at
                break
            if callback is not None:
                now = time.perf_counter()
                record = {"iteration": iteration, **numbers, "seconds": now - started}
                callback(record, loss.displacement.detach())
                started += time.perf_counter() - now
            optimiser.zero_grad(set_to_none=True)
            loss.total.backward()
            optimiser.step()
            bar.update()
    copied.load_state_dict(best_state)
    return copied.requires_grad_(False)
