"""The components of a transform. Each maps points of the world and has an inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nevf_lite.continuous import follow
from nevf_lite.fields import VelocityField
from nevf_lite.grid import voxel_ratio
from nevf_lite.integrate import invert, sparse_flow
from nevf_lite.scans.space import Grid
from nevf_lite.warp import sample


class Component(Protocol):
    """A map of points in the world."""

    def map(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm to (N, 3) RAS mm."""
        ...

    @property
    def inverse(self) -> Component: ...


@dataclass(frozen=True, eq=False)
class Affine:
    """p -> A p. matrix: (4, 4), RAS mm to RAS mm."""

    matrix: np.ndarray

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"matrix: wanted a finite 4x4 affine, got shape {matrix.shape}")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise ValueError("matrix: the affine is singular, so it has no inverse")
        object.__setattr__(self, "matrix", matrix)

    def map(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    @property
    def inverse(self) -> Affine:
        return Affine(np.linalg.inv(self.matrix))


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """p -> p + u(p), with u stored on a grid, interpolated linearly, and constant beyond its edges.

    displacement: (1, ndim, *grid.shape) in voxels of the grid, float32.
    """

    displacement: Tensor
    grid: Grid

    @classmethod
    def from_mm(cls, displacement: np.ndarray, grid: Grid) -> DisplacementField:
        """displacement: (*shape, 3) in RAS mm."""
        to_voxels = np.linalg.inv(grid.affine)[: grid.ndim, :3]
        voxels = np.moveaxis(displacement @ to_voxels.T, -1, 0)
        return cls(torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None], grid)

    def map(self, points: np.ndarray) -> np.ndarray:
        positions = torch.from_numpy(self.grid.to_voxels(points).T.astype(np.float32))[None]
        moved = sample(self.displacement, positions, padding="border")[0]
        return points + moved.T.double().numpy() @ self.grid.directions.T

    @cached_property
    def inverse(self) -> DisplacementField:
        """By fixed-point iteration, because there is no velocity that could be negated."""
        return DisplacementField(invert(self.displacement), self.grid)


@dataclass(frozen=True, eq=False)
class VelocityFlow:
    """p -> exp(v)(p), the flow of a velocity field over the box of a grid.

    field: the velocity, in voxels of the field's own finest grid, which covers the same box.
    grid: the grid the flow is integrated on; between its voxels the map is interpolated linearly.
    nodes: the sparse lattice on which the field is sampled before upsampling, as in the
        optimisation.
    integrator, steps: see `integrate.flow`. order: "upsample-integrate" or "integrate-upsample"; or
        "continuous": each point is followed along the field itself, and no grid is needed.
    sign: the time at which the flow ends, 1; -1 for the inverse, which goes back from there to 0.
    """

    field: VelocityField
    grid: Grid
    nodes: tuple[int, ...]
    integrator: str = "squaring"
    steps: int = 7
    order: str = "upsample-integrate"
    sign: int = 1

    def at_shape(self, shape: tuple[int, ...]) -> VelocityFlow:
        """The same flow, integrated on a grid of another resolution over the same box."""
        return replace(self, grid=self.grid.with_shape(shape))

    @cached_property
    def inverse(self) -> VelocityFlow:
        return replace(self, sign=-self.sign)

    def map(self, points: np.ndarray) -> np.ndarray:
        if self.order != "continuous":
            return self.integrated.map(points)
        positions = torch.from_numpy(self.grid.to_voxels(points).T.astype(np.float32))[None]
        times = (0.0, self.sign) if self.sign > 0 else (-self.sign, 0.0)
        with torch.no_grad():
            positions = positions.to(next(self.field.parameters()))
            solver = (self.grid.shape, self.integrator, self.steps, times)
            moved = follow(self.field, positions, *solver)[0]
        return points + moved.T.double().cpu().numpy() @ self.grid.directions.T

    @cached_property
    def integrated(self) -> DisplacementField:
        """The integrated displacement on the grid."""
        shape = self.grid.shape
        with torch.no_grad():
            velocity = self.sign * self.field.on_lattice(self.nodes)
            velocity = velocity * voxel_ratio(self.field.shape, shape, like=velocity)
            displacement, _ = sparse_flow(velocity, shape, self.order, self.integrator, self.steps)
        return DisplacementField(displacement.float().cpu(), self.grid)
