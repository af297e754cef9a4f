"""Charts of a study: every method's Dice, pair by pair, and Dice against the time it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nevf_lite.viz.sketch import CURVES
from nevf_lite.viz.style import AFTER, ALARM, INK, Picture, chart, ink_style, styled

if TYPE_CHECKING:
    import pandas as pd

#: One symbol a family of methods, so that they are told apart without colour.
_MARKS = "osD^vP*X"
#: A course with more points than this was watched on its way.
_MANY = 10


@styled
def overlap(
    rows: pd.DataFrame, paper: Mapping[tuple[str, str], float] | None = None, theme: str = "any"
) -> Picture:
    """Dice of every method: a dot a pair, a bar at the mean, the paper's figure as a diamond.

    rows: of a study (see `study.read_rows`): dataset, label, dice and status of each. Methods stand
        in the order of their first row, datasets beside each other.
    paper: (dataset, label) to the paper's mean, where it has one.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError when no row is done.
    """
    rows = _done(rows)
    datasets, labels = list(rows.dataset.unique()), list(rows.label.unique())
    paper = paper or {}
    told = []
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(0.27 * len(labels) + 1.15)
        panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
        for axes, dataset in zip(panels, datasets, strict=True):
            here = rows[rows.dataset == dataset]
            for place, label in enumerate(labels):
                dice = here[here.label == label].dice.to_numpy(float)
                spread = place + 0.16 * np.linspace(-1, 1, len(dice) + 2)[1:-1]
                axes.plot(dice, spread, "o", color=INK[theme], markersize=3.2, alpha=0.7)
                if len(dice):
                    axes.plot([dice.mean()] * 2, [place - 0.36, place + 0.36], color=AFTER, lw=2.6)
                    told.append(f"{label} on {dataset} {dice.mean():.3f}")
                if (dataset, label) in paper:
                    axes.plot(
                        paper[dataset, label], place, "D", mfc="none", mec=ALARM, markersize=5.5
                    )
            axes.set(title=dataset, xlabel="Dice")
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.grid(axis="x")
        panels[0].set_yticks(range(len(labels)), labels, fontsize=8.5)
        panels[0].set_ylim(len(labels) - 0.4, -0.6)
        keys = [
            Line2D([], [], ls="", marker="o", color=INK[theme], label="one pair"),
            Line2D([], [], color=AFTER, lw=2.6, label="mean"),
        ]
        if paper:
            style = {"ls": "", "marker": "D", "mfc": "none", "mec": ALARM}
            keys.append(Line2D([], [], label="the paper's mean", **style))
        figure.legend(handles=keys, loc="outside upper center", ncols=3)
    figure.alt = "Mean Dice: " + "; ".join(told) + "."
    return figure


@styled
def dice_against_time(
    courses: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    before: float,
    theme: str = "any",
) -> Picture:
    """Dice over seconds, on a logarithmic axis of time: one course a method.

    courses: name to (seconds, Dice), in the order they were recorded; a point at 0 seconds, which
        no logarithmic axis has, is left out. before: Dice where all start, a dotted line.
        A name like "greedy at 1 mm" has the colour of "greedy", and a dashed line.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError when no course has a point after the start.
    """
    drawn = {name: _after_start(*course) for name, course in courses.items()}
    if not any(len(seconds) for seconds, _ in drawn.values()):
        raise ValueError("courses: none has a point after 0 seconds, so there is nothing to draw")
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(3.9)
        axes = figure.subplots()
        axes.axhline(before, color=INK[theme], lw=1, ls=":", label="before")
        kinds = list(dict.fromkeys(_kind(name) for name in drawn))
        for i, (name, (seconds, dice)) in enumerate(drawn.items()):
            kind = kinds.index(_kind(name))
            own = kind < len(CURVES) and _kind(name) == name  # a colour of its own
            many = len(seconds) > _MANY  # a watched method: symbols would hide its line
            axes.plot(
                seconds,
                dice,
                "-" if own else "--",
                color=CURVES[kind] if kind < len(CURVES) else INK[theme],
                marker=_MARKS[i % len(_MARKS)],
                markevery=len(seconds) // 6 if many else None,
                markersize=5,
                linewidth=2.6 if many else 1.4,
                zorder=3 if many else 2,
                label=name,
            )
        axes.set(xscale="log", xlabel="seconds", ylabel="Dice")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.grid(True)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    ends = [
        f"{name} reaches {dice[-1]:.3f} after {seconds[-1]:.0f} s"
        for name, (seconds, dice) in drawn.items()
        if len(seconds)
    ]
    figure.alt = f"Dice over time, from {before:.3f}: {'; '.join(ends)}."
    return figure


def _kind(name: str) -> str:
    return name.partition(" at ")[0]


def _after_start(seconds, dice) -> tuple[np.ndarray, np.ndarray]:
    seconds, dice = np.asarray(seconds, float), np.asarray(dice, float)
    return seconds[seconds > 0], dice[seconds > 0]


def _done(rows: pd.DataFrame) -> pd.DataFrame:
    done = rows[rows.status == "done"]
    if done.empty:
        raise ValueError("rows: none of them is done, so there is nothing to draw")
    return done
