"""The method: fit a velocity field to one pair of images, coarse to fine (section 3 of the paper).

Everything here is in voxels of the finest grid; files and millimetres are the business of
`registration`.
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
from nevf_lite.descent import Descent
from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.grid import downsample_seen, resize, resize_field, sparse_shape, voxel_ratio
from nevf_lite.integrate import compose, flow, jacobian_determinant
from nevf_lite.kernels import keep_freed_memory
from nevf_lite.losses import SIMILARITIES, LocalNCC, penalties, smoothness
from nevf_lite.warp import warp

#: Brighter than this share of the range is foreground.
FOREGROUND = 0.02


@dataclass
class Fit:
    """What :func:`fit` returns.

    field: the velocity field, at the best loss of the last level that ran. history: one record an
    iteration with level, step (L as it was taken, see `Config.enough`), iteration, loss, similarity
    (1 - dissimilarity), folds (fraction of voxels with det J <= 0) and seconds since the start.
    stopped: "finished" or "interrupted".
    """

    field: VelocityField
    history: list[dict] = dataclass_field(default_factory=list)
    stopped: str = "finished"


def make_field(shape: Sequence[int], config: Config) -> VelocityField:
    """A new velocity field over the grid `shape`, at (or within 0.02 voxel of) the identity."""
    if config.field == "voxel":
        return VoxelField(shape, sparse_shape(shape, config.levels[-1].step))
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to reset
        torch.manual_seed(config.seed)
        if config.field == "features":
            return FeatureField(shape, config.lattices, width=config.width, scale=config.scale)
        return SirenField(
            shape,
            config.width,
            config.depth,
            config.omega,
            config.scale,
            config.bfloat16,
            config.chunk,
        )


def deformation(
    field: VelocityField, shape: Sequence[int], step: float, config: Config
) -> tuple[Tensor, Tensor]:
    """Sample sparsely, upsample, integrate (section 3.2 of the paper): the displacement on a grid.

    shape: voxels of the grid, over the same box as the field's. step: L, voxels of that grid
    between samples. Returns displacement and velocity, (1, ndim, *shape) in voxels of that grid.
    With the order "integrate-upsample" (the ablation of section 3.5) the flow is computed on the
    sparse lattice and then upsampled.
    """
    nodes = sparse_shape(shape, step)
    velocity = field.on_lattice(nodes)
    velocity = velocity * voxel_ratio(field.shape, shape, like=velocity)
    if config.order == "upsample-integrate":
        velocity = resize(velocity, shape)
        return flow(velocity, config.integrator, config.squarings), velocity
    sparse = velocity * voxel_ratio(shape, nodes, like=velocity)
    displacement = flow(sparse, config.integrator, config.squarings)
    return resize_field(displacement, shape), resize(velocity, shape)


def level_shape(shape: Sequence[int], level: Level) -> tuple[int, ...]:
    """Voxels of a level's grid: every `factor`-th of the finest, the corners shared, at least 2."""
    return tuple(max(2, round((n - 1) / level.factor) + 1) if n > 1 else 1 for n in shape)


def fit(
    fixed: Tensor,
    moving: Tensor,
    config: Config,
    *,
    field: VelocityField | None = None,
    initial: Tensor | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    callback: Callable[[dict], None] | None = None,
) -> Fit:
    """Find the velocity field whose flow makes the moving image look like the fixed one.

    fixed, moving: (1, C, *shape) on the same grid of (nearly) cubic voxels, intensities near
    [0, 1]. field: where to go on from; by default a new one. initial: a displacement (1, ndim,
    *shape) in voxels that is applied after the field's own and is not changed, for example a
    network's (section 2.3 of the paper): u(x) + u_initial(x + u(x)); what it folds stays folded.
    fixed_mask, moving_mask: (1, 1, *shape), 1 where the image counts. callback: called with each
    iteration's record.

    A KeyboardInterrupt ends it early with the best field so far. Raises ValueError for images that
    do not fit together, NonFiniteLoss when the optimisation diverges.
    """
    pair = {"fixed": fixed, "moving": moving, "field": field, "initial": initial}
    pair |= {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
    told = None if callback is None else lambda _, record: callback(record)
    (result,) = fit_many([pair], config, callback=told)
    return result


def fit_many(
    pairs: Sequence[Mapping],
    config: Config,
    *,
    callback: Callable[[int, dict], None] | None = None,
) -> list[Fit]:
    """`fit` for several pairs in turns, an iteration of each: the same results, one by one.

    On a card their steps run side by side, each pair's on a stream of its own, which fills it where
    one pair cannot: on coarse levels and small images. pairs: the arguments of `fit` for each;
    their grids may differ. callback: called with the pair's number and each of its records.
    A KeyboardInterrupt ends them all; so does what one of them raises.
    """
    keep_freed_memory()
    results, runs = [], {}
    for number, pair in enumerate(pairs):
        fixed, moving = pair["fixed"], pair["moving"]
        if fixed.shape[2:] != moving.shape[2:]:
            raise ValueError(
                f"moving: wanted the fixed image's shape {tuple(fixed.shape[2:])}, "
                f"got {tuple(moving.shape[2:])}; resample it first"
            )
        field = pair.get("field")
        if field is None:
            field = make_field(fixed.shape[2:], config).to(fixed)
        results.append(Fit(field))
        runs[number] = _run(results[number], pair, config)
    with contextlib.ExitStack() as stack:
        for run in runs.values():
            stack.callback(run.close)  # whatever happens, each field is left at its best
        try:
            while runs:
                # first a step of each is asked for, then the records are waited for
                runs = {number: run for number, run in runs.items() if next(run, _END) is not _END}
                for number, run in runs.items():
                    record = next(run)
                    if callback is not None:
                        callback(number, record)
        except KeyboardInterrupt:
            for result in results:
                result.stopped = "interrupted"
    return results


_END = object()


def _run(result: Fit, pair: Mapping, config: Config) -> Iterator[dict | None]:
    """All levels of one pair: by turns None, a step is under way, and the record of that step."""
    fixed, moving, initial = pair["fixed"], pair["moving"], pair.get("initial")
    field, started = result.field, time.perf_counter()
    for number, level in enumerate(config.levels):
        grid = level_shape(fixed.shape[2:], level)
        coarse_fixed, coarse_fixed_mask = downsample_seen(fixed, pair.get("fixed_mask"), grid)
        coarse_moving, coarse_moving_mask = downsample_seen(moving, pair.get("moving_mask"), grid)
        problem = _Problem(
            coarse_fixed,
            coarse_moving,
            None if initial is None else resize_field(initial, grid),
            coarse_fixed_mask,
            coarse_moving_mask,
            level,
            config,
        )
        if number + 1 == len(config.levels) and problem.explained(field) >= config.enough:
            problem.level = replace(level, step=1.5 * level.step)
        field.learn_at(level.factor * problem.level.step)
        descent = Descent(field, problem.evaluate, problem.level, config)
        try:
            while not descent.done:
                descent.launch()
                yield None
                record = {"level": number, "step": problem.level.step, **descent.read()}
                record["seconds"] = time.perf_counter() - started
                result.history.append(record)
                yield record
        finally:
            descent.close()


@dataclass
class _Problem:
    """One level: its images, its loss."""

    fixed: Tensor
    moving: Tensor
    initial: Tensor | None
    fixed_mask: Tensor | None
    moving_mask: Tensor | None
    level: Level
    config: Config

    def __post_init__(self) -> None:
        kind = SIMILARITIES[self.config.similarity]
        options = {"window": self.level.window} if kind is LocalNCC else {}
        self.similarity = kind(self.fixed, weight=self.fixed_mask, **options)

    def evaluate(self, field: VelocityField) -> tuple[Tensor, Tensor, Tensor]:
        """Total loss, dissimilarity and folded fraction of the voxels (equation 4 of the paper).

        The penalties are of the field's own deformation. Of the whole they would ask the field to
        undo the initial one, its folds first: after a network that folds 3 % of the voxels, that
        cost more Dice than the fit gained.
        """
        config = self.config
        own, velocity = deformation(field, self.fixed.shape[2:], self.level.step, config)
        displacement = self.whole(own)
        warped, weight = self._warped(displacement)
        dissimilarity = self.similarity(warped, weight)
        jacobian, smooth, folds = penalties(own, config.margin)
        if config.smooth_target == "velocity":
            smooth = smoothness(velocity)
        if self.initial is not None:  # those that count are of the whole
            folds = (jacobian_determinant(displacement.detach()) <= 0).float().mean()
        loss = dissimilarity + config.jacobian * jacobian + config.smooth * smooth
        return loss, dissimilarity, folds

    def explained(self, field: VelocityField) -> float:
        """The foreground's local NCC where `Config.enough` asks for it, otherwise 0.

        Where it is high, the images are of one anatomy, and what finer features would still fit is
        noise (the discrepancy principle, Morozov 1966). Scans of two people stay far from it.
        """
        if not isinstance(self.similarity, LocalNCC) or self.config.enough >= 1:
            return 0.0
        with torch.no_grad():
            own, _ = deformation(field, self.fixed.shape[2:], self.level.step, self.config)
            local = self.similarity.map(*self._warped(self.whole(own)))
        seen = self.fixed > FOREGROUND
        if self.fixed_mask is not None:
            seen = seen & (self.fixed_mask > 0.5)
        return local[seen].mean().item() if seen.any() else 0.0

    def whole(self, own: Tensor) -> Tensor:
        """The displacement that images are warped by: the field's own, then the initial one."""
        return own if self.initial is None else compose(own, self.initial)

    def _warped(self, displacement: Tensor) -> tuple[Tensor, Tensor | None]:
        """The moving image and its mask, warped; what is masked does not enter at its edge either.

        How much of the image counts is no goal, so the mask passes no gradient on.
        """
        if self.moving_mask is None:
            return warp(self.moving, displacement), None
        seen = torch.cat([self.moving * self.moving_mask, self.moving_mask], dim=1)
        warped = warp(seen, displacement)
        weight = warped[:, -1:]
        return warped[:, :-1] / weight.clamp_min(1e-6), weight.detach()
