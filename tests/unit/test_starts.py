"""The learned start of a SIREN: meta-learning, its weights, and how a registration takes it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from heads import CONFIG, pair, run
from synthetic import blobs, motion

from nevf_lite.config import PRESETS, Config, Level
from nevf_lite.data import split
from nevf_lite.networks import Reptile, learn_start, learned_start, save_start
from nevf_lite.networks.starts import SIREN_WEIGHTS
from nevf_lite.optimise import make_field
from nevf_lite.study.methods import find_method, register_with
from nevf_lite.warp import warp

SHAPE = (44, 37)
SIREN = Config(levels=(Level(2, 8, lr=3e-3),), width=16, depth=2, spacing=2.0)


def people(count: int = 3) -> dict[str, torch.Tensor]:
    """One image, moved by up to two voxels in as many ways."""
    still = blobs(SHAPE, 3, sigma=3.0)
    return {f"synthetic{i}": warp(still, motion(SHAPE, 2.0, seed=i)) for i in range(count)}


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
        learn_start(PRESETS["fast"], people(), reptile)
    with pytest.raises(ValueError, match="images: trt09 are not in the `train` split"):
        learn_start(SIREN, {"trt09": 0, "trt01": 0}, reptile)
    for wrong in ({"steps": 0}, {"rate": 2}, {"decay": 0}, {"every": 0.5}, {"seed": "1"}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: wanted"):
            Reptile(**wrong)


def test_the_weights_of_the_package():
    """Of people of the `train` split, without those kept for validation; for the preset alone."""
    record = json.loads(SIREN_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    assert all(split(subject) == "train" for subject in record["subjects"])
    assert not {"trt07", "trt08", "1006", "1007"} & {*record["subjects"]}
    field = learned_start((24, 24, 24), PRESETS["siren"])
    still = make_field((24, 24, 24), PRESETS["siren"])
    learned, random = (f.on_lattice((5, 5, 5)).detach().norm(dim=1).mean() for f in (field, still))
    assert learned > 2 * random  # it knows where brains go, and so does not begin at the identity
    for shape, config in (((8, 8), PRESETS["siren"]), ((8, 8, 8), PRESETS["fast"])):
        with pytest.raises(ValueError, match="start: the learned one is for volumes and the pres"):
            learned_start(shape, config)
    with pytest.raises(ValueError, match="a SIREN of .*'width': 128.*got .*'width': 64"):
        learned_start((8, 8, 8), replace(PRESETS["siren"], width=64))


def test_a_start_is_read_back(tmp_path):
    """In millimetres: on a grid of half the spacing its velocities are twice as many voxels."""
    path, shape = tmp_path / "start.safetensors", (9, 8, 7)
    field = make_field(shape, SIREN)
    save_start(field, path, 2.0, {"steps": 3})
    loaded = learned_start(shape, SIREN, path)
    assert torch.allclose(loaded.on_lattice((5, 5, 5)), field.on_lattice((5, 5, 5)), atol=2e-3)
    finer = learned_start(shape, replace(SIREN, spacing=1.0), path)
    twice = 2 * loaded.on_lattice((5, 5, 5))
    assert torch.allclose(finer.on_lattice((5, 5, 5)), twice, atol=1e-6)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="weights: .* cannot be read; it is damaged"):
        learned_start(shape, SIREN, path)


def test_a_registration_begins_with_the_start():
    """`start` makes the field; a result to resume and a warm start have one already."""
    fixed, moving, _ = pair((44, 40))
    seen = []

    def start(shape, config):
        seen.append((tuple(shape), config.spacing))
        return make_field(shape, replace(config, seed=7))

    result = run(fixed, moving, CONFIG, start=start)
    assert seen == [((44, 40), 1.0)]
    plain = run(fixed, moving, replace(CONFIG, seed=7))
    assert plain.history[-1]["loss"] == result.history[-1]["loss"]
    with pytest.raises(ValueError, match="start: a resumed or warm start has a field already"):
        run(fixed, moving, CONFIG, start=start, resume=result.transform)
    with pytest.raises(ValueError, match="start: a resumed or warm start has a field already"):
        run(fixed, moving, CONFIG, start=start, init=result.transform, init_mode="warm")


def test_a_study_starts_a_siren_so():
    """`init: learned` of the method nevf: the field is not that of random weights."""
    fixed, moving, _ = pair((24, 24, 24), (1, 1, 1))
    options = {"preset": "siren", "levels": [{"iterations": 0}], "spacing": 2.0}
    learned, random = (
        register_with("nevf", fixed, moving, init=init, **options).components[0].field
        for init in ("learned", None)
    )
    assert not torch.allclose(learned.on_lattice((3, 3, 3)), random.on_lattice((3, 3, 3)))
    with pytest.raises(ValueError, match="init_mode: wanted one of"):
        find_method("nevf").check({"init": "learned", "init_mode": "warm"})
