"""Smooth images and smooth motions to test with: cheap, seeded, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

#: A small grid of unequal sides for each number of axes: a mixed-up axis shows.
SHAPES = {2: (24, 19), 3: (13, 11, 15)}


def noise(shape: Sequence[int], sigma: float, seed: int) -> np.ndarray:
    """Smoothed white noise of unit standard deviation, float64."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect")
    return (smooth - smooth.mean()) / smooth.std()


def taper(shape: Sequence[int]) -> np.ndarray:
    """1 in the middle of a box, 0 at its faces, smooth between."""
    out = np.ones(shape)
    for axis, n in enumerate(shape):
        profile = np.sin(np.pi * np.arange(n) / (n - 1)).clip(0)  # sin(pi) is not quite 0
        out = out * profile.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return out


def blobs(shape: Sequence[int], seed: int = 0, sigma: float = 2.0, dtype=torch.float32) -> Tensor:
    """An image of smooth blobs in [0, 1] on a dark rim: (1, 1, *shape)."""
    image = np.clip(0.5 + 0.25 * noise(shape, sigma, seed), 0, 1) * np.sqrt(taper(shape))
    return torch.from_numpy(image).to(dtype)[None, None]


def motion(
    shape: Sequence[int],
    amplitude: float,
    seed: int = 0,
    sigma: float = 5.0,
    rim: bool = False,
    dtype=torch.float32,
) -> Tensor:
    """A smooth random vector field whose largest component is `amplitude` voxels.

    rim: keep it going at the faces of the box, where otherwise it is zero. (1, ndim, *shape).
    """
    parts = [noise(shape, sigma, 100 * seed + i) for i in range(len(shape))]
    field = np.stack(parts) * (1 if rim else taper(shape))
    field *= amplitude / np.abs(field).max()
    return torch.from_numpy(field).to(dtype)[None]


def inside(field: Tensor, margin: int) -> Tensor:
    """(N, C, *shape) without `margin` voxels at each face."""
    return field[(..., *[slice(margin, -margin)] * (field.ndim - 2))]


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """(3, 3): turns about x, then y, then z."""
    out = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        out = turn @ out
    return out


def affine_of(
    shape: Sequence[int],
    spacing: Sequence[float],
    codes: str = "RAS",
    degrees: Sequence[float] = (0, 0, 0),
    centre: Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """(4, 4) from voxels to RAS mm: a box of voxels about a point of the world.

    codes: where each axis points to, as nibabel has them ("LPS"); then turned by `degrees`.
    A 2-D shape gets 5 mm across.
    """
    shape, spacing = [*shape, 1][:3], [*spacing, 5.0][:3]
    direction = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        world = ["RL", "AP", "SI"].index(next(p for p in ("RL", "AP", "SI") if code in p))
        direction[world, axis] = 1 if code in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ direction @ np.diag(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine
