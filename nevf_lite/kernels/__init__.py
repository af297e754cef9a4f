"""The operations that take the time, in faster versions than plain torch, behind one dispatcher.

The plain torch version of each operation stands where the book reads it (`warp.py`, `integrate.py`,
`losses.py`, `fields.py`) and is the reference in the tests. `cpu` holds each one for Numba, `gpu`
for Triton, under the same names. `backend` chooses: "auto" takes the fastest that the tensors and
the machine allow, "torch" is always there.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor

BACKENDS = ("auto", "torch", "numba", "triton")
#: Where a backend's operations are, and what it takes to have them.
_FOLDERS = {"numba": "nevf_lite.kernels.cpu", "triton": "nevf_lite.kernels.gpu"}
_MISSING = {
    "numba": "backend: numba is not installed; pip install numba, or use 'torch'",
    "triton": "backend: triton is not installed; it comes with torch for CUDA on Linux "
    "(pip install triton), or use 'auto'",
}
_chosen = "auto"
#: Points that "siren" works on at a time: a layer's activations fit the processor's own cache.
SIREN_BLOCK = 4096
#: Floats that "siren" and "squaring" on the CPU may each keep for the backward pass: 1 GiB. What
#: would be more they compute once more.
KEPT = 2**28


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Use one backend within a `with` block; ValueError if it is unknown or not installed."""
    global _chosen
    check_backend(name)
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def chosen() -> str:
    """The backend that is in force here: "auto" outside every `backend` block."""
    return _chosen


def check_backend(name: str) -> None:
    """ValueError if a backend's name is unknown or this machine cannot have it."""
    if name not in BACKENDS:
        raise ValueError(f"backend: wanted one of {BACKENDS}, got {name!r}")
    if name in _FOLDERS and not _installed(name):
        raise ValueError(_MISSING[name])


@functools.cache
def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def find(operation: str, *tensors: Tensor) -> Callable | None:
    """The fast version of an operation for these tensors, or None where plain torch is to do it.

    operation: "pull", "squaring", "local_ncc", "penalties", "sine_layer" or "siren"; not every
    backend has all of them. tensors: its tensor arguments, in order.
    """
    if _chosen == "torch" or any(t.dtype != torch.float32 for t in tensors):
        return None
    devices = {t.device.type for t in tensors}
    if len(devices) > 1 or not _FITS[operation](*tensors):
        return None
    folder = _folder(tensors[0].device)
    return None if folder is None else getattr(folder, operation, None)


def _folder(device: torch.device) -> ModuleType | None:
    """The operations for a device, as far as the choice allows it and the machine has them."""
    # on the CPU Triton is its interpreter, slow and with the same results: only when asked for
    fastest = {"cuda": "triton", "cpu": "numba"}.get(device.type)
    name = fastest if _chosen == "auto" else _chosen
    if name is None or not _installed(name):
        return None
    folder = importlib.import_module(_FOLDERS[name])
    return folder if folder.ready(device) else None


def _is_field(field: Tensor) -> bool:
    """(N, ndim, *shape) in 2-D or 3-D."""
    return field.ndim in (4, 5) and field.shape[1] == field.ndim - 2


def _pull_fits(image: Tensor, displacement: Tensor) -> bool:
    same_axes = image.ndim == displacement.ndim and len(image) == len(displacement)
    return _is_field(displacement) and same_axes


def _local_ncc_fits(warped: Tensor, *fixed: Tensor) -> bool:
    return warped.ndim in (4, 5) and all(other.shape == warped.shape for other in fixed)


def _penalties_fit(displacement: Tensor) -> bool:
    return _is_field(displacement) and min(displacement.shape[2:]) > 1


def _sine_layer_fits(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    # autocast asks for the products in half precision
    return x.ndim == weight.ndim == 2 and not torch.is_autocast_enabled(x.device.type)


def _siren_fits(points: Tensor, *parameters: Tensor) -> bool:
    return points.ndim == 2 and not points.requires_grad


#: Compiled code checks no bounds: shapes that do not belong together go to torch, which does.
_FITS = {
    "pull": _pull_fits,
    "squaring": _is_field,
    "local_ncc": _local_ncc_fits,
    "penalties": _penalties_fit,
    "sine_layer": _sine_layer_fits,
    "siren": _siren_fits,
}


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
