"""How an optimisation ends: interrupted, diverged, patient; and how it goes on."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from fits import QUICK, SMALL, pair

from nevf_lite import optimise
from nevf_lite.config import Level
from nevf_lite.descent import Descent, NonFiniteLoss
from nevf_lite.optimise import fit, make_field


@pytest.mark.parametrize("level, iteration", [(0, 0), (0, 2), (1, 3)])
def test_ctrl_c_keeps_the_best_field(level, iteration):
    """Interrupted at any moment, the field is the one with the lowest loss of its level so far."""
    fixed, moving, _ = pair(SMALL)
    states = []

    def interrupt(record):
        if (record["level"], record["iteration"]) == (level, iteration):
            raise KeyboardInterrupt

    field = make_field(SMALL, QUICK)
    evaluate = optimise._LevelLoss.evaluate

    def spy(problem, field):
        states.append(copy.deepcopy(field.state_dict()))
        return evaluate(problem, field)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimise._LevelLoss, "evaluate", spy)
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

    def freeze_finer_than(self, spacing):
        self.field.freeze_finer_than(spacing)

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

    calls = []

    def falling(field):
        calls.append(1)
        zero = 0 * sum(p.sum() for p in field.parameters())
        return 1 - gain * 1e-3 * len(calls) + zero, zero, torch.zeros(())

    config = replace(QUICK, patience=10, tolerance=1e-3)
    descent = Descent(make_field(SMALL, QUICK), falling, Level(1, 50), config)
    while not descent.done:
        descent.launch()
        descent.read()
    assert len(calls) == expected


def test_going_on_from_a_field():
    """A field that is given is where the fit starts: at the loss it had reached."""
    fixed, moving, _ = pair(SMALL)
    config = replace(QUICK, levels=(Level(1, 8, lr=3e-3),))
    first = fit(fixed, moving, config)
    second = fit(fixed, moving, config, field=first.field)
    best = min(r["loss"] for r in first.history)
    assert second.history[0]["loss"] == pytest.approx(best, abs=1e-6)
    assert min(r["loss"] for r in second.history) < best
