"""How every picture of the package looks: colours, type, and how it becomes bytes.

Two kinds of picture. Brains are drawn on a near-black card, as on a reading-room screen, so they
look the same on a light page, on a dark one and in print. Charts have no background and one of
three inks: ``light`` and ``dark`` for pages that know which they are, ``any`` (a middle grey that
reads on both) for those that do not.

Colours that carry meaning are from, or close to, the palette of Okabe and Ito (2008) and differ
in lightness as well as in hue, so they survive colour blindness and a grey printer.
"""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Callable

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

WIDTH = 6.4  # inches: with 10 pt type this is still readable when shrunk to a phone's 390 px

CARD = "#0b0c0f"  # behind brains
ON_CARD = "#eceef1"
ON_CARD_MUTED = "#a3abb5"
FIXED = "#56b4e9"  # contours of the fixed labels: sky blue
MOVED = "#ffa94d"  # contours of the moving or warped labels: orange
FOLD = "#e6ff2a"  # folds: a yellow that no colour map here contains

BEFORE = "#8d949e"  # on charts: grey for before,
AFTER = "#2f86cc"  # blue for after,
ALARM = "#d9660d"  # vermilion for folds; each at least 3:1 on white and on near-black
PAPER = {"light": "#ffffff", "dark": "#15191e", "any": "#ffffff"}  # what a chart lies on
INK = {"light": "#24292f", "dark": "#e6e8eb", "any": "#7b828c"}

GREY = LinearSegmentedColormap.from_list("nevf_grey", [CARD, "#ffffff"])

# blue below 1, orange above it: told apart by every kind of colour blindness; the pale middle is
# the undeformed brain
DIVERGING = LinearSegmentedColormap.from_list(
    "nevf_diverging",
    ["#0a3a82", "#2f7fd0", "#9ccbf0", "#f3f1ec", "#f6bd84", "#d96c1a", "#7d2c05"],
)
# viridis without its darkest third, which would vanish on the card
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "nevf_sequential", matplotlib.colormaps["viridis"](np.linspace(0.32, 1.0, 64))
)

_TYPE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "grid.linewidth": 0.6,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.hashsalt": "nevf",  # else the ids inside an SVG are random
    "svg.fonttype": "path",
}


class Picture(Figure):
    """A matplotlib figure that carries its own description, ``alt``.

    It is not registered with pyplot, so nothing has to be closed, and a notebook shows it once,
    as an image with that text for people who cannot see it. ``kind`` is the format that suits it.
    """

    alt: str = ""
    kind: str = "webp"

    def html(self) -> str:
        """An `<img>` with its description that needs no other file."""
        alt = html.escape(self.alt)
        return f'<img alt="{alt}" src="{data_uri(self)}" style="max-width:100%">'

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"text/html": self.html(), "text/plain": f"<Picture: {self.alt}>"}, raw=True)


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Run a drawing function under this module's style, whatever the caller's rcParams are."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        with matplotlib.style.context(["default", _TYPE]):
            return draw(*args, **kwargs)

    return wrapper


def chart(height: float) -> Picture:
    """An empty chart, `height` inches high, without a background."""
    picture = Picture(figsize=(WIDTH, height), facecolor="none", layout="constrained")
    picture.kind = "svg"  # sharp at any size, and small
    return picture


def ink_style(theme: str) -> dict[str, str]:
    """rcParams that colour text and axes for a chart on a ``light``, ``dark`` or ``any`` page.

    Raises ValueError for another theme.
    """
    if theme not in INK:
        raise ValueError(f"theme: got {theme!r}, wanted one of {', '.join(INK)}")
    ink = INK[theme]
    keys = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return {**dict.fromkeys(keys, ink), "grid.color": ink}


def encode(figure: Figure, kind: str = "webp", dpi: int = 190) -> bytes:
    """The figure as an image file in memory, the same bytes each time.

    kind: ``webp`` (lossy, a fifth of the PNG for brains), ``png`` or ``svg``.
    """
    options = {
        "webp": {"pil_kwargs": {"quality": 84, "method": 4}},
        "svg": {"metadata": {"Date": None}},
    }
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _TYPE]):
        figure.savefig(buffer, format=kind, dpi=dpi, **options.get(kind, {}))
    return buffer.getvalue()


def data_uri(picture: Picture) -> str:
    """The picture as a ``data:`` address that an ``<img>`` shows without asking anybody."""
    mime = {"svg": "image/svg+xml"}.get(picture.kind, f"image/{picture.kind}")
    return f"data:{mime};base64,{base64.b64encode(encode(picture, picture.kind)).decode('ascii')}"
