"""The statistics of tables against answers that are known: by hand, exact, or simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nevf_lite.data.splits import test_pairs as nine_pairs
from nevf_lite.study.statistics import exact_p, holm, interval, rank_biserial, resample

NINE = pd.MultiIndex.from_tuples(nine_pairs("mindboggle"), names=["fixed", "moving"])
STRANGERS = pd.MultiIndex.from_tuples([("a", "x"), ("b", "y"), ("c", "z")])


def test_holm_on_the_textbook():
    """0.01, 0.04, 0.03, 0.005: times 4, 3, 2, 1 in order, and never less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holm_does_not_count_what_was_not_tested():
    """A comparison with too few pairs makes no other p larger."""
    assert holm([np.nan, 0.01, np.nan, 0.02]) == pytest.approx(
        [np.nan, 0.02, np.nan, 0.02], nan_ok=True
    )


def test_p_is_exact_and_needs_six_pairs():
    """All six of one sign: 2 of 64 signs are as lopsided. Five pairs could at best give 2 of 32."""
    assert exact_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    assert exact_p([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(4 / 64)  # rank 1 the other way
    assert np.isnan(exact_p([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert exact_p([0.0] * 6) == 1.0


def test_the_effect_is_the_rank_biserial_correlation():
    """Ranks 1 and 2 down, 3 and 4 up: (3 + 4 - 1 - 2) / 10."""
    assert rank_biserial([-0.01, -0.02, 0.03, 0.04]) == pytest.approx(0.4)
    assert rank_biserial([0.0, 0.0]) == 0 and np.isnan(rank_biserial([]))


def test_people_are_drawn_and_not_pairs():
    """In a sample the weights of the nine pairs are an outer product: atlas times scan."""
    for weights in resample(NINE.get_level_values(0), NINE.get_level_values(1), 50).reshape(
        -1, 3, 3
    ):
        assert weights.sum() == pytest.approx(1)
        assert weights == pytest.approx(np.outer(weights.sum(1), weights.sum(0)))


def test_strangers_are_drawn_as_pairs():
    """Three pairs of six people are independent: each sample is three draws of a pair."""
    weights = resample(STRANGERS.get_level_values(0), STRANGERS.get_level_values(1), 200)
    assert len(weights) == 200 and np.isin(np.round(3 * weights), [0, 1, 2, 3]).all()


def test_the_interval_is_repeatable_and_that_of_a_constant_is_a_point():
    rng = np.random.default_rng(1)
    values = pd.Series(rng.normal(size=9), NINE)
    assert interval(values) == interval(values)
    # three of three are 10 samples a side: the percentiles hardly depend on the seed
    assert interval(values, seed=1) == pytest.approx(interval(values), abs=0.05)
    low, high = interval(values)
    assert low < values.mean() < high
    assert interval(pd.Series(0.25, NINE)) == pytest.approx((0.25, 0.25))
    assert interval(2 * values.abs() + 1, values.abs() + 0.5) == pytest.approx((2, 2))
    assert np.isnan(interval(values[:1])).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Differences whose people carry 70 % of the variance, as on the published rows.

    Drawing people holds the true mean, 0, in nine cases of ten; drawing pairs as if they were
    strangers in less than eight. (Nominally 95 %: three atlases are three.)
    """
    rng = np.random.default_rng(0)
    loners = pd.MultiIndex.from_tuples([(str(i), str(i)) for i in range(9)])
    held = np.zeros(2)
    for _ in range(400):
        atlas, scan = rng.normal(size=(3, 1)), rng.normal(size=(1, 3))
        differences = 0.3**0.5 * atlas + 0.4**0.5 * scan + 0.3**0.5 * rng.normal(size=(3, 3))
        for i, index in enumerate((NINE, loners)):
            low, high = interval(pd.Series(differences.ravel(), index), resamples=800)
            held[i] += low <= 0 <= high
    people, pairs = held / 400
    assert 0.86 < people < 0.97 and pairs < 0.8, (people, pairs)
