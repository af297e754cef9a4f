"""Charts of a study: the Dice of every method for each pair, and Dice against time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from nevf_lite.data.splits import titled
from nevf_lite.viz.naming import Mark, name_marks, on_axes
from nevf_lite.viz.style import (
    AFTER,
    ALARM,
    INK,
    METHOD_COLOURS,
    Picture,
    chart,
    colours_of,
    ink_style,
    styled,
)
from nevf_lite.viz.ticks import log_locator
from nevf_lite.viz.widths import is_narrow

if TYPE_CHECKING:
    import pandas as pd

#: A symbol for each method, because colour alone does not separate them for every reader.
_MARKERS = "osD^vP*X"
#: The lines of a method, of its first variant, of its second.
_DASHES = ("-", "--", ":")
#: More courses than this have their names in each other's way, and get a legend.
_MANY_COURSES = 9
#: A course with more points than this was recorded during the run.
_MANY_POINTS = 10


@styled
def overlap(
    rows: pd.DataFrame,
    paper: Mapping[tuple[str, str], float] | None = None,
    difference: str = "",
    theme: str = "any",
) -> Picture:
    """Dice of every method: a dot for each pair, a bar at the mean, a diamond for the paper.

    A method with fewer pairs than another on a dataset has no bar: means over different pairs are
    not to be compared. One pair has none either.

    rows: a study's table (see `study.read_rows`) with the columns dataset, label, dice and status.
        Methods are drawn in the order of their first row, datasets side by side, or under each
        other on a narrow page.
    paper: (dataset, label) to the mean that the paper reports, where it reports one.
    difference: the column dice holds differences within pairs, with this name: nothing is marked
        by a line, and every mean has its bar, since a pair is compared with itself.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError when no row is done.
    """
    rows = _completed(rows)
    datasets, labels = list(rows.dataset.unique()), list(rows.label.unique())
    paper = paper or {}
    means, bars = [], []
    with matplotlib.rc_context(ink_style(theme)):
        rows_high = len(datasets) if is_narrow() else 1
        figure = chart((0.27 * len(labels) + 0.7) * rows_high + 0.45)
        grid = figure.subplots(rows_high, len(datasets) // rows_high, sharey=True, squeeze=False)
        panels = grid.flat
        for axes, dataset in zip(panels, datasets, strict=True):
            of_dataset = rows[rows.dataset == dataset]
            pairs = of_dataset.groupby("label").size().max()
            if difference:
                axes.axvline(0, color=INK[theme], lw=1, zorder=1)
            for row, label in enumerate(labels):
                dice = of_dataset[of_dataset.label == label].dice.to_numpy(float)
                heights = row + 0.16 * np.linspace(-1, 1, len(dice) + 2)[1:-1]
                axes.plot(dice, heights, "o", color=INK[theme], markersize=3.2, alpha=0.7)
                pairs = len(dice) if difference else pairs
                if len(dice) == pairs:
                    means.append(f"{label} on {dataset} {dice.mean():.3f}")
                if len(dice) == pairs > 1:  # of one pair, the dot says it
                    ends = [dice.mean()] * 2, [row - 0.36, row + 0.36]
                    bars = axes.plot(*ends, color=AFTER, lw=2.6, label="mean")
                if (dataset, label) in paper:
                    axes.plot(
                        paper[dataset, label], row, "D", mfc="none", mec=ALARM, markersize=5.5
                    )
            axes.set(title=titled(dataset))
            if axes in grid[-1]:
                axes.set_xlabel(difference or "Dice")
            axes.xaxis.set_major_locator(MaxNLocator(4 if len(datasets) < 3 else 2))
            axes.grid(axis="x")
        for axes in grid[:, 0]:
            axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
            for text in axes.get_yticklabels():
                text.set_fontweight("bold" if text.get_text() == "NeVF" else "normal")
        panels[0].set_ylim(len(labels) - 0.4, -0.6)
        handles = [Line2D([], [], ls="", marker="o", color=INK[theme], label="one pair"), *bars]
        if paper:
            style = {"ls": "", "marker": "D", "mfc": "none", "mec": ALARM}
            handles.append(Line2D([], [], label="the paper's mean", **style))
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.alt = f"Mean {difference or 'Dice'}: " + "; ".join(means) + "."
    return figure


@styled
def dice_against_time(
    courses: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    before: float,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    paper: Mapping[str, tuple[float, float]] | None = None,
    least: float = -np.inf,
    title: str = "",
    theme: str = "any",
) -> Picture:
    """Dice over seconds, on a logarithmic time axis: one course for each method, named at its end.

    More than nine courses are named in a legend under the chart instead.

    courses: name to (seconds, Dice), in the order they were recorded; a point at 0 seconds is
        left out, because a logarithmic axis has no 0. A name such as "greedy at 1 mm" or "SYMNet +
        TTR" gets the colour of "greedy", of "SYMNet", and a broken line. before: the initial Dice,
        drawn as a dotted line, or written into a corner where it is far below all the rest.
    bands: name to the (lowest, highest) Dice at each point of its course, as over pairs, shaded.
    paper: name to the (seconds, Dice) that the paper reports: the symbol of the name, hollow, which
        a thin line joins to the end of the course.
    least: the lowest Dice that is shown; courses come in from below it. title: over the chart.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError when no course has a point after the start.
    """
    drawn = {name: _after_start(*course) for name, course in courses.items()}
    bands, paper = bands or {}, paper or {}
    if not any(len(seconds) for seconds, _ in drawn.values()):
        raise ValueError("courses: none has a point after 0 seconds, so there is nothing to draw")
    with matplotlib.rc_context(ink_style(theme)):
        crowded, columns = len(drawn) > _MANY_COURSES, 2 if is_narrow() else 4
        figure = chart((4.6 if is_narrow() else 3.9) + crowded * 2 / columns)
        axes = figure.subplots()
        curves, level = {}, None
        seen = np.concatenate([*(d for _, d in drawn.values()), [d for _, d in paper.values()]])
        seen = seen[seen >= least]
        if max(seen.min(), least) - before < np.ptp(seen) / 2:
            level = axes.axhline(before, color=INK[theme], lw=1, ls=":", label="before")
        looks = _looks(drawn, INK[theme])
        for i, (name, (seconds, dice)) in enumerate(drawn.items()):
            many = len(seconds) > _MANY_POINTS  # a symbol at each point would hide the line
            colour, dash = looks[name]
            marker = _MARKERS[i % len(_MARKERS)]
            if name in bands:
                low, high = (_after_start(courses[name][0], edge)[1] for edge in bands[name])
                axes.fill_between(seconds, low, high, color=colour, alpha=0.16, lw=0, zorder=1)
                if len(seconds) == 1:  # a band needs two points
                    ends = [low[0], high[0]]  # a line, which names keep off
                    axes.plot([seconds[0]] * 2, ends, color=colour, alpha=0.5, lw=1.4, zorder=1)
            if name in paper:
                when, what = paper[name]
                axes.plot(when, what, marker, mfc="none", mec=colour, markersize=6)
                way = [seconds[-1], when], [dice[-1], what]
                axes.plot(*way, ":", color=colour, alpha=0.45, lw=0.8, zorder=1)
            (curves[name],) = axes.plot(
                seconds,
                dice,
                linestyle=dash if len(seconds) > 1 else "",  # one point: a symbol alone, in the key
                color=colour,
                marker=marker,
                markevery=len(seconds) // 6 if many else None,
                markersize=5,
                linewidth=2.6 if many else 1.4,
                zorder=3 if many else 2,
                label=name,
            )
        axes.set(xscale="log", xlabel="seconds", ylabel="Dice", title=title)
        axes.margins(x=0.05 if crowded else 0.12)  # room for a name at an end
        axes.xaxis.set_major_locator(log_locator(axes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.grid(True)
        if least > -np.inf:
            axes.set_ylim(bottom=least)
        start = min(seconds[0] for seconds, _ in drawn.values() if len(seconds))
        marks = [Mark("before", start, before, INK[theme], level)] if level else []
        if not level:
            _in_a_corner(axes, f"start: {before:.3f}")
        for name, (seconds, dice) in drawn.items():
            if len(seconds):
                line = curves[name]
                marks.append(Mark(name, seconds[-1], dice[-1], line.get_color(), line))
        if crowded:
            style = {"ncols": columns, "handlelength": 3, "columnspacing": 1.2}
            figure.legend(handles=[m.curve for m in marks], loc="outside lower center", **style)
        else:
            name_marks(axes, marks)
    ends = [
        f"{name} reaches {dice[-1]:.3f} after {seconds[-1]:.0f} s"
        + (f" (in the paper {paper[name][1]:.3f})" if name in paper else "")
        for name, (seconds, dice) in drawn.items()
        if len(seconds)
    ]
    figure.alt = f"Dice over time, from {before:.3f}: {'; '.join(ends)}."
    return figure


def _in_a_corner(axes: Axes, text: str) -> None:
    """Write below the curves, at the right if something is drawn at the left."""
    places = on_axes(axes, np.concatenate([line.get_xydata() for line in axes.lines]))
    side = "right" if ((places < (0.2, 0.1)).all(axis=1)).any() else "left"
    at = 0.99 if side == "right" else 0.01
    axes.text(at, 0.02, text, transform=axes.transAxes, fontsize=9, ha=side)


def _looks(names: Iterable[str], ink: str) -> dict[str, tuple[str, str]]:
    """A colour for each method, which its variants share, and a dash for each variant.

    ink: the colour of methods for whom none is left, whose lines are broken.
    """
    names, variants, looks = list(names), {}, {}
    colours = colours_of((_base_method(name, names) for name in names), ink)
    for name in names:
        base = _base_method(name, names)
        kin = variants.setdefault(base, [base])  # the whole line is the method's own
        if name not in kin:
            kin.append(name)
        dash = min(kin.index(name) + (colours[base] == ink), len(_DASHES) - 1)
        looks[name] = colours[base], _DASHES[dash]
    return looks


def _base_method(name: str, names: list[str]) -> str:
    """The method of "greedy at 1 mm", "SYMNet + TTR", "features, fast" or "SyN [40,20,0]"; what is
    neither a method of the book nor drawn itself lends its variants no colour."""
    base = re.split(r" at | \+ |, | \[", name)[0]
    return base if base in names or base in METHOD_COLOURS else name


def _after_start(seconds, dice) -> tuple[np.ndarray, np.ndarray]:
    seconds, dice = np.asarray(seconds, float), np.asarray(dice, float)
    return seconds[seconds > 0], dice[seconds > 0]


def _completed(rows: pd.DataFrame) -> pd.DataFrame:
    done = rows[rows.status == "done"]
    if done.empty:
        raise ValueError("rows: none of them is done, so there is nothing to draw")
    return done
