"""The steps of one level, and several pairs in turns: the same numbers as one alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from fits import QUICK, SMALL, pair, state_bytes

from nevf_lite import kernels
from nevf_lite.config import Level, preset
from nevf_lite.descent import Adam, Descent
from nevf_lite.optimise import _LevelLoss, fit, fit_many, make_field


def three() -> list[dict]:
    """Pairs on different grids; one of them with a mask."""
    shapes = (SMALL, (28, 36), SMALL)
    images = [
        dict(zip(("fixed", "moving"), pair(s, 2.0 + i)[:2], strict=True))
        for i, s in enumerate(shapes)
    ]
    images[2]["fixed_mask"] = torch.ones(1, 1, *SMALL)
    return images


def numbers(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


def test_pairs_in_turns_are_pairs_alone():
    """Bit for bit, though one of them loses patience early; records come by turns."""
    config = replace(QUICK, levels=(Level(2, 12, lr=2e-3), Level(1, 6, lr=2e-3)))
    config = replace(config, patience=4, tolerance=5e-3)
    told = []
    together = fit_many(three(), config, callback=lambda i, record: told.append((i, record)))
    alone = [fit(**images, config=config) for images in three()]
    assert len({len(one.history) for one in alone}) > 1, "all of them ran as long"
    for number, (a, b) in enumerate(zip(together, alone, strict=True)):
        assert state_bytes(a.field) == state_bytes(b.field)
        assert numbers(a.history) == numbers(b.history)
        assert [record for i, record in told if i == number] == a.history
    assert [i for i, _ in told[:6]] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_adam_is_torch_s(betas):
    """Bit for bit, with a learning rate that changes."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator) for shape in ((5, 7), (3,))]
    theirs = [p.clone().requires_grad_() for p in ours]
    adam, reference = Adam(ours, betas), torch.optim.Adam(theirs, betas=betas)
    for step in range(30):
        rate = 1e-3 * (1 + 0.1 * step)
        reference.param_groups[0]["lr"] = rate
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        adam.begin_step(rate)
        adam.step()
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_fit_does_not_wait_for_torch_s_compiler():
    """Importing it takes longer than all iterations of the coarsest level."""
    code = (
        "import sys, torch; from nevf_lite.optimise import fit; from nevf_lite.config import *\n"
        "x = torch.rand(1, 1, 12, 12); fit(x, x, preset('default', levels=(Level(1, 2),)))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_ends_all_pairs_at_their_best():
    """The pairs' fields are usable, and each says how it ended."""

    def interrupt(number, record):
        if (number, record["iteration"]) == (1, 2):
            raise KeyboardInterrupt

    found = fit_many(three(), QUICK, callback=interrupt)
    assert [one.stopped for one in found] == ["interrupted"] * 3
    assert [len(one.history) for one in found] == [3, 3, 2]
    for images, one in zip(three(), found, strict=True):
        level = replace(QUICK, levels=(replace(QUICK.levels[0], iterations=1),))
        again = fit(**images, config=level, field=one.field).history[0]["loss"]
        # the last step may have been done and not been told yet
        assert again <= min(r["loss"] for r in one.history) + 1e-6


@pytest.mark.parametrize("name", ["default", "siren"])
def test_a_step_reads_no_number(name, monkeypatch):
    """What a CUDA graph may not hold: numbers that go to the CPU, or come from it."""
    config = preset(name, levels=(Level(1, 9, step=2),))
    fixed, moving, _ = pair((12, 14, 10), 1.0)
    field = make_field(fixed.shape[2:], config)
    problem = _LevelLoss(fixed, moving, None, None, None, config.levels[0], config)
    descent = Descent(field, problem.evaluate, config.levels[0], config)

    def forbidden(*_, **__):
        raise AssertionError("the step waits for the CPU")

    with kernels.backend("torch"):
        descent.launch()  # constants are made at the first
        descent.read()
        with monkeypatch.context() as patch:
            for name in (
                "item",
                "tolist",
                "numpy",
                "new_tensor",
                "__bool__",
                "__float__",
                "__int__",
            ):
                patch.setattr(torch.Tensor, name, forbidden)
            patch.setattr(torch, "tensor", forbidden)
            descent.run_step()
    descent.close()
