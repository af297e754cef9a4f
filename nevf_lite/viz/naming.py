"""Names beside what they name: at a curve or at a mark, instead of in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from nevf_lite.viz.style import LETTER_COLOURS

_SIZE = 9.0  # points
_EDGE = 0.9  # curves that end further right than this share of the axes end at its edge
#: Behind a name that has to lie on a line. A dark page turns the colours of ink and ground alike.
#: (A stroke around the letters would look better, and makes a chart five times as long.)
_GROUND = {"boxstyle": "square,pad=0.05", "fc": "#ffffff", "ec": "none", "alpha": 0.7}
#: Where a name may stand, in points from its mark, in order of preference.
_SIDES = (
    (7, 0, "left", "center_baseline"),
    (-7, 0, "right", "center_baseline"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (5, 4, "left", "bottom"),
    (5, -4, "left", "top"),
    (-5, 4, "right", "bottom"),
    (-5, -4, "right", "top"),
)
#: How much further off a name may stand, which a thin line then joins to its mark; and what that
#: costs, in the unit of the costs below.
_REACHES = ((1.0, 0.0), (2.2, 15.0), (3.6, 25.0))
#: Costs: a name outside the axes, on another text, on three points of a line, that near to one.
_OUTSIDE, _ON_TEXT, _ON_LINE, _NEAR_LINE = 1e4, 1e3, 12.0, 2.5
_ALONG = (8.0, 0.05)  # a name at another place of its curve than the end, and each point of the way
_SHARE = {"left": 0.0, "center": 0.5, "right": 1.0, "bottom": 0.0, "center_baseline": 0.5, "top": 1}


@dataclass(frozen=True)
class Mark:
    """A name, the place in data coordinates that it belongs to, and the colour of what is there.

    curve: the line whose name it is, all along which the name may stand, or None.
    """

    name: str
    x: float
    y: float
    colour: str
    curve: Line2D | None = None

    @property
    def letters(self) -> str:
        """The colour of the name: that of the mark, darker where it is a curve's."""
        return LETTER_COLOURS.get(self.colour, self.colour)

    @classmethod
    def at_end(cls, curve: Line2D) -> Mark:
        """The label of a curve at its right end, in its colour."""
        x, y = np.asarray(curve.get_xydata(), float)[np.nanargmax(curve.get_xdata(orig=False))]
        return cls(curve.get_label(), x, y, curve.get_color(), curve)


def on_axes(axes: Axes, points: np.ndarray | Sequence[tuple[float, float]]) -> np.ndarray:
    """Points in data coordinates, (n, 2), as shares of the axes, which hold all they will show."""
    axes.autoscale_view()
    return (axes.transScale + axes.transLimits).transform(points)


def name_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each name at its mark, in its colour (darker). The axes hold all that they will show.

    Marks that all lie at the right edge have their names in a column outside it, pushed apart where
    they would overlap. Other names stand where they cover the least of what is drawn.
    """
    places = on_axes(axes, [(mark.x, mark.y) for mark in marks])
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
        axes.annotate(
            mark.name,
            (mark.x, mark.y),
            (1.03, height),
            textcoords="axes fraction",
            color=mark.letters,
            fontsize=_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops=_leader(mark.colour, (0, 0.5)) if moved else None,
        )


def _leader(colour: str, at: tuple[float, float]) -> dict:
    """The line from a mark to its name, which it meets at a share of the name's box."""
    return {"arrowstyle": "-", "color": colour, "lw": 0.6, "relpos": at, "shrinkA": 1, "shrinkB": 4}


def _scattered(axes: Axes, marks: Sequence[Mark]) -> None:
    """Names inside the axes, each at the place that is least in the way of all the others."""
    axes.figure.draw_without_rendering()  # the layout, and with it where points lie, is now known
    point = axes.figure.dpi / 72  # pixels
    window = axes.get_window_extent().padded(point)
    texts = [text.get_window_extent().extents for text in axes.texts]
    lines = {line: _drawn(line, point) for line in axes.lines}
    found = [_candidates(axes, mark, point) for mark in marks]
    boxes = [np.array([box for *_, box in places]) for places in found]
    costs = []
    for mark, places, own in zip(marks, found, boxes, strict=True):
        cost = np.array([cost for _, _, cost, _ in places])
        out = (own[:, :2] < window.min).any(1) | (own[:, 2:] > window.max).any(1)
        cost += _OUTSIDE * out
        for line, points in lines.items():
            cost += _ON_LINE * _covered(points, own, (1 + line.get_linewidth() / 2) * point)
            if line is not mark.curve:
                cost += _NEAR_LINE * _covered(points, own, 6 * point)
        for text in texts:
            cost += _ON_TEXT * _overlaps(own, text, point)
        costs.append(cost)
    chosen = [int(np.argmin(cost)) for cost in costs]
    for _ in range(8):  # each name in turn, until all of them stay
        before = list(chosen)
        for k, cost in enumerate(costs):
            total = cost.copy()
            for other, at in enumerate(chosen):
                if other != k:
                    total += _ON_TEXT * _overlaps(boxes[k], boxes[other][at], 3 * point)
            chosen[k] = int(np.argmin(total))
        if chosen == before:
            break
    for mark, places, k in zip(marks, found, chosen, strict=True):
        at, (dx, dy, ha, va, far), _, _ = places[k]
        axes.annotate(
            mark.name,
            at,
            (dx, dy),
            textcoords="offset points",
            color=mark.letters,
            fontsize=_SIZE,
            ha=ha,
            va=va,
            zorder=5,
            bbox=_GROUND,
            arrowprops=_leader(mark.colour, (_SHARE[ha], _SHARE[va])) if far else None,
        )


def _candidates(axes: Axes, mark: Mark, point: float) -> list[tuple]:
    """Where a name may stand: (anchor, (dx, dy, ha, va, far), cost, box in pixels)."""
    probe = axes.annotate(mark.name, (mark.x, mark.y), fontsize=_SIZE)
    size = np.array(probe.get_window_extent().size)
    probe.remove()
    end = axes.transData.transform((mark.x, mark.y))
    anchors = [((mark.x, mark.y), end, 0.0, _REACHES)]
    if mark.curve is not None:
        for at in _course(mark.curve, 12 * point):
            far = _ALONG[0] + _ALONG[1] * np.hypot(*(at - end)) / point
            anchor = tuple(axes.transData.inverted().transform(at))
            anchors.append((anchor, at, far, _REACHES[:1]))
    found = []
    for anchor, at, base, reaches in anchors:
        for reach, further in reaches:
            for rank, (dx, dy, ha, va) in enumerate(_SIDES):
                offset = reach * dx, reach * dy
                low = at + point * np.array(offset) - size * (_SHARE[ha], _SHARE[va])
                box = np.concatenate([low, low + size])
                place = (*offset, ha, va, reach > 1)
                found.append((anchor, place, base + further + rank, box))
    return found


def _course(line: Line2D, step: float) -> np.ndarray:
    """Points of a line in pixels, at most a step apart; (n, 2)."""
    corners = _corners(line)
    if len(corners) < 2 or line.get_linestyle() == "None":
        return corners
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.union1d(way, np.arange(0, way[-1], step))
    return np.stack([np.interp(at, way, corners[:, k]) for k in (0, 1)], axis=1)


def _drawn(line: Line2D, point: float) -> np.ndarray:
    """Points of a line in pixels, close enough that no name lies between two, with its symbols."""
    course = _course(line, 3 * point)
    if line.get_marker() in ("None", None, ""):
        return course
    radius = 0.5 * line.get_markersize() * point
    rim = np.array([(dx, dy) for dx in (-radius, 0, radius) for dy in (-radius, 0, radius)])
    return np.concatenate([course, (_corners(line)[:, None] + rim).reshape(-1, 2)])


def _corners(line: Line2D) -> np.ndarray:
    """The finite points of a line in pixels, (n, 2)."""
    corners = line.get_transform().transform(np.asarray(line.get_xydata(), float))
    return corners[np.isfinite(corners).all(axis=1)]


def _covered(points: np.ndarray, boxes: np.ndarray, pad: float) -> np.ndarray:
    """How many of the points, (n, 2), lie in each box, (m, 4), that is padded."""
    low, high = boxes[:, None, :2] - pad, boxes[:, None, 2:] + pad
    return ((points >= low) & (points <= high)).all(2).sum(1)


def _overlaps(boxes: np.ndarray, other: np.ndarray, pad: float) -> np.ndarray:
    """Which boxes, (m, 4), overlap another, with a gap between them."""
    return ((boxes[:, :2] < other[2:] + pad) & (boxes[:, 2:] > other[:2] - pad)).all(1)
