"""Flows with known answers: translations, matrix exponentials, rotations, |J| = 1, and order.

By method x dimension x dtype. Linear fields are compared about the centre of their grid, far
enough from its faces that what lies outside has no say; tolerances are the methods' own error
bounds.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from synthetic import SHAPES, inside, motion

from nevf_lite.grid import identity
from nevf_lite.integrate import (
    compose,
    flow,
    integrate_ode,
    invert,
    jacobian_determinant,
    scaling_and_squaring,
)
from nevf_lite.warp import sample

GRIDS = {2: (47, 43), 3: (21, 19, 23)}
MARGIN = {2: 13, 3: 7}
#: Steps (squarings) for each method, and the bound of its error for v = A x at |A| = a, |x| = 1.
STEPS = {"squaring": 7, "midpoint-squaring": 4, "euler": 64, "midpoint": 16, "rk4": 6, "dopri5": 1}
BOUND = {
    "squaring": lambda a: a**2 / 2**8,
    "midpoint-squaring": lambda a: a**3 / (6 * 4**4),
    "euler": lambda a: a**2 / (2 * 64),
    "midpoint": lambda a: a**3 / (6 * 16**2),
    "rk4": lambda a: a**5 / (120 * 6**4),
    "dopri5": lambda a: 5e-5,  # 1e-5 of the coordinates, which reach 47
}
#: What rounding leaves, in voxels: of 64 additions to coordinates up to 47.
ROUNDING = {torch.float32: 3e-4, torch.float64: 1e-12}

dimension = pytest.mark.parametrize("ndim", [2, 3], ids=["2d", "3d"])
precise = pytest.mark.parametrize("dtype", list(ROUNDING), ids=["f32", "f64"])
methods = pytest.mark.parametrize("method", list(STEPS))


def centred(shape, dtype=torch.float64):
    """Voxel coordinates about the centre of the grid, (1, ndim, *shape)."""
    centre = torch.tensor([(n - 1) / 2 for n in shape], dtype=dtype)
    return identity(shape, dtype=dtype) - centre.view(1, -1, *[1] * len(shape))


def apply(matrix: np.ndarray, positions: torch.Tensor) -> torch.Tensor:
    matrix = torch.from_numpy(np.asarray(matrix)).to(positions.dtype)
    return torch.einsum("ij,nj...->ni...", matrix, positions)


def some_matrix(kind: str, ndim: int) -> np.ndarray:
    rng = np.random.default_rng(ndim)
    general = rng.normal(size=(ndim, ndim))
    if kind == "rotation":  # skew: the exponential is a rotation, by 0.35 rad in 2-D
        skew = general - general.T
        return 0.35 * np.sqrt(2) * skew / np.linalg.norm(skew)
    return 0.35 * general / np.linalg.norm(general, 2)


@methods
@dimension
@precise
def test_constant_velocity_is_a_translation(method, ndim, dtype):
    """Every voxel moves by v, those at the rim and beyond it included."""
    v = torch.tensor([2.3, -4.1, 1.7][:ndim], dtype=dtype)
    velocity = v.view(1, -1, *[1] * ndim).expand(1, ndim, *SHAPES[ndim])
    moved = flow(velocity, method, STEPS[method])
    torch.testing.assert_close(moved, velocity, rtol=0, atol=ROUNDING[dtype])


@methods
@pytest.mark.parametrize("kind", ["general", "rotation"])
@dimension
@precise
def test_linear_velocity_is_the_matrix_exponential(method, kind, ndim, dtype):
    """exp(A x) by scipy's expm; its Jacobian is exp(trace A), which is 1 for a rotation."""
    matrix = some_matrix(kind, ndim)
    x = centred(GRIDS[ndim], dtype)
    moved = inside(flow(apply(matrix, x), method, STEPS[method]), MARGIN[ndim])
    x = inside(x, MARGIN[ndim])
    exact = apply(expm(matrix) - np.eye(ndim), x)
    norm = np.linalg.norm(matrix, 2)
    bound = BOUND[method](norm) * np.exp(norm) * x.norm(dim=1).max() + ROUNDING[dtype]
    assert (moved - exact).norm(dim=1).max() <= bound
    determinant = jacobian_determinant(moved)
    expected = torch.full_like(determinant, np.exp(np.trace(matrix)))
    torch.testing.assert_close(determinant, expected, rtol=0, atol=4 * BOUND[method](norm) + 1e-4)


@pytest.mark.parametrize("steps", [3, 5])
@dimension
def test_squaring_is_the_repeated_product(steps, ndim):
    """To rounding: (I + A / 2^T)^(2^T), since linear interpolation of a linear field is exact."""
    matrix, x, margin = some_matrix("general", ndim), centred(GRIDS[ndim]), MARGIN[ndim]
    product = np.linalg.matrix_power(np.eye(ndim) + matrix / 2**steps, 2**steps) - np.eye(ndim)
    moved = inside(scaling_and_squaring(apply(matrix, x), steps), margin)
    torch.testing.assert_close(moved, inside(apply(product, x), margin), rtol=0, atol=1e-12)


@methods
@dimension
@precise
def test_divergence_free_flow_keeps_area_and_volume(method, ndim, dtype):
    """A stirring motion of two voxels: |J| = 1, to what forward differences can tell."""
    shape = {2: (49, 45), 3: (23, 21, 19)}[ndim]
    k = 2 * np.pi / max(shape)
    x = centred(shape, dtype)[0] * k
    if ndim == 2:  # from the stream function sin x cos y
        velocity = torch.stack([-x[0].sin() * x[1].sin(), -x[0].cos() * x[1].cos()])
    else:  # Arnold-Beltrami-Childress
        a, b, c = x
        velocity = torch.stack([c.sin() + b.cos(), a.sin() + c.cos(), b.sin() + a.cos()]) / 2
    moved = flow(2 * velocity[None], method, STEPS[method])
    determinant = inside(jacobian_determinant(moved)[None], 4)
    assert moved.diff(dim=2).abs().max() > 0.2  # it does stretch, along one axis at a time
    assert (determinant - 1).abs().max() < 0.03 and abs(determinant.mean() - 1) < 5e-3


@pytest.mark.parametrize("method, order", [("euler", 1), ("midpoint", 2), ("rk4", 4)])
@dimension
def test_order_of_accuracy(method, order, ndim):
    """Half the step divides the error by 2, 4, 16: for dx/dt = sin x, whose solution is known.

    An analytic velocity, so that interpolation does not set the limit.
    """
    x = 0.3 + 2.2 * torch.rand(1, ndim, 40, dtype=torch.float64)
    exact = 2 * torch.atan(torch.tan(x / 2) * np.e) - x
    errors = [
        (integrate_ode(torch.sin, x, method, steps) - exact).abs().max() for steps in (16, 32, 64)
    ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(2**order, rel=0.15)


@dimension
@precise
def test_adaptive_solver_keeps_its_tolerance(ndim, dtype):
    """dopri5 has no steps to choose: its answer is right to about 1e-5 whatever it is given."""
    x = 0.3 + 2.2 * torch.rand(2, ndim, 40, dtype=dtype)
    exact = 2 * torch.atan(torch.tan(x / 2) * np.e) - x
    assert (integrate_ode(torch.sin, x, "dopri5") - exact).abs().max() < 5e-5


def test_each_squaring_halves_the_error():
    """The first step is Euler's, so 2^T steps are worth 2^T: until interpolation is the limit."""
    matrix, x = some_matrix("general", 2), centred(GRIDS[2])
    exact = inside(apply(expm(matrix) - np.eye(2), x), MARGIN[2])
    errors = []
    for steps in range(2, 10):
        moved = inside(scaling_and_squaring(apply(matrix, x), steps), MARGIN[2])
        errors.append((moved - exact).norm(dim=1).max().item())
    ratios = np.divide(errors[:-1], errors[1:])
    assert ((ratios > 1.8) & (ratios < 2.1)).all()


def test_border_padding_keeps_the_rim_right():
    """A smooth motion of six voxels that does not stop at the rim, against RK4.

    With zeros outside, as some networks have it, the rim is wrong by voxels.
    """
    velocity = motion((64, 56), 6.0, sigma=11, rim=True, dtype=torch.float64)
    exact = integrate_ode(velocity, method="rk4", steps=64)
    assert (scaling_and_squaring(velocity, 7) - exact).abs().max() < 0.015

    grid, zeros = identity((64, 56), dtype=torch.float64), velocity / 2**7
    for _ in range(7):
        zeros = zeros + sample(zeros, grid + zeros, padding="zeros")
    assert (zeros - exact).abs().max() > 3


@pytest.mark.parametrize("ndim, amplitude", [(2, 6.0), (3, 2.0)])
@precise
def test_minus_v_is_the_inverse(ndim, amplitude, dtype):
    """exp(v) o exp(-v) = id both ways round; linear interpolation leaves about 0.01 voxel."""
    shape = {2: (64, 56), 3: (24, 22, 26)}[ndim]
    velocity = motion(shape, amplitude, sigma=10 if ndim == 2 else 5, dtype=dtype)
    there, back = scaling_and_squaring(velocity), scaling_and_squaring(-velocity)
    for residual in (compose(there, back), compose(back, there)):
        length = residual.norm(dim=1)
        assert length.mean() < 0.01 and length.max() < 0.06
    assert there.norm(dim=1).max() > 0.9 * amplitude


@dimension
@precise
def test_invert_undoes_a_displacement(ndim, dtype):
    """By fixed point, for displacements without a velocity; a linear one has a known inverse."""
    shape = GRIDS[ndim]
    matrix = 0.4 * some_matrix("general", ndim)
    x = centred(shape, dtype)
    exact = apply(np.linalg.inv(np.eye(ndim) + matrix) - np.eye(ndim), x)
    found = invert(apply(matrix, x))
    torch.testing.assert_close(inside(found, 4), inside(exact, 4), rtol=0, atol=5e-6)

    smooth = motion(shape, 1.0, sigma=3, dtype=dtype)
    assert compose(invert(smooth), smooth).abs().max() < 1e-4


@dimension
def test_compose_applies_the_first_map_first(ndim):
    """phi_second(phi_first(x)): scaling after a shift is not a shift after scaling."""
    x = centred(GRIDS[ndim])
    shift = torch.full_like(x, 1.5)
    scaling = 0.2 * x
    shift_then_scale = inside(compose(shift, scaling), 3)
    scale_then_shift = inside(compose(scaling, shift), 3)
    torch.testing.assert_close(shift_then_scale, inside(1.2 * (x + 1.5) - x, 3))
    torch.testing.assert_close(scale_then_shift, inside(1.2 * x + 1.5 - x, 3))


@dimension
def test_jacobian_of_linear_and_folded_maps(ndim):
    """Forward differences of an affine map are exact; a mirrored map has a negative determinant."""
    matrix = some_matrix("general", ndim)
    x = centred(GRIDS[ndim])
    determinant = jacobian_determinant(apply(matrix, x))
    assert determinant.shape == (1, *(n - 1 for n in GRIDS[ndim]))
    expected = torch.full_like(determinant, np.linalg.det(np.eye(ndim) + matrix))
    torch.testing.assert_close(determinant, expected)
    mirror = x * x.new_tensor([-2.0, *[0.0] * (ndim - 1)]).view(1, -1, *[1] * ndim)
    torch.testing.assert_close(jacobian_determinant(mirror), -torch.ones_like(determinant))


def test_points_times_and_batches():
    """Any points, backwards in time, and several fields at once, each with its own answer."""
    velocities = torch.cat([motion((20, 18), 2.0, seed=s, dtype=torch.float64) for s in (1, 2)])
    both = integrate_ode(velocities, method="rk4")
    one = integrate_ode(velocities[1:], method="rk4")
    torch.testing.assert_close(both[1:], one)
    start = torch.tensor([[[4.5, 9.0], [7.2, 3.3]]], dtype=torch.float64)
    there = start + integrate_ode(velocities[:1], start, steps=32)
    back = there + integrate_ode(velocities[:1], there, steps=32, times=(1.0, 0.0))
    torch.testing.assert_close(back, start, rtol=0, atol=1e-4)


def test_what_cannot_be_integrated_says_so(monkeypatch):
    """An unknown method, no points, and an adaptive solver that is not installed."""
    velocity = torch.zeros(1, 2, 5, 5)
    with pytest.raises(ValueError, match=r"method: wanted one of .*'dopri5'.* got 'heun'"):
        flow(velocity, "heun")
    with pytest.raises(ValueError, match="points: wanted"):
        integrate_ode(torch.sin)
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ModuleNotFoundError):
        flow(velocity, "dopri5")


@methods
@dimension
def test_gradients_of_every_integrator(method, ndim):
    """gradcheck in float64: the optimisation is only as good as these derivatives.

    The adaptive solver's gradient holds its steps fixed, so it agrees to its own tolerance, and
    only where the velocity is smooth: it gets an analytic one.
    """
    if method == "dopri5":
        x = (0.3 + 2.2 * torch.rand(1, ndim, 4, dtype=torch.float64)).requires_grad_()
        speed = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

        def follow(speed, x):
            return integrate_ode(lambda y: speed * torch.sin(y), x, method)

        assert torch.autograd.gradcheck(follow, (speed, x), atol=1e-4)
        return
    shape = {2: (5, 6), 3: (3, 4, 3)}[ndim]
    velocity = motion(shape, 0.8, rim=True, sigma=1, dtype=torch.float64).requires_grad_()
    steps = 3 if "squaring" in method else 2
    assert torch.autograd.gradcheck(lambda v: flow(v, method, steps), velocity)
