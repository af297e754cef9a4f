"""The operations that take the time, in faster versions than plain torch, behind one dispatcher.

The plain torch version of each operation stands where the book reads it (`warp.py`) and is the
reference in the tests. `backend` chooses: "auto" takes the fastest that the tensors and the
machine allow, "torch" is always there.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

BACKENDS = ("auto", "torch", "numba")
_chosen = "auto"


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Use one backend within a `with` block; ValueError if it is unknown or not installed."""
    global _chosen
    if name not in BACKENDS:
        raise ValueError(f"backend: wanted one of {BACKENDS}, got {name!r}")
    if name == "numba" and not _numba_installed():
        raise ValueError("backend: numba is not installed; pip install numba, or use 'torch'")
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def _numba_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def fast_pull(image: Tensor, displacement: Tensor, padding: str) -> Tensor | None:
    """image(x + u(x)) by linear interpolation from a fast kernel, or None where there is none."""
    suitable = (
        image.device.type == displacement.device.type == "cpu"
        and image.dtype == displacement.dtype == torch.float32
        and len(image) == len(displacement)
        # compiled code checks no bounds: shapes that do not belong together go to torch, which does
        and image.ndim == displacement.ndim == displacement.shape[1] + 2
        and image.ndim in (4, 5)
        and padding in ("zeros", "border")
    )
    if _chosen == "torch" or not suitable or not _numba_installed():
        return None
    from nevf_lite.kernels.cpu import Pull

    return Pull.apply(image, displacement, padding == "border")


@functools.cache
def keep_freed_memory() -> None:
    """Ask glibc to keep large freed blocks for the next iteration; nothing elsewhere.

    By default it hands every block above 32 MB back to the system and asks for it anew, and the
    system fills it with zeros page by page: at 1 mm that took a quarter longer in all. Blocks above
    64 MB, the activations of a wide network, still go back: kept, they leave holes that the next
    iteration cannot use, and memory grows from one to the next to twice what is needed.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 1 << 26)
        mallopt(trim_threshold, (1 << 31) - 1)
