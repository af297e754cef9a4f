"""Predicted starts: a field of features as a network predicts it, a SIREN as meta-learned."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from heads import CONFIG, pair, run
from synthetic import blobs, motion

from nevf_lite.config import PRESETS, Config, Level
from nevf_lite.data import split
from nevf_lite.fields import FeatureField, SirenField
from nevf_lite.networks import (
    LatticeNet,
    NetworkFrame,
    Reptile,
    Training,
    learn_start,
    load_network,
    predicted_start,
    start_features,
    train,
)
from nevf_lite.networks.starts import SIREN_WEIGHTS, save_siren, start_siren
from nevf_lite.optimise import make_field
from nevf_lite.study.methods import find_method, register_with
from nevf_lite.warp import warp

SHAPE = (44, 37)
LEVELS = (Level(4, 10), Level(2, 10), Level(1, 5))
FEATURES = Config(LEVELS, field="features", spacing=1.0, scale=5.0, width=8)
SIREN = Config(levels=(Level(2, 8, lr=3e-3),), width=16, depth=2, spacing=2.0)


def people(count: int = 3) -> dict[str, torch.Tensor]:
    """One image, moved by up to two voxels in as many ways."""
    still = blobs(SHAPE, 3, sigma=3.0)
    return {f"synthetic{i}": warp(still, motion(SHAPE, 2.0, seed=i)) for i in range(count)}


def network(passes=(2, 1), spacing: float = 2.0) -> LatticeNet:
    torch.manual_seed(0)
    return LatticeNet((4, 4, 4), passes, width=8, ndim=2, frame=NetworkFrame(spacing=spacing))


def test_training_lowers_the_loss():
    """On made-up people, on two resolutions with odd and even sides; a pass more changes it."""
    trained = network()
    record = train(trained, people(2), Training(steps=60, lr=1e-2, every=20))
    curve = [entry["loss"] for entry in record["loss_curve"]]
    assert curve[-1] < 0.6 * curve[0], curve
    fixed, moving = people(2).values()
    displacement = trained(fixed, moving)
    assert displacement.shape == (1, 2, *SHAPE)
    before, after = ((fixed - m).square().mean() for m in (moving, warp(moving, displacement)))
    assert after < before


def test_the_field_starts_where_the_network_predicts():
    """The features lie on nodes of the field: nothing is lost by interpolation between them."""
    predictor, (fixed, moving) = network((2,)), people(2).values()
    with torch.no_grad():  # a new network predicts nothing
        predictor.outputs[1].weight.normal_(std=0.1)
    field, config = start_features(predictor, FEATURES, fixed, moving)
    assert [level.factor for level in config.levels] == [2, 1]  # its resolution and finer ones
    nodes = field.lattices[2].shape[2:]
    images = [torch.nn.functional.interpolate(i, [2 * n - 1 for n in nodes], mode="bilinear",
              align_corners=True) for i in (fixed, moving)]  # fmt: skip
    features = predictor.predict_features(*images)
    assert features.shape[2:] == nodes
    with torch.no_grad():
        wanted = (
            predictor.sines_to_velocity
            @ (predictor.features_to_sines @ features[0].flatten(1)).sin()
        )
        found = field.on_lattice(nodes)[0].flatten(1) / 5.0
    assert wanted.abs().max() > 0.05
    # the network saw the images after a blur, so the two predictions differ a little
    assert torch.nn.functional.cosine_similarity(found, wanted).min() > 0.8


def test_a_start_is_refused_for_another_field():
    fixed, moving = people(2).values()
    with pytest.raises(ValueError, match="start: the predicted one is for volumes, got 2-D"):
        predicted_start(FEATURES, fixed, moving)
    volume = torch.rand(1, 1, 8, 8, 8)
    with pytest.raises(ValueError, match="start: only the preset .siren. has"):
        predicted_start(replace(FEATURES, field="voxel"), volume, volume)
    with pytest.raises(ValueError, match="features of width 8.*got width 9"):
        start_features(network(), replace(FEATURES, width=9), fixed, moving)
    with pytest.raises(ValueError, match="every 4 mm, got width 8 and lattices of 16, 8 mm"):
        start_features(network(), replace(FEATURES, lattices=(16, 8)), fixed, moving)


def test_a_step_of_reptile():
    """The start moves that share of the way to the weights that fit the pair of the step."""
    made = make_field(SHAPE, SIREN)
    (fitted, record), (halfway, _) = (
        learn_start(SIREN, people(2), Reptile(steps=1, rate=rate)) for rate in (1.0, 0.5)
    )
    assert record["similarity_curve"][-1]["similarity"] > 0.9
    parts = zip(*(field.parameters() for field in (made, fitted, halfway)), strict=True)
    for first, last, between in parts:
        assert not torch.equal(first, last)
        assert torch.allclose(between, (first + last) / 2, atol=1e-6)


def test_meta_learning_goes_on_where_it_stopped(tmp_path):
    """Stopped after three of four steps, the last of them lost: the same weights."""
    reptile = Reptile(steps=4, every=2)
    whole, _ = learn_start(SIREN, people(), reptile)

    def stop(record: dict) -> None:
        if record["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_start(SIREN, people(), reptile, tmp_path / "c.pt", callback=stop)
    resumed, _ = learn_start(SIREN, people(), reptile, tmp_path / "c.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    with pytest.raises(ValueError, match="config: wanted the field 'siren'"):
        learn_start(FEATURES, people(), reptile)
    with pytest.raises(ValueError, match="images: trt09 are not in the `train` split"):
        learn_start(SIREN, {"trt09": 0, "trt01": 0}, reptile)


def test_the_weights_of_the_package():
    """Of people of the `train` split only; the network's size is that of a FeatureField's head."""
    record = json.loads(SIREN_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    predictor = load_network("lattices", "small")
    for subjects in (record["subjects"], predictor.record["subjects"]):
        assert all(split(subject) == "train" for subject in subjects)
        assert not {"trt07", "trt08", "1006", "1007"} & {*subjects}  # kept for validation
    volume = torch.rand(1, 1, 24, 24, 24)
    config = replace(PRESETS["siren"], spacing=2.0)
    field, unchanged = predicted_start(config, volume, volume)
    assert unchanged == config and isinstance(field, SirenField)
    config = replace(PRESETS["default"], spacing=1.0)
    field, _ = start_features(predictor, config, volume, volume)
    assert isinstance(field, FeatureField)


def test_a_sirens_weights_are_read_back(tmp_path):
    """In millimetres: on a grid of half the spacing its velocities are twice as many voxels."""
    path, fixed = tmp_path / "start.safetensors", blobs(SHAPE, 3, sigma=3.0)
    field = make_field(SHAPE, SIREN)
    save_siren(field, path, 2.0, {"steps": 3})
    loaded = start_siren(path, SIREN, fixed)
    assert torch.allclose(loaded.on_lattice((5, 5)), field.on_lattice((5, 5)), atol=2e-3)
    finer = start_siren(path, replace(SIREN, spacing=1.0), fixed)
    assert torch.allclose(finer.on_lattice((5, 5)), 2 * loaded.on_lattice((5, 5)), atol=1e-6)
    with pytest.raises(ValueError, match="a SIREN of .*'width': 16"):
        start_siren(path, replace(SIREN, width=32), fixed)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="weights: .* cannot be read; it is damaged"):
        start_siren(path, SIREN, fixed)


def test_a_registration_begins_with_the_start():
    """`start` makes the field; it cannot follow a deformation, nor a result to resume."""
    fixed, moving, _ = pair((44, 40))
    seen = []

    def start(config, fixed, moving, fixed_mask, moving_mask):
        seen.append((config.spacing, fixed.shape, fixed_mask))
        field = make_field(fixed.shape[2:], replace(config, seed=7))
        return field, replace(config, levels=config.levels[1:])

    result = run(fixed, moving, CONFIG, start=start)
    assert seen == [(1.0, (1, 1, 44, 40), None)] and len(result.history) == 15
    assert result.timings["start"] >= 0
    plain = run(fixed, moving, replace(CONFIG, levels=CONFIG.levels[1:], seed=7))
    assert plain.history[-1]["loss"] == result.history[-1]["loss"]
    with pytest.raises(ValueError, match="start: a resumed result has a field already"):
        run(fixed, moving, CONFIG, start=start, resume=result.transform)
    with pytest.raises(ValueError, match="start: it can follow an affine init only"):
        run(fixed, moving, CONFIG, start=start, init=result.transform)


def test_a_study_starts_a_siren_so():
    """`init: predicted` of the method nevf: the field is not that of random weights."""
    fixed, moving, _ = pair((24, 24, 24), (1, 1, 1))
    options = {"preset": "siren", "levels": [{"iterations": 0}], "spacing": 2.0}
    learned, random = (
        register_with("nevf", fixed, moving, init=init, **options).components[0].field
        for init in ("predicted", None)
    )
    assert not torch.allclose(learned.on_lattice((3, 3, 3)), random.on_lattice((3, 3, 3)))
    with pytest.raises(ValueError, match="init_mode: wanted one of"):
        find_method("nevf").check({"init": "predicted", "init_mode": "warm"})
