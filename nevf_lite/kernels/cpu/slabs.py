"""Threads over slabs of a volume, for every kernel on the CPU.

The compiled code releases the interpreter's lock, and Python threads run the slabs, as many as
torch has. Numba's own thread pools are not used: they change the number of torch's threads, and two
pools that spin while they wait on the same cores cost more time than they save.
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

#: Voxels of a slab, enough to be worth a thread.
SLAB_VOXELS = 20_000

#: What the compiler may do to arithmetic: all of `fastmath` except to assume that no value is
#: infinite or NaN, since a loss that is one must show it.
FASTMATH = {"reassoc", "contract", "nsz", "arcp", "afn"}


class _Announcement(event.Listener):
    """Logs once in a process that kernels are being compiled, which takes longer than most calls.

    Reading from disk what an earlier process compiled is not logged.
    """

    def __init__(self) -> None:
        self.logged = False

    def on_start(self, event) -> None:
        if not self.logged and event.data["dispatcher"].__module__.startswith(__package__):
            self.logged = True
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
    """One slab a thread, for results that do not depend on where the slabs meet."""
    count = min(torch.get_num_threads(), slices)
    edges = [slices * n // count for n in range(count + 1)]
    return list(itertools.pairwise(edges))


def slabs_of(shape: Sequence[int], reach: int = 0) -> list[tuple[int, int]]:
    """The slices of (d, h, w) in slabs thicker than twice `reach`, each worth a thread."""
    slices, rows, columns = shape
    thickness = max(math.ceil(SLAB_VOXELS / (rows * columns)), 2 * reach + 3)
    return [(first, min(first + thickness, slices)) for first in range(0, slices, thickness)]


def reach_of(largest: float, slices: int, image_slices: int) -> int:
    """How many slices away from its own slice a voxel can read.

    largest: of the displacements along the first axis, in voxels. slices: of the displacement.
    image_slices: of the image that is read. Voxels beyond a smaller image read its edge. With an
    infinite displacement or NaN, any slice can be read.
    """
    limit = slices + image_slices
    if not largest < limit:
        return limit
    return max(math.ceil(largest), slices - image_slices)


def volumes(image: Tensor, field: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One image and its field as (C, D, H, W) and (3, d, h, w); 2-D gets a middle axis of size 1.

    image: (C, *shape). field: (ndim, *grid).
    """
    if image.ndim == 3:
        image = image.unsqueeze(2)
        field = torch.stack([field[0], torch.zeros_like(field[0]), field[1]]).unsqueeze(2)
    return image.contiguous().numpy(), field.contiguous().numpy()
