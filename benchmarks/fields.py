"""Velocity fields beside each other under equal conditions: Dice against iterations.

    python -m benchmarks.fields

Writes `book/results/fields.csv`, which the chapter *A field of features* reads, and goes on with
what it does not hold yet. All is of one level of 4 mm, at a constant rate, so that every point of a
curve is a result, on pairs of the `train` split, scored at 2 mm, labels by nearest neighbour.
"race" is of three kinds of field, each at the rate that its preset was tuned to, voxels at two;
"parts" is of the field of features with one part of it changed at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.table import append, rows
from nevf_lite.chapters import tensor
from nevf_lite.config import PRESETS, Config, Level
from nevf_lite.data import load_pair
from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.grid import sparse_shape
from nevf_lite.optimise import deformation, fit
from nevf_lite.scores.deformation import folds
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.warp import warp

TABLE = Path(__file__).parents[1] / "book" / "results" / "fields.csv"
MM = 2.0  # the finest grid
PAIRS = (("mindboggle", "trt02", "trt01"), ("oasis", "1001", "1000"))
SETTINGS = ("integrator", "squarings", "jacobian", "margin", "corners", "smooth")
COLUMNS = ("experiment", "label", "dataset", "fixed", "moving", "lr", "betas", "weights", "dice")
COLUMNS += ("dice_before", "folds_percent", "cpu_seconds", "curve", "machine", "commit")
#: Iterations after which a curve has a point.
POINTS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 60, 80, 100, 120)

Make = Callable[[tuple[int, ...]], VelocityField]


def features(spacings=(16, 8, 4, 2), width: int = 32) -> Make:
    """The field of the presets, in mm, so that it is the same on every grid."""
    voxels, scale = [spacing / MM for spacing in spacings], PRESETS["fast"].scale / MM
    return lambda shape: FeatureField(shape, voxels, width=width, scale=scale, gain=2 * MM)


def without_sine(shape: tuple[int, ...]) -> FeatureField:
    """The same with two linear layers, which are one."""
    field = features()(shape)
    straight = nn.Linear(field.net[0].in_features, field.net[0].out_features)
    straight.load_state_dict(field.net[0].state_dict())
    field.net[0] = straight
    return field


def siren(shape: tuple[int, ...]) -> SirenField:
    """The field of the preset "siren"."""
    config = PRESETS["siren"]
    return SirenField(shape, width=config.width, depth=config.depth, omega=config.omega)


def voxels(shape: tuple[int, ...]) -> VoxelField:
    """A velocity at each point at which a level of 4 mm samples the fields."""
    return VoxelField(shape, sparse_shape(shape, PRESETS["fast"].levels[0].step * 4 / MM))


#: Field, learning rate, betas and iterations of the race.
RACE: dict[str, tuple[Make, float, tuple[float, float], int]] = {
    "features": (features(), 7e-3, (0.7, 0.95), 40),
    "voxels, 0.1": (voxels, 0.1, (0.7, 0.95), 60),
    "voxels, 0.2": (voxels, 0.2, (0.7, 0.95), 60),
    "SIREN": (siren, 1e-3, (0.9, 0.999), 120),
}
PARTS: dict[str, Make] = {
    "all of it": features(),
    "16 mm alone": features((16,)),
    "8 mm alone": features((8,)),
    "no sine": without_sine,
    "4 sines": features(width=4),
    "128 sines": features(width=128),
}


def one_level(iterations: int, lr: float, betas: tuple[float, float]) -> Config:
    """The first level of the presets of features, at a constant rate and to its end."""
    first = PRESETS["fast"].levels[0]
    level = Level(first.factor / MM, iterations, first.step, lr, first.window)
    common = {name: getattr(PRESETS["fast"], name) for name in SETTINGS}
    return Config((level,), betas=betas, decay=1.0, patience=iterations, **common)


def experiments() -> Iterator[tuple[str, str, tuple[str, str, str], Make, Config]]:
    """Experiment, label, pair, field and settings of every row."""
    first = PRESETS["fast"]
    for pair in PAIRS:
        for label, (make, lr, betas, iterations) in RACE.items():
            yield "race", label, pair, make, one_level(iterations, lr, betas)
        for part, make in PARTS.items():
            yield "parts", part, pair, make, one_level(24, first.levels[0].lr, first.betas)


def measure(pair, make: Make, config: Config) -> dict:
    """The columns that a fit gives."""
    fixed, moving = tensor(pair.fixed), tensor(pair.moving)
    labels = [tensor(image) for image in (pair.fixed_labels, pair.moving_labels)]
    torch.manual_seed(0)
    field, curve, step = make(tuple(fixed.shape[2:])), [], [0]
    spent, began = 0.0, time.process_time()

    def score(record: dict) -> None:
        nonlocal spent
        step[0] += 1
        if step[0] in POINTS:
            paused = time.process_time()
            level = config.levels[record["level"]]
            dice, _ = judge(labels, pair.protocol, field, level, config)
            curve.append([step[0], round(paused - began - spent, 2), round(dice, 4)])
            spent += time.process_time() - paused

    fit(fixed, moving, config, field=field, callback=score)
    seconds = time.process_time() - began - spent
    dice, u = judge(labels, pair.protocol, field, config.levels[-1], config)
    return {
        "lr": config.levels[0].lr,
        "betas": json.dumps(config.betas),
        "weights": sum(p.numel() for p in field.parameters()),
        "dice": round(dice, 4),
        "dice_before": round(mean_dice(labels[0][0, 0], labels[1][0, 0], pair.protocol), 4),
        "folds_percent": round(100 * folds(u).any, 5),
        "cpu_seconds": round(seconds, 2),
        "curve": json.dumps(curve),
    }


def judge(labels, protocol, field: VelocityField, level: Level, config: Config):
    """Dice at 2 mm of the field as a level samples it, and the displacement."""
    with torch.no_grad():
        u, _ = deformation(field, field.shape, level.factor * level.step, config)
    carried = warp(labels[1], u, mode="nearest")
    return mean_dice(labels[0][0, 0], carried[0, 0], protocol), u


def key(row: dict) -> tuple:
    """What a row is of."""
    return tuple(str(row[name]) for name in (*COLUMNS[:5], "lr", "betas"))


def main() -> None:
    torch.set_num_threads(1)
    done, loaded = {key(row) for row in rows(TABLE)}, {}
    for experiment, label, pair, make, config in experiments():
        row = dict(zip(COLUMNS, (experiment, label, *pair), strict=False))
        asked = {"lr": config.levels[0].lr, "betas": json.dumps(config.betas)}
        if key({**row, **asked}) in done:
            continue
        if pair not in loaded:
            loaded[pair] = load_pair(*pair, spacing=MM)
        row |= measure(loaded[pair], make, config)
        append(TABLE, COLUMNS, row)
        print(experiment, label, *pair, row["lr"], row["betas"], row["dice"], flush=True)


if __name__ == "__main__":
    main()
