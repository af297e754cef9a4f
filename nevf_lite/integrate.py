"""From velocities to deformations, and the Jacobian determinant of a deformation.

A displacement u, (N, ndim, *shape) in voxels, represents the map phi(x) = x + u(x).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nevf_lite.grid import identity, resize, resize_field, voxel_ratio
from nevf_lite.kernels import find_kernel
from nevf_lite.warp import sample, warp


def scaling_and_squaring(velocity: Tensor, steps: int = 7) -> Tensor:
    """The flow of a stationary velocity field at time 1, phi = exp(v).

    It solves equation 1 of the paper by scaling and squaring (section 2.2; Arsigny et al. 2006).
    velocity: (N, ndim, *shape), voxels per unit of time. steps: the number of squarings T. The map
    exp(v / 2^T) is x + v(x) / 2^T up to second order; it is composed with itself T times. Returns
    the displacement (N, ndim, *shape) in voxels. Seven squarings leave an error of 0.01 voxel at
    amplitudes of six voxels. exp(-v) is the inverse, up to interpolation (0.01 voxel).
    """
    if (kernel := find_kernel("squaring", velocity)) is not None:
        return kernel(velocity, steps)
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement


def midpoint_start(velocity: Tensor, steps: int) -> Tensor:
    """The velocity from which T squarings begin with midpoint steps and not with Euler's.

    velocity: (N, ndim, *shape), voxels per unit of time. steps: T. Scaling and squaring begins with
    x + h v(x), h = 2^-T, whose error each squaring doubles; here it begins with
    x + h v(x + h v(x) / 2), of second order. This costs as much as one squaring, and two squarings
    from here are as exact as five or six from x + h v(x). Returns v(x + h v(x) / 2), of the shape
    and units of the velocity.
    """
    twice = 2 ** (steps + 1)
    # with w = h v / 2 one squaring gives w(x) + w(x + w(x))
    return twice * scaling_and_squaring(velocity / 2**steps, 1) - velocity


def flow(velocity: Tensor, method: str = "squaring", steps: int = 7) -> Tensor:
    """exp(v) by scaling and squaring or by an ODE solver.

    velocity: (N, ndim, *shape) in voxels. method: "squaring"; "midpoint-squaring", the same from
    `midpoint_start`; or one of `integrate_ode`. steps: squarings, or steps of the solver; "dopri5"
    chooses its own. Returns the displacement, of the same shape and units.
    """
    if method == "squaring":
        return scaling_and_squaring(velocity, steps)
    if method == "midpoint-squaring":
        if (kernel := find_kernel("midpoint_squaring", velocity)) is not None:
            return kernel(velocity, steps)
        return scaling_and_squaring(midpoint_start(velocity, steps), steps)
    return integrate_ode(velocity, method=method, steps=steps)


def sparse_flow(
    velocity: Tensor,
    shape: Sequence[int],
    order: str = "upsample-integrate",
    method: str = "squaring",
    steps: int = 7,
) -> tuple[Tensor, Tensor]:
    """The flow on a full grid of a velocity that was sampled sparsely (section 2.2 of the paper).

    velocity: (N, ndim, *nodes), on a lattice over the box of the grid, in voxels of the grid.
    shape: the grid. order: "upsample-integrate"; or "integrate-upsample", the ablation of section
    3.5, which computes the flow on the lattice and then upsamples it. method, steps: see `flow`.
    Returns displacement and velocity, (N, ndim, *shape) in voxels of the grid.
    """
    full = resize(velocity, shape)
    if order == "upsample-integrate":
        return flow(full, method, steps), full
    nodes = velocity.shape[2:]
    sparse = velocity * voxel_ratio(shape, nodes, like=velocity)
    return resize_field(flow(sparse, method, steps), shape), full


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The displacement of x -> phi_second(phi_first(x)); all (N, ndim, *shape), in voxels.

    Outside the grid the field keeps its edge values ("border"). With zeros a smooth motion of six
    voxels would be wrong by four at the rim.
    """
    return first + warp(second, first, padding="border")


def integrate_ode(
    velocity: Callable[[Tensor], Tensor] | Tensor,
    points: Tensor | None = None,
    method: str = "rk4",
    steps: int = 8,
    times: Sequence[float] = (0.0, 1.0),
    adjoint: Sequence[Tensor] = (),
) -> Tensor:
    """Follow points along a velocity field: d phi / dt = v(phi) (equation 1 of the paper).

    velocity: a function from positions (N, ndim, *any) to velocities of the same shape, or a field
    (N, ndim, *shape) in voxels, interpolated linearly with border padding. points: positions at
    times[0], (N, ndim, *any); by default the voxels of the field. method: "euler", "midpoint" or
    "rk4" with `steps` equal steps, or the adaptive "dopri5" of torchdiffeq (optional extra `ode`).
    times: start and end.
    adjoint: parameters of the velocity whose gradient is to come from the adjoint method, which
    integrates a second equation backwards in time (Chen et al. 2018; also with torchdiffeq) and
    keeps nothing of the way there. By default the solver's own steps are differentiated.
    Returns displacements (N, ndim, *any): positions at times[1] minus positions at times[0].
    Raises ValueError for an unknown method, ModuleNotFoundError without torchdiffeq.
    """
    velocity_at = velocity
    if isinstance(velocity, Tensor):
        velocity_at = functools.partial(_interpolate, velocity)
        if points is None:
            points = identity(velocity.shape[2:], velocity.device, velocity.dtype)
            points = points.expand_as(velocity)
    if points is None:
        raise ValueError("points: wanted when the velocity is a function, since it has no voxels")
    if method not in ODE_STEPS and method != "dopri5":
        raise ValueError(f"method: wanted one of {[*ODE_STEPS, 'dopri5']}, got {method!r}")
    if method == "dopri5" or adjoint:
        return _by_torchdiffeq(velocity_at, points, method, steps, times, adjoint) - points
    h = (times[1] - times[0]) / steps
    x = points
    for _ in range(steps):
        x = x + h * ODE_STEPS[method](velocity_at, x, h)
    return x - points


def _by_torchdiffeq(velocity, points, method, steps, times, adjoint) -> Tensor:
    """The positions at times[1]; the arguments of `integrate_ode`."""
    from torchdiffeq import odeint, odeint_adjoint

    solve = functools.partial(odeint_adjoint, adjoint_params=adjoint) if adjoint else odeint
    options = None
    if method != "dopri5":
        options = {"grid_constructor": lambda f, x, t: torch.linspace(t[0], t[-1], steps + 1).to(t)}
    span = torch.tensor(times, device=points.device, dtype=points.dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    end = solve(lambda _, x: velocity(x), points, span, method=method, options=options, **tolerance)
    return end[-1]


def _interpolate(field: Tensor, x: Tensor) -> Tensor:
    """A field (N, ndim, *shape) at positions (N, ndim, *any) in its voxels."""
    return sample(field.expand(len(x), *field.shape[1:]), x, padding="border")


def _euler(v, x: Tensor, h: float) -> Tensor:
    return v(x)


def _midpoint(v, x: Tensor, h: float) -> Tensor:
    return v(x + h / 2 * v(x))


def _rk4(v, x: Tensor, h: float) -> Tensor:
    k1 = v(x)
    k2 = v(x + h / 2 * k1)
    k3 = v(x + h / 2 * k2)
    k4 = v(x + h * k3)
    return (k1 + 2 * k2 + 2 * k3 + k4) / 6


#: The average velocity over one step of length h, by order: 1, 2 and 4.
ODE_STEPS = {"euler": _euler, "midpoint": _midpoint, "rk4": _rk4}


def invert(displacement: Tensor, iterations: int = 30) -> Tensor:
    """The inverse of a displacement by fixed-point iteration, w <- -u(x + w) (Chen et al. 2008).

    displacement: (N, ndim, *shape) in voxels. Returns w of the same shape with
    u(x + w(x)) + w(x) = 0. It converges where the Lipschitz constant of u is below 1. The flow of a
    velocity field is inverted by negating the velocity, without a search.
    """
    inverse = torch.zeros_like(displacement)
    for _ in range(iterations):
        inverse = -warp(displacement, inverse, padding="border")
    return inverse


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """det(I + grad u) by forward differences: below 1 the map shrinks, at 0 or below it folds.

    displacement: (N, ndim, *shape) in voxels. Returns (N, *(shape - 1)), dimensionless: one value
    for the lower corner of each cell, as in SYMNet (equation 4 of the paper, which follows it).
    """
    ndim = displacement.shape[1]
    corner = [slice(0, -1)] * ndim
    rows = []  # rows[j][i] = d phi_i / d x_j
    for j in range(ndim):
        ahead = list(corner)
        ahead[j] = slice(1, None)
        step = displacement[(..., *ahead)] - displacement[(..., *corner)]
        rows.append([step[:, i] + (1.0 if i == j else 0.0) for i in range(ndim)])
    return determinant(rows)


def determinant(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """The determinant of a 2x2 or 3x3 matrix at each voxel; rows[j][i]: (N, ...), as the result."""
    if len(rows) == 2:
        (a, b), (c, d) = rows
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
