"""The viewer's arrays as few bytes: whole numbers that deflate well, in a fixed order.

The order is: the displacements and the folds (zigzag), a bit for each node of the lattice that lies
in the brain, the moving scan, the fixed one. `viewer_model.js` reads it.
"""

from __future__ import annotations

import zlib

import numpy as np

from nevf_lite.viz.keyframes import Motion

SHOWN_FOLDS = 400  # marks at one time; more would be a yellow cloud, and their number is told
ROOM = 60_000  # bytes for the displacements
FINEST_STEP = 0.05  # mm


def pack_motion(motion: Motion) -> tuple[dict, bytes]:
    """The frames, the folds and the brain's nodes as bytes, and what is needed to read them.

    Displacements become whole multiples of `step` mm: a 20th of a mm, more for a field so rough
    that it would take more than `ROOM`. Of the last frame each number is stored as its
    difference from the one before it, of each other frame as its difference from a straight path.
    """
    ndim, frames = motion.lattice.ndim, len(motion.displacement)
    fields = np.moveaxis(motion.displacement, -1, 1).reshape(frames, ndim, -1).astype(np.float64)
    step = FINEST_STEP
    while True:
        whole = np.rint(fields / step).astype(np.int64)
        straight = [
            np.floor(k * whole[-1] / frames + 0.5).astype(np.int64) for k in range(1, frames)
        ]
        last = np.diff(whole[-1], axis=-1, prepend=0)
        bent = [whole[k] - straight[k] for k in range(frames - 1)]
        shown = [_thinned(points) for points in motion.folded]
        marks = [np.rint(points / step).astype(np.int64).ravel() for points in shown]
        # in the order in which they are read: of the frames the whole one first
        numbers = np.concatenate([last.ravel(), *(b.ravel() for b in bent), *marks])
        packed = _zigzag(numbers)
        if np.abs(numbers).max() < 2**15 and len(zlib.compress(packed, 9)) < ROOM:
            break
        step *= 2
    meta = {
        "ndim": ndim,
        "lattice": three(motion.lattice.shape),
        "frames": frames,
        "step": step,
        "folds": [
            {"total": len(all_), "shown": len(some)}
            for all_, some in zip(motion.folded, shown, strict=True)
        ],
        "voxels": motion.voxels,
    }
    return meta, packed + np.packbits(motion.inside.ravel()).tobytes()


def _zigzag(numbers: np.ndarray) -> bytes:
    """0, -1, 1, -2 as 0, 1, 2, 3: all low bytes, then all high ones, which are nearly all zero."""
    positive = np.where(numbers >= 0, 2 * numbers, -2 * numbers - 1).astype(np.uint16)
    return (positive & 255).astype(np.uint8).tobytes() + (positive >> 8).astype(np.uint8).tobytes()


def pack_scan(values: np.ndarray) -> bytes:
    """Each grey level less its neighbours along the last two axes, plus the one between them."""
    levels = values.reshape(three(values.shape))
    along = np.diff(levels, axis=2, prepend=np.uint8(0))
    return np.diff(along, axis=1, prepend=np.uint8(0)).tobytes()


def _thinned(points: np.ndarray) -> np.ndarray:
    pick = np.linspace(0, len(points) - 1, min(len(points), SHOWN_FOLDS)).astype(int)
    return points[pick]


def three(values) -> list:
    return [*values, *[1] * (3 - len(values))]
