"""The published weights in our modules do what they did where they came from.

Two people of neurite-OASIS, whom SYMNet very probably saw in training. The numbers were measured
with the owners' conventions: 160x192x224, LIA, channels moving then fixed; Dice over labels 1-35.
"""

from __future__ import annotations

import pytest
import torch

from nevf_lite.data import load_pair
from nevf_lite.networks import load_network, symnet, voxelmorph
from nevf_lite.scores.deformation import folds
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.transform import Transform

PEOPLE = ("OAS1_0001", "OAS1_0002")


@pytest.fixture
def official(nevf_data, monkeypatch):
    """Skips where neither the weights nor the data are here: nothing is downloaded by a test."""
    if not (nevf_data.parent / "weights").is_dir() or not (nevf_data / "neurite").is_dir():
        pytest.skip("the published weights or the neurite brains are not here")
    pytest.importorskip("h5py")
    monkeypatch.setenv("NEVF_DATA", str(nevf_data))  # where the package looks for both


def scored(transform: Transform, pair) -> float:
    warped = transform.warp_labels(pair.moving_labels)
    return mean_dice(pair.fixed_labels, warped, pair.protocol)


def test_official_weights_load(official):
    """Every tensor has its place: 12 and 20 convolutions, 7 channels to start with."""
    vm, sym = load_network("voxelmorph"), load_network("symnet")
    assert vm.settings["encoder"] == [16, 32, 32, 32]
    assert vm.settings["decoder"] == [32, 32, 32, 32, 32, 16, 16]
    assert sum(p.numel() for p in vm.parameters()) == 300_547
    assert sym.settings["channels"] == 7
    assert sum(p.numel() for p in sym.parameters()) == 862_351
    with torch.no_grad():
        for network in (vm, sym):  # a pair of blank images moves nothing far
            assert network(*torch.zeros(2, 1, 1, 32, 32, 32)).abs().max() < 20


@pytest.mark.slow
def test_symnet(official):
    """Dice 0.448 before and 0.695 +- 0.002 after, no folds by central differences.

    By forward differences, which see more, 0.006 % of the voxels fold.
    """
    pair = load_pair("neurite", *PEOPLE)
    transform = symnet(pair.fixed, pair.moving)
    still = Transform.identity(transform.fixed, transform.moving)
    assert scored(still, pair) == pytest.approx(0.448, abs=0.001)
    assert scored(transform, pair) == pytest.approx(0.697, abs=0.001)
    folded = folds(transform.voxel_displacement())
    assert 100 * folded.central <= 0.001
    assert 100 * folded.forward <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("people", "dice"), [(PEOPLE, 0.669), (PEOPLE[::-1], 0.645)])
def test_voxelmorph(official, people, dice):
    """Dice 0.669 and, the other way, 0.645, +- 0.002: trained on other brains, to an atlas."""
    pair = load_pair("neurite", *people)
    transform = voxelmorph(pair.fixed, pair.moving)
    assert scored(transform, pair) == pytest.approx(dice, abs=0.002)
