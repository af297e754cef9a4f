"""Charts of a registration: how it converged, and Dice for each structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from nevf_lite.viz.style import AFTER, ALARM, BEFORE, INK, PAPER, Picture, chart, ink_style, styled

_CURVES = (  # key, words on the axis, colour
    ("similarity", "similarity\n(1 is best)", AFTER),
    ("loss", "loss", BEFORE),
    ("folds", "folds (%)", ALARM),
)
_HEIGHTS = {"similarity": 1.8, "loss": 1.3, "folds": 1.0}  # inches


@styled
def convergence(history: Sequence[Mapping], theme: str = "any") -> Picture:
    """Similarity, loss and folds over the iterations, with the levels as bands.

    history: one mapping an iteration, in order, as :func:`nevf_lite.optimise.fit` records them,
        with any of the keys ``similarity``, ``loss``, ``folds`` (fraction of voxels with
        determinant <= 0), ``level`` (a number from 0, or a name) and ``seconds`` (since the start).
        A value that is missing or not finite leaves a gap.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError for an empty history or one without any of the curves.
    """
    columns = {key: _column(history, key) for key in _HEIGHTS}
    columns["folds"] = 100 * columns["folds"]
    curves = [(key, words, colour, columns[key]) for key, words, colour in _CURVES]
    curves = [curve for curve in curves if np.isfinite(curve[3]).any()]
    if not curves:
        raise ValueError("history: it holds no similarity, loss or folds to draw")
    flat = curves[-1][0] == "folds" and not np.nanmax(columns["folds"]) > 0
    shown = curves[:-1] if flat and len(curves) > 1 else curves  # nothing to see in a line at zero
    seconds = _column(history, "seconds")
    notes = [f"{seconds[-1]:.0f} s in all"] if np.isfinite(seconds[-1]) else []
    notes += ["no folds in any"] if flat else []
    with matplotlib.rc_context(ink_style(theme)):
        heights = [_HEIGHTS[key] for key, *_ in shown]
        figure = chart(sum(heights) + 0.8)
        panels = figure.subplots(len(shown), 1, sharex=True, height_ratios=heights, squeeze=False)
        number = np.arange(1, len(history) + 1)
        for axes, (_, words, colour, values) in zip(panels[:, 0], shown, strict=True):
            axes.plot(number, values, color=colour, marker="o" if len(history) == 1 else None)
            axes.set_ylabel(words)
            axes.grid(axis="y")
            axes.margins(x=0)
            _bands(axes, history, INK[theme], named=axes is panels[0, 0])
            if colour == ALARM:
                axes.set_ylim(bottom=0)
        panels[-1, 0].set_xlabel("iteration" + (f" ({', '.join(notes)})" if notes else ""))
        figure.align_ylabels()
    ends = [(key, values[np.isfinite(values)][[0, -1]]) for key, _, _, values in shown]
    said = [f"{key} from {first:.3g} to {last:.3g}" for key, (first, last) in ends]
    figure.alt = f"Convergence over {len(history)} iterations: {'; '.join([*said, *notes])}."
    return figure


def _column(history: Sequence[Mapping], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in history], dtype=float)


def _bands(axes: Axes, history: Sequence[Mapping], ink: str, named: bool) -> None:
    """Shade every second level, and name each at the top of the first chart."""
    levels = [row.get("level") for row in history]
    changes = [i for i in range(1, len(levels)) if levels[i] != levels[i - 1]]
    starts = [0, *changes]
    if len(starts) < 2:
        return
    for turn, (start, stop) in enumerate(zip(starts, [*changes, len(levels)], strict=True)):
        if turn % 2:
            axes.axvspan(start + 0.5, stop + 0.5, color=ink, alpha=0.09, linewidth=0)
        if named:
            level = levels[start]
            text = level if isinstance(level, str) else f"level {level + 1}"
            axes.text(
                (start + stop + 1) / 2,
                1.02,
                text,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=9,
            )


@styled
def dice_bars(
    before: Mapping[int, float] | None,
    after: Mapping[int, float],
    names: Mapping[int, str],
    theme: str = "any",
) -> Picture:
    """Dice of every structure after registration as a bar, before it as a mark, best first.

    before: Dice by label, or None. after: Dice by label; NaN, for a structure that is absent, is
        left out. names: what the labels are called; one without a name shows its number.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError when no structure has a Dice.
    """
    order = ranked(after)
    order = [label for label in order if np.isfinite(after[label])]
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
            mark = {"marker": "|", "markersize": 9.5, "linestyle": "none"}
            axes.plot(start, rows, color=PAPER[theme], markeredgewidth=4.0, **mark)  # sets it apart
            axes.plot(start, rows, color=INK[theme], markeredgewidth=2.0, label="before", **mark)
        for row, value, far in zip(rows, end, np.fmax(start, end), strict=True):
            axes.text(far + 0.015, row, f"{value:.2f}", va="center", fontsize=8.5)
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
    """Labels by Dice, best first; absent structures (NaN) last, equals by number."""
    return sorted(after, key=lambda k: (not np.isfinite(after[k]), -np.nan_to_num(after[k]), k))
