"""Charts of registrations: convergence, the Dice of each structure, results by two measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from nevf_lite.viz.naming import Mark, name_marks
from nevf_lite.viz.style import (
    AFTER,
    ALARM,
    BEFORE,
    INK,
    PAPER,
    Picture,
    chart,
    colours_of,
    ink_style,
    styled,
)
from nevf_lite.viz.widths import is_narrow

_CURVES = (  # key, axis label, colour
    ("similarity", "similarity\n(1 is best)", AFTER),
    ("loss", "loss", BEFORE),
    ("folds", "folds (%)", ALARM),
)
_PANEL_HEIGHTS = {"similarity": 1.8, "loss": 1.3, "folds": 1.0}  # inches


@styled
def convergence(history: Sequence[Mapping], theme: str = "any") -> Picture:
    """Similarity, loss and folds over the iterations; each level has a panel with its own scale.

    A level's images are blurred in their own way, so values of two levels cannot be compared: on
    one scale the change of level would look like a fall.

    history: one mapping per iteration, in order, as :func:`nevf_lite.optimise.fit` records them,
        with any of the keys ``similarity``, ``loss``, ``folds`` (fraction of voxels with
        determinant <= 0), ``level`` (a number from 0, or a name) and ``seconds`` (since the start).
        A missing or non-finite value leaves a gap.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError for an empty history or one without any of the curves.
    """
    columns = {key: _column(history, key) for key in _PANEL_HEIGHTS}
    columns["folds"] = 100 * columns["folds"]
    curves = [(key, label, colour, columns[key]) for key, label, colour in _CURVES]
    curves = [curve for curve in curves if np.isfinite(curve[3]).any()]
    if not curves:
        raise ValueError("history: it holds no similarity, loss or folds to draw")
    no_folds = curves[-1][0] == "folds" and not np.nanmax(columns["folds"]) > 0
    drawn = curves[:-1] if no_folds and len(curves) > 1 else curves  # a line at zero is left out
    seconds = _column(history, "seconds")
    notes = [f"{seconds[-1]:.0f} s in all"] if np.isfinite(seconds[-1]) else []
    notes += ["no folds in any"] if no_folds else []
    levels = _levels(history)
    with matplotlib.rc_context(ink_style(theme)):
        heights = [_PANEL_HEIGHTS[key] for key, *_ in drawn]
        figure = chart(sum(heights) + 0.8)
        widths = [max(part.stop - part.start, len(history) / 6) for part in levels.values()]
        ratios = {"height_ratios": heights, "width_ratios": widths}
        panels = figure.subplots(
            len(drawn), len(levels), sharex="col", squeeze=False, gridspec_kw=ratios
        )
        iterations = np.arange(1, len(history) + 1)
        for row, (_, label, colour, values) in zip(panels, drawn, strict=True):
            row[0].set_ylabel(label)
            for axes, part in zip(row, levels.values(), strict=True):
                marker = "o" if part.stop - part.start == 1 else None
                axes.plot(iterations[part], values[part], color=colour, marker=marker)
                axes.grid(axis="y")
                axes.margins(x=0)
                axes.xaxis.set_major_locator(MaxNLocator(2 if is_narrow() else 4, integer=True))
                if colour == ALARM:
                    axes.set_ylim(bottom=0)
        if len(levels) > 1:
            for axes, name in zip(panels[0], levels, strict=True):
                axes.set_title(name, fontsize=9)
        figure.supxlabel("iteration" + (f" ({', '.join(notes)})" if notes else ""), fontsize=10)
        figure.align_ylabels()
    changes = [f"{key} {_changes(values, levels)}" for key, _, _, values in drawn]
    figure.alt = f"Convergence over {len(history)} iterations: {'; '.join([*changes, *notes])}."
    return figure


def _column(history: Sequence[Mapping], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in history], dtype=float)


def _levels(history: Sequence[Mapping]) -> dict[str, slice]:
    """The iterations of each level, by its name, in order."""
    levels = [row.get("level") for row in history]
    starts = [0, *(i for i in range(1, len(levels)) if levels[i] != levels[i - 1])]
    names = [
        levels[i] if isinstance(levels[i], str) else f"level {(levels[i] or 0) + 1}" for i in starts
    ]
    spans = zip(starts, [*starts[1:], len(levels)], strict=True)
    return {name: slice(*span) for name, span in zip(names, spans, strict=True)}


def _changes(values: np.ndarray, levels: Mapping[str, slice]) -> str:
    """First and last value of each level, in words."""
    known = [values[part][np.isfinite(values[part])] for part in levels.values()]
    return ", then ".join(f"from {v[0]:.3g} to {v[-1]:.3g}" for v in known if v.size)


@styled
def dice_bars(
    before: Mapping[int, float] | None,
    after: Mapping[int, float],
    names: Mapping[int, str],
    theme: str = "any",
) -> Picture:
    """Dice of every structure, best first: a bar for after registration, a mark for before.

    before: Dice by label, or None. after: Dice by label; NaN, for an absent structure, is left out.
        names: names of the labels; a label without a name shows its number.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError when no structure has a Dice.
    """
    order = [label for label in ranked(after) if np.isfinite(after[label])]
    if not order:
        raise ValueError("after: no label has a finite Dice to draw")
    start = [float((before or {}).get(label, np.nan)) for label in order]
    end = [float(after[label]) for label in order]
    rows = np.arange(len(order))
    with matplotlib.rc_context(ink_style(theme)):
        height = 0.22 * len(order) + 0.95
        figure = chart(height)
        axes = figure.subplots()
        axes.barh(rows, end, height=0.66, color=AFTER, label="after")
        if np.isfinite(start).any():
            marker = {"marker": "|", "markersize": 9.5, "linestyle": "none"}
            # a wider mark in the colour of the page separates the mark from the bar
            axes.plot(start, rows, color=PAPER[theme], markeredgewidth=4.0, **marker)
            axes.plot(start, rows, color=INK[theme], markeredgewidth=2.0, label="before", **marker)
        for row, value, right in zip(rows, end, np.fmax(start, end), strict=True):
            axes.text(right + 0.015, row, f"{value:.2f}", va="center", fontsize=8.5)
        axes.set_yticks(rows, [names.get(label, f"label {label}") for label in order], fontsize=8.5)
        axes.set(xlim=(0, 1.07), ylim=(len(order) - 0.4, -0.6), xlabel="Dice (1 is perfect)")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    mean = f"{np.nanmean(start):.3f} before and " if np.isfinite(start).any() else ""
    figure.alt = f"Dice of {len(order)} structures: mean {mean}{np.mean(end):.3f} after."
    return figure


def ranked(after: Mapping[int, float]) -> list[int]:
    """Labels by Dice, best first; absent structures (NaN) last, ties by number."""
    return sorted(after, key=lambda k: (not np.isfinite(after[k]), -np.nan_to_num(after[k]), k))


@styled
def named_dots(
    panels: Mapping[str, Mapping[str, tuple[float, float]]],
    alt: str,
    *,
    y: str,
    height: float = 2.8,
    theme: str = "any",
) -> Picture:
    """A dot for each result, with its name beside it; panels side by side share the upright axis,
    and stand under each other on a narrow page.

    panels: label of the axis along, with its unit, to name of a result to (x, y). A name has one
        colour in every panel. y: label of the upright axis, with its unit. height: inches.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError when there is no dot.
    """
    colours = colours_of(name for dots in panels.values() for name in dots)
    if not colours:
        raise ValueError("panels: there is no dot to draw")
    with matplotlib.rc_context(ink_style(theme)):
        high = len(panels) if is_narrow() else 1
        figure = chart(height * high)
        grid = figure.subplots(high, len(panels) // high, sharey=True, squeeze=False)
        for axes, (label, dots) in zip(grid.flat, panels.items(), strict=True):
            for name, at in dots.items():
                axes.plot(*at, "o", color=colours[name], markersize=6, label=name)
            axes.set_xlabel(label)
            axes.margins(0.12, 0.14)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.grid(True)
        for axes in grid[:, 0]:
            axes.set_ylabel(y)
        for axes in grid.flat:
            name_marks(axes, [Mark.at_end(dot) for dot in axes.lines])
    figure.alt = alt
    return figure
