"""Rows of brain slices on a dark card: the common layout of the brain figures.

All panels of a row have the same scale in millimetres, so their sizes can be compared and the row
needs one scale bar. On a narrow page a row goes on in a second line, and its legend stands under
its title.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import contourpy
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.patheffects import withStroke
from scipy.ndimage import find_objects, gaussian_filter

from nevf_lite.viz.slices import Plane
from nevf_lite.viz.style import CARD, GREY, ON_CARD, ON_CARD_MUTED, Picture
from nevf_lite.viz.widths import across, is_narrow

# inches: edge of the card, gap between rows, border of a panel for its letters, title, caption
_EDGE, _GAP, _PAD, _TITLE, _CAPTION = 0.1, 0.14, 0.16, 0.26, 0.2
_BESIDE = 0.14  # inches between two panels of a narrow page, lest their letters make a word
_LETTERS_ACROSS = 56  # of a narrow card's legend
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
    figure.reflows = True
    drawn = [_Drawn(row, max_height) for row in rows]
    height = sum(row.height for row in drawn) + _GAP * (len(rows) - 1)
    figure.set_size_inches(across(), height + 2 * _EDGE + bottom_margin)
    top = figure.get_figheight() - _EDGE
    for row in drawn:
        row.draw(figure, top)
        top -= row.height + _GAP
    return figure


class _Drawn:
    """A row as it is drawn: its lines of panels, their common scale, and the row's height.

    lines: the panels, at most two side by side on a narrow page. scale: the largest inches per mm
    at which all lines fit. texts: the lines of the title and the legend. height: inches.
    """

    def __init__(self, row: Row, max_height: float) -> None:
        cells, most = row.cells, 2 if is_narrow() else len(row.cells)
        self.beside = _BESIDE * is_narrow()
        self.lines = [cells[k : k + most] for k in range(0, len(cells), most)]
        self.scale = min(
            min(
                (across() - 2 * _EDGE - 2 * _PAD * len(line) - self.beside * (len(line) - 1))
                / sum(cell.plane.size[0] for cell in line),
                max_height / max(cell.plane.size[1] for cell in line),
            )
            for line in self.lines
        )
        self.texts = _texts(row)
        self.caption = _CAPTION * any(cell.caption for cell in cells)
        self.height = _TITLE + 0.17 * (len(self.texts) - 1) + sum(map(self._high, self.lines))

    def _high(self, line: list[Cell]) -> float:
        """The height of a line of panels with their captions, in inches."""
        return self.caption + max(self._size(cell)[1] for cell in line)

    def _size(self, cell: Cell) -> tuple[float, float]:
        """Width and height of a panel with its border, in inches."""
        return tuple(side * self.scale + 2 * _PAD for side in cell.plane.size)

    def draw(self, figure: Picture, top: float) -> None:
        """Draw the row under a height. top: inches from the bottom of the figure."""
        bottom = top - self.height
        child = VPacker(
            children=[
                HPacker(
                    children=[TextArea(text, textprops=style) for text, style in line],
                    pad=0,
                    sep=0,
                    align="baseline",
                )
                for line in self.texts
            ],
            pad=0,
            sep=2,
        )
        title = AnchoredOffsetbox(
            "upper left",
            child=child,
            frameon=False,
            pad=0,
            borderpad=0,
            bbox_to_anchor=((_EDGE + 0.04) / across(), (top - 0.02) / figure.get_figheight()),
            bbox_transform=figure.transFigure,
        )
        figure.add_artist(title)
        bottom += sum(map(self._high, self.lines))
        for line in self.lines:
            bottom -= self._high(line)
            axes = self._draw_line(figure, line, bottom)
        _scale_bar(axes, self.lines[-1][-1].plane, self.scale)

    def _draw_line(self, figure: Picture, line: list[Cell], bottom: float) -> Axes:
        """Draw panels side by side above a height in inches; the axes of the last."""
        wide, high = across(), figure.get_figheight()
        sizes = [self._size(cell) for cell in line]
        tallest = max(height for _, height in sizes)
        left = (wide - sum(width for width, _ in sizes) - self.beside * (len(line) - 1)) / 2
        for cell, (width, height) in zip(line, sizes, strict=True):
            low = bottom + (tallest - height) / 2
            axes = figure.add_axes((left / wide, low / high, width / wide, height / high))
            axes.axis("off")
            cell.paint(axes, cell.plane)
            x0, x1, y0, y1 = cell.plane.extent
            pad = _PAD / self.scale
            axes.set(xlim=(x0 - pad, x1 + pad), ylim=(y0 - pad, y1 + pad))
            _orientation_letters(axes, cell.plane, pad)
            if cell.caption:
                x, y = (left + width / 2) / wide, (bottom + tallest + 0.05) / high
                figure.text(x, y, cell.caption, color=ON_CARD_MUTED, ha="center", fontsize=9)
            left += width + self.beside
        return axes


def _texts(row: Row) -> list[list[tuple[str, dict]]]:
    """The lines of a row's title and legend: texts with their styles.

    On a narrow page the words of a legend that does not fit beside its title stand under it.
    """
    title = (row.title + "   ", {"color": ON_CARD, "weight": "bold"})
    parts = [(text, {"color": colour or ON_CARD_MUTED, "size": 9}) for text, colour in row.legend]
    letters = sum(len(text) for text, _ in [title, *parts])
    if not is_narrow() or letters <= _LETTERS_ACROSS:
        return [[title, *parts]]
    lines, room = [[title], []], _LETTERS_ACROSS
    for text, style in parts:
        for word in re.findall(r"\S+\s*|\s+", text):
            if len(word.rstrip()) > room:
                lines.append([])
                room = _LETTERS_ACROSS
            lines[-1].append((word if lines[-1] else word.lstrip(" ,"), style))
            room -= len(word)
    return lines


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
