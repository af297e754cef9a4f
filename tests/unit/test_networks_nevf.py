"""NeVF on top of a network (section 2.3 of the paper): what the network found is a start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import CONFIG, in_head, motion, pair, run, texture
from synthetic import blobs
from synthetic import motion as flow_of

from nevf_lite.config import Level
from nevf_lite.continuous import PatchLoss
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.losses import smoothness
from nevf_lite.networks import Network, NetworkFrame, Objective, predict
from nevf_lite.optimise import _LevelLoss, deformation, fit, make_field
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform
from nevf_lite.warp import sample

SHORT = replace(CONFIG, levels=(Level(1, 30, lr=2e-3),))


class Knows(Network):
    """Outputs one displacement, whatever it is shown: in voxels of its lattice."""

    def __init__(self, truth: torch.Tensor, frame: NetworkFrame) -> None:
        super().__init__({"ndim": truth.shape[1]}, frame, Objective())
        self.truth = torch.nn.Parameter(truth)

    def forward(self, fixed, moving):
        return self.truth


@pytest.mark.parametrize("shape", [(48, 48), (32, 32, 32)], ids=["2d", "3d"])
def test_where_the_network_is_right_nothing_is_left_to_do(shape):
    """The initial deformation is the truth: the residual stays nearly zero, the result right.

    What is left is how far Adam strays from the best place; the motion is 1.6 mm in the mean.
    """
    fixed, moving, axes = pair(shape, (1,) * len(shape))
    frame = NetworkFrame(spacing=1.0)
    grid = Grid.of(fixed)
    truth = motion(grid.points(), axes)
    voxels = np.moveaxis(truth @ np.linalg.inv(grid.affine)[: grid.ndim, :3].T, -1, 0)
    network = Knows(torch.from_numpy(voxels.astype(np.float32))[None], frame)
    init = predict(network, fixed, moving)
    assert np.allclose(init.displacement(), truth, atol=1e-4)

    gentle = replace(SHORT, levels=(Level(1, 30, lr=5e-4),))
    result = run(fixed, moving, gentle, init=init)
    points = in_head(fixed)
    wanted = motion(points, axes)
    first, *after = result.transform.components
    residual = np.linalg.norm(first.map(points) - points, axis=1)
    length = np.linalg.norm(wanted, axis=1)
    assert length.mean() > 1 and residual.mean() < 0.1 and residual.max() < 0.35
    assert len(after) == 1 and isinstance(after[0], DisplacementField)
    found = result.transform.points_to_moving(points) - points
    assert np.linalg.norm(found - wanted, axis=1).mean() < 0.1
    similarity = [record["similarity"] for record in result.history]
    assert max(similarity) - similarity[0] < 0.05  # nothing much to gain
    alone = run(fixed, moving, replace(gentle, levels=(Level(1, 1),))).history[0]["similarity"]
    assert similarity[0] - alone > 0.1


def test_the_residual_comes_first_and_the_network_after():
    """u = u' + u_init(x + u'): points go through the residual, then through the network's part."""
    fixed, moving, axes = pair((48, 48))
    grid = Grid.of(fixed)
    bent = np.stack([2 * np.sin(p / 7) for p in grid.points()[..., :2].T], axis=-1)
    bent = np.concatenate([np.swapaxes(bent, 0, 1), np.zeros((48, 48, 1))], axis=-1)
    init = Transform((DisplacementField.from_mm(bent, grid),), grid, Grid.of(moving))
    result = run(fixed, moving, SHORT, init=init)
    points = in_head(fixed, 9)
    residual = result.transform.components[0].map(points)
    wanted = init.points_to_moving(residual)
    assert np.allclose(result.transform.points_to_moving(points), wanted, atol=1e-6)
    other = result.transform.components[0].map(init.points_to_moving(points))
    assert np.abs(other - wanted).max() > 0.05  # in the other order it is another map
    # and it is the order that was optimised: the warped image of the result is what was compared
    value = texture(result.transform.points_to_moving(points))
    target = texture(points + motion(points, axes))
    assert np.corrcoef(value, target)[0, 1] > np.corrcoef(texture(other), target)[0, 1]


def test_the_loss_composes_in_that_order():
    """The displacement the optimisation looks at, against the formula, voxel by voxel."""
    shape = (24, 20)
    config = replace(SHORT, levels=(Level(1, 4, lr=5e-3),), squarings=7)
    fixed, moving = blobs(shape, 1), blobs(shape, 2)
    initial = flow_of(shape, 2.0, seed=4)
    field = make_field(shape, config)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    problem = _LevelLoss(fixed, moving, initial, None, None, config.levels[0], config)
    with torch.no_grad():
        residual, _ = deformation(field, shape, config.levels[0].step, config)
        whole, *_ = problem._warp(residual)
        wanted = _composed(residual, initial)
        axes = [torch.arange(float(n)) for n in shape]
        x = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
        other = initial + sample(residual, x + initial, padding="border")
    assert residual.abs().max() > 0.3
    assert torch.allclose(whole, wanted, atol=1e-4)
    assert not torch.allclose(whole, other, atol=1e-2)


def test_a_folded_start_is_not_the_fields_to_repair():
    """A field at rest has no penalty, however the initial deformation folds: no reason to move."""
    shape = (24, 20)
    level = Level(1, 1)
    config = replace(SHORT, levels=(level,), smooth=10.0)
    image = blobs(shape, 1)
    initial = 20 * flow_of(shape, 2.0, seed=4)
    assert (jacobian_determinant(initial) <= 0).any()
    field = make_field(shape, replace(config, field="voxel"))
    losses = []
    for start in (initial, None):
        problem = _LevelLoss(image, image, start, None, None, level, config)
        loss, dissimilarity, _ = problem.evaluate(field)
        losses.append((loss - dissimilarity).item())
    assert losses == [pytest.approx(0, abs=1e-6)] * 2


@pytest.mark.parametrize("patch", [None, 24], ids=["whole grid", "a cube"])
def test_the_whole_map_is_charged_on_request(patch):
    """Equations 4 and 5 of the paper: the penalties of u' + u_init(x + u'), written out."""
    shape = (24, 20)
    level = Level(1, 1, step=1)
    config = replace(SHORT, levels=(level,), field="voxel", penalty_target="whole")
    if patch is not None:
        config = replace(config, order="continuous", integrator="euler", patch=patch)
    image, initial = blobs(shape, 1), 20 * flow_of(shape, 2.0, seed=4)
    field = make_field(shape, config)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    kind = _LevelLoss if patch is None else PatchLoss
    with torch.no_grad():
        problem = kind(image, image, initial, None, None, level, config)
        loss, dissimilarity, _ = problem.evaluate(field)
        residual, _ = deformation(field, shape, 1, config)
    u = _composed(residual, initial)
    jacobian = torch.relu(config.margin - jacobian_determinant(u)).mean()
    wanted = config.jacobian * jacobian + config.smooth * smoothness(u)
    assert jacobian > 0.1
    assert (loss - dissimilarity).item() == pytest.approx(wanted.item(), rel=1e-3)


def _composed(residual, initial):
    axes = [torch.arange(float(n)) for n in residual.shape[2:]]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    return residual + sample(initial, x + residual, padding="border")


def test_a_folded_start_is_told():
    fixed, moving, axes = pair((48, 48))
    grid = Grid.of(fixed)
    smooth, folded = (
        Transform(
            (DisplacementField(torch.from_numpy(np.float32(a * wave(grid)))[None], grid),),
            grid,
            grid,
        )
        for a in (0.5, 8.0)
    )
    notes = [run(fixed, moving, SHORT, init=init).notes for init in (smooth, folded)]
    assert not [note for note in notes[0] if "folds" in note]
    assert len([note for note in notes[1] if "stays folded" in note]) == 1


def wave(grid: Grid) -> np.ndarray:
    """One component that swings along its own axis, so that enough of it folds."""
    x = np.sin(np.linspace(0, 6 * np.pi, grid.shape[0]))
    return np.stack([np.broadcast_to(x[:, None], grid.shape), np.zeros(grid.shape)])


def test_the_network_gets_no_gradient():
    """The initial deformation is detached: neither it nor the network behind it is changed."""
    fixed, moving, axes = pair((48, 48))
    start = torch.from_numpy(np.full((1, 2, 48, 48), 0.5, np.float32))
    network = Knows(start.clone(), NetworkFrame(spacing=1.0))
    init = predict(network, fixed, moving)
    displacement = init.components[0].displacement
    assert not displacement.requires_grad
    before = displacement.clone()
    run(fixed, moving, SHORT, init=init)
    assert network.truth.grad is None
    assert torch.equal(displacement, before) and torch.equal(network.truth.detach(), start)

    initial = flow_of((24, 20), 1.0)
    kept = initial.clone()
    fit(blobs((24, 20), 1), blobs((24, 20), 2), SHORT, initial=initial)
    assert initial.grad is None and torch.equal(initial, kept)
