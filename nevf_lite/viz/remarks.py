"""What is said on a picture itself: words under a panel, words with an arrow, a displacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from nevf_lite.viz.style import CARD, MOVED, ON_CARD
from nevf_lite.viz.widths import is_narrow, wrapped

_SIZE = 10.0  # points
_HALO = [withStroke(linewidth=2.4, foreground=CARD)]
_GAP = 6  # voxels between the arrows of a displacement


@dataclass(frozen=True)
class Remark:
    """Words on a panel, and an arrow from them.

    tip: (x, y) in voxels, where the arrow points to. start: (x, y) as shares of the panel, (0, 0)
    at the lower left, the middle of the words.
    """

    words: str
    tip: tuple[float, float]
    start: tuple[float, float]


def remark_on(ax: Axes, remarks: str | Sequence[str | Remark]) -> None:
    """Write on a panel of a card: words under it, and words with arrows on it."""
    for remark in [remarks] if isinstance(remarks, str) else remarks:
        if isinstance(remark, str):
            under = {"ha": "center", "va": "top", "transform": ax.transAxes}
            words = wrapped(remark, 0.55) if is_narrow() else remark
            ax.text(0.5, -0.015, words, color=MOVED, fontsize=_SIZE, **under)
            continue
        ax.annotate(
            remark.words,
            xy=remark.tip,
            xytext=remark.start,
            textcoords="axes fraction",
            ha="center",
            va="center",
            color=ON_CARD,
            fontsize=_SIZE,
            path_effects=_HALO,
            arrowprops={"arrowstyle": "-|>", "color": MOVED, "lw": 1.4, "shrinkA": 1, "shrinkB": 0},
            zorder=6,
        )


def arrows_on(ax: Axes, displacement, magnified: float) -> None:
    """Arrows of a displacement (1, 2, H, W) in voxels; NaN has none."""
    x, y = np.asarray(displacement, float).reshape(2, *np.shape(displacement)[-2:])
    part = (slice(_GAP // 2, None, _GAP),) * 2
    at = np.meshgrid(*(np.arange(n)[p] for n, p in zip(x.shape, part, strict=True)), indexing="ij")
    seen = np.isfinite(x[part])
    ax.quiver(
        *(a[seen] for a in at),
        x[part][seen],
        y[part][seen],
        angles="xy",
        scale_units="xy",
        scale=1 / magnified,
        color=MOVED,
        width=0.011,
        headwidth=3.6,
        headlength=4,
        minlength=0,
        zorder=3,
    )
