"""A warm start: the field learns a given deformation, of which nothing else is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import CONFIG, in_head, motion, pair, run

from nevf_lite.config import Level
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.registration.problem import RegistrationProblem
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, DisplacementField, VelocityFlow
from nevf_lite.transforms.transform import Transform

DEVICE = torch.device("cpu")
#: Three pixels between samples of the coarsest level; no iteration on the images.
NONE = replace(
    CONFIG,
    field="features",
    lattices=(8, 4, 2),
    scale=5.0,
    levels=(Level(1, 0, step=1.5, lr=1e-2),),
)


def start(fixed, moving, displacement: np.ndarray, *after) -> Transform:
    """A transform with that displacement, (*shape, 3) in RAS mm, and components after it."""
    field = DisplacementField.from_mm(displacement, Grid.of(fixed))
    return Transform((field, *after), Grid.of(fixed), Grid.of(moving))


@pytest.mark.parametrize("shape", [(48, 48), (32, 32, 32)], ids=["2d", "3d"])
def test_the_field_learns_the_start(shape):
    """The known motion, 1.6 mm in the mean, to within its own third; nothing is composed."""
    fixed, moving, axes = pair(shape, (1,) * len(shape))
    truth = motion(Grid.of(fixed).points(), axes)
    result = run(fixed, moving, NONE, init=start(fixed, moving, truth), init_mode="warm")
    assert [type(c) for c in result.transform.components] == [VelocityFlow]
    points = in_head(fixed)
    wanted = motion(points, axes)
    learned = result.transform.points_to_moving(points) - points
    left = np.linalg.norm(learned - wanted, axis=1).mean()
    assert left < np.linalg.norm(wanted, axis=1).mean() / 3
    assert result.timings["warm_start"] >= 0
    assert any("from the initial one" in note for note in result.notes)


def test_what_the_start_folds_is_not_kept():
    """A start that folds the head: composed it stays folded, learned the images undo the folds."""
    fixed, moving, _ = pair((48, 48))
    grid = Grid.of(fixed)
    wave = np.zeros((48, 48, 3))
    wave[..., 0] = 5.0 * np.sin(np.arange(48) * 2 * np.pi / 24)[:, None]
    init = start(fixed, moving, wave)
    assert (jacobian_determinant(init.voxel_displacement(grid)) <= 0).float().mean() > 0.1
    config = replace(NONE, levels=(Level(1, 40, step=1.5, lr=5e-3),))
    folded = {}
    for mode in ("compose", "warm"):
        result = run(fixed, moving, config, init=init, init_mode=mode)
        determinant = jacobian_determinant(result.transform.voxel_displacement())
        folded[mode] = (determinant <= 0).float().mean().item()
        assert any("stays folded" in note for note in result.notes) == (mode == "compose")
    assert folded["compose"] > 0.05 and folded["warm"] == 0


def test_the_affine_end_is_kept():
    """It costs nothing and folds nothing: the moving image is read through it, as ever."""
    fixed, moving, axes = pair((48, 48))
    matrix = np.eye(4)
    matrix[0, 3] = 1.0
    bent = motion(Grid.of(fixed).points(), axes)
    init = start(fixed, moving, bent, Affine(matrix))
    result = run(fixed, moving, NONE, init=init, init_mode="warm")
    assert [type(c) for c in result.transform.components] == [VelocityFlow, Affine]
    alone = Transform.from_affine(matrix, Grid.of(fixed), Grid.of(moving))
    plain = run(fixed, moving, NONE, init=alone, init_mode="warm")  # nothing to be fitted
    assert "warm_start" not in plain.timings and len(plain.transform.components) == 2


def test_the_images_decide_from_there():
    """More iterations raise the similarity over that of the start."""
    fixed, moving, axes = pair((48, 48))
    half = 0.5 * motion(Grid.of(fixed).points(), axes)
    config = replace(NONE, levels=(Level(1, 20, step=1.5, lr=1e-2),))
    result = run(fixed, moving, config, init=start(fixed, moving, half), init_mode="warm")
    similarity = [record["similarity"] for record in result.history]
    cold = run(fixed, moving, config).history[0]["similarity"]
    assert cold + 0.02 < similarity[0] < max(similarity) - 0.02


def test_the_same_start_gives_the_same_field():
    fixed, moving, axes = pair((44, 40))
    init = start(fixed, moving, motion(Grid.of(fixed).points(), axes))
    problems = [
        RegistrationProblem.prepare(fixed, moving, NONE, DEVICE, init, init_mode="warm")
        for _ in range(2)
    ]
    first, second = (p.inputs["field"].state_dict() for p in problems)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_warm_start_needs_a_start():
    """One line each: no init, an init and a result to resume, a word that is none."""
    fixed, moving, axes = pair((44, 40))
    init = start(fixed, moving, motion(Grid.of(fixed).points(), axes))
    with pytest.raises(ValueError, match="init_mode: a warm start needs init"):
        run(fixed, moving, NONE, init_mode="warm")
    resume = run(fixed, moving, NONE).transform
    with pytest.raises(ValueError, match="init_mode: a warm start needs init"):
        run(fixed, moving, NONE, init=init, resume=resume, init_mode="warm")
    with pytest.raises(ValueError, match="init_mode: wanted one of"):
        run(fixed, moving, NONE, init=init, init_mode="hot")
