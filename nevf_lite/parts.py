"""The pieces a transform is a chain of: each maps points in the world, and knows its inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nevf_lite.fields import VelocityField
from nevf_lite.grid import resize, voxel_ratio
from nevf_lite.integrate import flow, invert
from nevf_lite.space import Grid
from nevf_lite.warp import sample


class Part(Protocol):
    """A map of the world onto itself."""

    def map(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm to (N, 3) RAS mm."""
        ...

    @property
    def inverse(self) -> Part: ...


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
class Dense:
    """p -> p + u(p) with u stored on a grid and read linearly, continued by its edge outside.

    displacement: (1, ndim, *grid.shape) in voxels of the grid, float32.
    """

    displacement: Tensor
    grid: Grid

    @classmethod
    def from_mm(cls, displacement: np.ndarray, grid: Grid) -> Dense:
        """displacement: (*shape, 3) in RAS mm."""
        to_voxels = np.linalg.inv(grid.affine)[: grid.ndim, :3]
        voxels = np.moveaxis(displacement @ to_voxels.T, -1, 0)
        return cls(torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None], grid)

    def map(self, points: np.ndarray) -> np.ndarray:
        voxels = torch.from_numpy(self.grid.to_voxels(points).T.astype(np.float32))
        positions = voxels.reshape(1, self.grid.ndim, -1, *[1] * (self.grid.ndim - 1))
        moved = sample(self.displacement, positions, padding="border")
        return (
            points + moved.reshape(self.grid.ndim, -1).T.double().numpy() @ self.grid.directions.T
        )

    @cached_property
    def inverse(self) -> Dense:
        """By fixed point: u may come from anywhere, so there is no velocity to negate."""
        return Dense(invert(self.displacement), self.grid)


@dataclass(frozen=True, eq=False)
class Velocity:
    """p -> exp(v)(p) with v a velocity field over the box of a grid.

    field: the velocity, in voxels of its own finest grid over the same box. grid: where the flow is
    integrated when points are mapped; the map between its voxels is linear. nodes: the lattice the
    field is sampled on before upsampling, as it was in the optimisation. integrator, steps: see
    `integrate.flow`. order: "upsample-integrate" or "integrate-upsample". sign: -1 for the inverse.
    """

    field: VelocityField
    grid: Grid
    nodes: tuple[int, ...]
    integrator: str = "squaring"
    steps: int = 7
    order: str = "upsample-integrate"
    sign: int = 1

    def at_shape(self, shape: tuple[int, ...]) -> Velocity:
        """The same flow integrated at another resolution: the field is continuous."""
        return replace(self, grid=self.grid.with_shape(shape))

    @cached_property
    def inverse(self) -> Velocity:
        return replace(self, sign=-self.sign)

    def map(self, points: np.ndarray) -> np.ndarray:
        return self.dense.map(points)

    @cached_property
    def dense(self) -> Dense:
        """The integrated displacement on the grid."""
        shape = self.grid.shape
        with torch.no_grad():
            velocity = self.sign * self.field.on_lattice(self.nodes)
            at = shape if self.order == "upsample-integrate" else self.nodes
            velocity = resize(velocity * voxel_ratio(self.field.shape, at, like=velocity), at)
            displacement = flow(velocity, self.integrator, self.steps)
            displacement = resize(displacement, shape) * voxel_ratio(at, shape, like=displacement)
        return Dense(displacement.float().cpu(), self.grid)
