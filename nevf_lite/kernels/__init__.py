"""Kernels for the slowest operations, faster than plain torch, behind one dispatcher.

Each operation is written in plain torch in `warp`, `integrate`, `losses` or `fields`, as the book
presents it; that version is the reference in the tests. `cpu` has it for Numba, and `gpu` for
Triton, under the same name. `backend` chooses between them: "auto" takes the fastest one that the
tensors and the machine allow, and "torch" is always available.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor

BACKENDS = ("auto", "torch", "numba", "triton")
#: The module of a backend's operations, and the error where it is not installed.
_MODULES = {"numba": "nevf_lite.kernels.cpu", "triton": "nevf_lite.kernels.gpu"}
_NOT_INSTALLED = {
    "numba": "backend: numba is not installed; pip install numba, or use 'torch'",
    "triton": "backend: triton is not installed; it comes with torch for CUDA on Linux "
    "(pip install triton), or use 'auto'",
}
_current = "auto"


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Use one backend within a `with` block; ValueError if it is unknown or not installed."""
    global _current
    check_backend(name)
    previous, _current = _current, name
    try:
        yield
    finally:
        _current = previous


def current_backend() -> str:
    """The name that the innermost `backend` block has set; "auto" outside every block."""
    return _current


def check_backend(name: str) -> None:
    """ValueError if a backend is unknown or not installed."""
    if name not in BACKENDS:
        raise ValueError(f"backend: wanted one of {BACKENDS}, got {name!r}")
    if name in _MODULES and not _installed(name):
        raise ValueError(_NOT_INSTALLED[name])


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def find_kernel(operation: str, *tensors: Tensor) -> Callable | None:
    """The fast version of an operation for these tensors, or None where plain torch must do it.

    operation: "pull", "squaring", "midpoint_squaring", "local_ncc", "weighted_ncc",
    "penalties", "corner_penalties", "sine_layer", "siren" or "feature_net"; not every backend has
    all of them.
    tensors: its tensor arguments, in order.
    """
    if _current == "torch" or any(t.dtype != torch.float32 for t in tensors):
        return None
    devices = {t.device.type for t in tensors}
    if len(devices) > 1 or not _SUPPORTED[operation](*tensors):
        return None
    module = _module(tensors[0].device)
    return None if module is None else getattr(module, operation, None)


def _module(device: torch.device) -> ModuleType | None:
    """The operations for a device, or None if the current backend or the machine has none."""
    # On the CPU Triton runs in its slow interpreter, so "auto" never takes it there.
    fastest = {"cuda": "triton", "cpu": "numba"}.get(device.type)
    name = fastest if _current == "auto" else _current
    if name is None or not _installed(name):
        return None
    module = importlib.import_module(_MODULES[name])
    return module if module.ready(device) else None


def _is_field(field: Tensor) -> bool:
    """Whether a tensor is (N, ndim, *shape) in 2-D or 3-D."""
    return field.ndim in (4, 5) and field.shape[1] == field.ndim - 2


def _pull_supported(image: Tensor, displacement: Tensor) -> bool:
    same_axes = image.ndim == displacement.ndim and len(image) == len(displacement)
    return _is_field(displacement) and same_axes


def _local_ncc_supported(warped: Tensor, *fixed: Tensor) -> bool:
    return warped.ndim in (4, 5) and all(t.shape == warped.shape for t in fixed)


def _weighted_ncc_supported(warped: Tensor, fixed: Tensor, weight: Tensor) -> bool:
    one_each = (len(warped), 1, *warped.shape[2:])
    return _local_ncc_supported(warped, fixed) and weight.shape == one_each


def _penalties_supported(displacement: Tensor) -> bool:
    return _is_field(displacement) and min(displacement.shape[2:]) > 1


def _sine_layer_supported(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    # under autocast the products are to be in half precision
    return x.ndim == weight.ndim == 2 and not torch.is_autocast_enabled(x.device.type)


def _siren_supported(points: Tensor, *parameters: Tensor) -> bool:
    return points.ndim == 2 and not points.requires_grad


def _feature_net_supported(features: Tensor, *parameters: Tensor) -> bool:
    return features.ndim == 2 and features.shape[1] >= 16 and len(parameters) == 4


#: Whether an operation's kernels take these tensors. Compiled code checks no bounds, so
#: shapes that do not match are left to plain torch, which raises an error.
_SUPPORTED = {
    "pull": _pull_supported,
    "squaring": _is_field,
    "midpoint_squaring": _is_field,
    "local_ncc": _local_ncc_supported,
    "weighted_ncc": _weighted_ncc_supported,
    "penalties": _penalties_supported,
    "corner_penalties": _penalties_supported,
    "sine_layer": _sine_layer_supported,
    "siren": _siren_supported,
    "feature_net": _feature_net_supported,
}
