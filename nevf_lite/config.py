"""Settings: `Config`, its levels, and the presets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace


def _check(name: str, valid: bool, wanted: str, got: object) -> None:
    if not valid:
        raise ValueError(f"{name}: wanted {wanted}, got {got!r}")


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
        _check("factor", self.factor >= 1, "at least 1", self.factor)
        _check("iterations", self.iterations >= 0, "0 or more", self.iterations)
        _check("step", self.step >= 1, "L >= 1 voxel", self.step)
        _check("lr", 0 < self.lr < 1, "between 0 and 1", self.lr)
        _check("window", self.window % 2 == 1 and self.window >= 3, "odd, >= 3", self.window)

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
        _check("levels", len(levels) > 0, "at least one level", levels)
        valid = len(self.lattices) > 0 and all(spacing >= 1 for spacing in self.lattices)
        _check("lattices", valid, "spacings of at least 1 voxel", self.lattices)
        for name, choices in CHOICES.items():
            _check(name, getattr(self, name) in choices, f"one of {choices}", getattr(self, name))
        if self.spacing != "auto" and self.spacing is not None:
            positive = isinstance(self.spacing, int | float) and 0 < self.spacing < math.inf
            _check("spacing", positive, "millimetres, 'auto' or None", self.spacing)
        for name in ("width", "depth", "squarings", "patience", "patches"):
            _check(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("omega", "scale"):
            _check(name, getattr(self, name) > 0, "above 0", getattr(self, name))
        for name in ("jacobian", "margin", "smooth", "tolerance"):
            _check(name, getattr(self, name) >= 0, "0 or more", getattr(self, name))
        valid = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _check("betas", valid, "two numbers in [0, 1)", self.betas)
        for name in ("decay", "noise_ceiling"):
            _check(name, 0 < getattr(self, name) <= 1, "in (0, 1]", getattr(self, name))
        _check("chunk", self.chunk is None or self.chunk >= 1, "None or >= 1", self.chunk)
        _check("patch", self.patch is None or self.patch >= 2, "None or >= 2 voxels", self.patch)
        self._check_continuous()

    def _check_continuous(self) -> None:
        """What the order "continuous" cannot have, and what needs it."""
        if self.order != "continuous":
            _check("field", self.field != "time-siren", 'the order "continuous" for it', self.field)
            _check("adjoint", not self.adjoint, 'the order "continuous" for it', self.adjoint)
            _check("patch", self.patch is None, 'the order "continuous" for it', self.patch)
            return
        _check("integrator", "squaring" not in self.integrator, "a solver", self.integrator)
        kind, target = self.similarity, self.smooth_target  # there is no velocity on a grid
        _check("smooth_target", target == "displacement", '"displacement"', target)
        local = self.patch is None or kind != "mind"  # which relates each voxel to the whole image
        _check("similarity", local, "another one for patches", kind)

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
#: fits the memory in its Table 3.
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
