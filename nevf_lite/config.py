"""What can be chosen: `Config`, its levels, and the presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace


def _check(name: str, good: bool, wanted: str, got: object) -> None:
    if not good:
        raise ValueError(f"{name}: wanted {wanted}, got {got!r}")


@dataclass(frozen=True)
class Level:
    """One resolution of the optimisation.

    factor: how much coarser than the finest grid; 1 is the finest. iterations: Adam steps, at most.
    step: L, voxels of this level between samples of the field. lr: learning rate, in voxels of the
    finest grid. window: side of the local NCC's window, in voxels of this level, odd.
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


@dataclass(frozen=True)
class Config:
    """All that decides a result, besides the images. Presets are in `PRESETS`.

    What is not said is as in the preset "siren", the method of the paper.

    levels: coarse to fine. spacing: of the finest grid in mm, read by `register`; "auto" is 1 mm
    for a head (finer for smaller boxes, the image's own in 2-D), None the fixed image's own.
    field: "siren", "features" or "voxel". width, depth, omega: of the SIREN; width: of the network
    behind the features, too. lattices: spacings of the features, in voxels of the finest grid.
    scale: voxels of the finest grid in one unit of the network's output; with the learning rate it
    is one knob.
    integrator: "squaring", or "euler", "midpoint", "rk4", "dopri5"; squarings: of scaling and
    squaring, or steps of a solver. order: "upsample-integrate" as in the paper, or
    "integrate-upsample". similarity: "lncc", "ncc", "mse", "nmi" or "mind". jacobian, smooth:
    weights of the penalties. margin: determinant below which the Jacobian penalty begins.
    smooth_target: "displacement" or "velocity". decay: the learning rate
    falls to this fraction over a level. patience: a level ends after this many iterations without
    an improvement of `tolerance`. enough: foreground's local NCC from which on the finest level is
    sampled every 1.5 L voxels, for what is left to explain is noise; 1 means never. bfloat16: the
    SIREN's matrix products in half precision. chunk: points of the SIREN at a time; saves memory,
    costs time. seed: of the field's start.
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
    similarity: str = "lncc"
    jacobian: float = 100.0
    margin: float = 0.2
    smooth: float = 0.5
    smooth_target: str = "displacement"
    decay: float = 0.2
    patience: int = 30
    tolerance: float = 7e-4
    enough: float = 1.0
    bfloat16: bool = False
    chunk: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        levels = tuple(lv if isinstance(lv, Level) else Level(**lv) for lv in self.levels)
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "lattices", tuple(self.lattices))
        _check("levels", len(levels) > 0, "at least one level", levels)
        good = len(self.lattices) > 0 and all(spacing >= 1 for spacing in self.lattices)
        _check("lattices", good, "spacings of at least 1 voxel", self.lattices)
        for name, choices in CHOICES.items():
            _check(name, getattr(self, name) in choices, f"one of {choices}", getattr(self, name))
        if self.spacing != "auto" and self.spacing is not None:
            number = isinstance(self.spacing, int | float) and 0 < self.spacing < math.inf
            _check("spacing", number, "millimetres, 'auto' or None", self.spacing)
        for name in ("width", "depth", "squarings", "patience"):
            _check(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("omega", "scale"):
            _check(name, getattr(self, name) > 0, "above 0", getattr(self, name))
        for name in ("jacobian", "margin", "smooth", "tolerance"):
            _check(name, getattr(self, name) >= 0, "0 or more", getattr(self, name))
        for name in ("decay", "enough"):
            _check(name, 0 < getattr(self, name) <= 1, "in (0, 1]", getattr(self, name))
        _check("chunk", self.chunk is None or self.chunk >= 1, "None or >= 1", self.chunk)

    def to_dict(self) -> dict:
        """Plain numbers, strings and lists, for JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """Raises ValueError naming a key that is none of the fields."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"config: unknown settings {sorted(unknown)}")
        known = {f.name for f in fields(Level)}
        for level in values.get("levels", ()):
            unknown = set() if isinstance(level, Level) else set(level) - known
            if unknown:
                raise ValueError(f"levels: unknown settings {sorted(unknown)}")
        return cls(**{k: tuple(v) if k == "levels" else v for k, v in values.items()})


CHOICES = {
    "field": ("siren", "features", "voxel"),
    "integrator": ("squaring", "euler", "midpoint", "rk4", "dopri5"),
    "order": ("upsample-integrate", "integrate-upsample"),
    "similarity": ("lncc", "ncc", "mse", "nmi", "mind"),
    "smooth_target": ("displacement", "velocity"),
}


def preset(config: str | Config, **changes) -> Config:
    """A preset by name, or a config as it is, with changes; ValueError lists the names."""
    if isinstance(config, str):
        if config not in PRESETS:
            raise ValueError(f"config: wanted a Config or one of {list(PRESETS)}, got {config!r}")
        config = PRESETS[config]
    return replace(config, **changes)


_LEVELS = (Level(4, 40, 1.5, 3e-3, 7), Level(2, 40, 1.5, 3e-3, 5), Level(1, 30, 2, 3e-3, 7))
_DEFAULT = Config(_LEVELS, field="features", width=32, scale=5.0, squarings=6, enough=0.85)

#: "default" was tuned on the `train` split, for Dice and folds against time. "fast" is its
#: beginning: for a head it ends at 2 mm. "siren" is the neural field of coordinates, tuned the same
#: way: four times as long for a lower Dice, and the one to compare with the paper. "paper" is
#: section 4 of the paper: one level at the image's own resolution, L = 3, 300 iterations at 1e-4.
#: The paper leaves open in which units; here one unit is ten voxels, which makes a step of Adam as
#: long as that of "siren". Its width of 512 is inferred from its memory table.
PRESETS = {
    "default": _DEFAULT,
    "fast": replace(_DEFAULT, levels=_LEVELS[:2]),
    "siren": Config(spacing=2.0),
    "paper": Config(
        levels=(Level(1, 300, step=3, lr=1e-4),),
        spacing=None,
        width=512,
        omega=30.0,
        scale=10.0,
        margin=0.0,
        smooth=0.1,
        decay=1.0,
        patience=300,
    ),
}
