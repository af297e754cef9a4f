"""Voxel images with a known diffeomorphism between them, and quick settings to fit it with."""

from __future__ import annotations

import torch
from synthetic import blobs, motion

from nevf_lite.config import Config, Level
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.optimise import deformation
from nevf_lite.warp import warp

SHAPE = (64, 56)
#: What tuning the defaults may change, and these tests must not notice.
PINNED = dict(depth=3, omega=30.0, jacobian=100.0, margin=0.0, smooth=0.02, decay=1.0, patience=100)
CONFIG = Config(
    levels=(Level(2, 40, lr=2e-3), Level(1, 20, lr=2e-3)),
    width=64,
    **PINNED,
)
#: For what needs no good answer: 32 x 30 voxels, eight iterations.
SMALL = (32, 30)
QUICK = Config(levels=(Level(2, 4, lr=2e-3, window=5), Level(1, 4, lr=2e-3)), width=16, **PINNED)


def pair(shape=SHAPE, amplitude: float = 3.0):
    """Fixed and moving image, and the displacement between them: a known diffeomorphism."""
    moving = blobs(shape, seed=3, sigma=1.5)
    truth = scaling_and_squaring(motion(shape, amplitude, seed=2, sigma=min(shape) / 6))
    return warp(moving, truth), moving, truth


def displacement(result, config, shape=SHAPE):
    with torch.no_grad():
        return deformation(result.field, shape, config.levels[-1].step, config)[0]


def state_bytes(field) -> list[bytes]:
    return [v.numpy().tobytes() for v in field.state_dict().values()]
