"""Charts of a benchmark: kernels against the machine, their speedups, what a whole is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nevf_lite.viz.naming import Mark, name_marks
from nevf_lite.viz.style import CURVE_COLOURS, INK, Picture, chart, ink_style, styled
from nevf_lite.viz.widths import is_narrow

#: A symbol for each backend, because colour alone does not separate them for every reader.
_MARKERS = ("o", "s", "^", "D")


@styled
def roofline(
    points: Mapping[str, Mapping[str, tuple[float, float]]],
    bandwidths: Mapping[str, float],
    rate: float,
    theme: str = "any",
) -> Picture:
    """Roofline: operations a second over operations a byte, below the limits of the machine.

    points: operation to backend to (operations a byte, operations a second); a line joins the
        backends of an operation. bandwidths: name of a memory to its bytes a second, each a
        sloping roof. rate: peak operations a second, the flat roof.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError without points.
    """
    if not points:
        raise ValueError("points: wanted at least one operation, got none")
    backends = list(dict.fromkeys(name for results in points.values() for name in results))
    descriptions = []
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(4.2)
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="Gflop a second")
        intensities = [x for results in points.values() for x, _ in results.values()]
        x = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
        for dash, (name, bandwidth) in zip(("-", "--", ":"), bandwidths.items(), strict=False):
            roof = np.minimum(x * bandwidth, rate) / 1e9
            axes.plot(x, roof, dash, color=INK[theme], lw=1.4)
            axes.text(
                x[8],
                x[8] * bandwidth / 1e9,
                name,
                fontsize=9.5,
                va="bottom",
                rotation=math.degrees(math.atan(bandwidth / 1e9)),
                rotation_mode="anchor",
                transform_rotates_text=True,  # parallel to the line on logarithmic axes too
            )
        marks = []
        for number, (operation, results) in enumerate(points.items()):
            colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
            xs, ys = (np.array(list(v)) for v in zip(*results.values(), strict=True))
            (line,) = axes.plot(xs, ys / 1e9, "-", color=colour, lw=1.6)
            marks.append(Mark(operation, *_fastest(results.values()), colour, line))
            for backend, (intensity, speed) in results.items():
                index = backends.index(backend)
                axes.plot(
                    intensity,
                    speed / 1e9,
                    _MARKERS[index % len(_MARKERS)],
                    color=colour,
                    mfc="none" if index == 0 else colour,
                    markersize=6.5,
                )
                descriptions.append(f"{operation} by {backend} {speed / 1e9:.2g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator())
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.grid(True)
        symbols = [
            Line2D([], [], ls="", marker=_MARKERS[n % len(_MARKERS)], color=INK[theme], label=name)
            for n, name in enumerate(backends)
        ]
        symbols[0].set_markerfacecolor("none")
        figure.legend(handles=symbols, loc="outside upper center", ncols=2 if is_narrow() else 4)
        name_marks(axes, marks)
    figure.alt = f"A roofline, Gflop a second: {'; '.join(descriptions)}; at most {rate / 1e9:.3g}."
    return figure


def _fastest(results: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Operations a byte and Gflop a second of the backend with the most of the latter."""
    intensity, speed = max(results, key=lambda result: result[1])
    return intensity, speed / 1e9


@styled
def speedups(
    ratios: Mapping[str, Mapping[str, float]], reference: str, theme: str = "any"
) -> Picture:
    """How many times faster than a reference: a bar for each backend, grouped by operation.

    ratios: operation to backend to ratio; one that was not measured is left out or NaN.
    reference: the name of the backend of ratio 1, for the label of the axis.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError without ratios.
    """
    if not ratios:
        raise ValueError("ratios: wanted at least one, got none")
    backends = list(dict.fromkeys(name for results in ratios.values() for name in results))
    descriptions, bar_height = [], 0.8 / len(backends)
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(0.23 * len(backends) * len(ratios) + 0.95)
        axes = figure.subplots()
        for number, backend in enumerate(backends):
            rows = np.arange(len(ratios)) + (number - (len(backends) - 1) / 2) * bar_height
            values = np.array([results.get(backend, np.nan) for results in ratios.values()], float)
            colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
            hatch = (None, "////", "....")[number % 3]
            axes.barh(
                rows, values, bar_height, color=colour, hatch=hatch, ec="white", label=backend
            )
            for operation, row, value in zip(ratios, rows, values, strict=True):
                if np.isfinite(value):
                    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
                    axes.text(max(value, 1), row, f" {text}", va="center", fontsize=9)
                    descriptions.append(f"{operation} by {backend} {text}")
        axes.axvline(1, color=INK[theme], lw=1)
        axes.set_yticks(range(len(ratios)), list(ratios), fontsize=9.5)
        axes.set(ylim=(len(ratios) - 0.4, -0.6), xlabel=f"times faster than {reference}")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if len(backends) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(backends), borderpad=0)
    figure.alt = f"Times faster than {reference}: {'; '.join(descriptions)}."
    return figure


@styled
def stacks(wholes: Mapping[str, Mapping[str, float]], *, unit: str, theme: str = "any") -> Picture:
    """What a whole is made of: a bar for each, its parts one after the other, its sum at the end.

    wholes: name of a bar to name of a part to its size. A part has one colour in every bar.
    unit: label of the axis, with its unit.
    theme: "light", "dark" or "any": the page that shows the chart.
    Raises ValueError without bars.
    """
    if not wholes:
        raise ValueError("wholes: wanted at least one, got none")
    parts = list(dict.fromkeys(name for sizes in wholes.values() for name in sizes))
    rows = np.arange(len(wholes))
    left = np.zeros(len(wholes))
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(0.42 * len(wholes) + 1.1)
        axes = figure.subplots()
        for colour, part in zip(CURVE_COLOURS, parts, strict=False):
            size = np.array([sizes.get(part, 0.0) for sizes in wholes.values()])
            axes.barh(rows, size, 0.66, left=left, color=colour, ec="white", label=part)
            left += size
        for row, total in zip(rows, left, strict=True):
            axes.text(total, row, f" {total:.0f}", va="center", fontsize=9.5)
        axes.set_yticks(rows, list(wholes))
        axes.set(ylim=(len(wholes) - 0.4, -0.6), xlabel=unit)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        columns = 2 if is_narrow() else len(parts)
        figure.legend(loc="outside upper center", ncols=columns, columnspacing=1.2)
    sums = ", ".join(f"{name} {total:.0f}" for name, total in zip(wholes, left, strict=True))
    figure.alt = f"{unit}, of {', '.join(parts)}, in this order: in all {sums}."
    return figure
