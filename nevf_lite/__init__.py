"""Diffeomorphic image registration with a neural velocity field, small enough to read.

    from nevf_lite import register
    result = register("fixed.nii.gz", "moving.nii.gz")

The method itself is in `grid`, `warp`, `fields`, `integrate`, `losses`, `config`, `descent` and
`optimise`, in this order; what deals with files and millimetres in `registration` and `transform`.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version

# Read by OpenMP when torch is loaded. By default its idle threads spin, which takes the cores from
# the threads of our own kernels: an iteration on two busy cores takes three times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    __version__ = version("nevf-lite")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

#: What a user imports from here, and where it lives; loaded when it is first asked for.
_PUBLIC = {
    "Config": "config",
    "Grid": "space",
    "Level": "config",
    "PRESETS": "config",
    "Registration": "registration",
    "Transform": "transform",
    "load_pair": "data",
    "register": "registration",
    "register_many": "registration",
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nevf_lite' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nevf_lite.{_PUBLIC[name]}"), name)
