"""Small pictures for the chapters: images, lattices, arrows and curves of tensors in voxels.

`figures` and `maps` draw scans in millimetres; the functions of this module draw tensors without a
world. Axis 0 runs right and axis 1 up, so an RAS slice has left on the left and front at the top.
Every function takes `alt`, the text alternative for readers who do not see the picture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize

from nevf_lite.grid import identity
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.viz.cards import bright_box, cards, colour_bar, limits_of, outline_of, plane_of
from nevf_lite.viz.naming import Mark, name_marks
from nevf_lite.viz.remarks import Remark, arrows_on, remark_on
from nevf_lite.viz.style import (
    CARD,
    DIVERGING,
    FIXED,
    FOLD,
    GREY,
    LABELS,
    MOVED,
    ON_CARD,
    SEQUENTIAL,
    SIGNED,
    Picture,
    chart,
    colours_of,
    ink_style,
    styled,
)
from nevf_lite.viz.ticks import plain_ticks
from nevf_lite.viz.widths import is_narrow

_COLOUR_MAPS = {"grey": GREY, "sequential": SEQUENTIAL, "diverging": DIVERGING}
_COLOUR_MAPS |= {"signed": SIGNED, "labels": LABELS}
_OUTLINES = {"grey": FIXED, "signed": ON_CARD, "labels": ON_CARD}  # on the others that of the card
_MARKERS = ("o", "s", "^", "D", "v", "P")
_NONE: Mapping = MappingProxyType({})
_LONGEST = 24  # letters of a name that has room beside its curve


@styled
def images(
    panels: Mapping[str, object],
    alt: str,
    *,
    limits: tuple[float, float] | None = (0.0, 1.0),
    colours: str = "grey",
    unit: str | None = None,
    folds: bool = False,
    outline=None,
    edges: Mapping[str, Sequence] = _NONE,
    moves: Mapping[str, object] = _NONE,
    magnified: float = 1.0,
    remarks: Mapping[str, str | Sequence[str | Remark]] = _NONE,
    crop: bool = False,
    columns: int = 3,
) -> Picture:
    """Two-dimensional images side by side under their titles.

    panels: title to (H, W) or (1, 1, H, W), tensors or arrays. limits: the values of the darkest
    and the lightest colour, common to all panels; None takes the range of the panels. NaN is not
    drawn. colours: "grey", "sequential", "diverging" for determinants in a brain, pale in the
    middle of the limits, "signed" for what is nothing there, and dark, or "labels", numbers that
    are names. unit: label of a colour bar; None draws no bar. folds: paint values of zero or less
    yellow, for Jacobian determinants. outline: an image (1, 1, H, W) whose edge, halfway between
    its lowest and highest value, is drawn over every panel, in blue, or in black or white where
    blue is a value; or title to image.
    edges: title to images whose edges are drawn over that panel, thin and in orange. moves: title
    to a displacement (1, 2, H, W) in voxels, drawn over that panel as arrows, `magnified` times as
    long as it is; NaN has none. remarks: title to words under that panel, or to words with arrows.
    crop: leave out the rim that is dark in all panels. columns: the most panels in a row.
    """
    flat = {title: plane_of(values) for title, values in panels.items()}
    if limits is None:
        limits = min(v.min() for v in flat.values()), max(v.max() for v in flat.values())
    scale = Normalize(*limits)
    box = bright_box(flat.values(), scale) if crop else (slice(None),) * 2
    seen = {title: values[box] for title, values in flat.items()}
    figure, axes = cards(seen, columns, bar_height=0.5 if unit else 0.0, remarks=bool(remarks))
    for ax, (title, values) in zip(axes, flat.items(), strict=True):
        ax.imshow(values.T, origin="lower", cmap=_COLOUR_MAPS[colours], norm=scale)
        if folds:
            crushed = np.ma.masked_where(values > 0, np.ones_like(values))
            ax.imshow(crushed.T, origin="lower", cmap=ListedColormap([FOLD]))
        for edge in edges.get(title, ()):
            outline_of(ax, edge, MOVED, width=0.6)
        edge = outline.get(title) if isinstance(outline, Mapping) else outline
        if edge is not None:
            outline_of(ax, edge, _OUTLINES.get(colours, CARD))
        if title in moves:
            arrows_on(ax, moves[title], magnified)
        remark_on(ax, remarks.get(title, ""))
        if crop:
            ax.set(xlim=limits_of(box[0]), ylim=limits_of(box[1]))
    if unit:
        colour_bar(figure, axes, scale, _COLOUR_MAPS[colours], unit)
    figure.alt = alt
    return figure


@styled
def lattices(
    panels: Mapping[str, object],
    alt: str,
    *,
    background=None,
    every: int = 8,
    columns: int = 3,
) -> Picture:
    """The lines of a regular lattice moved by displacements; folded cells are yellow.

    panels: title to a displacement (1, 2, H, W) in voxels. background: an image (1, 1, H, W),
    drawn faintly underneath; for a pull-back map, the moving image. every: voxels between lines.
    """
    first = next(iter(panels.values()))
    blank = {title: np.zeros(first.shape[2:]) for title in panels}
    figure, axes = cards(blank, columns)
    for ax, displacement in zip(axes, panels.values(), strict=True):
        u = displacement.detach()
        if background is not None:
            ax.imshow(plane_of(background).T * 0.45, origin="lower", cmap=GREY, vmin=0, vmax=1)
        points = (identity(u.shape[2:]) + u.cpu())[0].numpy()  # (2, H, W)
        horizontal = [points[:, :, j].T for j in range(0, points.shape[2], every)]
        vertical = [points[:, i, :].T for i in range(0, points.shape[1], every)]
        ax.add_collection(LineCollection(horizontal + vertical, colors=MOVED, linewidths=0.9))
        folded = (jacobian_determinant(u)[0] <= 0).cpu().numpy()
        if folded.any():
            x, y = points[:, :-1, :-1][:, folded]
            ax.scatter(x, y, s=5, color=FOLD, linewidths=0, zorder=3)
            figure.supxlabel("yellow: folded cells", color=FOLD, fontsize=9)
        ax.set(xlim=(-0.5, u.shape[2] - 0.5), ylim=(-0.5, u.shape[3] - 0.5))
    figure.alt = alt
    return figure


@styled
def arrows(
    panels: Mapping[str, object],
    alt: str,
    *,
    background=None,
    outline=None,
    every: int = 8,
    streams: Collection[str] = (),
    columns: int = 3,
) -> Picture:
    """Vector fields as arrows, or as the lines along which their wind blows.

    panels: title to a field (1, 2, H, W); the longest arrow of each panel is one and a half gaps,
    and what is shorter than a 25th of it is left out.
    background: an image (1, 1, H, W), drawn faintly underneath. outline: as in `images`. every:
    voxels between arrows. streams: titles of the panels that show streamlines, thick where it is
    fast, instead of arrows.
    """
    first = next(iter(panels.values()))
    figure, axes = cards({title: np.zeros(first.shape[2:]) for title in panels}, columns)
    for ax, (title, field) in zip(axes, panels.items(), strict=True):
        x, y = field.detach().cpu()[0].numpy()
        if background is not None:
            ax.imshow(plane_of(background).T * 0.55, origin="lower", cmap=GREY, vmin=0, vmax=1)
        if outline is not None:
            outline_of(ax, outline)
        speed = np.hypot(x, y)
        i, j = np.arange(x.shape[0]), np.arange(x.shape[1])
        if title in streams:
            width = 0.3 + 2.2 * speed.T / speed.max()
            ax.streamplot(i, j, x.T, y.T, color=MOVED, linewidth=width, arrowsize=0.9, density=1.1)
        else:
            part = (slice(every // 2, None, every),) * 2
            long = speed[part].max() / (1.5 * every)
            seen = speed[part] > 0.04 * speed[part].max()
            at = [a[seen] for a in np.meshgrid(i[part[0]], j[part[1]], indexing="ij")]
            style = {"color": MOVED, "width": 0.006, "headwidth": 4, "zorder": 3}
            ax.quiver(
                *at,
                x[part][seen],
                y[part][seen],
                angles="xy",
                scale_units="xy",
                scale=long,
                **style,
            )
        ax.set(xlim=(-0.5, x.shape[0] - 0.5), ylim=(-0.5, x.shape[1] - 0.5))
    figure.alt = alt
    return figure


@styled
def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    alt: str,
    *,
    x: str,
    y: str,
    log: str = "",
    marks: bool | Collection[str] = True,
    dots: Collection[str] = (),
    equal: bool = False,
    above: bool = False,
    looks: Mapping[str, Mapping] = _NONE,
    height: float = 3.0,
) -> Picture:
    """Curves on one pair of axes. lines: name to (xs, ys). x, y: labels, with units.

    log: "x", "y" or "xy" for logarithmic axes. marks: whether each point has a symbol, which tells
    curves apart without colour, or the names of the curves that have them. dots: the names of those
    that are symbols alone, without a line. equal: equal scales on x and y, for paths in the plane.
    above: a legend, if there is one, stands above the axes, where it covers no curve. looks: name
    to what matplotlib shall draw otherwise, such as {"ls": "--"}. height: inches.

    Several curves are named at their ends. Long names, and those of paths, are in a legend.
    """
    with matplotlib.style.context(ink_style("any")):
        listed = len(lines) > 1 and is_narrow() and (above or equal)  # a line of the legend each
        figure = chart(height + 0.2 * listed * len(lines))
        figure.trim = listed and equal  # such axes seldom fill the height
        axes = figure.subplots()
        colours = colours_of(lines)
        for i, (name, (xs, ys)) in enumerate(lines.items()):
            has_marker = marks if isinstance(marks, bool) else name in marks
            marker = _MARKERS[i % len(_MARKERS)] if has_marker else None
            dash = "none" if name in dots else "-" if i < len(_MARKERS) else "--"
            own = {"ls": dash, "c": colours[name], "marker": marker, "markersize": 4.5}
            axes.plot(xs, ys, label=name, **own | dict(looks.get(name, _NONE)))
        scales = {f"{axis}scale": "log" if axis in log else "linear" for axis in "xy"}
        axes.set(xlabel=x, ylabel=y, **scales)
        plain_ticks(axes, sorted({float(v) for xs, _ in lines.values() for v in xs}), log)
        axes.grid(True)
        if equal:
            axes.set_aspect("equal")
        if len(lines) > 1 and not equal and max(map(len, lines)) <= _LONGEST:
            name_marks(axes, [Mark.at_end(line) for line in axes.lines])
        elif len(lines) > 1:
            location = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if equal else {}
            if above or listed:
                columns = 1 if listed else 2
                location = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": columns}
            axes.legend(**location)
    figure.alt = alt
    return figure
