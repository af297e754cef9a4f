"""A note where two scans have different contrasts and the similarity wants the same one."""

from __future__ import annotations

from torch import Tensor, corrcoef, stack

from nevf_lite.config import Config
from nevf_lite.optimise import FOREGROUND

#: Correlation in the heads, before registration, below which contrasts differ. T1 scans of two
#: people of the `train` split have 0.81 to 0.83, and -0.28 to -0.36 where one is inverted.
OPPOSITE = -0.1
#: Overlap of the heads, as a Dice, below which they lie too far apart to compare contrasts.
OVERLAP = 0.75
#: Similarities that want one contrast. The local NCC is blind to its sign in each window, and yet
#: worse: where windows hold two tissues, more than one match is good.
SAME_CONTRAST = ("lncc", "ncc", "mse")
NOTE = (
    "The two scans have different contrasts (correlation {:.2f} in the heads before registration); "
    'similarity="mind" or "nmi" (--similarity) compares such scans better.'
)


def contrast_note(fixed: Tensor, moving: Tensor, config: Config) -> str | None:
    """The note for a pair of (1, C, *shape) in [0, 1], of which the first channels are compared."""
    if config.similarity not in SAME_CONTRAST:
        return None
    fixed, moving = fixed[:, 0], moving[:, 0]
    heads = fixed > FOREGROUND, moving > FOREGROUND
    both = heads[0] & heads[1]
    if both.sum() < 2 or 2 * both.sum() < OVERLAP * (heads[0].sum() + heads[1].sum()):
        return None
    correlation = corrcoef(stack([fixed[both], moving[both]]))[0, 1].item()
    return NOTE.format(correlation) if correlation < OPPOSITE else None
