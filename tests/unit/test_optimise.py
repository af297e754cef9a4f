"""The optimisation: it finds known motions, can be trusted to stop, and masks really mask."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from synthetic import blobs, inside, motion

from nevf_lite import optimise
from nevf_lite.config import CHOICES, Config, Level
from nevf_lite.fields import SirenField, VoxelField
from nevf_lite.grid import resize_field
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.losses import jacobian_penalty
from nevf_lite.optimise import (
    NonFiniteLoss,
    deformation,
    fit,
    learning_rate_factor,
    level_shape,
    make_field,
)
from nevf_lite.warp import warp

SHAPE = (64, 56)
CONFIG = Config(
    levels=(Level(2, 40, lr=2e-3), Level(1, 20, lr=2e-3)), width=64, depth=3, smooth=0.02
)
#: For what needs no good answer: 32 x 30 voxels, eight iterations.
SMALL = (32, 30)
QUICK = Config(levels=(Level(2, 4, lr=2e-3, window=5), Level(1, 4, lr=2e-3)), width=16, depth=2)


def pair(shape=SHAPE, amplitude: float = 3.0):
    """Fixed and moving image, and the displacement between them: a known diffeomorphism."""
    moving = blobs(shape, seed=3, sigma=1.5)
    truth = scaling_and_squaring(motion(shape, amplitude, seed=2, sigma=min(shape) / 6))
    return warp(moving, truth), moving, truth


def displacement(result, config, shape=SHAPE):
    with torch.no_grad():
        return deformation(result.field, shape, config.levels[-1].step, config)[0]


def state_bytes(field) -> list[bytes]:
    return [v.numpy().tobytes() for v in field.state_dict().values()]


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
    config = replace(CONFIG, levels=(Level(1, 30, lr=3e-3, window=7),), width=32)
    found = displacement(fit(fixed, moving, config), config, shape)
    before, after = (inside(e, 4).norm(dim=1).mean() for e in (truth, found - truth))
    assert after < 0.5 * before


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


@pytest.mark.parametrize("level, iteration", [(0, 0), (0, 2), (1, 3)])
def test_ctrl_c_keeps_the_best_field(level, iteration):
    """Interrupted at any moment, the field is the one with the lowest loss of its level so far."""
    fixed, moving, _ = pair(SMALL)
    states = []

    def interrupt(record):
        if (record["level"], record["iteration"]) == (level, iteration):
            raise KeyboardInterrupt

    field = make_field(SMALL, QUICK)
    evaluate = optimise._Problem.evaluate

    def spy(problem, field):
        states.append(copy.deepcopy(field.state_dict()))
        return evaluate(problem, field)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimise._Problem, "evaluate", spy)
        result = fit(fixed, moving, QUICK, field=field, callback=interrupt)
    assert result.stopped == "interrupted" and len(result.history) == 4 * level + iteration + 1
    of_level = [(r["loss"], i) for i, r in enumerate(result.history) if r["level"] == level]
    best = states[min(of_level)[1]]
    assert all(torch.equal(best[k], v) for k, v in result.field.state_dict().items())


@pytest.mark.parametrize("similarity", ["lncc", "ncc", "mse", "mind"])
def test_unusable_intensities_stop_with_advice(similarity):
    """Images of 1e30 overflow at once: that is not the learning rate's doing, and it says so."""
    fixed, moving, _ = pair(SMALL)
    config = replace(QUICK, similarity=similarity)
    with pytest.raises(
        NonFiniteLoss, match=r"from the start: .*scale their intensities to \[0, 1\]"
    ):
        fit(1e30 * fixed, 1e30 * moving, config)


class Exploding(torch.nn.Module):
    """A field whose velocities leave the range of float32 at the third evaluation."""

    def __init__(self, field):
        super().__init__()
        self.field, self.shape, self.calls = field, field.shape, 0

    def on_lattice(self, nodes):
        self.calls += 1
        return self.field.on_lattice(nodes) * (1e39 if self.calls > 2 else 1)


def test_divergence_stops_with_advice_and_keeps_the_best():
    """The line names the iteration, the learning rate and what to try; the field stays usable."""
    fixed, moving, _ = pair(SMALL)
    field = make_field(SMALL, QUICK)
    config = replace(QUICK, levels=(Level(1, 20, lr=0.9),))
    with pytest.raises(NonFiniteLoss, match="iteration 2: the learning rate 0.9 .*try a third"):
        fit(fixed, moving, config, field=Exploding(field))
    assert all(p.isfinite().all() for p in field.parameters())
    assert field.on_lattice(SMALL).abs().max() < 1


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


def test_a_mask_of_ones_changes_nothing():
    """Masks everywhere are the same as no masks, to rounding."""
    fixed, moving, _ = pair(SMALL)
    ones = torch.ones_like(fixed)
    plain = fit(fixed, moving, QUICK).history
    masked = fit(fixed, moving, QUICK, fixed_mask=ones).history
    for a, b in zip(plain, masked, strict=True):
        assert a["similarity"] == pytest.approx(b["similarity"], abs=0.02)


def test_initial_deformation_is_kept_and_composed_in_order():
    """With the truth as `initial` the residual stays near zero; it is applied after the field's.

    Section 2.3 of the paper: u(x) + u_initial(x + u(x)).
    """
    fixed, moving, truth = pair()
    result = fit(fixed, moving, CONFIG, initial=truth)
    assert result.history[0]["similarity"] > 0.98
    residual = inside(displacement(result, CONFIG), 6).norm(dim=1)
    assert residual.mean() < 0.06 and residual.max() < 0.3
    # an initial guess that is a shift, which does not commute with the rest
    shift = torch.zeros_like(truth)
    shift[:, 0] = 2
    moved = warp(moving, -shift)
    result = fit(warp(moved, shift), moved, CONFIG, initial=shift)
    assert inside(displacement(result, CONFIG), 6).norm(dim=1).mean() < 0.06


@pytest.mark.parametrize("order", CHOICES["order"])
@pytest.mark.parametrize("integrator", CHOICES["integrator"])
def test_every_integrator_and_order_runs(integrator, order):
    """Each lowers the loss, and leads to nearly the same field as scaling and squaring."""
    fixed, moving, _ = pair(SMALL)
    reference = replace(QUICK, order=order)
    config = replace(reference, integrator=integrator)
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


def test_patience_stops_a_level_that_stands_still():
    """Identical images leave nothing to gain: each level ends early, and the next one runs."""
    fixed, _, _ = pair(SMALL)
    config = replace(QUICK, levels=(Level(2, 50), Level(1, 50)), patience=5, tolerance=1e-2)
    history = fit(fixed, fixed, config).history
    assert [r["level"] for r in history].count(0) == 6 and history[-1]["level"] == 1
    assert len(history) == 12


@pytest.mark.parametrize("gain, expected", [(0.4, 50), (0.05, 11)])
def test_slow_progress_is_progress(gain, expected):
    """Patience counts from the last improvement by `tolerance`, made in however many steps.

    Ten iterations of 0.4 tolerances each improve by four: the level goes on. Of 0.05: it ends.
    """

    class Falling:
        level, config = Level(1, 50), replace(QUICK, patience=10, tolerance=1e-3)
        calls = 0

        def evaluate(self, field):
            self.calls += 1
            zero = 0 * sum(p.sum() for p in field.parameters())
            return 1 - gain * 1e-3 * self.calls + zero, zero, torch.zeros(1, 2, 4, 4)

    assert len(list(optimise._optimise(make_field(SMALL, QUICK), Falling()))) == expected


def test_going_on_from_a_field():
    """A field that is given is where the fit starts: at the loss it had reached."""
    fixed, moving, _ = pair(SMALL)
    config = replace(QUICK, levels=(Level(1, 8, lr=3e-3),))
    first = fit(fixed, moving, config)
    second = fit(fixed, moving, config, field=first.field)
    best = min(r["loss"] for r in first.history)
    assert second.history[0]["loss"] == pytest.approx(best, abs=1e-6)
    assert min(r["loss"] for r in second.history) < best


def test_images_of_different_shapes_are_refused():
    """The ground floor does not resample; it says who should."""
    with pytest.raises(ValueError, match=r"moving: wanted the fixed image's shape \(32, 30\)"):
        fit(torch.rand(1, 1, *SMALL), torch.rand(1, 1, 30, 32), QUICK)


def test_deformation_is_one_motion_at_every_level():
    """The field speaks voxels of the finest grid; a coarse level sees the same motion."""
    field = make_field(SHAPE, replace(CONFIG, omega=10.0))  # smooth: a coarse level can show it
    with torch.no_grad():
        for parameter in field.net[-1].parameters():
            parameter.mul_(60)
        fine, velocity = deformation(field, SHAPE, 1, CONFIG)
        coarse_shape = level_shape(SHAPE, Level(2))
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
def test_level_shape(shape, factor, expected):
    """Every `factor`-th voxel with the corners shared, never fewer than two."""
    assert level_shape(shape, Level(factor)) == expected


def test_learning_rate_falls_by_a_cosine():
    """From 1 to `decay` over a level, half-way half; a decay of 1 is a constant rate."""
    assert [learning_rate_factor(p, 0.2) for p in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert learning_rate_factor(0.7, 1.0) == 1


def test_make_field_follows_the_config():
    """The kind, the width and the lattice of the finest level's L."""
    assert isinstance(make_field(SMALL, QUICK), SirenField)
    voxel = make_field(SMALL, replace(QUICK, field="voxel", levels=(Level(1, 1, step=3),)))
    assert isinstance(voxel, VoxelField) and voxel.values.shape == (1, 2, 11, 10)
