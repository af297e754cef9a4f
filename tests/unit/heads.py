"""Heads with a known motion between them: functions of the world, sampled on any grid in mm."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
from fits import PINNED
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from synthetic import affine_of, rotation

from nevf_lite.config import Config, Level
from nevf_lite.registration.register import register
from nevf_lite.scans.space import Grid

CONFIG = Config(levels=(Level(2, 15, lr=3e-3, window=7), Level(1, 15, lr=3e-3)), width=32, **PINNED)
LONG = replace(CONFIG, levels=(Level(2, 40, lr=2e-3, window=7), Level(1, 20, lr=2e-3)), width=64)
FEW = replace(CONFIG, levels=(Level(1, 3, lr=3e-3),))

_random = np.random.default_rng(5)
_WAVES = _random.normal(0, 0.5, (40, 3))
_PHASES = _random.uniform(0, 6, 40)


def texture(points: np.ndarray) -> np.ndarray:
    """A head of radius about 16 mm, full of detail: (..., 3) world mm to (...), in [0, 1]."""
    waves = np.cos(points @ _WAVES.T + _PHASES).sum(-1) / np.sqrt(len(_WAVES))
    return np.clip(0.5 + 0.3 * waves, 0, 1) / (1 + np.exp(np.linalg.norm(points, axis=-1) - 16))


def motion(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """A smooth motion of up to three mm along the first two of the axes: (..., 3) to (..., 3)."""
    first, second = (points @ axes[:, i] for i in (0, 1))
    bump = np.exp(-(points**2).sum(-1) / (2 * 9**2))
    return (
        bump[..., None]
        * 2.5
        * (np.cos(second / 6)[..., None] * axes[:, 0] + np.sin(first / 7)[..., None] * axes[:, 1])
    )


def image(function, shape, spacing, codes="RAS", degrees=(0, 0, 0)) -> nib.Nifti1Image:
    affine = affine_of(shape, spacing, codes, degrees)
    data = function(Grid(tuple(shape), affine).points()).astype(np.float32)
    return nib.Nifti1Image(data[..., None] if len(shape) == 2 else data, affine)


def pair(shape=(44, 40), spacing=(1, 1), degrees=(0, 0, 0), moving: dict | None = None):
    """Fixed and moving image of one subject; the fixed one at p shows the texture at p + motion."""
    axes = rotation(degrees)
    fixed = image(lambda p: texture(p + motion(p, axes)), shape, spacing, degrees=degrees)
    other = {"shape": shape, "spacing": spacing, "degrees": degrees, **(moving or {})}
    return fixed, image(texture, **other), axes


def turned(scan: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same scan with its axes flipped and permuted, as another scanner would store it."""
    return scan.as_reoriented(ornt_transform(io_orientation(scan.affine), axcodes2ornt(codes)))


def run(fixed, moving, config=CONFIG, **options):
    return register(fixed, moving, config, progress=False, **options)


def in_head(scan, radius: float = 11) -> np.ndarray:
    points = Grid.of(scan).points().reshape(-1, 3)
    return points[np.linalg.norm(points, axis=1) < radius]


def shifted(millimetres, degrees: float = 0.0) -> np.ndarray:
    """A (4, 4) map of the world: a turn about z, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((0, 0, degrees))
    matrix[:3, 3] = millimetres
    return matrix


def placed(scan: nib.Nifti1Image, matrix: np.ndarray) -> nib.Nifti1Image:
    """The same scan, moved through the world."""
    return nib.Nifti1Image(scan.get_fdata(dtype=np.float32), matrix @ scan.affine)


def error(result, axes, points) -> tuple[float, float]:
    """Mean distance in mm from the true positions, before and after."""
    truth = motion(points, axes)
    found = result.transform.points_to_moving(points) - points
    return np.linalg.norm(truth, axis=1).mean(), np.linalg.norm(found - truth, axis=1).mean()


def map_bytes(result, points) -> bytes:
    return result.transform.points_to_moving(points).tobytes()
