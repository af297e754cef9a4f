"""The dark card behind the panels of `sketch`, and what is drawn on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator

from nevf_lite.viz.style import CARD, FIXED, ON_CARD, ON_CARD_MUTED, Picture
from nevf_lite.viz.widths import across, is_narrow, wrapped

_HIGHEST = 3.6  # inches, of a panel that is alone


def outline_of(ax, image, colour: str = FIXED, width: float = 1.0) -> None:
    """Draw the edge of (1, 1, H, W), halfway between its lowest and highest value."""
    plane = plane_of(image)
    ax.contour(plane.T, levels=[(plane.min() + plane.max()) / 2], colors=colour, linewidths=width)


def plane_of(values) -> np.ndarray:
    """One image, a tensor or an array with axes of one voxel before it, as (H, W)."""
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    plane = values.reshape(values.shape[-2:])  # raises ValueError for more than one image
    return plane.astype(np.float32)


def bright_box(planes: Iterable[np.ndarray], scale: Normalize) -> tuple[slice, slice]:
    """Where any of some images of one shape is brighter than the scale's darkest, with a rim."""
    bright = np.any([scale(plane) > 0.06 for plane in planes], axis=0)
    sides = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(side[0] - 2, 0), side[-1] + 3) for side in sides)


def limits_of(side: slice) -> tuple[float, float]:
    """The limits of an axis that shows these voxels whole."""
    return side.start - 0.5, side.stop - 0.5


def cards(
    panels: Mapping[str, np.ndarray], columns: int, bar_height: float = 0.0, remarks: bool = False
):
    """A dark card with axes for each panel. bar_height: inches left for a colour bar. remarks:
    whether room is left for words under the panels.

    A single panel stands in the middle of a card as wide as all others, no higher than a screen.
    On a narrow page half as many stand side by side, but two; the third is in the middle below.
    """
    columns = min(columns if not is_narrow() else max(2, -(-columns // 2)), len(panels))
    rows = -(-len(panels) // columns)
    titles = [wrapped(title, 1.1 / columns) if is_narrow() else title for title in panels]
    lines = max(title.count("\n") for title in titles)  # beyond the first
    aspect = max(v.shape[1] / v.shape[0] for v in panels.values())
    tall = min((across() / columns - 0.1) * aspect, _HIGHEST if len(panels) == 1 else np.inf)
    height = rows * (tall + 0.32 + 0.18 * lines + 0.1 * remarks) + bar_height + 0.1
    figure = Picture(figsize=(across(), height), facecolor=CARD, layout="constrained")
    figure.trim, figure.reflows = len(panels) > 1, True
    if remarks and rows > 1:
        figure.get_layout_engine().set(hspace=0.04)
    axes = [figure.add_subplot(place) for place in _places(figure, rows, columns, len(panels))]
    for ax, title in zip(axes, titles, strict=True):
        ax.axis("off")
        ax.set_aspect("equal")
        ax.set_anchor("N")  # titles of a row at one height, whatever its panels' shapes
        ax.set_title(title, color=ON_CARD, fontsize=10.5)
    return figure, np.array(axes)


def _places(figure: Picture, rows: int, columns: int, number: int) -> list[SubplotSpec]:
    """Where so many panels stand, row by row; those of a last row that is not full stand in its
    middle."""
    grid = figure.add_gridspec(rows, 2 * columns)
    indent = rows * columns - number  # halves of a panel
    starts = [(i // columns, 2 * (i % columns)) for i in range(number)]
    starts = [(row, left + indent * (row == rows - 1)) for row, left in starts]
    return [grid[row, left : left + 2] for row, left in starts]


def colour_bar(figure: Picture, axes, scale: Normalize, colour_map, unit: str) -> None:
    """A bar under the panels with the colours of a scale. unit: its label."""
    bar = figure.colorbar(
        ScalarMappable(scale, colour_map),
        ax=list(axes),
        orientation="horizontal",
        shrink=0.8 if is_narrow() else 0.5,
        aspect=36,
        pad=0.02,
        ticks=MaxNLocator(5),
    )
    bar.set_label(unit, color=ON_CARD_MUTED)
    bar.ax.tick_params(colors=ON_CARD_MUTED, length=2)
    bar.outline.set_visible(False)
