"""A figure of what a registration compared: the images inside their masks, outside lesions."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from nevf_lite.scans.space import Grid
from nevf_lite.viz.panels import Cell, Row, gallery, outline, show
from nevf_lite.viz.slices import Plane, Point, foreground, middle, on_grid, planes, shades, window
from nevf_lite.viz.style import FIXED, MOVED, Picture, styled

#: Brightness of what did not count, as a share of its own.
DIMMED = 0.35


@styled
def counted_voxels(
    fixed, warped, fixed_mask=None, warped_mask=None, at: Point | None = None
) -> Picture:
    """The fixed and the warped moving image, dark where they did not count.

    fixed, warped: nibabel images on the fixed grid. fixed_mask, warped_mask: images on that grid,
    1 where they counted; None is everywhere. at: point in RAS mm that the planes pass through, by
    default near the brain's centre.
    """
    grid = Grid.of(fixed)
    sides = (
        ("Fixed", on_grid(fixed, grid, "fixed"), fixed_mask, FIXED),
        ("Moving, warped", on_grid(warped, grid, "warped"), warped_mask, MOVED),
    )
    heads = [foreground(array) for _, array, _, _ in sides]
    at = middle(grid, heads[0]) if at is None else at
    view_planes = planes(grid, np.logical_or.reduce(heads), at)

    def painter(array, head, mask, colour):
        limits = window(array, head)
        counts = None if mask is None else on_grid(mask, grid, "mask") != 0

        def paint(axes: Axes, plane: Plane) -> None:
            shade = shades(array, limits, plane)
            if counts is not None:
                shade = np.where(plane.cut(counts), shade, DIMMED * shade)
            show(axes, plane, shade, vmin=0, vmax=1)
            if counts is not None:
                outline(axes, plane, plane.cut(counts).astype(int), colour, width=0.9)

        return paint

    rows = []
    for row, (head, (name, array, mask, colour)) in enumerate(zip(heads, sides, strict=True)):
        paint = painter(array, head, mask, colour)
        cells = [Cell(plane, paint, "" if row else plane.caption) for plane in view_planes]
        rows.append(
            Row(name, [("border of what counted", colour)] if mask is not None else [], cells)
        )
    figure = gallery(rows)
    captions = ", ".join(plane.caption for plane in view_planes)
    figure.alt = (
        f"Brain slices ({captions}): the fixed image and the moving one after registration, dark "
        "where they did not count."
    )
    return figure
