"""The arrays of the deformation viewer: a transform at several times, and the two scans.

All arrays lie in one box: the fixed image's axes, ordered and flipped to lie closest to RAS+, and
cropped to the brain. Positions are millimetres from the centre of the box's first voxel. A slice is
a box of two axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nevf_lite.grid import antialiasing_sigma
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.scans.io import load_image
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, Component, DisplacementField, VelocityFlow
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.slices import brain, foreground, window

#: Times of the stored frames. The script interpolates linearly between them and from the identity
#: to the first. The error is at most 0.05 mm for a path that bows by 0.7 mm, as between two brains.
TIMES = (0.25, 0.5, 0.75, 1.0)
#: The most voxels on which flows are integrated and folds are counted: a head at 2 mm.
MAX_VOXELS = 1_000_000
MARGIN_MM = 6.0


@dataclass(frozen=True)
class Motion:
    """A transform at `TIMES`, on the nodes of a lattice over the box.

    lattice: the grid of the nodes. displacement: (times, *lattice.shape, ndim), phi_t(x) - x of
    each node, mm along the axes of the box. inside: (*lattice.shape) boolean, nodes in or next to
    the brain. folded: for each time, (n, ndim) mm, the voxels where det <= 0. voxels: the number of
    voxels on which folds were counted.
    """

    lattice: Grid
    displacement: np.ndarray
    inside: np.ndarray
    folded: tuple[np.ndarray, ...]
    voxels: int


def at_time(transform: Transform, t: float) -> Transform:
    """The transform at time t of its flow: at 0 without the flow, at 1 the transform itself.

    Velocity flows become exp(t v). A transform without them has its displacement fields scaled by
    t, and one with neither has its affines interpolated linearly from the identity; only the end of
    such a path follows from the transform. The other components of a chain, such as an initial
    affine, are the same at every time.
    """
    for kind in (VelocityFlow, DisplacementField, Affine):
        if any(isinstance(c, kind) for c in transform.components):
            scaled = (_scaled(c, t) if isinstance(c, kind) else c for c in transform.components)
            constant = (c for c in transform.components if not isinstance(c, kind))
            return replace(transform, components=tuple(scaled if t else constant))
    return transform


def _scaled(component: Component, t: float) -> Component:
    if isinstance(component, VelocityFlow):
        return replace(component, sign=t * component.sign)
    if isinstance(component, DisplacementField):
        return DisplacementField(t * component.displacement, component.grid)
    return Affine((1 - t) * np.eye(4) + t * component.matrix)


def brain_box(fixed: Grid, scans: list[np.ndarray]) -> tuple[Grid, np.ndarray]:
    """The box around the brains of scans, and their mask.

    scans: canonical arrays on the fixed grid. Returns the grid of the fixed voxels in the box and
    the boolean mask on it, with sulci and ventricles filled.
    """
    canonical = fixed.canonical()[0]
    mask = np.zeros(canonical.shape, bool)
    for scan in scans:
        mask |= foreground(scan)
    mask = brain(mask, canonical.spacing)
    ranges = []
    for axis in range(mask.ndim):
        profile = mask.sum(axis=tuple(a for a in range(mask.ndim) if a != axis))
        occupied = np.flatnonzero(profile > 0.002 * profile.max())  # not slices with a little noise
        margin = int(np.ceil(MARGIN_MM / canonical.spacing[axis]))
        low, high = int(occupied[0]) - margin, int(occupied[-1]) + margin
        low, high = max(low, 0), min(high, mask.shape[axis] - 1)
        ranges.append((low, max(high, low + 1)) if low + 1 < mask.shape[axis] else (low - 1, low))
    affine = canonical.affine.copy()
    affine[:3, 3] = canonical.to_world(np.array([low for low, _ in ranges]))
    box = Grid(tuple(high - low + 1 for low, high in ranges), affine)
    return box, mask[tuple(slice(low, high + 1) for low, high in ranges)]


def motion(transform: Transform, box: Grid, mask: np.ndarray, cells: int) -> Motion:
    """The transform at `TIMES`, on a lattice with `cells` cells along its longest side.

    box, mask: from `brain_box`. cells: an even number. A flow on a grid of more than `MAX_VOXELS`
    voxels is integrated on a coarser grid.
    """
    side = max(box.extent) / cells
    lattice = box.with_shape(tuple(2 * max(round(e / side / 2), 1) + 1 for e in box.extent))
    fine = box.with_shape(_limited_shape(box.shape))
    components = (
        c.at_shape(_limited_shape(c.grid.shape)) if isinstance(c, VelocityFlow) else c
        for c in transform.components
    )
    coarse = replace(transform, components=tuple(components))
    start = at_time(coarse, 0.0)
    frames, folded = [], []
    for t in TIMES:
        current = at_time(coarse, t)
        frames.append(_displacement(current, start, lattice))
        voxels = _displacement(current, start, fine) / np.array(fine.spacing, np.float32)
        field = torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0)))[None]
        indices = np.argwhere(jacobian_determinant(field)[0].numpy() <= 0)
        folded.append((indices + 0.5) * np.array(fine.spacing))
    return Motion(
        lattice,
        np.stack(frames),
        _nodes_near(mask, lattice.shape),
        tuple(folded),
        int(np.prod(fine.shape)),
    )


def _limited_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, reduced by one factor along every axis to at most about `MAX_VOXELS` voxels."""
    factor = min((MAX_VOXELS / np.prod(shape, dtype=float)) ** (1 / len(shape)), 1.0)
    return tuple(max(int(n * factor), 2) for n in shape)


def _displacement(current: Transform, start: Transform, grid: Grid) -> np.ndarray:
    """The displacement since time 0: (*grid.shape, ndim) float32, mm along the grid's axes.

    current, start: the transform at times t and 0, phi_t and phi_0. phi_t is followed by the
    inverse of phi_0, so an initial affine is not shown as motion, and positions refer to the moving
    image as phi_0 maps it onto the fixed one.
    """
    points = grid.points().reshape(-1, 3)
    world = start.points_to_fixed(current.points_to_moving(points)) - points
    axes = world @ np.linalg.inv(grid.affine)[: grid.ndim, :3].T * np.array(grid.spacing)
    return axes.reshape(*grid.shape, grid.ndim).astype(np.float32)


def _nodes_near(mask: np.ndarray, nodes: tuple[int, ...]) -> np.ndarray:
    """The nodes with a mask voxel within half a cell: boolean (*nodes)."""
    from scipy.ndimage import maximum_filter

    cell = [(n - 1) / (m - 1) for n, m in zip(mask.shape, nodes, strict=True)]
    dilated = maximum_filter(mask, [2 * int(c / 2) + 1 for c in cell])
    indices = [
        np.rint(np.linspace(0, n - 1, m)).astype(int)
        for n, m in zip(mask.shape, nodes, strict=True)
    ]
    return dilated[np.ix_(*indices)]


def resample_scan(image, transform: Transform | None, box: Grid) -> np.ndarray:
    """The values of an image over a box, linearly interpolated: (*box.shape) float32.

    image: path or nibabel image. transform: maps the world of the box to that of the image; None
    where they are the same. If the box is coarser than the image, the image is blurred first,
    against aliasing.
    """
    loaded = load_image(image, "image")
    grid = Grid.of(loaded)
    values = loaded.get_fdata(dtype=np.float32).reshape(grid.shape)
    reduction = [min(box.spacing) / s for s in grid.spacing]
    if max(reduction) > 1.2:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, [antialiasing_sigma(max(r, 1)) for r in reduction])
    chain = Transform.identity(box, grid) if transform is None else transform
    return chain.pull_back(values, grid, box)


def quantise(values: np.ndarray, levels: int) -> np.ndarray:
    """A scan as grey levels 0 to levels - 1 of its intensity window, uint8."""
    low, high = window(values)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * (levels - 1)).astype(np.uint8)
