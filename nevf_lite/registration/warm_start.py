"""A warm start: the velocity field itself is fitted to a given deformation.

The other way to use an initial deformation is that of section 2.3 of the paper: keep it and compose
it with the field's own. What it folds then stays folded. Here the field learns a diffeomorphism
near the given deformation, and from there the images alone decide.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from nevf_lite.config import Config, Level
from nevf_lite.descent import Descent
from nevf_lite.fields import VelocityField
from nevf_lite.grid import downsample, resize_field
from nevf_lite.losses import penalties, weighted_mean
from nevf_lite.optimise import FOREGROUND, deformation

#: Iterations, and how much coarser than the finest grid: 4 mm for a head. Finer fits follow the
#: folds of a network more closely and score lower after the images have been fitted.
ITERATIONS, FACTOR = 60, 4.0


def warm_level(config: Config) -> Level:
    """The level on which the field is fitted: the coarsest of the config, at least `FACTOR`."""
    coarsest = config.levels[0]
    return replace(coarsest, factor=max(coarsest.factor, FACTOR), iterations=ITERATIONS)


def warm_start(
    field: VelocityField,
    displacement: Tensor,
    fixed: Tensor,
    config: Config,
    progress: bool = False,
) -> float:
    """Fit a field, in place, to a displacement in the foreground of the fixed image.

    displacement: (1, ndim, *shape), voxels of the field's finest grid, which is also that of fixed:
    (1, C, *shape), in [0, 1]. The loss is the mean squared distance in voxels of the level plus the
    Jacobian penalty of the config. Returns the root mean squared distance that is left, in finest
    voxels. Raises NonFiniteLoss for a displacement that is not finite.
    """
    level = warm_level(config)
    shape = level.grid_shape(field.shape)
    target = resize_field(displacement, shape)
    foreground = downsample(fixed.mean(dim=1, keepdim=True), shape) > FOREGROUND
    weight = foreground.to(target)

    def evaluate(field: VelocityField) -> tuple[Tensor, Tensor, Tensor]:
        fitted, _ = deformation(field, shape, level.step, config)
        distance = weighted_mean((fitted - target).square(), weight) * field.ndim
        jacobian, _, folds = penalties(fitted, config.margin, config.corners)
        return distance + config.jacobian * jacobian, distance, folds

    field.freeze_finer_than(level.factor * level.step)
    descent = Descent(field, evaluate, level, config)
    try:
        with tqdm(total=level.iterations, desc="warm start", disable=not progress) as bar:
            while not descent.done:
                descent.launch()
                descent.read()
                bar.update()
    finally:
        descent.close()
    with torch.no_grad():
        return level.factor * evaluate(field)[1].sqrt().item()
