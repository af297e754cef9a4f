"""Points followed along a field: exact flows, both gradients, cubes, and whole registrations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fits import CONFIG, QUICK, SMALL, displacement, pair, state_bytes
from scipy.linalg import expm
from synthetic import inside, motion
from worlds import grid_of, points_within, turn

from nevf_lite.config import Level
from nevf_lite.continuous import PatchLoss, TimeSirenField, follow, follow_lattice
from nevf_lite.fields import SirenField, VelocityField
from nevf_lite.grid import identity, resize_field
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.losses import LocalNCC, penalties
from nevf_lite.optimise import _LevelLoss, deformation, fit, make_field
from nevf_lite.registration.memory import predict_memory
from nevf_lite.transforms.components import VelocityFlow
from nevf_lite.transforms.transform import Transform
from nevf_lite.warp import warp

GRIDS = {2: (33, 29), 3: (17, 21, 19)}
ORDER = {"euler": 1, "midpoint": 2, "rk4": 4}
CUBES = replace(QUICK, order="continuous", integrator="rk4", squarings=2, patch=9)

dimension = pytest.mark.parametrize("ndim", [2, 3], ids=["2d", "3d"])


class Analytic(VelocityField):
    """A velocity in finest voxels as a function of the place about the centre, and of the time."""

    def __init__(self, shape, velocity, changes_with_time=False):
        super().__init__(shape)
        self.velocity, self.changes_with_time = velocity, changes_with_time

    def forward(self, points):
        places = points[:, : self.ndim] * (max(self.shape) - 1) / 2
        if self.changes_with_time:
            return self.velocity(places, points[:, self.ndim :])
        return self.velocity(places)


def middle(shape, count=40, seed=0):
    """Random positions in the inner half of a grid, (1, ndim, count), and their places."""
    generator = torch.Generator().manual_seed(seed)
    last = torch.tensor(shape, dtype=torch.float64).view(1, -1, 1) - 1
    uniform = torch.rand(1, len(shape), count, generator=generator, dtype=torch.float64)
    return last * (0.25 + 0.5 * uniform)


def skew(ndim):
    """A rotation about a slanted axis: (ndim, ndim)."""
    matrix = torch.zeros(ndim, ndim, dtype=torch.float64)
    matrix[0, 1], matrix[1, 0] = -1.0, 1.0
    if ndim == 3:
        matrix[0, 2], matrix[2, 0] = 0.5, -0.5
    return matrix


def lively(field, size=2.0):
    """A SIREN with velocities of about `size` voxels, in double precision."""
    with torch.no_grad():
        field.net[-1].weight.mul_(size / field.on_lattice(field.shape).abs().max())
    return field.double()


@dimension
@pytest.mark.parametrize("method", [*ORDER, "dopri5"])
def test_linear_fields_are_matrix_exponentials(method, ndim):
    """At any points and on grids of any resolution over the box, in the voxels of each."""
    matrix = 0.3 * skew(ndim) + 0.1 * torch.eye(ndim, dtype=torch.float64)
    field = Analytic(GRIDS[ndim], lambda x: x @ matrix.T)
    exponential = torch.from_numpy(expm(matrix.numpy()))
    steps = {"euler": 4000, "midpoint": 100}.get(method, 16)
    for shape in (GRIDS[ndim], tuple(2 * n - 1 for n in GRIDS[ndim])):
        start = middle(shape)
        centre = torch.tensor(shape, dtype=torch.float64).view(1, -1, 1) / 2 - 0.5
        exact = torch.einsum("ij,njp->nip", exponential, start - centre) + centre
        moved = start + follow(field, start, shape, method, steps)
        assert (moved - exact).abs().max() < {"euler": 4e-3, "dopri5": 5e-4}.get(method, 1e-4)


def test_outside_the_box_the_velocity_is_that_of_its_rim():
    """As with border padding on grids: a point far away moves like the nearest one of the box."""
    field = Analytic((33, 29), lambda x: x / 16)
    far = torch.tensor([[[1000.0, 16.0], [14.0, -500.0]]], dtype=torch.float64)
    moved = follow(field, far, (33, 29), "euler", 1)
    expected = torch.tensor([[[1.0, 0.0], [0.0, -14 / 16]]], dtype=torch.float64)
    torch.testing.assert_close(moved, expected)


@dimension
@pytest.mark.parametrize("method", list(ORDER))
def test_velocities_that_change_have_their_order_of_accuracy(method, ndim):
    """A rotation whose speed is the time's cosine turns by its sine; half a step, 2^order less."""
    matrix = skew(ndim)
    field = Analytic(GRIDS[ndim], lambda x, t: torch.cos(3 * t) * (x @ matrix.T), True)
    start = middle(GRIDS[ndim])
    centre = torch.tensor(GRIDS[ndim], dtype=torch.float64).view(1, -1, 1) / 2 - 0.5
    turned = torch.from_numpy(expm(math.sin(3 * 0.8) / 3 * matrix.numpy()))
    exact = torch.einsum("ij,njp->nip", turned, start - centre) + centre - start
    errors = []
    for steps in (8, 16, 32):
        found = follow(field, start, GRIDS[ndim], method, steps, times=(0.0, 0.8))
        errors.append((found - exact).abs().max())
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(2 ** ORDER[method], rel=0.25)
    assert (follow(field, start, GRIDS[ndim], "dopri5", times=(0, 0.8)) - exact).abs().max() < 5e-4


def test_a_closed_course_needs_a_velocity_that_changes():
    """Everything goes once around: away by a diameter at half-time, and home at the end.

    A stationary flow that is home at time 1 turns about a point and leaves that point where it is.
    """

    def around(x, t):
        return 3 * torch.cat([torch.cos(2 * math.pi * t), torch.sin(2 * math.pi * t)], dim=1)

    field = Analytic((33, 29), around, True)
    start = middle((33, 29))
    half = follow(field, start, (33, 29), "rk4", 16, times=(0.0, 0.5))
    whole = follow(field, start, (33, 29), "rk4", 16)
    assert (half[:, 1] - 3 / math.pi * 1).abs().max() < 1e-4 and half[:, 0].abs().max() < 1e-4
    assert whole.abs().max() < 1e-4


@pytest.mark.parametrize("kind", [SirenField, TimeSirenField])
@dimension
def test_backwards_is_the_inverse(kind, ndim):
    """From 1 to 0, for fields that change with time too, and for points that leave the box."""
    torch.manual_seed(0)
    shape = GRIDS[ndim]
    field = lively(kind(shape, width=16, depth=2, omega=4.0), size=4.0)
    start = identity(shape, dtype=torch.float64)
    with torch.no_grad():
        there = follow(field, start, shape, "rk4", 32)
        back = follow(field, start + there, shape, "rk4", 32, times=(1.0, 0.0))
    assert there.abs().max() > 1.5 and (there + back).abs().max() < 2e-3
    outside = (start + there < 0) | (start + there > torch.tensor(shape).view(1, -1, *[1] * ndim))
    assert outside.any()


def test_all_voxels_followed_is_what_squaring_finds():
    """The flow is the same one: to what squaring interpolates, and to what L = 3 does."""
    torch.manual_seed(0)
    field = lively(SirenField(GRIDS[2], width=16, depth=2, omega=4.0))
    config = replace(CUBES, patch=None, squarings=16)
    with torch.no_grad():
        exact, none = deformation(field, GRIDS[2], 1, config)
        sparse = follow_lattice(field, GRIDS[2], 3, config)
        squared = scaling_and_squaring(field.on_lattice(GRIDS[2]), 10)
        coarse = follow_lattice(field, (17, 15), 1, config)
    assert none is None and exact.abs().max() > 1
    assert (exact - squared).abs().max() < 0.02 and (exact - sparse).abs().max() < 0.1
    assert (resize_field(coarse, GRIDS[2]) - exact).abs().max() < 0.05


@pytest.mark.parametrize("kind", [SirenField, TimeSirenField])
@pytest.mark.parametrize("method", [*ORDER, "dopri5"])
def test_both_gradients_are_the_derivative(method, kind):
    """Along a random direction of the parameters, against a central difference, in float64.

    The adjoint method solves its own equation, so it has an error of the solver's order. dopri5
    chooses its steps anew for each difference, which makes those right to its tolerance alone.
    """
    torch.manual_seed(1)
    field = lively(kind(GRIDS[2], width=8, depth=2, omega=3.0), size=3.0)
    start, parameters = middle(GRIDS[2], 20), list(field.parameters())
    direction = [torch.randn_like(p) / p.numel() ** 0.5 for p in parameters]

    def loss(steps, adjoint=False):
        return follow(field, start, GRIDS[2], method, steps, adjoint=adjoint).square().sum()

    def slope(steps, adjoint=False):
        gradient = torch.autograd.grad(loss(steps, adjoint), parameters)
        return sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)).item()

    def moved(by):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(by * d)
            value = loss(4).item()
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(by * d)
        return value

    measured = (moved(1e-4) - moved(-1e-4)) / 2e-4
    exact = 5e-3 if method == "dopri5" else 1e-6
    assert abs(measured) > 0.1 and slope(4) == pytest.approx(measured, rel=exact)
    if method == "dopri5":
        assert slope(4, adjoint=True) == pytest.approx(measured, rel=5e-3)
        return
    errors = [abs(slope(n, adjoint=True) - slope(n)) / abs(measured) for n in (8, 32)]
    assert errors[1] < {"euler": 0.1, "midpoint": 2e-3, "rk4": 1e-5}[method]
    assert errors[1] < errors[0] / (0.5 * 4 ** ORDER[method]) or errors[1] < 1e-9


def test_the_adjoint_keeps_no_activations():
    """What autograd stores does not grow with the number of steps."""
    field = SirenField(GRIDS[2], width=16, depth=2)
    start = middle(GRIDS[2], 500).float()

    def stored(steps, adjoint):
        sizes = []

        def note(t):
            sizes.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            follow(field, start, GRIDS[2], "euler", steps, adjoint=adjoint)
        return sum(sizes)

    assert stored(8, False) > 1.8 * stored(4, False) > 10 * stored(4, True)
    assert stored(8, True) == stored(4, True)


def losses(similarity="lncc", masks=(None, None), initial=None):
    """The loss on cubes, that on the whole grid, and a field that moves by voxels."""
    fixed, moving, _ = pair(SMALL)
    config = replace(CUBES, similarity=similarity)
    level = Level(1, 1, step=1, window=5)
    arguments = (fixed, moving, initial, *masks, level)
    field = make_field(SMALL, config)
    with torch.no_grad():
        field.net[-1].weight.mul_(60)
    whole = _LevelLoss(*arguments, replace(config, patch=None))
    return PatchLoss(*arguments, config), whole, field


def hole(at):
    mask = torch.ones(1, 1, *SMALL)
    mask[(..., slice(at, at + 8), slice(at, at + 6))] = 0
    return mask


@pytest.mark.parametrize("masked", ["none", "fixed", "moving", "both"])
@pytest.mark.parametrize("composed", [False, True], ids=["alone", "composed"])
@pytest.mark.parametrize("similarity", ["lncc", "ncc", "mse", "nmi"])
def test_a_cube_as_large_as_the_grid_is_the_grid(similarity, composed, masked):
    """The loss, the dissimilarity and the folds of the whole image, at its rim too."""
    masks = (hole(9) if masked in ("fixed", "both") else None,)
    masks += (hole(14) if masked in ("moving", "both") else None,)
    initial = motion(SMALL, 3.0, seed=9, sigma=5) if composed else None
    cubes, whole, field = losses(similarity, masks, initial)
    cubes.side = SMALL
    first = torch.zeros(1, 2, dtype=torch.long)
    for found, expected in zip(cubes.on_cubes(field, first), whole.evaluate(field), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_loss_of_cubes_is_that_of_the_grid_where_they_are():
    """Local NCC, Jacobian and smoothness of two cubes, one of them in a corner."""
    cubes, whole, field = losses()
    config, first = cubes.config, torch.tensor([[0, 21], [12, 7]])
    with torch.no_grad():
        loss, dissimilarity, _ = cubes.on_cubes(field, first)
        u, _ = deformation(field, SMALL, 1, config)
        local = LocalNCC(whole.fixed, 5).map(warp(whole.moving, u))
    crops = [(..., slice(a, a + 9), slice(b, b + 9)) for a, b in first.tolist()]
    expected = 1 - torch.cat([local[crop] for crop in crops]).mean()
    jacobian, smooth, _ = penalties(torch.cat([u[crop] for crop in crops]), config.margin)
    assert 0.05 < expected < 0.95 and jacobian > 0
    torch.testing.assert_close(dissimilarity, expected, rtol=1e-5, atol=1e-6)
    total = expected + config.jacobian * jacobian + config.smooth * smooth
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)


def test_cubes_are_drawn_everywhere_within_the_grid():
    """The first and the last place of each axis included, the same ones for one seed."""
    (cubes, _, _), (again, _, _) = losses(), losses()
    drawn = torch.cat([cubes.draw() for _ in range(400)])
    assert torch.equal(drawn, torch.cat([again.draw() for _ in range(400)]))
    assert drawn.amin(0).tolist() == [0, 0] and drawn.amax(0).tolist() == [23, 21]


EULER = replace(CONFIG, order="continuous", integrator="euler", squarings=4)
FITS = {
    "euler": (EULER, 0.25),
    "rk4": (replace(EULER, integrator="rk4", squarings=2), 0.25),
    "adjoint": (replace(EULER, integrator="rk4", squarings=2, adjoint=True), 0.25),
    "in time": (replace(EULER, field="time-siren"), 0.25),
    "cubes": (replace(EULER, patch=16, patches=4, levels=(Level(2, 80, lr=2e-3),)), 0.7),
}


@pytest.mark.parametrize("name", list(FITS))
def test_fit_recovers_a_known_diffeomorphism(name):
    """From 1.4 voxels of error to a fraction of one, without a fold; the same bytes again."""
    config, limit = FITS[name]
    fixed, moving, truth = pair()
    result = fit(fixed, moving, config)
    found = displacement(result, config)
    before, after = (inside(e, 6).norm(dim=1).mean() for e in (truth, found - truth))
    assert before > 1.2 and after < limit
    assert (jacobian_determinant(found) > 0).all()
    if config.patch is not None:  # random cubes too are drawn by the seed
        assert state_bytes(fit(fixed, moving, config).field) == state_bytes(result.field)


def test_losses_of_different_cubes_are_not_compared():
    """The last field is kept, not that of an easy cube; and patience is not counted."""
    fixed, moving, _ = pair(SMALL)
    config = replace(CUBES, levels=(Level(1, 12, lr=2e-3),), patience=2, tolerance=10.0)
    fields = []
    result = fit(fixed, moving, config, field=(field := make_field(SMALL, config)))
    assert len(result.history) == 12
    fit(fixed, moving, config, field=make_field(SMALL, config), callback=fields.append)
    lowest = min(result.history, key=lambda record: record["loss"])
    assert lowest is not result.history[-1] and [r["loss"] for r in fields] == [
        r["loss"] for r in result.history
    ]
    start = state_bytes(make_field(SMALL, config))
    assert state_bytes(field) != start
    short = replace(config, levels=(Level(1, lowest["iteration"], lr=2e-3),))
    assert state_bytes(fit(fixed, moving, short).field) != state_bytes(field)


@pytest.mark.parametrize("name", ["2d-ASR-oblique", "3d-LPS-anisotropic"])
@pytest.mark.parametrize("kind", [SirenField, TimeSirenField])
def test_a_transform_follows_points_without_a_grid(name, kind, tmp_path):
    """In millimetres, whatever its grid; its inverse goes back; saved and loaded it is the same."""
    grid = grid_of(name)
    torch.manual_seed(0)
    field = lively(kind(grid.shape, width=16, depth=2, omega=4.0)).float().requires_grad_(False)
    flow = VelocityFlow(field, grid, grid.shape, "rk4", 16, "continuous")
    transform = Transform((flow, turn(grid)), grid, grid)
    points = points_within(grid)
    positions = torch.from_numpy(grid.to_voxels(points).T.astype(np.float32))[None]
    voxels = follow(field, positions, grid.shape, "rk4", 16)[0].T.double().numpy()
    moved = flow.map(points)
    np.testing.assert_allclose(moved, points + voxels @ grid.directions.T, atol=1e-4)
    other = flow.at_shape(tuple(n // 2 for n in grid.shape))
    np.testing.assert_allclose(other.map(points), moved, atol=1e-3)
    there = transform.points_to_moving(points)
    np.testing.assert_allclose(transform.points_to_fixed(there), points, atol=2e-3)
    assert np.linalg.norm(moved - points, axis=1).max() > 1
    transform.save(tmp_path / "velocity.safetensors")
    loaded = Transform.load(tmp_path)
    assert type(loaded.components[0].field) is kind
    assert loaded.displacement().tobytes() == transform.displacement().tobytes()


def test_memory_prediction_knows_what_is_followed():
    """All evaluations are kept but for the adjoint; cubes need the same on any grid."""
    shape = (80, 96, 80)
    levels = (Level(1, 10, step=2),)
    config = replace(EULER, levels=levels, width=128)
    direct = predict_memory(config, shape)
    assert predict_memory(replace(config, squarings=8), shape) > 1.5 * direct
    assert predict_memory(replace(config, adjoint=True), shape) < 0.6 * direct
    cube = replace(config, patch=16)
    assert predict_memory(cube, shape) < direct
    assert predict_memory(cube, (160, 192, 160)) == predict_memory(cube, shape)
