"""What the deformation viewer shows, as arrays: a transform at several times, and the two scans.

Everything is given in one box: the fixed image's own axes, turned to lie closest to RAS+ and cut
to the brain, in millimetres from the centre of the box's first voxel. A slice is a box of two axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nevf_lite.integrate import jacobian_determinant
from nevf_lite.io import load_image
from nevf_lite.parts import Affine, Dense, Part, Velocity
from nevf_lite.space import Grid
from nevf_lite.transform import Transform
from nevf_lite.viz.slices import brain, foreground, window

#: Between two of these, and from the identity to the first, the script goes along straight lines.
#: A path that bows by 0.7 mm, as those of two brains do, is nowhere more than 0.05 mm off.
TIMES = (0.25, 0.5, 0.75, 1.0)
#: Voxels on which flows are integrated and folds are looked for: 2 mm of a whole head.
FINEST = 1_000_000
MARGIN_MM = 6.0


@dataclass(frozen=True)
class Motion:
    """A transform at `TIMES`, on the nodes of a lattice over the box.

    lattice: the nodes' grid. displacement: (times, *lattice.shape, ndim), mm along the box's axes:
    where phi_t sends each node, minus where it is. inside: (*lattice.shape) boolean, nodes in or
    next to the brain. folded: at each time, (n, ndim) mm: the voxels where det <= 0. voxels: how
    many were looked at.
    """

    lattice: Grid
    displacement: np.ndarray
    inside: np.ndarray
    folded: tuple[np.ndarray, ...]
    voxels: int


def at_time(transform: Transform, t: float) -> Transform:
    """The transform as it is at time t of its flow: at 0 nothing flows, at 1 it is itself.

    What flows are its velocities, exp(t v). A transform without any has displacement fields scaled
    by t instead, and one with neither has its affines run from the identity along a straight line;
    nothing but the end is then known, and what is between is a way to draw it. The other parts of
    a chain hold at every time: an affine start is there before the flow begins.
    """
    for kind in (Velocity, Dense, Affine):
        if any(isinstance(part, kind) for part in transform.parts):
            parts = (_scaled(p, t) if isinstance(p, kind) else p for p in transform.parts)
            still = (p for p in transform.parts if not isinstance(p, kind))
            return replace(transform, parts=tuple(parts if t else still))
    return transform


def _scaled(part: Part, t: float) -> Part:
    if isinstance(part, Velocity):
        return replace(part, sign=t * part.sign)
    if isinstance(part, Dense):
        return Dense(t * part.displacement, part.grid)
    return Affine((1 - t) * np.eye(4) + t * part.matrix)


def box_of(fixed: Grid, scans: list[np.ndarray]) -> tuple[Grid, np.ndarray]:
    """The box around the brains that canonical arrays on the fixed grid show, and their mask.

    Returns the grid of the fixed voxels in the box and the boolean mask on it, holes filled.
    """
    canonical = fixed.canonical()[0]
    mask = np.zeros(canonical.shape, bool)
    for scan in scans:
        mask |= foreground(scan)
    mask = brain(mask, canonical.spacing)
    ranges = []
    for axis in range(mask.ndim):
        profile = mask.sum(axis=tuple(a for a in range(mask.ndim) if a != axis))
        found = np.flatnonzero(profile > 0.002 * profile.max())  # stray noise does not count
        margin = int(np.ceil(MARGIN_MM / canonical.spacing[axis]))
        low, high = int(found[0]) - margin, int(found[-1]) + margin
        low, high = max(low, 0), min(high, mask.shape[axis] - 1)
        ranges.append((low, max(high, low + 1)) if low + 1 < mask.shape[axis] else (low - 1, low))
    affine = canonical.affine.copy()
    affine[:3, 3] = canonical.to_world(np.array([low for low, _ in ranges]))
    box = Grid(tuple(high - low + 1 for low, high in ranges), affine)
    return box, mask[tuple(slice(low, high + 1) for low, high in ranges)]


def motion(transform: Transform, box: Grid, mask: np.ndarray, cells: int) -> Motion:
    """The transform at `TIMES`, on a lattice of `cells` cells (an even number) on its longest side.

    box, mask: from `box_of`. A flow that was integrated on more than `FINEST` voxels is integrated
    on that many instead.
    """
    side = max(box.extent) / cells
    lattice = box.with_shape(tuple(2 * max(round(e / side / 2), 1) + 1 for e in box.extent))
    fine = box.with_shape(_affordable(box.shape))
    parts = (
        p.at_shape(_affordable(p.grid.shape)) if isinstance(p, Velocity) else p
        for p in transform.parts
    )
    light = replace(transform, parts=tuple(parts))
    before = at_time(light, 0.0)
    frames, folded = [], []
    for t in TIMES:
        now = at_time(light, t)
        frames.append(_moved(now, before, lattice))
        moved = _moved(now, before, fine) / np.array(fine.spacing, np.float32)
        field = torch.from_numpy(np.ascontiguousarray(np.moveaxis(moved, -1, 0)))[None]
        at = np.argwhere(jacobian_determinant(field)[0].numpy() <= 0)
        folded.append((at + 0.5) * np.array(fine.spacing))
    return Motion(
        lattice,
        np.stack(frames),
        _near(mask, lattice.shape),
        tuple(folded),
        int(np.prod(fine.shape)),
    )


def _affordable(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As many voxels along each axis as there are, or fewer, so that they are at most `FINEST`."""
    share = min((FINEST / np.prod(shape, dtype=float)) ** (1 / len(shape)), 1.0)
    return tuple(max(int(n * share), 2) for n in shape)


def _moved(now: Transform, before: Transform, grid: Grid) -> np.ndarray:
    """(*grid.shape, ndim) float32, mm along the grid's axes: what has flowed since time 0.

    phi_t is followed by the inverse of phi_0, so that what was there before the flow is not shown
    as motion, and phi_t(x) is a place in the moving image as phi_0 lays it on the fixed one.
    """
    points = grid.points().reshape(-1, 3)
    moved = before.points_to_fixed(now.points_to_moving(points)) - points
    along = moved @ np.linalg.inv(grid.affine)[: grid.ndim, :3].T * np.array(grid.spacing)
    return along.reshape(*grid.shape, grid.ndim).astype(np.float32)


def _near(mask: np.ndarray, nodes: tuple[int, ...]) -> np.ndarray:
    """Which nodes have brain within half a cell: boolean (*nodes)."""
    from scipy.ndimage import maximum_filter

    cell = [(n - 1) / (m - 1) for n, m in zip(mask.shape, nodes, strict=True)]
    wide = maximum_filter(mask, [2 * int(c / 2) + 1 for c in cell])
    at = [
        np.rint(np.linspace(0, n - 1, m)).astype(int)
        for n, m in zip(mask.shape, nodes, strict=True)
    ]
    return wide[np.ix_(*at)]


def scan_on(image, transform: Transform | None, box: Grid) -> np.ndarray:
    """The values of an image over a box, linearly interpolated: (*box.shape) float32.

    image: path or nibabel image. transform: what leads from the box's world to the image's; None
    where they are the same. Coarser than the image, it is blurred first, against aliasing.
    """
    loaded = load_image(image, "image")
    grid = Grid.of(loaded)
    values = loaded.get_fdata(dtype=np.float32).reshape(grid.shape)
    reduction = [min(box.spacing) / s for s in grid.spacing]
    if max(reduction) > 1.2:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, [0.5 * np.sqrt(max(r * r - 1, 0)) for r in reduction])
    chain = Transform.identity(box, grid) if transform is None else transform
    return chain.pull_back(values, grid, box)


def shades(values: np.ndarray, levels: int) -> np.ndarray:
    """Grey levels 0 to levels - 1 of a scan, uint8, between its background and its brightest."""
    low, high = window(values)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * (levels - 1)).astype(np.uint8)
