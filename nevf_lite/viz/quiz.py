"""Which is wrong? Results as cards, to be judged before they are turned over.

The front of a card is what one has of a result: its picture and its numbers. The back is what it
was. In the book's page the reader judges first and the card turns (`book/_static/live_quiz.js`);
anywhere else the back is a fold that opens without a script.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection

from nevf_lite.viz.cards import cards
from nevf_lite.viz.style import CARD, DIVERGING, GREY, MOVED, Picture, encode, styled

_DPI = 88  # three panels across half a page


@dataclass(frozen=True)
class Card:
    """One result. picture: of :func:`front`. numbers: name to text. sound: whether to trust it.

    answer: what it was, and what gives it away.
    """

    picture: Picture
    numbers: Mapping[str, str]
    sound: bool
    answer: str


@dataclass(frozen=True)
class Quiz:
    """Cards in the order in which they are shown, as A, B, C and so on."""

    cards: Sequence[Card]

    def _repr_html_(self) -> str:
        shown = (_card(chr(65 + i), card) for i, card in enumerate(self.cards))
        return f'<figure class="nevf-live nl-quiz" data-live="quiz">{"".join(shown)}</figure>'

    def __repr__(self) -> str:
        sound = sum(card.sound for card in self.cards)
        return f"<{len(self.cards)} results, of which {sound} can be trusted>"


@styled
def front(warped, displacement, determinant, alt: str, every: int = 4) -> Picture:
    """The picture of a card, of one slice: the warped image, the lattice, log2 of the determinant.

    warped: (H, W) in [0, 1]. displacement: (2, H, W) in voxels, in the plane. determinant: (H, W),
    NaN where none is shown; its colours end at 1/4 and 4. every: voxels between lines of the
    lattice.
    """
    warped, displacement = np.asarray(warped), np.asarray(displacement)
    rows, columns = warped.shape
    titles = dict.fromkeys(("warped", "lattice", "|J|"), warped)
    figure, (image, lattice, volume) = cards(titles, columns=3)
    image.imshow(warped.T, origin="lower", cmap=GREY, vmin=0, vmax=1)
    points = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    points = points + displacement
    along = [points[:, :, j].T for j in range(0, columns, every)]
    across = [points[:, i, :].T for i in range(0, rows, every)]
    lattice.add_collection(LineCollection(along + across, colors=MOVED, linewidths=0.9))
    lattice.set(xlim=(-0.5, rows - 0.5), ylim=(-0.5, columns - 0.5))
    colour = np.log2(np.maximum(np.asarray(determinant), 0.05))
    volume.imshow(colour.T, origin="lower", cmap=DIVERGING.with_extremes(bad=CARD), vmin=-2, vmax=2)
    for axes in (image, lattice, volume):
        axes.title.set_fontsize(18)  # a card is half as wide as a figure
    figure.alt = alt
    return figure


def _card(letter: str, card: Card) -> str:
    picture = base64.b64encode(encode(card.picture, "webp", _DPI)).decode("ascii")
    numbers = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in card.numbers.items()
    )
    return (
        f'<section class="nl-card" data-sound="{str(card.sound).lower()}" data-letter="{letter}">'
        f"<p><strong>Result {letter}</strong></p>"
        f'<img alt="{html.escape(card.picture.alt)}" src="data:image/webp;base64,{picture}">'
        f"<dl>{numbers}</dl>"
        f"<details><summary>What was it?</summary><p>{html.escape(card.answer)}</p></details>"
        "</section>"
    )
