"""Diffeomorphic image registration with a neural velocity field, small enough to read.

    from nevf_lite import register
    result = register("fixed.nii.gz", "moving.nii.gz")

The method is nine files, in this order: `grid`, `warp`, `fields`, `integrate`, `losses`, `config`,
`continuous`, `descent`, `optimise`. They work in voxels and need torch alone; `kernels` has fast
versions of some of their operations. Everything else is in rooms whose names say what they do:
`scans`, `transforms`, `scores`, `data`, `viz`, `registration`, `networks`, `study`, `cli`.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version

# OpenMP reads this when torch is loaded. By default its idle threads spin and take the cores from
# the threads of the package's own kernels: an iteration on two busy cores takes three times longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    __version__ = version("nevf-lite")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"

#: The names that can be imported from here, by module. A module is loaded at the first use of one
#: of its names.
_EXPORTS = {
    "config": ("PRESETS", "Config", "Level", "preset"),
    "continuous": ("TimeSirenField", "follow"),
    "data": ("load_pair",),
    "fields": ("FeatureField", "SirenField", "VelocityField", "VoxelField"),
    "integrate": ("compose", "integrate_ode", "jacobian_determinant", "scaling_and_squaring"),
    "losses": ("MIND", "MSE", "NMI", "GlobalNCC", "LocalNCC", "jacobian_penalty", "smoothness"),
    "optimise": ("Fit", "deformation", "fit"),
    "registration.register": ("register", "register_many"),
    "registration.result": ("Registration",),
    "scans.space": ("Grid",),
    "transforms.transform": ("Transform",),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'nevf_lite' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nevf_lite.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
