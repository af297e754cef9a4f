"""Ticks whose numbers are those that one would write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, Formatter, LogLocator, MaxNLocator, NullLocator

from nevf_lite.viz.widths import is_narrow

#: A narrow chart has room for 1, 2, 5, ... along an axis that ends at so many times its start.
_ROOM = 1000


def plain_ticks(axes: Axes, xs: Sequence[float], log: str) -> None:
    """Plain numbers: integers where every x is one; each x where a log axis has at most nine."""
    if "x" in log:
        if len(xs) <= 9:
            axes.xaxis.set_major_locator(FixedLocator(xs))
        else:
            axes.xaxis.set_major_locator(log_locator(axes))
        axes.xaxis.set_major_formatter(_Plain())
        axes.xaxis.set_minor_locator(NullLocator())
    elif all(v.is_integer() for v in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if "y" in log:
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_Plain())


def log_locator(axes: Axes) -> LogLocator:
    """1, 2, 5, 10, ... along a logarithmic x, or powers of ten where these have no room."""
    low, high = axes.get_xlim()
    return LogLocator(subs=(1,) if is_narrow() and high > _ROOM * low else (1, 2, 5))


class _Plain(Formatter):
    """Numbers as one would write them, 0.001 and 2000; all powers of ten if one has to be."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = sorted(self.axis.get_view_interval())
        seen = [value for value in values if low <= value <= high]
        plain = all(-4 < _exponent(value) < 5 for value in seen)
        return [self(value) if plain else _power(value) for value in values]

    def __call__(self, value: float, _position: int | None = None) -> str:
        return f"{value:g}"


def _power(value: float) -> str:
    exponent = _exponent(value)
    digit = value / 10.0**exponent
    factor = "" if np.isclose(digit, 1) else f"{digit:g}\\cdot "
    return f"${factor}10^{{{exponent}}}$"


def _exponent(value: float) -> int:
    return int(np.floor(np.log10(abs(value)) + 1e-9)) if value else 0
