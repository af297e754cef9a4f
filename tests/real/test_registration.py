"""The main job on real brains, with the default preset, scored at 1 mm.

The two pairs are of the `train` split: what the preset was tuned on. Labels are warped by nearest
neighbour, the harder of the two ways. The floors are what the method reaches today, rounded down: a
fall is a fault, a rise should raise them.
"""

from __future__ import annotations

import numpy as np
import pytest

from nevf_lite import register
from nevf_lite.data import load_pair, split
from nevf_lite.scores.evaluation import score_deformation, score_labels
from nevf_lite.scores.metrics import tre

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("dataset", "fixed", "moving", "before", "after"),
    [("mindboggle", "trt02", "trt01", 0.347, 0.645), ("oasis", "1001", "1000", 0.545, 0.755)],
)
def test_real_pair(nevf_data, dataset, fixed, moving, before, after):
    """Dice from its known start to at least the floor; at most 0.001 % folded, by volume too."""
    assert split(fixed) == split(moving) == "train"
    pair = load_pair(dataset, fixed, moving)
    result = register(pair.fixed, pair.moving, progress=False)
    scores = score_labels(
        result.transform, pair.fixed_labels, pair.moving_labels, pair.protocol
    ).summary()
    folds = score_deformation(result.transform)
    print(dataset, scores, folds, result.timings)
    assert scores["dice_before"] == pytest.approx(before, abs=0.002)
    assert scores["dice_after"] >= after
    assert max(folds["folds_percent"], folds["ndv_percent"]) <= 0.001
    assert folds["inverse_consistency_mm"] < 0.1


@pytest.mark.parametrize("preset", ["siren", "default"])
def test_simulated_pair(preset):
    """Where the truth is known: the mean error in the brain falls from 2.1 mm to below 0.5 mm."""
    pair = load_pair("simulated", seed=0)
    result = register(pair.fixed, pair.moving, preset, progress=False)
    brain = np.asarray(pair.fixed_mask.dataobj) > 0
    found, truth = result.transform.displacement()[brain], pair.truth[brain]
    error = tre(found, truth).mean()
    print("simulated", error, np.linalg.norm(truth, axis=1).mean(), result.timings)
    assert np.linalg.norm(truth, axis=1).mean() > 2  # or there would be nothing to find
    assert error < 0.5
    assert score_deformation(result.transform)["folds_percent"] <= 0.001
