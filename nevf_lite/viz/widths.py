"""How wide a picture is drawn: as wide as a column of text, or as a phone.

A picture that is reduced to a phone has letters too small to read. So it is drawn a second time,
`narrow`: panels stand under each other, and letters keep their size.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from contextvars import ContextVar, copy_context

from matplotlib.figure import Figure

WIDTH = 6.4  # inches
NARROW = 4.0  # of the second drawing, for pages of at most so many CSS pixels
PHONE = 576
_LETTERS_ACROSS = 42  # of a narrow picture's longest line
_across = ContextVar("across", default=WIDTH)


def across() -> float:
    """The width of what is drawn now, in inches."""
    return _across.get()


def is_narrow() -> bool:
    """Whether what is drawn now is for a narrow page: panels under each other, short legends."""
    return across() == NARROW


def narrow(draw: Callable[..., Figure], *args, **kwargs) -> Figure:
    """Draw for a narrow page, where long labels of axes go on in a second line."""
    context = copy_context()
    context.run(_across.set, NARROW)
    picture = context.run(draw, *args, **kwargs)
    for axes in picture.axes:
        axes.set_xlabel(wrapped(axes.get_xlabel()))
        high = axes.get_position().height * picture.get_figheight() / NARROW
        if "\n" not in axes.get_ylabel():
            axes.set_ylabel(wrapped(axes.get_ylabel(), max(1.15 * high, 0.25)))
    return picture


def wrapped(text: str, share: float = 1.0) -> str:
    """A text in lines about as long as each other, at most a share of a narrow picture's width.

    What stands behind ×, = or a colon stays beside it.
    """
    most, text = round(share * _LETTERS_ACROSS), re.sub(r"(?<=[×=:]) ", "\u00a0", text)
    lines = textwrap.wrap(text, most)
    least = max(map(len, text.split()), default=1)
    while most > least and len(textwrap.wrap(text, most - 1)) == len(lines):
        most -= 1
    return textwrap.fill(text, most).replace("\u00a0", " ")
