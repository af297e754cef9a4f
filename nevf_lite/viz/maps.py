"""Figures of the deformation: its Jacobian determinant and its warped lattice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from nevf_lite.scans.space import Grid
from nevf_lite.viz.panels import Cell, Row, gallery, round_length, show
from nevf_lite.viz.slices import (
    Plane,
    Point,
    brain,
    foreground,
    middle,
    on_grid,
    planes,
    shades,
    window,
)
from nevf_lite.viz.style import (
    DIVERGING,
    FOLD,
    ON_CARD,
    ON_CARD_MUTED,
    SEQUENTIAL,
    Picture,
    styled,
)
from nevf_lite.viz.widths import across, is_narrow

_OCTAVE_TICKS = {-3: "1/8", -2: "1/4", -1: "1/2", 0: "1", 1: "2", 2: "4", 3: "8"}  # by log2
_HALF_OCTAVE_TICKS = {-1.5: "0.35", -0.5: "0.7", 0.5: "1.4", 1.5: "2.8"}


@styled
def jacobian_map(jacobian, fixed, at: Point | None = None) -> Picture:
    """The Jacobian determinant of x -> x + u(x) in three planes, and its histogram.

    The determinant is the volume in the moving image per volume in the fixed image: 2 where the
    moving brain is twice as large, 1/2 where it is half as large. The scale is logarithmic with 1
    in the middle. Voxels with determinant <= 0, where the map folds, are marked in yellow.

    jacobian: nibabel image or array of determinants on the fixed grid. An array of
        forward differences, one shorter along every axis, is padded with its last values.
    fixed: nibabel image; the histogram counts the voxels of its brain.
    at: point in RAS mm that the planes pass through; near the brain's centre when None.
    Raises ValueError when the determinants are not on the fixed grid.
    """
    grid = Grid.of(fixed)
    values = on_grid(_full_size(jacobian, grid), grid, "jacobian")
    scan = on_grid(fixed, grid, "fixed")
    tissue = foreground(scan)
    mask = brain(tissue, grid.canonical()[0].spacing)
    folds = int(np.count_nonzero(values <= 0))
    inside = values[mask]
    inside = np.log2(inside[inside > 0])
    limit = _log2_limit(inside)
    view_planes = planes(grid, mask, middle(grid, tissue) if at is None else at)
    folds_text = "no folds"
    if folds:
        voxels = "voxel" if folds == 1 else "voxels"
        folds_text = f"{folds:,} {voxels} folded ({percent_of_cells(folds, grid.shape):.2g} %)"
        if not any((plane.cut(values) <= 0).any() for plane in view_planes):
            folds_text += ", none of them on these planes"
    paint = partial(_paint_jacobian, values, mask, limit)
    row = Row(
        "Jacobian determinant",
        [(folds_text, FOLD if folds else None)],
        [Cell(plane, paint, plane.caption) for plane in view_planes],
    )
    margin = 1.75
    figure = gallery([row], bottom_margin=margin)
    height = figure.get_figheight()
    left = 0.64 / across()
    axes = figure.add_axes((left, 0.52 / height, 0.97 - left, (margin - 0.75) / height))
    _histogram(axes, inside, limit, "volume" if grid.ndim == 3 else "area")
    low, median, high = 2 ** np.percentile(inside, (1, 50, 99)) if inside.size else (1, 1, 1)
    figure.alt = (
        f"Map and histogram of the Jacobian determinant inside the brain: median {median:.2f}, "
        f"98 % of the voxels between {low:.2f} and {high:.2f}; {folds_text}."
    )
    return figure


def percent_of_cells(folds: int, shape: Sequence[int]) -> float:
    """Folds as every table counts them: of the cells between voxels, one fewer on each axis."""
    return 100 * folds / math.prod(n - 1 for n in shape if n > 1)


def _full_size(jacobian, grid: Grid):
    array = np.asanyarray(getattr(jacobian, "dataobj", jacobian))
    if array.shape == tuple(n - 1 for n in grid.shape):
        return np.pad(array, [(0, 1)] * grid.ndim, mode="edge")
    return jacobian


def _log2_limit(inside: np.ndarray) -> float:
    """Limit of the colour scale, +-log2 of the determinant: between 1.4-fold and eightfold."""
    spread = float(np.percentile(np.abs(inside), 99.5)) if inside.size else 0.0
    return max(np.ceil(2 * spread) / 2, 0.5) if spread <= 2 else 3.0


def _paint_jacobian(
    values: np.ndarray, mask: np.ndarray, limit: float, axes: Axes, plane: Plane
) -> None:
    flat = plane.cut(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(flat > 0, np.log2(flat), -limit)
    show(
        axes,
        plane,
        np.ma.array(np.clip(log, -limit, limit), mask=~plane.cut(mask)),
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    rows, columns = np.nonzero(flat <= 0)
    x = plane.extent[0] + (columns + 0.5) * plane.spacing[0]
    y = plane.extent[2] + (rows + 0.5) * plane.spacing[1]
    # large enough to see a single voxel, with a black rim for contrast
    for colour, size in (("black", 14.0), (FOLD, 5.0)):
        axes.scatter(x, y, s=size, marker="s", color=colour, linewidths=0, zorder=5)


def _histogram(axes: Axes, inside: np.ndarray, limit: float, measure: str) -> None:
    """A histogram in the colours of the map, which makes it the legend of the map."""
    edges = np.linspace(-limit, limit, 61)
    counts = np.histogram(np.clip(inside, -limit, limit), edges)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    shares = 100 * counts / max(counts.sum(), 1)
    colours = DIVERGING(Normalize(-limit, limit)(centres))
    axes.bar(centres, shares, width=0.94 * (edges[1] - edges[0]), color=colours)
    axes.axvline(0, color=ON_CARD, linewidth=0.8, linestyle=(0, (2, 2)))
    ticks = {**_OCTAVE_TICKS, **(_HALF_OCTAVE_TICKS if limit < 2 else {})}
    ticks = {k: text for k, text in sorted(ticks.items()) if abs(k) <= limit}
    for end, beyond, sign in ((-limit, inside < -limit, "≤ "), (limit, inside > limit, "≥ ")):
        if end in ticks and beyond.any():  # the outermost bars hold all values beyond
            ticks[end] = sign + ticks[end]
    axes.set_xticks(list(ticks), list(ticks.values()))
    label = f"moving {measure} for each fixed {measure}" + " (log scale)" * (not is_narrow())
    axes.set(xlim=(-limit, limit), ylabel="brain (%)", xlabel=label)
    axes.tick_params(colors=ON_CARD_MUTED)
    axes.spines[:].set_color(ON_CARD_MUTED)
    axes.xaxis.label.set_color(ON_CARD_MUTED)
    axes.yaxis.label.set_color(ON_CARD_MUTED)


@styled
def deformed_grid(
    displacement_mm: np.ndarray, grid: Grid, moving=None, at: Point | None = None
) -> Picture:
    """A regular lattice of the fixed image as mapped to the moving one, coloured by distance.

    displacement_mm: (*grid.shape, 3) RAS mm; the fixed point x comes from x + u(x) (pull-back).
    grid: the fixed grid. moving: the moving image on the fixed grid before registration, drawn
        faintly underneath; the planes are placed and cropped by its foreground.
    at: point in RAS mm that the planes pass through; near the brain's centre when None.
    Displacement across a plane does not move the lattice, but counts in the colour.
    Raises ValueError when the displacement is not on the grid or does not have three components.
    """
    field = on_grid(displacement_mm, grid, "displacement_mm", (3,))
    scan = None if moving is None else on_grid(moving, grid, "moving")
    mask = np.ones(field.shape[:-1], bool) if scan is None else foreground(scan)
    backdrop = None if scan is None else partial(shades, scan, window(scan, mask))
    view_planes = planes(grid, mask, at)
    largest = max(float(np.linalg.norm(plane.cut(field), axis=-1).max()) for plane in view_planes)
    step = round_length(max(max(plane.size) for plane in view_planes) / 18)
    scale = Normalize(0, max(largest, 1e-3))
    paint = partial(_paint_lattice, field, grid.canonical()[0], step, scale, backdrop)
    legend = [(f"lattice of {step:g} mm, as it lies in the moving image", None)]
    figure = gallery(
        [Row("Deformation", legend, [Cell(plane, paint, plane.caption) for plane in view_planes])],
        bottom_margin=0.6,
    )
    bar = figure.add_axes((0.3, 0.47 / figure.get_figheight(), 0.4, 0.09 / figure.get_figheight()))
    bar.imshow(
        np.linspace(0, 1, 256)[None], cmap=SEQUENTIAL, aspect="auto", extent=(0, scale.vmax, 0, 1)
    )
    bar.set(yticks=[], xlabel="displacement (mm)")
    bar.spines[:].set_visible(False)
    bar.tick_params(colors=ON_CARD_MUTED, length=2)
    bar.xaxis.label.set_color(ON_CARD_MUTED)
    figure.alt = (
        f"A regular lattice of {step:g} mm after the deformation, in "
        f"{', '.join(plane.name for plane in view_planes)} view; the largest displacement on these "
        f"planes is {largest:.1f} mm."
    )
    return figure


def _paint_lattice(
    field: np.ndarray,
    canonical: Grid,
    step: float,
    scale: Normalize,
    backdrop,
    axes: Axes,
    plane: Plane,
) -> None:
    if backdrop is not None:
        show(axes, plane, 0.4 * backdrop(plane), vmin=0, vmax=1)
    flat = plane.cut(field).astype(np.float64)  # (rows, columns, 3) mm in the world
    to_voxels = np.linalg.inv(canonical.affine)[:3, :3][list(plane.axes)]
    in_plane = flat @ to_voxels.T * plane.spacing  # (rows, columns, 2) mm to the right and up
    rows, columns = flat.shape[:2]
    x = plane.extent[0] + (np.arange(columns) + 0.5) * plane.spacing[0]
    y = plane.extent[2] + (np.arange(rows) + 0.5) * plane.spacing[1]
    points = np.stack(np.meshgrid(x, y), axis=-1) + in_plane
    nodes = np.concatenate([points, np.linalg.norm(flat, axis=-1, keepdims=True)], axis=-1)
    for values, mm in ((nodes, plane.spacing[1]), (nodes.swapaxes(0, 1), plane.spacing[0])):
        lines = _rows_every(values, step / mm)  # (lines, points, 3): right, up, distance
        segments = np.stack([lines[:, :-1], lines[:, 1:]], axis=2).reshape(-1, 2, 3)
        axes.add_collection(
            LineCollection(
                segments[..., :2],
                array=segments[..., 2].mean(axis=1),
                cmap=SEQUENTIAL,
                norm=scale,
                linewidths=0.9,
                capstyle="round",
            )
        )


def _rows_every(rows: np.ndarray, step: float) -> np.ndarray:
    """Rows `step` apart, centred, interpolated linearly where `step` is not an integer."""
    last = len(rows) - 1
    count = int(last / step + 1e-6) + 1
    position = (last - (count - 1) * step) / 2 + step * np.arange(count)
    low = np.floor(position + 1e-6).astype(int)
    weight = (position - low)[:, None, None]
    return (1 - weight) * rows[low] + weight * rows[np.minimum(low + 1, last)]
