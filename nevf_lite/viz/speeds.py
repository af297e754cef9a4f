"""Charts of a benchmark: how near kernels come to a machine's limits, and what they gained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nevf_lite.viz.sketch import CURVES
from nevf_lite.viz.style import INK, Picture, chart, ink_style, styled

#: A symbol and a filling a backend, so that they are told apart without colour.
_MARKS = ("o", "s", "^", "D")


@styled
def roofline(
    points: Mapping[str, Mapping[str, tuple[float, float]]],
    bandwidths: Mapping[str, float],
    rate: float,
    theme: str = "any",
) -> Picture:
    """Operations a second over operations a byte, under what the machine can do at most.

    points: operation to backend to (operations a byte, operations a second); the backends of an
        operation are joined by a line. bandwidths: name of a memory to its bytes a second, a
        sloping roof each. rate: operations a second, the flat roof.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError without points.
    """
    if not points:
        raise ValueError("points: wanted at least one operation, got none")
    backends = list(dict.fromkeys(name for found in points.values() for name in found))
    told = []
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(4.2)
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="Gflop a second")
        places = [x for found in points.values() for x, _ in found.values()]
        x = np.geomspace(min(places) / 4, max(places) * 4, 200)
        for line, (name, bandwidth) in zip(("-", "--", ":"), bandwidths.items(), strict=False):
            roof = np.minimum(x * bandwidth, rate) / 1e9
            axes.plot(x, roof, line, color=INK[theme], lw=1.4)
            axes.text(
                x[8],
                x[8] * bandwidth / 1e9,
                name,
                fontsize=8.5,
                va="bottom",
                rotation=math.degrees(math.atan(bandwidth / 1e9)),
                rotation_mode="anchor",
                transform_rotates_text=True,  # along the slope, whatever the axes are
            )
        for number, (operation, found) in enumerate(points.items()):
            colour = CURVES[number % len(CURVES)]
            xs, ys = (np.array(list(v)) for v in zip(*found.values(), strict=True))
            axes.plot(xs, ys / 1e9, "-", color=colour, lw=1.6)
            for backend, (at, speed) in found.items():
                kind = backends.index(backend)
                axes.plot(
                    at,
                    speed / 1e9,
                    _MARKS[kind % len(_MARKS)],
                    color=colour,
                    mfc="none" if kind == 0 else colour,
                    markersize=6.5,
                )
                told.append(f"{operation} by {backend} {speed / 1e9:.2g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator())
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.grid(True)
        symbols = [
            Line2D([], [], ls="", marker=_MARKS[n % len(_MARKS)], color=INK[theme], label=name)
            for n, name in enumerate(backends)
        ]
        symbols[0].set_markerfacecolor("none")
        colours = [
            Line2D([], [], lw=3, color=CURVES[n % len(CURVES)], label=name)
            for n, name in enumerate(points)
        ]
        figure.legend(handles=colours + symbols, loc="outside upper center", ncols=4)
    figure.alt = f"A roofline, Gflop a second: {'; '.join(told)}; at most {rate / 1e9:.3g}."
    return figure


@styled
def speedups(
    ratios: Mapping[str, Mapping[str, float]], reference: str, theme: str = "any"
) -> Picture:
    """How many times faster than a reference: a bar a backend, grouped by what was done.

    ratios: what was done to backend to ratio; one that was not measured is left out or NaN.
    reference: the name of what has ratio 1, for the axis.
    theme: "light", "dark" or "any", the page the chart will lie on.
    Raises ValueError without ratios.
    """
    if not ratios:
        raise ValueError("ratios: wanted at least one, got none")
    backends = list(dict.fromkeys(name for found in ratios.values() for name in found))
    told, tall = [], 0.8 / len(backends)
    with matplotlib.rc_context(ink_style(theme)):
        figure = chart(0.19 * len(backends) * len(ratios) + 0.9)
        axes = figure.subplots()
        for number, backend in enumerate(backends):
            places = np.arange(len(ratios)) + (number - (len(backends) - 1) / 2) * tall
            values = np.array([found.get(backend, np.nan) for found in ratios.values()], float)
            colour, hatch = CURVES[number % len(CURVES)], (None, "////", "....")[number % 3]
            axes.barh(places, values, tall, color=colour, hatch=hatch, ec="white", label=backend)
            for what, place, value in zip(ratios, places, values, strict=True):
                if np.isfinite(value):
                    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
                    axes.text(max(value, 1), place, f" {text}", va="center", fontsize=8)
                    told.append(f"{what} by {backend} {text}")
        axes.axvline(1, color=INK[theme], lw=1)
        axes.set_yticks(range(len(ratios)), list(ratios), fontsize=8.5)
        axes.set(ylim=(len(ratios) - 0.4, -0.6), xlabel=f"times faster than {reference}")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if len(backends) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(backends), borderpad=0)
    figure.alt = f"Times faster than {reference}: {'; '.join(told)}."
    return figure
