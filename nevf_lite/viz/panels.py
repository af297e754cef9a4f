"""Rows of brain slices on a dark card: the common layout of the brain figures.

All panels of a row have the same scale in millimetres, so their sizes can be compared and the row
needs one scale bar.
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
from nevf_lite.viz.style import CARD, GREY, ON_CARD, ON_CARD_MUTED, Picture
from nevf_lite.viz.widths import WIDTH

# inches: edge of the card, gap between rows, border of a panel for its letters, title, caption
_EDGE, _GAP, _PAD, _TITLE, _CAPTION = 0.1, 0.14, 0.16, 0.26, 0.2
Legend = list[tuple[str, str | None]]  # texts and their colours; None is the muted text colour

_HALO = [withStroke(linewidth=2.0, foreground=CARD)]


@dataclass(frozen=True)
class Cell:
    """One panel: its plane, the function that paints it on axes in mm, and its caption."""

    plane: Plane
    paint: Callable[[Axes, Plane], object]
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Panels side by side under a title and a legend."""

    title: str
    legend: Legend
    cells: list[Cell]


def gallery(rows: list[Row], max_height: float = 3.4, bottom_margin: float = 0.0) -> Picture:
    """A card with these rows. max_height, bottom_margin: inches, of a panel and below the rows."""
    figure = Picture(facecolor=CARD)
    scales = [_scale(row, max_height) for row in rows]
    heights = [
        _TITLE
        + _CAPTION * any(cell.caption for cell in row.cells)
        + max(_size(cell, scale)[1] for cell in row.cells)
        for row, scale in zip(rows, scales, strict=True)
    ]
    figure.set_size_inches(WIDTH, sum(heights) + _GAP * (len(rows) - 1) + 2 * _EDGE + bottom_margin)
    top = figure.get_figheight() - _EDGE
    for row, scale, height in zip(rows, scales, heights, strict=True):
        _draw_row(figure, row, scale, top, top - height)
        top -= height + _GAP
    return figure


def _scale(row: Row, max_height: float) -> float:
    """The largest inches per mm at which the row fits."""
    available = WIDTH - 2 * _EDGE - 2 * _PAD * len(row.cells)
    widths = sum(cell.plane.size[0] for cell in row.cells)
    return min(available / widths, max_height / max(cell.plane.size[1] for cell in row.cells))


def _size(cell: Cell, scale: float) -> tuple[float, float]:
    """Width and height of a panel with its border, in inches."""
    return tuple(side * scale + 2 * _PAD for side in cell.plane.size)


def _draw_row(figure: Picture, row: Row, scale: float, top: float, bottom: float) -> None:
    """Draw a row between two heights. top, bottom: inches from the bottom of the figure."""
    figure_height = figure.get_figheight()
    texts = [TextArea(row.title + "   ", textprops={"color": ON_CARD, "weight": "bold"})]
    for text, colour in row.legend:
        texts.append(TextArea(text, textprops={"color": colour or ON_CARD_MUTED, "size": 9}))
    title = AnchoredOffsetbox(
        "upper left",
        child=HPacker(children=texts, pad=0, sep=0, align="baseline"),
        frameon=False,
        pad=0,
        borderpad=0,
        bbox_to_anchor=((_EDGE + 0.04) / WIDTH, (top - 0.02) / figure_height),
        bbox_transform=figure.transFigure,
    )
    figure.add_artist(title)
    sizes = [_size(cell, scale) for cell in row.cells]
    tallest = max(height for _, height in sizes)
    left = (WIDTH - sum(width for width, _ in sizes)) / 2
    for cell, (width, height) in zip(row.cells, sizes, strict=True):
        low = bottom + (tallest - height) / 2
        axes = figure.add_axes(
            (left / WIDTH, low / figure_height, width / WIDTH, height / figure_height)
        )
        axes.axis("off")
        cell.paint(axes, cell.plane)
        x0, x1, y0, y1 = cell.plane.extent
        pad = _PAD / scale
        axes.set(xlim=(x0 - pad, x1 + pad), ylim=(y0 - pad, y1 + pad))
        _orientation_letters(axes, cell.plane, pad)
        if cell.caption:
            x, y = (left + width / 2) / WIDTH, (bottom + tallest + 0.05) / figure_height
            figure.text(x, y, cell.caption, color=ON_CARD_MUTED, ha="center", fontsize=9)
        left += width
    _scale_bar(axes, row.cells[-1].plane, scale)


def _orientation_letters(axes: Axes, plane: Plane, pad: float) -> None:
    """The side of the body at each edge, outside the slice."""
    x0, x1, y0, y1 = plane.extent
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    positions = [(x0 - pad / 2, y), (x1 + pad / 2, y), (x, y0 - pad / 2), (x, y1 + pad / 2)]
    for letter, position in zip(plane.letters, positions, strict=True):
        axes.text(
            *position,
            letter,
            ha="center",
            va="center_baseline",
            color=ON_CARD_MUTED,
            fontsize=8.5,
            path_effects=_HALO,
            zorder=9,
        )


def _scale_bar(axes: Axes, plane: Plane, scale: float) -> None:
    """A bar at the lower right, of a round length of at most a quarter of the panel."""
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
    """The largest length of 1, 2 or 5 times a power of ten that is not above this one."""
    power = 10.0 ** np.floor(np.log10(millimetres))
    return float(power * max(step for step in (1, 2, 5) if step * power <= millimetres * 1.0001))


def show(axes: Axes, plane: Plane, flat: np.ndarray, **options) -> None:
    """Draw a plane's values over its extent in mm; options are those of `Axes.imshow`."""
    options = {"cmap": GREY, "interpolation": "hanning", **options}
    axes.imshow(flat, origin="lower", extent=plane.extent, aspect="auto", **options)


def outline(axes: Axes, plane: Plane, labels: np.ndarray, colour: str, width: float = 0.8) -> None:
    """Contours of every label but 0.

    A Gaussian of 0.45 voxel smooths the steps between voxels. It moves no border, and a structure
    of a single voxel keeps its contour.
    """
    values, compact = np.unique(labels, return_inverse=True)  # label values may be large (2035)
    compact = compact.reshape(labels.shape) + 1
    lines = []
    for number, box in enumerate(find_objects(compact), start=1):
        if values[number - 1] == 0:
            continue
        region = np.pad(compact[box] == number, 2).astype(np.float32)
        smooth = gaussian_filter(region, 0.45)
        start = [s.start - 2 for s in box]
        # the extent begins half a voxel before the centre of the first voxel
        x = plane.extent[0] + (np.arange(region.shape[1]) + start[1] + 0.5) * plane.spacing[0]
        y = plane.extent[2] + (np.arange(region.shape[0]) + start[0] + 0.5) * plane.spacing[1]
        lines += contourpy.contour_generator(x, y, smooth).lines(0.5)
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width))
