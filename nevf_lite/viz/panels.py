"""Rows of brain slices on a dark card: the layout that all brain figures share.

Every panel of a row is drawn at the same scale in millimetres, so sizes can be compared by eye and
one scale bar serves the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import contourpy
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea
from matplotlib.patheffects import withStroke
from scipy.ndimage import find_objects, gaussian_filter

from nevf_lite.viz.slices import Plane
from nevf_lite.viz.style import CARD, GREY, ON_CARD, ON_CARD_MUTED, WIDTH, Picture

# inches: the card's edge, between rows, round a panel for its letters, a row's title, its captions
_EDGE, _GAP, _PAD, _TITLE, _CAPTION = 0.1, 0.14, 0.16, 0.26, 0.2
Legend = list[tuple[str, str | None]]  # pieces of text and their colours, None for plain

_HALO = [withStroke(linewidth=2.0, foreground=CARD)]


@dataclass(frozen=True)
class Cell:
    """One panel: the plane it shows, what paints it on axes in mm, and the words above it."""

    plane: Plane
    paint: Callable[[Axes, Plane], object]
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Panels side by side under a title and a legend."""

    title: str
    legend: Legend
    cells: list[Cell]


def gallery(rows: list[Row], tallest: float = 3.4, below: float = 0.0) -> Picture:
    """A card with these rows. tallest: a panel's limit; below: room left at the bottom, inches."""
    figure = Picture(facecolor=CARD)
    scales = [_scale(row, tallest) for row in rows]
    heights = [
        _TITLE
        + _CAPTION * any(cell.caption for cell in row.cells)
        + max(_size(cell, scale)[1] for cell in row.cells)
        for row, scale in zip(rows, scales, strict=True)
    ]
    figure.set_size_inches(WIDTH, sum(heights) + _GAP * (len(rows) - 1) + 2 * _EDGE + below)
    top = figure.get_figheight() - _EDGE
    for row, scale, used in zip(rows, scales, heights, strict=True):
        _draw_row(figure, row, scale, top, top - used)
        top -= used + _GAP
    return figure


def _scale(row: Row, tallest: float) -> float:
    """Inches per mm, so that the row fits."""
    room = WIDTH - 2 * _EDGE - 2 * _PAD * len(row.cells)
    widths = sum(cell.plane.size[0] for cell in row.cells)
    return min(room / widths, tallest / max(cell.plane.size[1] for cell in row.cells))


def _size(cell: Cell, scale: float) -> tuple[float, float]:
    """Width and height of a panel with its letters, in inches."""
    return tuple(side * scale + 2 * _PAD for side in cell.plane.size)


def _draw_row(figure: Picture, row: Row, scale: float, top: float, bottom: float) -> None:
    """top, bottom: inches from the bottom of the figure."""
    height = figure.get_figheight()
    parts = [TextArea(row.title + "   ", textprops={"color": ON_CARD, "weight": "bold"})]
    for text, colour in row.legend:
        parts.append(TextArea(text, textprops={"color": colour or ON_CARD_MUTED, "size": 9}))
    title = AnchoredOffsetbox(
        "upper left",
        child=HPacker(children=parts, pad=0, sep=0, align="baseline"),
        frameon=False,
        pad=0,
        borderpad=0,
        bbox_to_anchor=((_EDGE + 0.04) / WIDTH, (top - 0.02) / height),
        bbox_transform=figure.transFigure,
    )
    figure.add_artist(title)
    sizes = [_size(cell, scale) for cell in row.cells]
    tallest = max(high for _, high in sizes)
    left = (WIDTH - sum(wide for wide, _ in sizes)) / 2
    for cell, (wide, high) in zip(row.cells, sizes, strict=True):
        low = bottom + (tallest - high) / 2
        axes = figure.add_axes((left / WIDTH, low / height, wide / WIDTH, high / height))
        axes.axis("off")
        cell.paint(axes, cell.plane)
        x0, x1, y0, y1 = cell.plane.extent
        pad = _PAD / scale
        axes.set(xlim=(x0 - pad, x1 + pad), ylim=(y0 - pad, y1 + pad))
        _letter(axes, cell.plane, pad)
        if cell.caption:
            place = ((left + wide / 2) / WIDTH, (bottom + tallest + 0.05) / height)
            figure.text(*place, cell.caption, color=ON_CARD_MUTED, ha="center", fontsize=9)
        left += wide
    _scale_bar(axes, row.cells[-1].plane, scale)


def _letter(axes: Axes, plane: Plane, pad: float) -> None:
    """The side of the body at each edge, just outside the slice."""
    x0, x1, y0, y1 = plane.extent
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    places = [(x0 - pad / 2, y), (x1 + pad / 2, y), (x, y0 - pad / 2), (x, y1 + pad / 2)]
    for letter, place in zip(plane.letters, places, strict=True):
        axes.text(
            *place,
            letter,
            ha="center",
            va="center_baseline",
            color=ON_CARD_MUTED,
            fontsize=8.5,
            path_effects=_HALO,
            zorder=9,
        )


def _scale_bar(axes: Axes, plane: Plane, scale: float) -> None:
    """A bar of a round length, about a fifth of the panel, at its lower right."""
    length = round_length(plane.size[0] / 4)
    right, low = plane.extent[1] + 0.08 / scale, plane.extent[2] - 0.08 / scale
    axes.plot(
        [right - length, right],
        [low, low],
        color=ON_CARD,
        linewidth=2.0,
        solid_capstyle="butt",
        path_effects=_HALO,
        zorder=9,
    )
    axes.text(
        right - length / 2,
        low + 0.05 / scale,
        f"{length:g} mm",
        color=ON_CARD,
        ha="center",
        va="bottom",
        fontsize=8,
        path_effects=_HALO,
        zorder=9,
    )


def round_length(millimetres: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not above this length."""
    power = 10.0 ** np.floor(np.log10(millimetres))
    return float(power * max(step for step in (1, 2, 5) if step * power <= millimetres * 1.0001))


def show(axes: Axes, plane: Plane, flat: np.ndarray, **options) -> None:
    """Draw a plane's values in their place in mm; enlarged smoothly, reduced without aliasing."""
    options = {"cmap": GREY, "interpolation": "hanning", **options}
    axes.imshow(flat, origin="lower", extent=plane.extent, aspect="auto", **options)


def outline(axes: Axes, plane: Plane, labels: np.ndarray, colour: str, width: float = 0.8) -> None:
    """Contours of every label but 0.

    The staircase of voxels is rounded by a Gaussian of 0.45 voxel, which moves no border and
    loses no structure, not even a single voxel.
    """
    values, compact = np.unique(labels, return_inverse=True)  # ids may be large (2035)
    compact = compact.reshape(labels.shape) + 1
    lines = []
    for number, place in enumerate(find_objects(compact), start=1):
        if values[number - 1] == 0:
            continue
        inside = np.pad(compact[place] == number, 2).astype(np.float32)
        smooth = gaussian_filter(inside, 0.45)
        start = [s.start - 2 for s in place]
        # the corner of the picture, in mm, is half a voxel before the first voxel's centre
        x = plane.extent[0] + (np.arange(inside.shape[1]) + start[1] + 0.5) * plane.spacing[0]
        y = plane.extent[2] + (np.arange(inside.shape[0]) + start[0] + 0.5) * plane.spacing[1]
        lines += contourpy.contour_generator(x, y, smooth).lines(0.5)
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width))
