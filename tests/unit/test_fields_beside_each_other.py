"""The rows of the chapter on the field of features: of whom they are, and what is compared."""

from __future__ import annotations

import torch

from benchmarks import fields
from nevf_lite.chapters import results
from nevf_lite.config import preset
from nevf_lite.data import split
from nevf_lite.optimise import make_field


def test_rows_are_of_the_train_split_and_of_what_is_asked():
    rows = results("fields")
    assert len(rows) and {split(name) for name in (*rows.fixed, *rows.moving)} == {"train"}
    asked = {key for experiment in fields.experiments() for key in [experiment[:2]]}
    assert set(zip(rows.experiment, rows.label, strict=True)) <= asked


def test_the_field_is_that_of_the_preset_on_any_grid():
    """On a grid of half as many voxels the velocities in mm are the same."""
    fine, config = (41, 33, 25), preset("fast")
    coarse = tuple((n + 1) // 2 for n in fine)
    torch.manual_seed(0)
    here = fields.features()(coarse)
    torch.manual_seed(0)
    there = make_field(fine, config)
    for mine, theirs in zip(here.lattices, there.lattices, strict=True):
        assert mine.shape == theirs.shape
        with torch.no_grad():
            theirs.uniform_(-1e-3, 1e-3)
            mine.copy_(theirs)
    there.net.load_state_dict(here.net.state_dict())
    mm = [f.on_lattice((5, 5, 5)) * size for f, size in ((here, fields.MM), (there, 1.0))]
    assert torch.allclose(*mm, atol=1e-4)


def test_without_its_sine_the_head_is_linear():
    field = fields.without_sine((9, 9))
    with torch.no_grad():
        once = field.on_lattice((5, 5))
        for lattice in field.lattices:
            lattice.mul_(3.0)
        assert torch.allclose(field.on_lattice((5, 5)), 3 * once, atol=1e-6)
    assert once.abs().max() > 0
