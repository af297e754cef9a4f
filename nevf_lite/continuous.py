"""The field followed continuously: points, not grids (Neural ODE; section 4 of the paper).

Scaling and squaring composes displacements on a grid, so it needs the velocity at every voxel and
interpolates at each squaring. An ODE solver asks the field itself for the velocity where the points
are. So it can follow any points, such as those of a few random cubes, and a field that changes with
time.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from nevf_lite.config import Config, Level
from nevf_lite.fields import SirenField, VelocityField
from nevf_lite.grid import identity, normalised, resize, sparse_shape, voxel_ratio
from nevf_lite.integrate import integrate_ode, jacobian_determinant
from nevf_lite.losses import SIMILARITIES, LocalNCC, penalties, weighted_mean
from nevf_lite.warp import read_masked, sample


class TimeSirenField(SirenField):
    """A `SirenField` with the time, 0 to 1, as one more input: V(p, t) = v.

    Its flow is a diffeomorphism as well, but only an ODE solver can compute it: to square a map is
    to repeat it, and a velocity that changes does not repeat. The inverse goes backwards in time.
    """

    changes_with_time = True

    def on_lattice(self, nodes: Sequence[int], time: float = 0.0) -> Tensor:
        """The velocity at one time on a lattice: (1, ndim, *nodes), in finest voxels."""
        parameter = next(self.parameters())
        points = normalised(nodes, self.shape, parameter.device, parameter.dtype)
        points = points.view(self.ndim, -1).T
        points = torch.cat([points, torch.full_like(points[:, :1], time)], dim=1)
        return self(points).T.reshape(1, self.ndim, *nodes)


def follow(
    field: VelocityField,
    positions: Tensor,
    shape: Sequence[int],
    method: str = "rk4",
    steps: int = 4,
    times: Sequence[float] = (0.0, 1.0),
    adjoint: bool = False,
) -> Tensor:
    """Follow points along a field, which is evaluated where they are (equation 1 of the paper).

    positions: (N, ndim, *any) at times[0], in voxels of a grid `shape` over the field's box. They
    may lie or move outside of it: there the velocity is that of the nearest point of the box.
    method, steps, times: see `integrate_ode`; from 1 to 0 it is the inverse. adjoint: whether the
    gradient comes from the adjoint method. Returns displacements of the same shape and units.
    """
    ndim, longest = field.ndim, max(field.shape) - 1
    half = positions.new_tensor([(n - 1) / longest for n in field.shape]).view(1, -1, 1)
    cells = positions.new_tensor([n - 1 for n in shape]).view(1, -1, 1)
    ratio = voxel_ratio(field.shape, shape, like=positions).flatten(2)

    def velocity(state: Tensor) -> Tensor:
        points = (2 * state[:, :ndim] / cells - 1).clamp(-1, 1) * half
        if not field.changes_with_time:
            return ratio * field(points[0].T).T[None]
        # with the time as a coordinate that moves at speed 1, it is a stationary field again
        clock = state[:, ndim:]
        moving = ratio * field(torch.cat([points, clock], dim=1)[0].T).T[None]
        return torch.cat([moving, torch.ones_like(clock)], dim=1)

    state = positions.transpose(0, 1).reshape(1, ndim, -1)
    if field.changes_with_time:
        state = torch.cat([state, torch.full_like(state[:, :1], times[0])], dim=1)
    parameters = tuple(p for p in field.parameters() if p.requires_grad) if adjoint else ()
    moved = integrate_ode(velocity, state, method, steps, times, parameters)[0, :ndim]
    return moved.reshape(ndim, len(positions), *positions.shape[2:]).transpose(0, 1)


def follow_lattice(
    field: VelocityField, shape: Sequence[int], step: float, config: Config
) -> Tensor:
    """The displacement on a grid of which every L-th voxel is followed: (1, ndim, *shape), voxels.

    shape: the grid, over the field's box. step: L, in its voxels. With L = 1 nothing is
    interpolated, otherwise the displacement is, once.
    """
    nodes, like = sparse_shape(shape, step), next(field.parameters())
    positions = identity(nodes, like.device, like.dtype) * voxel_ratio(nodes, shape, like=like)
    return resize(_displacement(field, positions, shape, config), shape)


def _displacement(
    field: VelocityField, positions: Tensor, shape: Sequence[int], config: Config
) -> Tensor:
    solver = {"method": config.integrator, "steps": config.squarings, "adjoint": config.adjoint}
    return follow(field, positions, shape, **solver)


class PatchLoss:
    """The loss of one level (equation 5 of the paper) on random cubes of its grid.

    It is what the loss on the whole grid would be if only the voxels of the cubes counted. The
    points around a cube are followed as well, as far as the windows of the local NCC reach. All
    images: (1, C, *shape); initial and the masks as in `optimise.fit`. Each cube lies within the
    grid, so voxels near its faces are drawn less often.
    """

    def __init__(
        self,
        fixed: Tensor,
        moving: Tensor,
        initial: Tensor | None,
        fixed_mask: Tensor | None,
        moving_mask: Tensor | None,
        level: Level,
        config: Config,
        similarity_weight: float = 1.0,
    ) -> None:
        self.fixed, self.moving, self.initial = fixed, moving, initial
        self.fixed_mask, self.moving_mask = fixed_mask, moving_mask
        self.level, self.config, self.similarity_weight = level, config, similarity_weight
        self.shape = fixed.shape[2:]
        self.side = tuple(min(config.patch, n) for n in self.shape)
        self.reach = level.window // 2 if config.similarity == "lncc" else 0
        self.generator = torch.Generator().manual_seed(config.seed)

    def draw(self) -> Tensor:
        """First voxels of new random cubes, (patches, ndim)."""
        free = [n - side + 1 for n, side in zip(self.shape, self.side, strict=True)]
        size = (self.config.patches,)
        axes = [torch.randint(n, size, generator=self.generator) for n in free]
        return torch.stack(axes, dim=1).to(self.fixed.device)

    def evaluate(self, field: VelocityField) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, dissimilarity and folded fraction on new cubes."""
        return self.on_cubes(field, self.draw())

    def foreground_similarity(self, field: VelocityField) -> float:
        """0: all voxels of a cube are followed, so there is no L to change."""
        return 0.0

    def on_cubes(self, field: VelocityField, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, dissimilarity and folded fraction on the cubes that begin at these voxels.

        first: (N, ndim). With one of the whole grid's size it is the loss of the whole grid.
        """
        config, reach = self.config, self.reach
        around = identity([n + 2 * reach for n in self.side], first.device, self.fixed.dtype)
        positions = around + (first - reach).view(*first.shape, *[1] * len(self.shape))
        displacement = _displacement(field, positions, self.shape, config)
        moved = positions + displacement
        if self.initial is not None:
            moved = moved + _sample_each(self.initial, moved, padding="border")
        dissimilarity = self._dissimilarity(positions, moved)
        composed = moved - positions
        charged = composed if config.penalty_target == "whole" else displacement
        jacobian, smooth, folds = penalties(self._core(charged), config.margin, config.corners)
        if self.initial is not None:  # report the folds of the composition
            folds = (jacobian_determinant(self._core(composed.detach())) <= 0).float().mean()
        smooth = config.smooth * smooth
        loss = self.similarity_weight * dissimilarity + config.jacobian * jacobian + smooth
        return loss, dissimilarity, folds

    def _dissimilarity(self, positions: Tensor, moved: Tensor) -> Tensor:
        """The fixed image at its own positions against the moving one where they have moved."""
        # padded with zeros, all that lies outside the grid is read as on it: zero
        inside = _sample_each(torch.ones_like(self.fixed[:, :1]), positions)
        fixed = _sample_each(self.fixed, positions)
        read = functools.partial(_sample_each, positions=moved)
        warped, weight = read_masked(self.moving, self.moving_mask, read)
        warped, weight = warped * inside, None if weight is None else weight * inside
        mask = None if self.fixed_mask is None else _sample_each(self.fixed_mask, positions)
        if self.config.similarity != "lncc":
            return SIMILARITIES[self.config.similarity](fixed, weight=mask)(warped, weight)
        local = LocalNCC(fixed, self.level.window, mask).map(warped, weight)
        weights = [self._core(w) for w in (mask, weight) if w is not None]
        weight = functools.reduce(operator.mul, weights) if weights else None
        return 1 - weighted_mean(self._core(local), weight)

    def _core(self, volume: Tensor) -> Tensor:
        """The cubes themselves, without what lies around them."""
        middle = [slice(self.reach, self.reach + n) for n in self.side]
        return volume[(..., *middle)]


def _sample_each(volume: Tensor, positions: Tensor, padding: str = "zeros") -> Tensor:
    """`sample` one volume (1, C, *shape) at (N, ndim, *side), without a copy of it for each N."""
    joined = positions.transpose(0, 1).flatten(1, 2)[None]  # (1, ndim, N * side, ...)
    values = sample(volume, joined, padding=padding)[0]
    return values.unflatten(1, (len(positions), -1)).transpose(0, 1)
