"""Grids over every kind of orientation, and maps between them, for tests of transforms."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch
from synthetic import affine_of

from nevf_lite.fields import SirenField
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, VelocityFlow
from nevf_lite.transforms.transform import Transform

WORLDS = {
    "2d": dict(shape=(40, 34), spacing=(1.0, 1.0)),
    "2d-LPS-flat": dict(shape=(30, 40), spacing=(1.6, 1.0), codes="LPS"),
    "2d-ASR-oblique": dict(shape=(36, 32), spacing=(1.1, 1.3), codes="ASR", degrees=(10, -20, 15)),
    "3d": dict(shape=(24, 22, 20), spacing=(1.5, 1.5, 1.5)),
    "3d-LPS-anisotropic": dict(shape=(26, 20, 14), spacing=(1.2, 1.6, 2.5), codes="LPS"),
    "3d-ASL-oblique": dict(
        shape=(20, 24, 22), spacing=(1.5, 1.3, 1.4), codes="ASL", degrees=(12, -9, 25)
    ),
}


def grid_of(name: str) -> Grid:
    world = WORLDS[name]
    return Grid(world["shape"], affine_of(**world))


def other_grid(name: str) -> Grid:
    """The moving image's own grid: axes turned round, other spacings, a little to the side."""
    world = dict(WORLDS[name])
    across = world.get("codes", "RAS")
    turned = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
    ndim = len(world["shape"])
    codes = across[1] + turned[across[0]] + across[2]
    spacing = [0.8 * s for s in world["spacing"]]
    spacing[0], spacing[1] = spacing[1], spacing[0]
    shape = [round(n * 1.35) for n in world["shape"]]
    shape[0], shape[1] = shape[1], shape[0]
    degrees = world.get("degrees", (0, 0, 0))
    return Grid(tuple(shape), affine_of(shape, spacing[:ndim], codes, degrees))


def velocity(grid: Grid, seed: int = 0, order: str = "upsample-integrate") -> VelocityFlow:
    """A smooth flow of about three voxels over a grid, from a SIREN of low frequency."""
    torch.manual_seed(seed)
    field = SirenField(grid.shape, width=24, depth=2, omega=4.0)
    with torch.no_grad():
        field.net[-1].weight.mul_(3 / field.on_lattice(grid.shape).abs().max())
    field.requires_grad_(False)
    return VelocityFlow(field, grid, tuple(-(-n // 2) for n in grid.shape), order=order)


def turn(grid: Grid, scale: float = 1.05) -> Affine:
    """A rotation about the direction across the slice, a scaling and a shift within it."""
    axes = grid.directions[:, :2] / np.linalg.norm(grid.directions[:, :2], axis=0)
    a, b = axes.T
    angle = 0.1
    linear = np.eye(3) + (scale * np.cos(angle) - 1) * (np.outer(a, a) + np.outer(b, b))
    linear += scale * np.sin(angle) * (np.outer(b, a) - np.outer(a, b))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = 1.5 * a - 0.7 * b
    return Affine(matrix)


def chain(name: str) -> Transform:
    """Flow, then affine, from a fixed grid to a moving one: what `register` returns."""
    grid = grid_of(name)
    return Transform((velocity(grid), turn(grid)), grid, other_grid(name))


def points_within(grid: Grid, margin: float = 0.25, count: int = 50) -> np.ndarray:
    """World points in the middle of a grid."""
    rng = np.random.default_rng(0)
    last = np.array(grid.shape) - 1
    return grid.to_world(rng.uniform(margin * last, (1 - margin) * last, (count, grid.ndim)))


def picture(points: np.ndarray) -> np.ndarray:
    """A smooth image as a function of the world, so any grid can hold it; (..., 3) to (...)."""
    return 1.0 + 0.5 * np.sin(points @ [0.21, 0.13, 0.09]) * np.cos(points @ [-0.1, 0.17, 0.15])


def image_on(grid: Grid, function=picture) -> nib.Nifti1Image:
    return nib.Nifti1Image(function(grid.points()).astype(np.float32), grid.affine)


def well_inside(source: Grid, points: np.ndarray, margin: float) -> np.ndarray:
    """Which points a source image can be read at without touching its rim."""
    voxels = source.to_voxels(points)
    return ((voxels > margin) & (voxels < np.array(source.shape) - 1 - margin)).all(-1)
