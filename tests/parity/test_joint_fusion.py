"""Labels from atlases on real slices: better than one atlas, and as good as ANTs' joint fusion."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fusion import ants_fusion
from nevf_lite.cohorts.atlases import joint_fusion, majority_vote
from nevf_lite.data.pairs import load_pair
from nevf_lite.data.splits import TRAIN
from nevf_lite.registration.register import register
from nevf_lite.scores.metrics import mean_dice


@pytest.mark.slow
def test_joint_fusion_is_near_that_of_ants_and_above_the_majority():
    """Person trt01 of the train split, by seven others; the same warped images for both."""
    pytest.importorskip("ants")
    target, *atlases = TRAIN["mindboggle"]
    images, votes = [], []
    for atlas in atlases:
        try:
            pair = load_pair("slices2d", target, atlas)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        result = register(pair.fixed, pair.moving, "fast", progress=False)
        images.append(np.asarray(result.warped.dataobj))
        votes.append(np.asarray(result.transform.warp_labels(pair.moving_labels).dataobj))
    fixed = np.asarray(pair.fixed.dataobj).squeeze()
    truth = np.asarray(pair.fixed_labels.dataobj).squeeze()

    def score(labels) -> float:
        return mean_dice(truth, labels, [n for n in pair.protocol if n in truth])

    theirs = ants_fusion(fixed, images, votes)
    joint, majority = score(joint_fusion(fixed, images, votes)), score(majority_vote(votes))
    single = np.mean([score(vote) for vote in votes])
    assert joint > majority + 0.02 > single + 0.08
    assert joint > score(theirs) - 0.02
