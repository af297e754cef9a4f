"""The optimisation: it finds known motions, and masks really mask."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from fits import CONFIG, QUICK, SHAPE, SMALL, displacement, pair, state_bytes
from synthetic import inside, motion

from nevf_lite.config import CHOICES, Level
from nevf_lite.descent import learning_rate_factor
from nevf_lite.fields import SirenField, VoxelField
from nevf_lite.grid import resize_field
from nevf_lite.integrate import compose
from nevf_lite.losses import MSE, jacobian_penalty
from nevf_lite.optimise import (
    Fit,
    deformation,
    fit,
    make_field,
)
from nevf_lite.warp import warp


@pytest.mark.parametrize(
    "config, limit",
    [
        (CONFIG, 0.25),
        (replace(CONFIG, order="integrate-upsample"), 0.3),
        (replace(CONFIG, field="voxel", levels=(Level(1, 60, lr=0.1),)), 0.4),
    ],
    ids=["siren", "integrate-upsample", "voxel"],
)
def test_fit_recovers_a_known_diffeomorphism(config, limit):
    """From 1.4 voxels of error to a fraction of one, without a fold."""
    fixed, moving, truth = pair()
    found = displacement(fit(fixed, moving, config), config)
    before, after = (inside(e, 6).norm(dim=1).mean() for e in (truth, found - truth))
    assert before > 1.2 and after < limit
    assert jacobian_penalty(found) == 0


def test_fit_recovers_a_motion_in_three_dimensions():
    """The same code path, one axis more."""
    shape = (22, 20, 24)
    fixed, moving, truth = pair(shape, amplitude=2.0)
    config = replace(CONFIG, levels=(Level(1, 40, lr=2e-3, window=7),))
    found = displacement(fit(fixed, moving, config), config, shape)
    before, after = (inside(e, 4).norm(dim=1).mean() for e in (truth, found - truth))
    assert after < 0.3 * before


def test_history_tells_the_whole_story():
    """One record an iteration, in order, given to the callback as it comes."""
    fixed, moving, _ = pair(SMALL)
    seen = []
    result = fit(fixed, moving, QUICK, callback=lambda record: seen.append(dict(record)))
    assert result.history == seen and result.stopped == "finished"
    assert [(r["level"], r["iteration"]) for r in seen] == [
        (a, b) for a in (0, 1) for b in range(4)
    ]
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(seen, seen[1:], strict=False))
    assert all(0 <= r["similarity"] <= 1 and r["folds"] == 0 for r in seen)


@pytest.mark.parametrize("field", ["siren", "voxel"])
def test_same_seed_same_bytes(field):
    """On the CPU a seed decides every bit; another seed is another start."""
    fixed, moving, _ = pair(SMALL)
    config = replace(QUICK, field=field)
    first, again = (state_bytes(fit(fixed, moving, config).field) for _ in range(2))
    assert first == again
    other = state_bytes(fit(fixed, moving, replace(config, seed=1)).field)
    assert (other == first) == (field == "voxel")  # which starts at zero, whatever the seed


def test_the_callers_random_numbers_are_left_alone():
    """A registration inside somebody's training loop must not reset their generator."""
    torch.manual_seed(42)
    expected = torch.rand(3)
    torch.manual_seed(42)
    make_field(SMALL, QUICK)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("which", ["fixed", "moving"])
@pytest.mark.parametrize("similarity", ["lncc", "mse"])
def test_masks_really_mask(which, similarity):
    """A lesion painted under the mask changes no byte of the field, at coarse levels included.

    Without the mask it pulls the field by voxels.
    """
    fixed, moving, _ = pair(SMALL)
    config = replace(
        QUICK, levels=(Level(2, 8, lr=3e-3), Level(1, 8, lr=3e-3)), similarity=similarity
    )
    hole = (..., slice(11, 20), slice(10, 18))
    mask = torch.ones_like(fixed)
    mask[hole] = 0
    images = {"fixed": fixed, "moving": moving}
    painted = {**images, which: images[which].clone()}
    painted[which][hole] = 1.0
    masked = {f"{which}_mask": mask}
    clean = fit(**images, config=config, **masked)
    assert state_bytes(clean.field) == state_bytes(fit(**painted, config=config, **masked).field)
    pulled = displacement(fit(**painted, config=config), config, SMALL)
    assert (pulled - displacement(clean, config, SMALL)).norm(dim=1).max() > 0.2


@pytest.mark.parametrize("masked", [False, True])
def test_noise_is_spared_only_where_enough_is_explained(masked):
    """The finest level alone is sampled at 1.5 L, and only from the asked correlation on."""
    fixed, moving, _ = pair(SMALL)
    masks = {"fixed_mask": torch.ones_like(fixed)} if masked else {}

    def steps(**changes) -> list[tuple[int, float]]:
        config = replace(QUICK, **changes)
        history = fit(fixed, moving, config, **masks).history
        return list(dict.fromkeys((r["level"], r["step"]) for r in history))

    reached = fit(fixed, moving, QUICK).history[4]["similarity"]
    assert 0.1 < reached < 0.9
    assert steps(noise_ceiling=0.5 * reached) == [(0, 2.0), (1, 3.0)]
    assert steps(noise_ceiling=0.99) == steps(noise_ceiling=1.0) == [(0, 2.0), (1, 2.0)]
    assert steps(noise_ceiling=0.5 * reached, similarity="mse") == [(0, 2.0), (1, 2.0)]


def test_a_mask_of_ones_changes_nothing():
    """Masks everywhere are the same as no masks, to rounding."""
    fixed, moving, _ = pair(SMALL)
    ones = torch.ones_like(fixed)
    plain = fit(fixed, moving, QUICK).history
    masked = fit(fixed, moving, QUICK, fixed_mask=ones).history
    for a, b in zip(plain, masked, strict=True):
        assert a["similarity"] == pytest.approx(b["similarity"], abs=0.02)


def test_the_truth_as_initial_deformation_leaves_nothing_to_do():
    """The residual stays near zero: a network's good answer is not spoilt."""
    fixed, moving, truth = pair()
    result = fit(fixed, moving, CONFIG, initial=truth)
    assert result.history[0]["similarity"] > 0.98
    residual = inside(displacement(result, CONFIG), 6).norm(dim=1)
    assert residual.mean() < 0.06 and residual.max() < 0.3


def test_initial_deformation_comes_after_the_fields():
    """Section 2.3 of the paper, u(x) + u_initial(x + u(x)): the other way round is another map."""
    fixed, moving, _ = pair(SMALL)
    config = replace(QUICK, similarity="mse", levels=(Level(1, 1),))
    field = make_field(SMALL, config)
    with torch.no_grad():
        field.net[-1].weight.mul_(100)
    own = displacement(Fit(field), config, SMALL)
    initial = motion(SMALL, 3.0, seed=9, sigma=5)
    (record,) = fit(fixed, moving, config, field=field, initial=initial).history
    orders = [compose(own, initial), compose(initial, own)]
    right, wrong = (MSE(fixed)(warp(moving, u)).item() for u in orders)
    assert 1 - record["similarity"] == pytest.approx(right, rel=1e-4)
    assert abs(wrong - right) > 0.05 * right


@pytest.mark.parametrize("order", CHOICES["order"])
@pytest.mark.parametrize("integrator", CHOICES["integrator"])
def test_every_integrator_and_order_runs(integrator, order):
    """Each lowers the loss, and leads to nearly the same field as scaling and squaring."""
    if "squaring" in integrator and order == "continuous":
        pytest.skip("to square is to compose on a grid; test_config has the refusal")
    fixed, moving, _ = pair(SMALL)
    reference = QUICK if order == "continuous" else replace(QUICK, order=order)
    config = replace(reference, integrator=integrator, order=order)
    history = fit(fixed, moving, config).history
    assert history[-1]["loss"] < history[4]["loss"]
    expected = fit(fixed, moving, reference).history[-1]["loss"]
    assert history[-1]["loss"] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("target", CHOICES["smooth_target"])
@pytest.mark.parametrize("similarity", CHOICES["similarity"])
def test_every_similarity_lowers_its_loss(similarity, target):
    """In 2-D, with smoothness of the displacement and of the velocity."""
    fixed, moving, _ = pair(SMALL)
    config = replace(
        QUICK, similarity=similarity, smooth_target=target, levels=(Level(1, 8, lr=3e-3),)
    )
    losses = [r["loss"] for r in fit(fixed, moving, config).history]
    assert all(map(math.isfinite, losses)) and min(losses[4:]) < losses[0]


@pytest.mark.parametrize("saving", [{"chunk": 50}, {"bfloat16": True}], ids=["chunk", "bfloat16"])
def test_saving_memory_changes_little(saving):
    """Chunks of activations, or half precision in the network, lead to nearly the same loss."""
    fixed, moving, _ = pair(SMALL)
    plain, frugal = (fit(fixed, moving, c).history for c in (QUICK, replace(QUICK, **saving)))
    for a, b in zip(plain, frugal, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-6 if "chunk" in saving else 5e-3)


def test_thin_volumes_run():
    """An axis shorter than the window of the similarity, which torch's pooling refuses."""
    fixed, moving, _ = pair((16, 6, 14), amplitude=1.0)
    result = fit(fixed, moving, replace(QUICK, levels=(Level(2, 2), Level(1, 2))))
    assert len(result.history) == 4 and math.isfinite(result.history[-1]["loss"])


def test_double_precision_images_are_fitted_in_double_precision():
    """The field takes the images' type, where they met with an obscure error."""
    fixed, moving, _ = pair(SMALL)
    result = fit(fixed.double(), moving.double(), QUICK)
    assert next(result.field.parameters()).dtype == torch.float64


def test_images_of_different_shapes_are_refused():
    """The ground floor does not resample: other grids, other channels, a volume of one slice."""
    fixed = torch.rand(1, 1, *SMALL)
    for moving in (torch.rand(1, 1, 30, 32), torch.rand(1, 2, *SMALL)):
        with pytest.raises(ValueError, match=r"moving: wanted the fixed image's shape \(1, 1, 32"):
            fit(fixed, moving, QUICK)
    with pytest.raises(ValueError, match="at least 2 voxels"):
        fit(fixed[..., :1], fixed[..., :1], QUICK)


def test_deformation_is_one_motion_at_every_level():
    """The field speaks voxels of the finest grid; a coarse level sees the same motion."""
    field = make_field(SHAPE, replace(CONFIG, omega=10.0))  # smooth: a coarse level can show it
    with torch.no_grad():
        for parameter in field.net[-1].parameters():
            parameter.mul_(60)
        fine, velocity = deformation(field, SHAPE, 1, CONFIG)
        coarse_shape = Level(2).grid_shape(SHAPE)
        coarse, _ = deformation(field, coarse_shape, 1, CONFIG)
        other, _ = deformation(field, SHAPE, 2, replace(CONFIG, order="integrate-upsample"))
    size = fine.norm(dim=1).mean()
    assert size > 0.3 and velocity.shape == fine.shape
    assert (resize_field(coarse, SHAPE) - fine).norm(dim=1).mean() < 0.1 * size
    assert (other - fine).norm(dim=1).mean() < 0.15 * size


@pytest.mark.parametrize(
    "shape, factor, expected",
    [
        ((160, 192), 2, (81, 97)),
        ((81, 97, 81), 4, (21, 25, 21)),
        ((8, 8), 16, (2, 2)),
        ((9, 9), 1, (9, 9)),
    ],
)
def test_grid_shape(shape, factor, expected):
    """Every `factor`-th voxel with the corners shared, never fewer than two."""
    assert Level(factor).grid_shape(shape) == expected


def test_learning_rate_falls_by_a_cosine():
    """From 1 to `decay` over a level, half-way half; a decay of 1 is a constant rate."""
    assert [learning_rate_factor(p, 0.2) for p in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert learning_rate_factor(0.7, 1.0) == 1


def test_make_field_follows_the_config():
    """The kind, the width and the lattice of the finest level's L."""
    assert isinstance(make_field(SMALL, QUICK), SirenField)
    voxel = make_field(SMALL, replace(QUICK, field="voxel", levels=(Level(1, 1, step=3),)))
    assert isinstance(voxel, VoxelField) and voxel.values.shape == (1, 2, 11, 10)
