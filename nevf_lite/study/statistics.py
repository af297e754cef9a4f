"""Paired statistics of a table: intervals by the bootstrap over people, exact p, Holm's correction.

The pairs of an atlas-based study share people: nine pairs are three atlases times three scans. On
the rows of this repository most of the variance of a difference belongs to the people and not to
the pair, so the bootstrap draws people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Fewest pairs for which a p is computed; five that agree can give no less than 0.0625.
MIN_PAIRS = 6
RESAMPLES = 10_000


def resample(
    fixed: Sequence[str], moving: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Weights of the pairs in each bootstrap sample, (up to `resamples`, pairs); rows sum to 1.

    Atlases and scans are drawn with replacement, each side by itself, and a pair counts as often
    as its atlas times its scan (the pigeonhole bootstrap; Owen, Annals of Applied Statistics 1,
    2007). Samples without a pair are left out. Where nobody occurs twice on either side, pairs are
    drawn. fixed, moving: the people of each pair.
    """
    rng = np.random.default_rng(seed)
    sides = [np.unique(side, return_inverse=True)[1] for side in (fixed, moving)]
    if all(len(np.unique(side)) == len(side) for side in sides):
        sides = sides[:1]
    weights = np.ones((resamples, len(fixed)))
    for side in sides:
        people = side.max() + 1
        weights *= rng.multinomial(people, np.full(people, 1 / people), resamples)[:, side]
    total = weights.sum(axis=1, keepdims=True)
    drawn = total[:, 0] > 0
    return weights[drawn] / total[drawn]


def interval(
    values: pd.Series,
    reference: pd.Series | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The bootstrap's 95 % interval of a mean over pairs, or of the ratio of two means.

    values, reference: indexed by (fixed, moving), the same pairs; with a reference the interval is
    of mean(values) / mean(reference). People are drawn, see `resample`. The distances of the 2.5
    and 97.5 percentiles from the estimate are multiplied by sqrt(n / (n - 1)), n the fewest people
    on a side, since a mean over samples of n varies that much too little (Hesterberg, American
    Statistician 69, 2015).

    With three atlases and three scans and people that carry 70 % of the variance, simulated
    intervals hold the truth in 90 % of the cases, those of a bootstrap over pairs in 70 %; three
    pairs of six people give 80 %. Returns NaN for fewer than three pairs.
    """
    if len(values) < 3:
        return np.nan, np.nan
    fixed, moving = (values.index.get_level_values(side) for side in (0, 1))
    weights = resample(fixed, moving, resamples, seed)
    estimate, drawn = values.mean(), weights @ values.to_numpy(float)
    if reference is not None:
        other = reference[values.index].to_numpy(float)
        estimate, drawn = estimate / other.mean(), drawn / (weights @ other)
    people = min(n for n in (fixed.nunique(), moving.nunique()) if n > 1)
    spread = np.sqrt(people / (people - 1)) * (np.percentile(drawn, [2.5, 97.5]) - estimate)
    return float(estimate + spread[0]), float(estimate + spread[1])


def exact_p(differences: Sequence[float]) -> float:
    """p of a two-sided Wilcoxon signed-rank test; NaN below `MIN_PAIRS` differences.

    Exact for up to 50 differences without ties. It takes pairs for independent, so where they share
    people it is too small: read the interval first. Differences that are all 0 give 1.
    """
    from scipy.stats import wilcoxon

    differences = np.asarray(differences, dtype=float)
    if len(differences) < MIN_PAIRS:
        return np.nan
    if not differences.any():  # the test is not defined
        return 1.0
    return float(wilcoxon(differences, method="auto").pvalue)


def rank_biserial(differences: Sequence[float]) -> float:
    """The matched-pairs rank-biserial correlation, -1 (all below 0) to 1 (all above).

    Kerby, Comprehensive Psychology 3, 2014. NaN without differences, 0 where all are 0.
    """
    from scipy.stats import rankdata

    differences = np.asarray(differences, dtype=float)
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0 if len(differences) else np.nan
    ranks = rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's correction of the p of one table (Scandinavian Journal of Statistics 6, 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below one before
    it, none exceeds 1. NaN is no comparison: it stays, and does not count.
    """
    p = np.asarray(p, dtype=float)
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN is sorted last
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
