"""Votes of atlases: majority by hand, joint fusion by its formula, and what it is for."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from heads import CONFIG
from heads import pair as head_pair
from synthetic import noise

from nevf_lite.cohorts.atlases import _weights, joint_fusion, labels_from_atlases, majority_vote
from nevf_lite.scores.metrics import mean_dice


def test_the_majority_decides_and_the_smallest_label_at_a_tie():
    votes = [np.array([[1, 2, 7, 0]]), np.array([[1, 3, 5, 0]]), np.array([[4, 3, 9, 0]])]
    assert majority_vote(votes).tolist() == [[1, 3, 5, 0]]


def test_weights_minimise_the_expected_error():
    """They sum to 1, no other weights do better, and two copies share the vote of one."""
    differences = np.abs(np.random.default_rng(0).standard_normal((50, 4, 125)))
    weights = _weights(differences, 0.1, 2.0)
    matrix = (differences @ differences.transpose(0, 2, 1) / 125) ** 2 + 0.1 * np.eye(4)
    assert weights.sum(axis=1) == pytest.approx(1)

    def error(w):
        return np.einsum("pi,pij,pj->p", w, matrix, w)

    for other in np.random.default_rng(1).dirichlet(np.ones(4), 20):
        assert (error(weights) <= error(np.broadcast_to(other, weights.shape)) + 1e-12).all()
    copies = np.stack([differences[:, 0], differences[:, 0], differences[:, 1]], axis=1)
    with_copies = _weights(copies, 1e-6, 2.0)
    alone = _weights(differences[:, :2], 1e-6, 2.0)
    assert with_copies[:, :2].sum(axis=1) == pytest.approx(alone[:, 0], abs=1e-3)


def outvoted(shape=(40, 36)):
    """A target, its labels, and three atlases: one right, two alike and wrong in one half."""
    target = noise(shape, 3.0, 0)
    truth = (target > 0).astype(np.int32) + 1
    wrong = np.roll(target, 4, axis=1)
    images = [target + 0.05 * noise(shape, 1.0, i) for i in (1,)]
    images += [wrong + 0.05 * noise(shape, 1.0, i) for i in (2, 3)]
    labels = [truth] + [(wrong > 0).astype(np.int32) + 1] * 2
    return target, truth, images, labels


def test_joint_fusion_does_not_follow_two_that_are_wrong_alike():
    """The majority is theirs; the atlas whose image agrees wins."""
    target, truth, images, labels = outvoted()
    majority = mean_dice(truth, majority_vote(labels))
    joint = mean_dice(truth, joint_fusion(target, images, labels))
    assert majority < 0.8 < 0.9 < joint


def test_the_search_finds_a_patch_that_lies_a_voxel_away():
    """An atlas that is shifted by a voxel: with a search of 1 its labels land in place."""
    target, truth, _, _ = outvoted()
    image, labels = np.roll(target, 1, axis=0), np.roll(truth, 1, axis=0)
    other = np.roll(truth, 3, axis=1)
    near = [image, np.roll(target, 3, axis=1)]
    without = mean_dice(truth, joint_fusion(target, near, [labels, other], search=0))
    found = mean_dice(truth, joint_fusion(target, near, [labels, other], search=1))
    assert without < 0.95 < 0.97 < found


def test_intensities_of_another_scale_change_no_label():
    target, _, images, labels = outvoted()
    same = joint_fusion(target, images, labels)
    scaled = joint_fusion(target, [900 * i + 100 for i in images], labels)
    assert (same == scaled).mean() > 0.995


@pytest.mark.parametrize("method", ["joint", "majority"])
def test_labels_come_through_the_registrations(method):
    """Two atlases of a head with a known motion: their labels fit better than unregistered."""
    fixed, moving, _ = head_pair()
    fixed.set_sform(fixed.affine, 4)
    labels = nib.Nifti1Image((moving.get_fdata() > 0.5).astype(np.int32), moving.affine)
    truth = (fixed.get_fdata() > 0.5).astype(np.int32)[..., 0]
    fused = labels_from_atlases(fixed, [(moving, labels)] * 2, CONFIG, method=method)
    before = mean_dice(truth, np.asarray(labels.dataobj)[..., 0])
    assert mean_dice(truth, np.asarray(fused.dataobj)) > before + 0.1
    assert np.allclose(fused.affine, fixed.affine) and int(fused.header["sform_code"]) == 4


def test_what_cannot_be_fused_is_refused():
    fixed, moving, _ = head_pair((24, 24))
    labels = nib.Nifti1Image(np.zeros((8, 8, 1), np.int32), np.eye(4))
    with pytest.raises(ValueError, match="method"):
        labels_from_atlases(fixed, [(moving, moving)], method="mean")
    with pytest.raises(ValueError, match="atlases"):
        labels_from_atlases(fixed, [])
    with pytest.raises(ValueError, match="labels 1"):
        labels_from_atlases(fixed, [(moving, labels)])
    with pytest.raises(ValueError, match="shape"):
        joint_fusion(np.zeros((4, 4)), [np.zeros((4, 4))], [np.zeros((4, 5))])
