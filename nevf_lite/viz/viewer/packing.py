"""The viewer's arrays as bytes: integers that deflate well, in a fixed order.

The order is: displacements and folds (zigzag), one bit for each node of the lattice (set in the
brain), the moving scan, the fixed scan. `model.js` reads it.
"""

from __future__ import annotations

import zlib

import numpy as np

from nevf_lite.viz.viewer.keyframes import Motion

MAX_FOLD_MARKS = 400  # per frame; more would cover the scan, and the page states their number
MAX_MOTION_BYTES = 60_000  # of displacements and folds, deflated
FINEST_STEP = 0.05  # mm


def pack_motion(motion: Motion) -> tuple[dict, bytes]:
    """The metadata and the bytes of the frames, the folds and the brain's nodes.

    Displacements are stored as integer multiples of `step` mm: `FINEST_STEP`, doubled until the
    deflated numbers take less than `MAX_MOTION_BYTES`. A number of the last frame is stored as its
    difference from the number before it, a number of another frame as its difference from a
    straight path to the last frame.
    """
    ndim, frames = motion.lattice.ndim, len(motion.displacement)
    fields = np.moveaxis(motion.displacement, -1, 1).reshape(frames, ndim, -1).astype(np.float64)
    step = FINEST_STEP
    while True:
        steps = np.rint(fields / step).astype(np.int64)
        linear = [np.floor(k * steps[-1] / frames + 0.5).astype(np.int64) for k in range(1, frames)]
        last = np.diff(steps[-1], axis=-1, prepend=0)
        residuals = [steps[k] - linear[k] for k in range(frames - 1)]
        marked = [_subsample(points) for points in motion.folded]
        marks = [np.rint(points / step).astype(np.int64).ravel() for points in marked]
        # the last frame comes first, because the others are decoded from it
        numbers = np.concatenate([last.ravel(), *(r.ravel() for r in residuals), *marks])
        packed = _zigzag_bytes(numbers)
        if np.abs(numbers).max() < 2**15 and len(zlib.compress(packed, 9)) < MAX_MOTION_BYTES:
            break
        step *= 2
    meta = {
        "ndim": ndim,
        "lattice": pad_shape(motion.lattice.shape),
        "frames": frames,
        "step": step,
        "folds": [
            {"total": len(points), "shown": len(subset)}
            for points, subset in zip(motion.folded, marked, strict=True)
        ],
        "voxels": motion.voxels,
    }
    return meta, packed + np.packbits(motion.inside.ravel()).tobytes()


def _zigzag_bytes(numbers: np.ndarray) -> bytes:
    """0, -1, 1, -2 as 0, 1, 2, 3: all low bytes, then all high bytes, most of which are 0."""
    codes = np.where(numbers >= 0, 2 * numbers, -2 * numbers - 1).astype(np.uint16)
    return (codes & 255).astype(np.uint8).tobytes() + (codes >> 8).astype(np.uint8).tobytes()


def pack_scan(values: np.ndarray) -> bytes:
    """Grey levels as differences along the last axis, then along the axis before it."""
    levels = values.reshape(pad_shape(values.shape))
    differences = np.diff(levels, axis=2, prepend=np.uint8(0))
    return np.diff(differences, axis=1, prepend=np.uint8(0)).tobytes()


def _subsample(points: np.ndarray) -> np.ndarray:
    """At most `MAX_FOLD_MARKS` of the points, at regular intervals."""
    indices = np.linspace(0, len(points) - 1, min(len(points), MAX_FOLD_MARKS)).astype(int)
    return points[indices]


def pad_shape(shape: tuple[int, ...]) -> list[int]:
    """A shape of two or three axes as one of three: a slice has one voxel along the third."""
    return [*shape, *[1] * (3 - len(shape))]
