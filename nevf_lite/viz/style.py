"""The style of every picture: colours, type, and encoding as image files.

There are two kinds of picture. Brains are drawn on a near-black card, as on a reading-room screen,
so they look the same on a light page, on a dark one and in print. Charts have no background and one
of three inks: ``light`` and ``dark`` for pages of a fixed theme, ``any`` (a middle grey that reads
on both) for all others.

Colours with a meaning are from, or close to, the palette of Okabe and Ito (2008). They differ in
lightness as well as in hue, so they remain distinct in grey and under colour blindness.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import re
from collections.abc import Callable, Iterable
from itertools import chain, cycle

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, hsv_to_rgb, to_rgb
from matplotlib.figure import Figure

from nevf_lite.viz.widths import PHONE, across, is_narrow, narrow

_NARROW_DPI = 150
CARD = "#0b0c0f"  # behind brains
ON_CARD = "#eceef1"
ON_CARD_MUTED = "#a3abb5"
FIXED = "#56b4e9"  # contours of the fixed labels: sky blue
MOVED = "#ffa94d"  # contours of the moving or warped labels: orange
FOLD = "#e6ff2a"  # folds: a yellow that none of the colour maps contains

# on charts; the contrast of each is about 3:1 or more on white and on near-black
BEFORE = "#8d949e"  # grey
AFTER = "#2f86cc"  # blue
ALARM = "#d9660d"  # vermilion, for folds
PAPER = {"light": "#ffffff", "dark": "#15191e", "any": "#ffffff"}  # background of the page
INK = {"light": "#24292f", "dark": "#e6e8eb", "any": "#6b727b"}
#: Colours of curves, in order; they differ in lightness too (after Okabe and Ito 2008).
CURVE_COLOURS = ("#2f86cc", "#d9660d", "#1f9d78", "#b05a94", "#737982", "#c99700")
#: The same for letters, which are thinner than lines: 4.5:1 or more on white.
_LETTERS = ("#1f6cab", "#b3520a", "#14795c", "#9a4a80", "#5f656d", "#866300")
LETTER_COLOURS = dict(zip(CURVE_COLOURS, _LETTERS, strict=True))
_BLUE, _ORANGE, _GREEN, _PINK, _GREY, _GOLD = CURVE_COLOURS
#: A method has one colour in all charts of the book; two that share one do not meet in a chart.
METHOD_COLOURS = {
    **{"NeVF": _BLUE, "SIREN": _BLUE, "features": _ORANGE, "VoxelMorph": _ORANGE},
    **{"SYMNet": _GREEN, "voxel parameter": _GREEN, "voxels": _GREEN},
    **{"greedy": _PINK, "NiftyReg": _GREY, "SyN": _GOLD},
}


def colours_of(names: Iterable[str], beyond: str | None = None) -> dict[str, str]:
    """A colour for each name: a method's own (`METHOD_COLOURS`), and for others what is left.

    beyond: the colour of those for whom none is left; by default they begin anew.
    """
    names, own = list(dict.fromkeys(names)), {}
    for name in names:
        if METHOD_COLOURS.get(name) not in (None, *own.values()):
            own[name] = METHOD_COLOURS[name]
    left = [colour for colour in CURVE_COLOURS if colour not in own.values()]
    others = chain(left, cycle([beyond] if beyond else left or CURVE_COLOURS))
    return {name: own.get(name) or next(others) for name in names}


GREY = LinearSegmentedColormap.from_list("nevf_grey", [CARD, "#ffffff"])

# blue below 1 and orange above it, distinct under every kind of colour blindness; the pale middle
# is the undeformed brain
DIVERGING = LinearSegmentedColormap.from_list(
    "nevf_diverging",
    ["#0a3a82", "#2f7fd0", "#9ccbf0", "#f3f1ec", "#f6bd84", "#d96c1a", "#7d2c05"],
)
# blue below and orange above a middle that is as dark as the card: what is nothing is not seen
SIGNED = LinearSegmentedColormap.from_list(
    "nevf_signed",
    ["#c4e1f8", "#56a5e6", "#1f4f85", "#14171c", "#7c3b0d", "#e0812f", "#fbd3a8"],
)
# viridis without its darkest third, which would vanish on the card
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "nevf_sequential", matplotlib.colormaps["viridis"](np.linspace(0.32, 1.0, 64))
)
# numbers that are names: next to each other they differ in hue, by the golden ratio; 0 is the card
_HUES = np.arange(1, 256) * 0.618034 % 1
_SHADES = np.stack([_HUES, np.full(255, 0.5), 0.7 + 0.25 * (np.arange(255) % 2)], axis=1)
LABELS = ListedColormap([to_rgb(CARD), *hsv_to_rgb(_SHADES)], "nevf_labels")

_TYPE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
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
    "svg.hashsalt": "nevf",  # without it the ids in an SVG are random
    "svg.fonttype": "path",
}


# what makes an SVG longer and no picture different: comments, the program's name, indentation,
# names of groups, long names of letters, blanks around the letters of a path and in a style, digits
# beyond a hundredth of a point, and in a line of letters the way to the next one as a `transform`
_UNSEEN = re.compile(
    rb'<!--.*?-->|<!DOCTYPE.*?>|<metadata>.*?</metadata>|\s+(?=<)|(?<=<g) id="[^"]*"', re.DOTALL
)
_NEXT = re.compile(rb'(<use href="#D[^"]*") transform="translate\(([-\d.]+) 0\)"')
_PATH = re.compile(rb'\b(?:d|x|y)="[^"]*"|translate\([^)]*\)')
_DIGITS = re.compile(rb"(\.\d\d)\d+")
_LETTER = re.compile(rb"\s*([A-Zz])\s*")
_STYLE = re.compile(rb'style="[^"]*"')
_BLANK = re.compile(rb"([:;]) ")


class Picture(Figure):
    """A matplotlib figure with a text alternative, ``alt``.

    It is not registered with pyplot, so it needs no closing. A notebook shows it once, as an image
    with the text alternative. ``kind`` is its file format: "webp", "png" or "svg". ``trim``:
    whether the empty rim is cut off, but for an even margin. ``reflows``: whether it can be drawn
    for narrow pages too, where letters would be too small if the picture were reduced; ``narrow``
    does so, and knows nothing of what was added to this picture after it was drawn.
    """

    alt: str = ""
    kind: str = "webp"
    trim: bool = False
    reflows: bool = False
    narrow: Callable[[], Picture] | None = None

    def html(self) -> str:
        """An `<img>` element with the text alternative and the encoded picture inside it, or a
        `<picture>` of it and its narrow drawing.
        """
        alt = html.escape(self.alt)
        image = f'<img alt="{alt}" src="{data_uri(self)}" style="max-width:100%">'
        if self.narrow is None:
            return image
        narrow = f'<source media="(max-width:{PHONE}px)" srcset="{self.narrow_uri()}">'
        return f"<picture>{narrow}{image}</picture>"

    def narrow_uri(self) -> str:
        """The narrow drawing as a ``data:`` URI."""
        return data_uri(self.narrow(), _NARROW_DPI)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"text/html": self.html(), "text/plain": f"<Picture: {self.alt}>"}, raw=True)


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Run a drawing function under this module's style, whatever the caller's rcParams are.

    What `reflows` can be drawn `narrow` as well.
    """

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        with matplotlib.style.context(["default", _TYPE]):
            picture = draw(*args, **kwargs)
        if picture.reflows and not is_narrow():
            picture.narrow = functools.partial(narrow, wrapper, *args, **kwargs)
        return picture

    return wrapper


def chart(height: float) -> Picture:
    """An empty chart of the common width, without a background. height: inches."""
    picture = Picture(figsize=(across(), height), facecolor="none", layout="constrained")
    picture.kind, picture.reflows = "svg", True  # sharp at any size, and a small file
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
    """The figure as an image file in memory; the same figure gives the same bytes.

    kind: ``webp`` (lossy, a fifth of the PNG for brains), ``png`` or ``svg``.
    """
    options = {
        "webp": {"pil_kwargs": {"quality": 75, "method": 4}},
        "svg": {"metadata": {"Date": None}},
    }
    cut = {"bbox_inches": "tight", "pad_inches": 0.09} if getattr(figure, "trim", False) else {}
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _TYPE]):
        figure.savefig(buffer, format=kind, dpi=dpi, **cut, **options.get(kind, {}))
    return _shorter(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def _shorter(svg: bytes) -> bytes:
    """The same drawing in a quarter less."""
    svg = _UNSEEN.sub(b"", svg).replace(b"DejaVuSans-", b"D").replace(b"xlink:href", b"href")
    svg = _STYLE.sub(lambda style: _BLANK.sub(rb"\1", style[0]), svg)
    svg = _NEXT.sub(lambda next: b'%s x="%.0f"' % (next[1], float(next[2])), svg)
    return _PATH.sub(lambda path: _LETTER.sub(rb"\1", _DIGITS.sub(rb"\1", path[0])), svg)


def data_uri(picture: Picture, dpi: int | None = None) -> str:
    """The picture as a ``data:`` URI, the ``src`` of an ``<img>`` without a request."""
    mime = {"svg": "image/svg+xml"}.get(picture.kind, f"image/{picture.kind}")
    dpi = dpi or (135 if picture.trim else 190)  # sketches are of coarse slices, a page holds many
    image = base64.b64encode(encode(picture, picture.kind, dpi))
    return f"data:{mime};base64,{image.decode('ascii')}"
