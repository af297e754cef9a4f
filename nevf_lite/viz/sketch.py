"""The small pictures of a chapter: images, lattices and curves of tensors in voxels.

Pictures of scans in millimetres are the business of `figures` and `maps`; these draw what lives on
the ground floor. Axis 0 runs right and axis 1 up, so an RAS slice is seen as usual: left on the
left, front at the top. Every picture wants `alt`, what a person who cannot see it should be told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nevf_lite.grid import identity
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.viz.style import (
    CARD,
    DIVERGING,
    FOLD,
    GREY,
    MOVED,
    ON_CARD,
    ON_CARD_MUTED,
    SEQUENTIAL,
    WIDTH,
    Picture,
    chart,
    ink_style,
    styled,
)

_MAPS = {"grey": GREY, "diverging": DIVERGING, "sequential": SEQUENTIAL}
#: Colours of curves, in order: distinct in lightness too (after Okabe and Ito 2008).
CURVES = ("#2f86cc", "#d9660d", "#1f9d78", "#b05a94", "#8d949e", "#c99700")
_MARKS = ("o", "s", "^", "D", "v", "P")


@styled
def images(
    panels: Mapping[str, object],
    alt: str,
    *,
    limits: tuple[float, float] | None = (0.0, 1.0),
    colours: str = "grey",
    unit: str | None = None,
    columns: int = 3,
) -> Picture:
    """Two-dimensional images side by side under their titles.

    panels: title to (H, W) or (1, 1, H, W), tensors or arrays. limits: values of the darkest and
    the lightest colour, the same for all; None takes them from the panels. colours: "grey",
    "sequential" or "diverging" (whose middle is the middle of the limits). unit: what a value is;
    given, a colour bar is drawn. columns: panels in a row, at most.
    """
    flat = {title: _plane(values) for title, values in panels.items()}
    if limits is None:
        limits = min(v.min() for v in flat.values()), max(v.max() for v in flat.values())
    scale = Normalize(*limits)
    figure, axes = _cards(flat, columns, room=0.5 if unit else 0.0)
    for place, values in zip(axes, flat.values(), strict=True):
        place.imshow(values.T, origin="lower", cmap=_MAPS[colours], norm=scale)
    if unit:
        _bar(figure, axes, scale, _MAPS[colours], unit)
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
    """Where the lines of a regular lattice go under displacements; folded cells are yellow.

    panels: title to a displacement (1, 2, H, W) in voxels. background: an image (1, 1, H, W) to
    draw faintly underneath: for a pull-back map, the moving one. every: voxels between lines.
    """
    first = next(iter(panels.values()))
    frame = {title: np.zeros(first.shape[2:]) for title in panels}
    figure, axes = _cards(frame, columns)
    for place, displacement in zip(axes, panels.values(), strict=True):
        u = displacement.detach()
        if background is not None:
            place.imshow(_plane(background).T * 0.45, origin="lower", cmap=GREY, vmin=0, vmax=1)
        points = (identity(u.shape[2:]) + u.cpu())[0].numpy()  # (2, H, W)
        across = [points[:, :, j].T for j in range(0, points.shape[2], every)]
        along = [points[:, i, :].T for i in range(0, points.shape[1], every)]
        place.add_collection(LineCollection(across + along, colors=MOVED, linewidths=0.9))
        folded = (jacobian_determinant(u)[0] <= 0).cpu().numpy()
        if folded.any():
            x, y = points[:, :-1, :-1][:, folded]
            place.scatter(x, y, s=5, color=FOLD, linewidths=0, zorder=3)
        place.set(xlim=(-0.5, u.shape[2] - 0.5), ylim=(-0.5, u.shape[3] - 0.5))
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
    equal: bool = False,
    above: bool = False,
    height: float = 3.0,
) -> Picture:
    """Curves on one pair of axes. lines: name to (xs, ys). x, y: labels, with units.

    log: "x", "y" or "xy" for logarithmic axes. marks: a symbol at each point, so that curves are
    told apart without colour; or the names of the curves that get them. equal: a unit is as long on
    x as on y, for paths in the plane. above: the legend over the curves, where it hides none.
    """
    import matplotlib

    with matplotlib.style.context(ink_style("any")):
        figure = chart(height)
        axes = figure.subplots()
        for i, (name, (xs, ys)) in enumerate(lines.items()):
            marked = marks if isinstance(marks, bool) else name in marks
            marker = _MARKS[i % len(_MARKS)] if marked else None
            colour = CURVES[i % len(CURVES)]
            dash = "-" if i < len(CURVES) else "--"
            axes.plot(xs, ys, dash, color=colour, marker=marker, markersize=4.5, label=name)
        axes.set(
            xlabel=x,
            ylabel=y,
            xscale="log" if "x" in log else "linear",
            yscale="log" if "y" in log else "linear",
        )
        _ticks(axes, sorted({float(v) for xs, _ in lines.values() for v in xs}), log)
        axes.grid(True)
        if equal:
            axes.set_aspect("equal")
        if len(lines) > 1:
            outside = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if equal else {}
            if above:
                outside = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
            axes.legend(**outside)
    figure.alt = alt
    return figure


def _ticks(axes, xs: Sequence[float], log: str) -> None:
    """Plain numbers: whole ones where x is whole, and each x where few stand on a log axis."""
    if "x" in log and len(xs) <= 9:
        axes.set_xticks(xs, [f"{v:g}" for v in xs])
        axes.set_xticks([], minor=True)
    elif "x" not in log and all(v.is_integer() for v in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if "y" in log:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _plane(values) -> np.ndarray:
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    plane = values.reshape(values.shape[-2:])  # a ValueError here: more than one image
    return plane.astype(np.float32)


def _cards(panels: Mapping[str, np.ndarray], columns: int, room: float = 0.0):
    """A dark card with one pair of axes a panel; room: inches left for a colour bar."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    tall = max(v.shape[1] / v.shape[0] for v in panels.values())
    height = rows * ((WIDTH / columns - 0.1) * tall + 0.32) + room + 0.1
    figure = Picture(figsize=(WIDTH, height), facecolor=CARD, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
        place.set_aspect("equal")
    axes = axes[: len(panels)]
    for place, title in zip(axes, panels, strict=True):
        place.set_title(title, color=ON_CARD, fontsize=9.5)
    return figure, axes


def _bar(figure: Picture, axes, scale: Normalize, colours, unit: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(scale, colours),
        ax=list(axes),
        orientation="horizontal",
        shrink=0.5,
        aspect=36,
        pad=0.02,
        ticks=MaxNLocator(5),
    )
    bar.set_label(unit, color=ON_CARD_MUTED)
    bar.ax.tick_params(colors=ON_CARD_MUTED, length=2)
    bar.outline.set_visible(False)
