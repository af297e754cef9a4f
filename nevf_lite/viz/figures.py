"""Figures of a registration: slices before and after, Jacobian, warped lattice and charts.

Every function takes nibabel images or arrays on the fixed grid, of two or three axes and of any
orientation and spacing. It returns a :class:`~nevf_lite.viz.style.Picture`, a matplotlib figure
with its text alternative in ``.alt``. :mod:`nevf_lite.viz.slices` defines how slices are turned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from nevf_lite.scans.space import Grid
from nevf_lite.viz.charts import convergence, dice_bars
from nevf_lite.viz.maps import deformed_grid, jacobian_map
from nevf_lite.viz.panels import Cell, Legend, Row, gallery, outline, show
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
from nevf_lite.viz.style import CARD, FIXED, MOVED, Picture, styled

__all__ = ["before_after", "convergence", "deformed_grid", "dice_bars", "jacobian_map"]

VIEWS = ("slices", "checkerboard", "labels")


@dataclass(frozen=True)
class _View:
    """A view of the pair: panels of (name, legend, painter), and their common title and legend."""

    title: str
    legend: Legend
    panels: list[tuple[str, Legend, Callable[[Axes, Plane], None]]]
    description: str


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
    """Slices, checkerboards and label outlines before and after registration.

    fixed: nibabel image. moving_on_fixed: the moving image on the fixed grid before registration;
        warped: after it. Each has its own intensity window.
    fixed_labels, warped_labels, moving_labels: integer images on the fixed grid, the last before
        registration. Outlines need the first and one of the other two.
    views: which of "slices", "checkerboard" and "labels" to draw, in this order.
    at: point in RAS mm that the planes pass through; near the brain's centre when None.
    Raises ValueError when an image is not on the fixed grid, for an unknown view, and when
    outlines are the only view and there are no labels.
    """
    if not views or not set(views) <= set(VIEWS):
        raise ValueError(f"views: got {list(views)}, wanted some of {', '.join(VIEWS)}")
    grid = Grid.of(fixed)
    arrays = {
        "Fixed": on_grid(fixed, grid, "fixed"),
        "Before": on_grid(moving_on_fixed, grid, "moving_on_fixed"),
        "After": on_grid(warped, grid, "warped"),
    }
    label_images = {
        "Fixed": ("fixed_labels", fixed_labels),
        "Before": ("moving_labels", moving_labels),
        "After": ("warped_labels", warped_labels),
    }
    labels = {
        key: on_grid(image, grid, name)
        for key, (name, image) in label_images.items()
        if image is not None
    }
    masks = {key: foreground(array) for key, array in arrays.items()}
    scans = {key: partial(shades, arrays[key], window(arrays[key], masks[key])) for key in arrays}
    at = middle(grid, masks["Fixed"]) if at is None else at
    view_planes = planes(grid, np.logical_or.reduce(list(masks.values())), at)
    build = {"checkerboard": _checkerboards, "labels": _outlines}
    build["slices"] = partial(_slices, masks["Fixed"], grid.canonical()[0].spacing)
    drawn = [view for view in (build[name](scans, labels) for name in views) if view.panels]
    if not drawn:
        raise ValueError("fixed_labels: 'labels' was asked for, which needs labels before or after")
    figure = gallery(_rows(drawn, view_planes))
    captions = ", ".join(plane.caption for plane in view_planes)
    figure.alt = f"Brain slices ({captions}): {'; '.join(view.description for view in drawn)}."
    return figure


def _slices(mask: np.ndarray, spacing: tuple[float, ...], scans, labels) -> _View:
    edge = brain(mask, spacing).astype(int)
    line = [(", in the outline of the ", None), ("fixed", FIXED)]
    roles = {
        "Fixed": [("target", None)],
        "Before": [("moving image", None), *line],
        "After": [("moving image, warped", None), *line],
    }

    def paint(key: str, axes: Axes, plane: Plane) -> None:
        show(axes, plane, scans[key](plane), vmin=0, vmax=1)
        if key != "Fixed":
            outline(axes, plane, plane.cut(edge), FIXED, width=0.65)

    panels = [(key, legend, partial(paint, key)) for key, legend in roles.items()]
    seen = "the fixed image, and the moving image before and after, in the outline of the fixed"
    return _View("Slices", line[1:] + [(" outline", None)], panels, seen)


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


def _rows(views: list[_View], view_planes: list[Plane]) -> list[Row]:
    """In 3-D a row for each panel, with a column for each plane; in 2-D a row for each view."""
    if len(view_planes) == 1:
        return [
            Row(
                v.title,
                v.legend,
                [Cell(view_planes[0], paint, name) for name, _, paint in v.panels],
            )
            for v in views
        ]
    panels = [panel for view in views for panel in view.panels]
    return [
        Row(
            name,
            legend,
            [Cell(plane, paint, "" if row else plane.caption) for plane in view_planes],
        )
        for row, (name, legend, paint) in enumerate(panels)
    ]


def checkerboard(fixed: np.ndarray, moving: np.ndarray, plane: Plane) -> np.ndarray:
    """Alternating squares of two images, each faintly tinted: (rows, columns, 3) in [0, 1].

    fixed, moving: (rows, columns) shades in [0, 1]. The squares have equal sides in mm for any
    spacing; the longer side of the plane holds nine.
    """
    side = max(plane.size) / 9
    rows, columns = (
        (np.arange(count) * mm // side).astype(int)
        for count, mm in zip(fixed.shape, plane.spacing[::-1], strict=True)
    )
    odd = (rows[:, None] + columns[None, :]) % 2 == 1
    return np.where(odd[..., None], _tint(moving, MOVED), _tint(fixed, FIXED))


def _tint(shade: np.ndarray, colour: str, strength: float = 0.25) -> np.ndarray:
    """Shades from the card's black to a tinted white: (rows, columns, 3)."""
    black, tint = np.array(to_rgb(CARD)), np.array(to_rgb(colour))
    white = 1 - strength * (1 - tint / tint.max())
    return black + shade[..., None] * (white - black)
