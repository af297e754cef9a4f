"""Figures of a registration: slices before and after, the Jacobian, the grid, and the charts.

Every function takes nibabel images or arrays on the FIXED grid, in any orientation and spacing,
two- or three-dimensional, and returns a :class:`~nevf_lite.viz.style.Picture`, a matplotlib figure
with a description in ``.alt``. Slices are shown as :mod:`nevf_lite.viz.slices` explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from nevf_lite.space import Grid
from nevf_lite.viz.charts import convergence, dice_bars
from nevf_lite.viz.maps import deformed_grid, jacobian_map
from nevf_lite.viz.panels import Cell, Legend, Row, gallery, outline, show
from nevf_lite.viz.slices import Plane, Point, foreground, middle, on_grid, planes, shades, window
from nevf_lite.viz.style import CARD, FIXED, MOVED, Picture, styled

__all__ = ["before_after", "convergence", "deformed_grid", "dice_bars", "jacobian_map"]

VIEWS = ("slices", "checkerboard", "labels")


@dataclass(frozen=True)
class _View:
    """One way to look at the pair: panels of (name, legend, painter), and what they share."""

    title: str
    legend: Legend
    panels: list[tuple[str, Legend, Callable[[Axes, Plane], None]]]
    says: str


@styled
def before_after(
    fixed,
    moving_on_fixed,
    warped,
    fixed_labels=None,
    warped_labels=None,
    moving_labels=None,
    views: Sequence[str] = VIEWS,
    at: Point | None = None,
) -> Picture:
    """What the registration did: slices, checkerboards and label outlines, before and after.

    fixed: nibabel image. moving_on_fixed: the moving image on the fixed grid before registration;
        warped: after it. Each is drawn with its own brightness window.
    fixed_labels, warped_labels, moving_labels: integer images on the fixed grid, the last before
        registration. Outlines need the first and one of the others.
    views: which of "slices", "checkerboard" and "labels" to draw, in this order.
    at: RAS mm that the planes pass through; the brain's centre when None.
    Raises ValueError when an image is not on the fixed grid, for an unknown view, and when
    outlines alone are asked for without labels.
    """
    if not views or not set(views) <= set(VIEWS):
        raise ValueError(f"views: got {list(views)}, wanted some of {', '.join(VIEWS)}")
    grid = Grid.of(fixed)
    arrays = {
        "Fixed": on_grid(fixed, grid, "fixed"),
        "Before": on_grid(moving_on_fixed, grid, "moving_on_fixed"),
        "After": on_grid(warped, grid, "warped"),
    }
    given = {
        "Fixed": ("fixed_labels", fixed_labels),
        "Before": ("moving_labels", moving_labels),
        "After": ("warped_labels", warped_labels),
    }
    labels = {k: on_grid(v, grid, name) for k, (name, v) in given.items() if v is not None}
    masks = {key: foreground(array) for key, array in arrays.items()}
    scans = {key: partial(shades, arrays[key], window(arrays[key], masks[key])) for key in arrays}
    at = middle(grid, masks["Fixed"]) if at is None else at
    cuts = planes(grid, np.logical_or.reduce(list(masks.values())), at)
    make = {"slices": _slices, "checkerboard": _checkerboards, "labels": _outlines}
    drawn = [view for view in (make[name](scans, labels) for name in views) if view.panels]
    if not drawn:
        raise ValueError("fixed_labels: 'labels' was asked for, which needs labels before or after")
    figure = gallery(_rows(drawn, cuts))
    where = ", ".join(plane.caption for plane in cuts)
    figure.alt = f"Brain slices ({where}): {'; '.join(view.says for view in drawn)}."
    return figure


def _slices(scans, labels) -> _View:
    words = {"Fixed": "target", "Before": "moving image", "After": "moving image, warped"}

    def paint(key: str, axes: Axes, plane: Plane) -> None:
        show(axes, plane, scans[key](plane), vmin=0, vmax=1)

    panels = [(key, [(text, None)], partial(paint, key)) for key, text in words.items()]
    return _View("Slices", [], panels, "the fixed image, and the moving image before and after")


def _checkerboards(scans, labels) -> _View:
    legend = [("squares of ", None), ("fixed", FIXED), (" and ", None), ("moving", MOVED)]

    def paint(key: str, axes: Axes, plane: Plane) -> None:
        show(axes, plane, checkerboard(scans["Fixed"](plane), scans[key](plane), plane))

    panels = [(key, legend, partial(paint, key)) for key in ("Before", "After")]
    return _View(
        "Checkerboard",
        legend,
        panels,
        "squares of the fixed and the moving image by turns, before and after",
    )


def _outlines(scans, labels: dict[str, np.ndarray]) -> _View:
    legend = [("outlines of ", None), ("fixed", FIXED), (" and ", None), ("moving", MOVED)]
    legend += [(" labels", None)]

    def paint(key: str, axes: Axes, plane: Plane) -> None:
        show(axes, plane, 0.7 * scans["Fixed"](plane), vmin=0, vmax=1)
        outline(axes, plane, plane.cut(labels["Fixed"]), FIXED, width=1.1)
        outline(axes, plane, plane.cut(labels[key]), MOVED, width=0.65)

    keys = [key for key in ("Before", "After") if {key, "Fixed"} <= set(labels)]
    return _View(
        "Labels",
        legend,
        [(key, legend, partial(paint, key)) for key in keys],
        f"outlines of the fixed and the moving labels, {' and '.join(keys).lower()}",
    )


def _rows(views: list[_View], cuts: list[Plane]) -> list[Row]:
    """In 3-D a row for each panel, with a column a plane; in 2-D a row for each view."""
    if len(cuts) == 1:
        return [
            Row(v.title, v.legend, [Cell(cuts[0], draw, name) for name, _, draw in v.panels])
            for v in views
        ]
    panels = [panel for view in views for panel in view.panels]
    return [
        Row(name, legend, [Cell(plane, draw, "" if row else plane.caption) for plane in cuts])
        for row, (name, legend, draw) in enumerate(panels)
    ]


def checkerboard(fixed: np.ndarray, moving: np.ndarray, plane: Plane) -> np.ndarray:
    """Squares of the two images by turns, (rows, columns, 3) in [0, 1], each faintly tinted.

    fixed, moving: (rows, columns) shades in [0, 1]. The squares are square in mm whatever the
    spacing, nine to the longer side.
    """
    side = max(plane.size) / 9
    rows, columns = (
        (np.arange(count) * mm // side).astype(int)
        for count, mm in zip(fixed.shape, plane.spacing[::-1], strict=True)
    )
    odd = (rows[:, None] + columns[None, :]) % 2 == 1
    return np.where(odd[..., None], _tint(moving, MOVED), _tint(fixed, FIXED))


def _tint(shade: np.ndarray, colour: str, strength: float = 0.25) -> np.ndarray:
    """Shades from the card's black to a white that leans to a colour: (rows, columns, 3)."""
    black, full = np.array(to_rgb(CARD)), np.array(to_rgb(colour))
    white = 1 - strength * (1 - full / full.max())
    return black + shade[..., None] * (white - black)
