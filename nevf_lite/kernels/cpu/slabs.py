"""Threads over slabs of a volume, for every kernel on the CPU.

The compiled code releases the interpreter's lock and plain Python threads carry the slabs, as many
as torch has: Numba's own thread pools change the number of torch's threads, and two pools that wait
by spinning on the same cores cost more than they bring.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba.core import event
from torch import Tensor

#: Voxels that are worth a thread of their own.
SLAB_VOXELS = 20_000

#: What the compiler may do to arithmetic: all of `fastmath` but to take for granted that nothing is
#: infinite or not a number, since a loss that is must show.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}


class _Announcement(event.Listener):
    """Says once in a process that kernels are being compiled, which takes longer than most calls.

    What an earlier process compiled is read from disk and says nothing.
    """

    def __init__(self) -> None:
        self.made = False

    def on_start(self, event) -> None:
        if not self.made and event.data["dispatcher"].__module__.startswith(__package__):
            self.made = True
            logging.getLogger(__package__).warning(
                "compiling the fast kernels for this machine, once; later runs find them on disk"
            )

    def on_end(self, event) -> None:
        pass


event.register("numba:compile", _Announcement())


def in_slabs(function, slabs: list[tuple[int, int]], *arguments) -> None:
    """Call function(first, last, ...) for each slab, on as many threads as torch uses."""
    threads = min(torch.get_num_threads(), len(slabs))
    if threads <= 1:
        for first, last in slabs:
            function(first, last, *arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(function, *slab, *arguments) for slab in slabs]:
            job.result()


def even_slabs(slices: int) -> list[tuple[int, int]]:
    """One slab a thread: for work whose result does not depend on where the slabs meet."""
    count = min(torch.get_num_threads(), slices)
    edges = [slices * n // count for n in range(count + 1)]
    return list(itertools.pairwise(edges))


def slabs_of(shape: Sequence[int], reach: int = 0) -> list[tuple[int, int]]:
    """The slices of (d, h, w) in slabs thicker than twice `reach`, each worth a thread."""
    slices, height, width = shape
    height = max(math.ceil(SLAB_VOXELS / (height * width)), 2 * reach + 3)
    return [(first, min(first + height, slices)) for first in range(0, slices, height)]


def reach_of(displacement: np.ndarray, slices: int) -> int:
    """How many slices from its own one a voxel of (d, h, w) can read in an image of `slices`.

    Voxels beyond a smaller image read its edge; an infinite or undefined displacement reads
    anywhere.
    """
    far = float(np.abs(displacement).max())
    longest = len(displacement) + slices
    if not far < longest:
        return longest
    return max(math.ceil(far), len(displacement) - slices)


def volumes(image: Tensor, field: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One image and its field as (C, D, H, W) and (3, d, h, w); 2-D gets a middle axis of one."""
    if image.ndim == 3:
        image = image.unsqueeze(2)
        field = torch.stack([field[0], torch.zeros_like(field[0]), field[1]]).unsqueeze(2)
    return image.contiguous().numpy(), field.contiguous().numpy()
