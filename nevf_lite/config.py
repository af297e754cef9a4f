"""Settings: `Config`, its levels, and the presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real


def check(settings: object, names: str, valid: Callable[[object], bool], wanted: str) -> None:
    """Raise ValueError for the first of some settings that is not valid, in words of one form."""
    for name in names.split():
        value = getattr(settings, name)
        if not valid(value):
            raise ValueError(f"{name}: wanted {wanted}, got {value!r}")


def whole(least: int) -> Callable[[object], bool]:
    """What accepts whole numbers from a least one on."""
    return lambda value: isinstance(value, Integral) and value >= least


def real(valid: Callable[[float], bool]) -> Callable[[object], bool]:
    """What accepts the finite numbers that are valid."""
    return lambda value: isinstance(value, Real) and math.isfinite(value) and valid(value)


@dataclass(frozen=True)
class Level:
    """One resolution of the optimisation.

    factor: how much coarser than the finest grid; 1 is the finest. iterations: steps of Adam, at
    most. step: L, voxels of this level between samples of the field. lr: Adam's learning rate, of
    the field's parameters, see `Config.scale`. window: side of the local NCC's window, in voxels of
    this level, odd.
    Raises ValueError for a value out of range.
    """

    factor: float = 1.0
    iterations: int = 100
    step: float = 2.0
    lr: float = 1e-3
    window: int = 9

    def __post_init__(self) -> None:
        check(self, "factor step", real(lambda n: n >= 1), "1 or more")
        check(self, "iterations", whole(0), "a whole number, 0 or more")
        check(self, "lr", real(lambda n: 0 < n < 1), "a number between 0 and 1")
        check(self, "window", lambda n: whole(3)(n) and n % 2 == 1, "an odd number, 3 or more")

    def grid_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Voxels of this level's grid over the same box as the finest grid `shape`.

        The corners are shared. Each axis keeps at least 2 voxels, or 1 where it has only 1.
        """
        return tuple(max(2, round((n - 1) / self.factor) + 1) if n > 1 else 1 for n in shape)


@dataclass(frozen=True)
class Config:
    """All settings of a registration. Presets are in `PRESETS`.

    The defaults here are those of the preset "siren", but for its spacing of 2 mm.

    levels: from coarse to fine. spacing: mm of the finest grid, used by `register`; "auto" is 1 mm
    for a head (finer for smaller boxes, the image's own in 2-D), None the fixed image's own.
    field: "siren", "features", "voxel", or "time-siren", which changes with time. width: units of a
    sine layer of the SIREN, or of the network behind the features. depth, omega: of the SIREN.
    lattices: spacings of the features, in voxels of the finest grid. scale: voxels of the finest
    grid per unit of the network's output; scale and learning rate are one knob.
    integrator: "squaring" as in the paper, "midpoint-squaring" (see `integrate.midpoint_start`), or
    "euler", "midpoint", "rk4", "dopri5". squarings: squarings, or steps of the solver ("dopri5"
    chooses its own). order: "upsample-integrate" as in the paper, "integrate-upsample", or
    "continuous", which evaluates the field where the points are, with a solver; L is then the
    distance of the points. adjoint: its gradient by the adjoint method. patch: side in voxels of
    the random cubes on which each iteration of "continuous" computes its loss, None for the whole
    grid; patches: number of cubes.
    similarity: "lncc", "ncc", "mse", "nmi" or "mind". jacobian, smooth: weights of the penalties.
    margin: determinant below which the Jacobian penalty begins; corners: whether it looks at all
    corners of a cell, or at forward differences alone, as in the paper. smooth_target:
    "displacement" or "velocity". penalty_target: which map the penalties are of when there is an
    initial one: the "residual" that the field adds to it, or the "whole", as equations 4 and 5 of
    the paper.
    betas: how much of the mean gradient and of its mean square Adam keeps from step to step; short
    levels want less than its usual 0.9 and 0.999. decay: the learning rate falls to this fraction
    over a level. patience: a level ends after this many iterations without an improvement by
    `tolerance`. noise_ceiling: local NCC of the foreground above which the rest is taken for noise:
    the finest level is then sampled every 1.5 L voxels. 1 means never.
    bfloat16: compute the SIREN's products in half precision. chunk: points of the SIREN evaluated
    at a time, which saves memory and costs time. seed: of the field's initialisation.
    Raises ValueError for a value out of range.
    """

    levels: tuple[Level, ...] = (Level(2, 100), Level(1, 250))
    spacing: float | str | None = "auto"
    field: str = "siren"
    width: int = 128
    depth: int = 5
    omega: float = 10.0
    lattices: tuple[float, ...] = (16, 8, 4, 2)
    scale: float = 1.0
    integrator: str = "squaring"
    squarings: int = 7
    order: str = "upsample-integrate"
    adjoint: bool = False
    patch: int | None = None
    patches: int = 1
    similarity: str = "lncc"
    jacobian: float = 100.0
    margin: float = 0.2
    corners: bool = False
    smooth: float = 0.5
    smooth_target: str = "displacement"
    penalty_target: str = "residual"
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.2
    patience: int = 30
    tolerance: float = 7e-4
    noise_ceiling: float = 1.0
    bfloat16: bool = False
    chunk: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        levels = tuple(lv if isinstance(lv, Level) else Level(**lv) for lv in self.levels)
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "lattices", tuple(self.lattices))
        object.__setattr__(self, "betas", tuple(self.betas))
        check(self, "levels", len, "at least one level")
        for name, choices in CHOICES.items():
            check(self, name, lambda value, choices=choices: value in choices, f"one of {choices}")
        at_least_1, positive = real(lambda n: n >= 1), real(lambda n: n > 0)
        share = real(lambda n: 0 <= n < 1)
        check(
            self, "lattices", lambda s: s and all(map(at_least_1, s)), "spacings of 1 voxel or more"
        )
        if self.spacing not in ("auto", None):
            check(self, "spacing", positive, "millimetres, 'auto' or None")
        check(self, "width depth squarings patience patches", whole(1), "a whole number, 1 or more")
        check(self, "omega scale", positive, "a number above 0")
        check(
            self, "jacobian margin smooth tolerance", real(lambda n: n >= 0), "a number, 0 or more"
        )
        check(self, "seed", whole(0), "a whole number, 0 or more")
        check(self, "betas", lambda b: len(b) == 2 and all(map(share, b)), "two numbers in [0, 1)")
        check(self, "decay noise_ceiling", real(lambda n: 0 < n <= 1), "a number in (0, 1]")
        for name, least in (("chunk", 1), ("patch", 2)):
            if getattr(self, name) is not None:
                check(self, name, whole(least), f"None, or a whole number, {least} or more")
        self._check_continuous()

    def _check_continuous(self) -> None:
        """What the order "continuous" cannot have, and what needs it."""
        if self.order != "continuous":
            needed = 'the order "continuous" for it'
            check(self, "field", lambda field: field != "time-siren", needed)
            check(self, "adjoint", lambda adjoint: not adjoint, needed)
            check(self, "patch", lambda side: side is None, needed)
            return
        check(self, "integrator", lambda name: "squaring" not in name, "a solver")
        # there is no velocity on a grid
        check(self, "smooth_target", lambda target: target == "displacement", '"displacement"')
        if self.patch is not None:  # mind relates each voxel to the whole image
            check(self, "similarity", lambda kind: kind != "mind", "another one for patches")

    def to_dict(self) -> dict:
        """The settings as numbers, strings and lists, for JSON; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """The inverse of `to_dict`. Raises ValueError that names an unknown key."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"config: unknown settings {sorted(unknown)}")
        level_fields = {f.name for f in fields(Level)}
        for level in values.get("levels", ()):
            unknown = set() if isinstance(level, Level) else set(level) - level_fields
            if unknown:
                raise ValueError(f"levels: unknown settings {sorted(unknown)}")
        return cls(**{k: tuple(v) if k == "levels" else v for k, v in values.items()})


CHOICES = {
    "field": ("siren", "features", "voxel", "time-siren"),
    "integrator": ("squaring", "midpoint-squaring", "euler", "midpoint", "rk4", "dopri5"),
    "order": ("upsample-integrate", "integrate-upsample", "continuous"),
    "similarity": ("lncc", "ncc", "mse", "nmi", "mind"),
    "smooth_target": ("displacement", "velocity"),
    "penalty_target": ("residual", "whole"),
}


def preset(config: str | Config, **changes) -> Config:
    """A preset by name, or a config, with some settings changed.

    Raises ValueError for an unknown name, with the list of presets.
    """
    if isinstance(config, str):
        if config not in PRESETS:
            raise ValueError(f"config: wanted a Config or one of {list(PRESETS)}, got {config!r}")
        config = PRESETS[config]
    return replace(config, **changes)


_LEVELS = (Level(4, 16, 1.5, 7e-3, 7), Level(2, 24, 1.5, 7e-3, 5), Level(1, 22, 2, 7e-3, 7))
_MANY = tuple(
    replace(lv, iterations=n, lr=5e-3) for lv, n in zip(_LEVELS, (80, 80, 70), strict=True)
)
_DEFAULT = Config(
    _LEVELS,
    field="features",
    width=32,
    scale=5.0,
    integrator="midpoint-squaring",
    squarings=2,
    margin=0.1,
    corners=True,
    betas=(0.7, 0.95),
    noise_ceiling=0.85,
)

#: "default": a field of features on levels of 4, 2 and 1 mm for a head. "fast": its first two
#: levels, so it ends at 2 mm. "accurate": more iterations on each level, in smaller steps. "siren":
#: a field of coordinates as in the paper, coarse to fine, at 2 mm. These four were tuned on the
#: `train` split, for Dice and folds against time. "paper": sections 2.4 and 3.2 of the paper, with
#: one level at the image's own resolution, L = 3, a learning rate of 1e-4, and the 300 iterations
#: of its Table 1. Its "5-layer" network is read as five sine layers and a linear one. The paper
#: does not state the unit of velocity; here one unit is ten voxels, so that learning rate times
#: scale is that of "siren". It states neither omega nor the number of squarings nor the width; 512
#: is one of those that the memory in its Table 3 allows.
PRESETS = {
    "default": _DEFAULT,
    "fast": replace(_DEFAULT, levels=_LEVELS[:2]),
    "accurate": replace(_DEFAULT, levels=_MANY, betas=(0.8, 0.95)),
    "siren": Config(spacing=2.0),
    "paper": Config(
        levels=(Level(1, 300, step=3, lr=1e-4),),
        spacing=None,
        width=512,
        omega=30.0,
        scale=10.0,
        margin=0.0,
        smooth=0.1,
        penalty_target="whole",
        decay=1.0,
        patience=300,
    ),
}
