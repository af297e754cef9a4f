"""Ticks whose numbers are those that one would write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nevf_lite.viz.style import is_narrow

#: A narrow chart has room for 1, 2, 5, ... along an axis that ends at so many times its start.
_ROOM = 1000


def plain_ticks(axes: Axes, xs: Sequence[float], log: str) -> None:
    """Plain numbers: integers where every x is one; each x where a log axis has at most nine."""
    plain = FuncFormatter(_plain)
    if "x" in log:
        if len(xs) <= 9:
            axes.xaxis.set_major_locator(FixedLocator(xs))
        else:
            axes.xaxis.set_major_locator(log_locator(axes))
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_locator(NullLocator())
    elif all(v.is_integer() for v in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if "y" in log:
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(plain)


def log_locator(axes: Axes) -> LogLocator:
    """1, 2, 5, 10, ... along a logarithmic x, or powers of ten where these have no room."""
    low, high = axes.get_xlim()
    return LogLocator(subs=(1,) if is_narrow() and high > _ROOM * low else (1, 2, 5))


def _plain(value: float, _position: int | None = None) -> str:
    """A number as one would write it: 0.001 and 2000, but a power of ten beyond."""
    exponent = int(np.floor(np.log10(abs(value)))) if value else 0
    if -4 < exponent < 5:
        return f"{value:g}"
    return f"${value / 10.0**exponent:g}\\cdot 10^{{{exponent}}}$".replace("1\\cdot ", "")
