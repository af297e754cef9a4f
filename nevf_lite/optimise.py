"""The method: fit a velocity field to one pair of images, coarse to fine.

Each level works in voxels of its own grid; what a field returns is in voxels of the finest one.
Files and millimetres are the business of `registration`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field

import torch
from torch import Tensor

from nevf_lite.config import Config, Level
from nevf_lite.continuous import PatchLoss, TimeSirenField, follow_lattice
from nevf_lite.descent import Descent
from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.grid import downsample_masked, resize_field, sparse_shape, voxel_ratio
from nevf_lite.integrate import compose, jacobian_determinant, sparse_flow
from nevf_lite.kernels.memory import keep_freed_memory
from nevf_lite.losses import SIMILARITIES, LocalNCC, penalties, smoothness
from nevf_lite.warp import warp_masked

#: Intensities above this share of the range are foreground.
FOREGROUND = 0.02


@dataclass
class Fit:
    """What :func:`fit` returns.

    field: the velocity field, at the best loss of the last level that ran. history: one record for
    each iteration, with level, step (the L that was used, see `Config.noise_ceiling`), iteration,
    loss, similarity (1 - dissimilarity), folds (fraction of cells with det J <= 0) and seconds
    since the start. stopped: "finished" or "interrupted".
    """

    field: VelocityField
    history: list[dict] = dataclass_field(default_factory=list)
    stopped: str = "finished"


def make_field(shape: Sequence[int], config: Config) -> VelocityField:
    """A new velocity field over the grid `shape`, near the identity.

    A "voxel" field is stored on the sparse lattice of the last level: with L = 1 on every voxel.
    """
    if config.field == "voxel":
        return VoxelField(shape, sparse_shape(shape, config.levels[-1].step))
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it is
        torch.manual_seed(config.seed)
        if config.field == "features":
            return FeatureField(shape, config.lattices, width=config.width, scale=config.scale)
        settings = ("width", "depth", "omega", "scale", "bfloat16", "chunk")
        kind = TimeSirenField if config.field == "time-siren" else SirenField
        return kind(shape, **{name: getattr(config, name) for name in settings})


def deformation(
    field: VelocityField, shape: Sequence[int], step: float, config: Config
) -> tuple[Tensor, Tensor | None]:
    """Sample sparsely, upsample, integrate (section 2.2 of the paper): the displacement on a grid.

    shape: voxels of the grid, over the same box as the field's. step: L, voxels of that grid
    between samples. Returns displacement and velocity, (1, ndim, *shape) in voxels of that grid;
    the order "continuous" has no velocity on a grid.
    """
    if config.order == "continuous":
        return follow_lattice(field, shape, step, config), None
    velocity = field.on_lattice(sparse_shape(shape, step))
    velocity = velocity * voxel_ratio(field.shape, shape, like=velocity)
    return sparse_flow(velocity, shape, config.order, config.integrator, config.squarings)


def fit(
    fixed: Tensor,
    moving: Tensor,
    config: Config,
    *,
    field: VelocityField | None = None,
    initial: Tensor | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    coverage: float = 1.0,
    callback: Callable[[dict], None] | None = None,
) -> Fit:
    """Find the velocity field whose flow makes the moving image look like the fixed one.

    fixed, moving: (1, C, *shape) on the same grid of (nearly) cubic voxels, intensities near
    [0, 1]. field: where to continue from; by default a new one. initial: a displacement (1, ndim,
    *shape) in voxels that is applied after the field's and is not changed, such as a network's
    (section 2.3 of the paper): u(x) + u_initial(x + u(x)); what it folds stays folded.
    fixed_mask, moving_mask: (1, 1, *shape), 1 where the image counts. coverage: the share of voxels
    that both images show, where the masks leave out what they do not. Its square weights the
    similarity: with the share itself its balance with the penalties at a voxel is that of whole
    images, but beside a cut the map is held from one side only, and bends too easily. callback:
    called with each iteration's record.

    A KeyboardInterrupt ends it early with the best field so far. Raises ValueError for images of
    different shapes or with an axis of one voxel, NonFiniteLoss if the optimisation diverges.
    """
    pair = {"fixed": fixed, "moving": moving, "field": field, "initial": initial}
    pair |= {"fixed_mask": fixed_mask, "moving_mask": moving_mask, "coverage": coverage}
    numbered = None if callback is None else lambda _, record: callback(record)
    (result,) = fit_many([pair], config, callback=numbered)
    return result


def fit_many(
    pairs: Sequence[Mapping],
    config: Config,
    *,
    callback: Callable[[int, dict], None] | None = None,
) -> list[Fit]:
    """`fit` for several pairs, one iteration of each in turn, with the same results.

    On a GPU the steps of all pairs run concurrently, each on a CUDA stream of its own, which fills
    the GPU where one pair cannot. pairs: the arguments of `fit` for each; their grids may differ.
    callback: called with the number of the pair and each of its records. A KeyboardInterrupt ends
    all of them early; an exception of one ends all.
    """
    keep_freed_memory()
    results, runs = [], {}
    for number, pair in enumerate(pairs):
        fixed, moving = pair["fixed"], pair["moving"]
        if fixed.shape != moving.shape or min(fixed.shape[2:]) < 2:
            raise ValueError(
                f"moving: wanted the fixed image's shape {tuple(fixed.shape)}, at least 2 voxels "
                f"along each axis, got {tuple(moving.shape)}; resample it first"
            )
        field = pair.get("field")
        if field is None:
            field = make_field(fixed.shape[2:], config).to(fixed)
        results.append(Fit(field))
        runs[number] = _run(results[number], pair, config)
    with contextlib.ExitStack() as stack:
        for run in runs.values():
            stack.callback(run.close)  # leaves each field at its best, whatever happens
        try:
            while runs:
                # launch a step of every pair before waiting for the records
                runs = {number: run for number, run in runs.items() if next(run, "end") is None}
                for number, run in runs.items():
                    record = next(run)
                    if callback is not None:
                        callback(number, record)
        except KeyboardInterrupt:
            for result in results:
                result.stopped = "interrupted"
    return results


def _run(result: Fit, pair: Mapping, config: Config) -> Iterator[dict | None]:
    """All levels of one pair. Yields None when a step has been launched, then its record."""
    initial, similarity_weight = pair.get("initial"), pair.get("coverage", 1.0) ** 2
    field, started = result.field, time.perf_counter()
    for number, level in enumerate(config.levels):
        shape = level.grid_shape(pair["fixed"].shape[2:])
        (fixed, fixed_mask), (moving, moving_mask) = (
            downsample_masked(pair[name], pair.get(f"{name}_mask"), shape)
            for name in ("fixed", "moving")
        )
        start = None if initial is None else resize_field(initial, shape)
        level_loss = (_LevelLoss if config.patch is None else PatchLoss)(
            fixed, moving, start, fixed_mask, moving_mask, level, config, similarity_weight
        )
        finest = number + 1 == len(config.levels)
        if finest and level_loss.foreground_similarity(field) >= config.noise_ceiling:
            level_loss.level = replace(level, step=1.5 * level.step)
        field.freeze_finer_than(level.factor * level_loss.level.step)
        noisy = config.patch is not None
        descent = Descent(field, level_loss.evaluate, level_loss.level, config, noisy)
        try:
            while not descent.done:
                descent.launch()
                yield None
                record = {"level": number, "step": level_loss.level.step, **descent.read()}
                record["seconds"] = time.perf_counter() - started
                result.history.append(record)
                yield record
        finally:
            descent.close()


@dataclass
class _LevelLoss:
    """The loss of one level, as a function of the velocity field."""

    fixed: Tensor
    moving: Tensor
    initial: Tensor | None
    fixed_mask: Tensor | None
    moving_mask: Tensor | None
    level: Level
    config: Config
    similarity_weight: float = 1.0

    def __post_init__(self) -> None:
        kind = SIMILARITIES[self.config.similarity]
        options = {"window": self.level.window} if kind is LocalNCC else {}
        self.dissimilarity = kind(self.fixed, weight=self.fixed_mask, **options)

    def evaluate(self, field: VelocityField) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (equation 5 of the paper), dissimilarity, and folded fraction of the cells.

        The penalties are those of the field's own deformation, or of its composition with the
        initial one, whose folds the field then has to undo: see `Config.penalty_target`.
        """
        config = self.config
        displacement, velocity = self._deformation(field)
        composed, warped, weight = self._warp(displacement)
        dissimilarity = self.dissimilarity(warped, weight)
        charged = composed if config.penalty_target == "whole" else displacement
        jacobian, smooth, folds = penalties(charged, config.margin, config.corners)
        if config.smooth_target == "velocity":
            smooth = smoothness(velocity)
        if self.initial is not None:  # report the folds of the composition
            folds = (jacobian_determinant(composed.detach()) <= 0).float().mean()
        smooth = config.smooth * smooth
        loss = self.similarity_weight * dissimilarity + config.jacobian * jacobian + smooth
        return loss, dissimilarity, folds

    def foreground_similarity(self, field: VelocityField) -> float:
        """The mean local NCC of the foreground, or 0 if `Config.noise_ceiling` does not need it.

        A high value means that both images show the same anatomy, and finer features would only fit
        noise (the discrepancy principle, Morozov 1966).
        """
        if not isinstance(self.dissimilarity, LocalNCC) or self.config.noise_ceiling >= 1:
            return 0.0
        with torch.no_grad():
            _, warped, weight = self._warp(self._deformation(field)[0])
            local = self.dissimilarity.map(warped, weight)
        foreground = self.fixed > FOREGROUND
        for counts in (self.fixed_mask, weight):
            foreground = foreground if counts is None else foreground & (counts > 0.5)
        return local[foreground].mean().item() if foreground.any() else 0.0

    def _deformation(self, field: VelocityField) -> tuple[Tensor, Tensor | None]:
        return deformation(field, self.fixed.shape[2:], self.level.step, self.config)

    def _warp(self, displacement: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The displacement, then the initial one; and the image and mask that they warp."""
        initial = self.initial
        composed = displacement if initial is None else compose(displacement, initial)
        return composed, *warp_masked(self.moving, self.moving_mask, composed)
