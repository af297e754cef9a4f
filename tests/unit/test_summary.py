"""The report's words and numbers."""

from __future__ import annotations

import numpy as np
import pytest

from nevf_lite.viz.report.summary import duration, headline, metrics, number


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        ({"dice_before": 0.347, "dice_after": 0.603, "folds_percent": 0.0, "seconds": 70.2},
         "Dice 0.347 → 0.603, no folds, 70 s"),
        ({"dice_after": np.float32(0.6), "folds_percent": 2e-4}, "Dice 0.600, 0.0002\u00a0% folds"),
        ({"mean Dice": 0.5}, "Dice 0.500"),
        ({"tre_before_mm": 5.2, "tre_after_mm": 1.234}, "Error 5.20 → 1.23 mm"),
        ({"ncc_before": 0.4, "ncc_after": 0.8, "dice_after": float("nan")}, "NCC 0.400 → 0.800"),
        ({"seconds": 4000}, "1 h 7 min"),
        ({}, "Registered"),
    ],
)  # fmt: skip
def test_headlines(summary, sentence):
    """Protects the sentence: pairs, units, a trace of folds that is not rounded to none."""
    assert headline(metrics(summary)) == sentence


def test_metrics_join_pairs_and_read_units():
    """Protects the tiles: one for before and after, the unit off the key, unknown keys kept."""
    found = metrics(
        {"my score": 3, "hd95_after_mm": 4.03, "hd95_before_mm": 6.1, "peak_memory_mib": 900.0}
    )
    assert [(m.name, m.text_before, m.text) for m in found] == [
        ("HD95", "6.10", "4.03\u00a0mm"),
        ("Peak memory", None, "900\u00a0MiB"),
        ("My score", None, "3"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.603, "0.603"), (0.6, "0.600"), (12.345, "12.3"), (1234.5, "1,234"), (0.021, "0.021"),
        (-0.5, "\u22120.500"), (0.0, "0"), (3.1e-5, "3.1 × 10⁻⁵"), (float("nan"), "–"),
        (None, "–"), (True, "yes"), (1234567, "1,234,567"), (np.int32(4), "4"), ([1, 2], "[1, 2]"),
        ("text", "text"), (0.9999, "1.000"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value, text):
    """Protects the digits: three that count, none that pretend."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (9.97, "10 s"), (70.2, "70 s"), (119.9, "120 s"), (380, "6 min 20 s"),
     (3600, "1 h"), (600, "10 min"), (float("nan"), "–")],
)  # fmt: skip
def test_durations_are_written_for_people(seconds, text):
    """Protects the time in the headline."""
    assert duration(seconds) == text
