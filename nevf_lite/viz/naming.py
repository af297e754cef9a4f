"""Names beside what they name: at the end of a curve or at a mark, instead of in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

_SIZE = 9.0  # points
_EDGE = 0.9  # curves that end further right than this share of the axes end at its edge
#: Where a name may stand, in points from its mark, in order of preference, near ones first.
_PLACES = [
    (step * dx, step * dy, ha, va)
    for step in (1.0, 2.2, 3.6)
    for dx, dy, ha, va in (
        (7, 0, "left", "center_baseline"),
        (-7, 0, "right", "center_baseline"),
        (0, 6, "center", "bottom"),
        (0, -6, "center", "top"),
        (5, 4, "left", "bottom"),
        (5, -4, "left", "top"),
        (-5, 4, "right", "bottom"),
        (-5, -4, "right", "top"),
    )
]


@dataclass(frozen=True)
class Mark:
    """A name, the place in data coordinates that it belongs to, and its colour."""

    name: str
    x: float
    y: float
    colour: str


def name_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each name at its mark, in its colour. The axes hold all that they will show.

    Marks that all lie at the right edge have their names in a column outside it, pushed apart where
    they would overlap. Other names stand where they cover the least of what is drawn.
    """
    axes.autoscale_view()
    to_axes = axes.transScale + axes.transLimits
    places = to_axes.transform([(mark.x, mark.y) for mark in marks])
    if (places[:, 0] > _EDGE).all():
        _column(axes, marks, places)
    else:
        _scattered(axes, marks)


def _column(axes: Axes, marks: Sequence[Mark], places: np.ndarray) -> None:
    """Names to the right of the axes, in the order of their marks."""
    gap = 1.35 * _SIZE / 72 / (0.75 * axes.figure.get_figheight())  # share of the axes' height
    order = np.argsort(places[:, 1], kind="stable")
    steps = gap * np.arange(len(order))
    heights = isotonic_regression(places[order, 1] - steps).x + steps
    for k, height in zip(order, heights, strict=True):
        mark, moved = marks[k], abs(height - places[k, 1]) > gap / 2
        leader = {"arrowstyle": "-", "color": mark.colour, "lw": 0.6, "relpos": (0, 0.5)}
        axes.annotate(
            mark.name,
            (mark.x, mark.y),
            (1.03, height),
            textcoords="axes fraction",
            color=mark.colour,
            fontsize=_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops=leader if moved else None,
        )


def _scattered(axes: Axes, marks: Sequence[Mark]) -> None:
    """Names inside the axes, each at the place that is least in the way."""
    axes.figure.draw_without_rendering()  # the layout, and with it where points lie, is now known
    pixel = axes.figure.dpi / 72
    inside, taken = axes.get_window_extent().padded(pixel), []
    drawn = np.concatenate([_along(axes, line) for line in axes.lines])
    for mark in marks:
        text = axes.annotate(
            mark.name,
            (mark.x, mark.y),
            (0, 0),
            textcoords="offset points",
            color=mark.colour,
            fontsize=_SIZE,
            zorder=5,
        )
        costs = []
        for dx, dy, ha, va in _PLACES:
            text.set(position=(dx, dy), ha=ha, va=va)
            box = text.get_window_extent().padded(pixel)
            covered = _within(drawn, box) + 100 * sum(box.overlaps(other) for other in taken)
            costs.append(covered + 1000 * (_within(box.corners(), inside) < 4))
        dx, dy, ha, va = _PLACES[int(np.argmin(costs))]
        text.set(position=(dx, dy), ha=ha, va=va)
        taken.append(text.get_window_extent().padded(pixel))


def _along(axes: Axes, line) -> np.ndarray:
    """Points of a line in pixels, close enough that no name lies between two; (n, 2)."""
    corners = line.get_transform().transform(np.asarray(line.get_xydata(), float))
    corners = corners[np.isfinite(corners).all(axis=1)]
    if len(corners) < 2 or line.get_linestyle() == "None":
        return corners
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    at = np.concatenate([[0], np.cumsum(lengths)])
    fine = np.union1d(at, np.arange(0, at[-1], 3.0 * axes.figure.dpi / 72))
    return np.stack([np.interp(fine, at, corners[:, k]) for k in (0, 1)], axis=1)


def _within(points: np.ndarray, box: Bbox) -> int:
    """How many of the points, (n, 2), lie in a box."""
    return int(((points >= box.min) & (points <= box.max)).all(axis=1).sum())
