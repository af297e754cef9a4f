"""Velocity fields: where they start, what they can hold, and what saving memory may change."""

from __future__ import annotations

import pytest
import torch
from synthetic import SHAPES

from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.grid import identity, normalised, resize, sparse_shape

both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])


def siren(shape, **settings) -> SirenField:
    torch.manual_seed(0)
    return SirenField(shape, **{"width": 32, "depth": 3, "omega": 30.0, **settings})


def features(shape, seed: int = 0) -> FeatureField:
    """Lattices of two spacings that hold noise, as if they had learnt."""
    torch.manual_seed(seed)
    field = FeatureField(shape, (4, 2.5), channels=3, width=8)
    with torch.no_grad():
        for lattice in field.lattices:
            lattice.normal_(std=0.1)
    return field


def loud(field: SirenField) -> SirenField:
    """Its velocities scaled up to those of a registration, voxels rather than hundredths."""
    with torch.no_grad():
        for parameter in field.net[-1].parameters():
            parameter.mul_(50)
    return field


@pytest.mark.parametrize("width, depth", [(128, 5), (512, 5), (32, 2)])
@pytest.mark.parametrize("shape", [(160, 192), (40, 48, 40)], ids=["2d", "3d"])
def test_siren_starts_at_the_identity(shape, width, depth):
    """In voxels, unlike in [-1, 1] units, the default head starts within a twentieth of one."""
    field = siren(shape, width=width, depth=depth)
    with torch.no_grad():
        start = field.on_lattice(sparse_shape(shape, 3))
    assert start.abs().max() < 0.25 and start.square().mean().sqrt() < 0.05
    assert start.abs().max() > 1e-4  # a dead start could never learn


@both
def test_scale_multiplies_the_velocity(shape):
    """One unit of the network's output is `scale` voxels: with the learning rate, one knob."""
    one, ten = siren(shape), siren(shape, scale=10.0)
    torch.testing.assert_close(10 * one.on_lattice(shape), ten.on_lattice(shape))


@both
@pytest.mark.parametrize("make", [lambda shape: loud(siren(shape)), features])
def test_lattice_holds_the_velocity_at_its_points(shape, make):
    """Points and components in the order of the axes, one lattice node at a time."""
    field: VelocityField = make(shape)
    nodes = sparse_shape(shape, 3)
    lattice = field.on_lattice(nodes)
    points = normalised(nodes, shape)[0]
    assert lattice.abs().max() > 0.1
    assert lattice.shape == (1, len(shape), *nodes)
    for index in [(0,) * len(shape), (1, 2, 3)[: len(shape)], tuple(n - 1 for n in nodes)]:
        at = (slice(None), *index)
        torch.testing.assert_close(lattice[0][at], field(points[at][None])[0])


@both
@pytest.mark.parametrize("step", [2, 3])
def test_sparse_and_full_lattices_share_their_corners(shape, step):
    """A coarser sampling asks the same field at the same corners, so nothing shifts."""
    field = loud(siren(shape))
    sparse, full = field.on_lattice(sparse_shape(shape, step)), field.on_lattice(shape)
    for axis in range(2, len(shape) + 2):
        sparse = sparse.index_select(axis, torch.tensor([0, sparse.shape[axis] - 1]))
        full = full.index_select(axis, torch.tensor([0, full.shape[axis] - 1]))
    torch.testing.assert_close(sparse, full)


def test_upsampling_a_smooth_field_loses_little():
    """At L = 3 and omega = 30 few wavelengths are too short for the samples: 4 % at the start."""
    field = loud(siren((160, 192), width=128, depth=5))
    with torch.no_grad():
        full = field.on_lattice((160, 192))
        upsampled = resize(field.on_lattice(sparse_shape((160, 192), 3)), (160, 192))
    assert (upsampled - full).abs().mean() < 0.06 * full.abs().mean()


@both
@pytest.mark.parametrize("chunk", [7, 64])
def test_chunks_change_nothing_but_memory(shape, chunk):
    """Same values and gradients when activations are computed a chunk at a time, and again."""
    results = []
    for size in (None, chunk):
        field = loud(siren(shape, chunk=size))
        out = field.on_lattice(shape)
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad for p in field.parameters())])
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(80, 64), (30, 24, 26)], ids=["2d", "3d"])
def test_bfloat16_stays_close_to_float32(shape):
    """Half precision in the hidden layers costs a few per cent of a velocity, not a voxel.

    With the coordinates rounded too it cost four times as much.
    """
    exact, half = (loud(siren(shape, width=128, depth=5, bfloat16=b)) for b in (False, True))
    with torch.no_grad():
        difference = half.on_lattice(shape) - exact.on_lattice(shape)
        size = exact.on_lattice(shape).square().mean().sqrt()
    assert half.on_lattice(shape).dtype == torch.float32
    assert 0 < difference.square().mean().sqrt() < 0.03 * size


@both
def test_voxel_field_reproduces_linear_fields(shape):
    """Nodes share the corners of the box, so a linear velocity is exact everywhere between."""
    nodes = sparse_shape(shape, 3)
    field = VoxelField(shape, nodes)
    assert field.on_lattice(shape).abs().max() == 0  # it starts at the identity
    weights = torch.randn(len(shape), len(shape), generator=torch.Generator().manual_seed(0))

    def linear(points):
        return torch.einsum("ij,nj...->ni...", weights, points)

    with torch.no_grad():
        field.values.copy_(linear(normalised(nodes, shape)))
    torch.testing.assert_close(
        field.on_lattice(shape), linear(normalised(shape, shape)), rtol=0, atol=1e-5
    )


@both
def test_voxel_field_on_its_own_grid_is_its_values(shape):
    """Sampled at its own nodes, the stored velocity comes back, whatever it is."""
    field = VoxelField(shape)
    values = identity(shape).sin() * 3
    with torch.no_grad():
        field.values.copy_(values)
    torch.testing.assert_close(field.on_lattice(shape), values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3], ids=["2d", "3d"])
@pytest.mark.parametrize("kind", ["siren", "chunked", "features", "voxel"])
def test_gradients_by_every_parameter(kind, ndim):
    """gradcheck in float64 of every field, by weights and by positions."""
    shape = (9, 7, 8)[:ndim]
    if kind == "voxel":
        field = VoxelField(shape, (3, 4, 3)[:ndim])
        torch.nn.init.normal_(field.values)
    elif kind == "features":
        field = features(shape)
    else:
        field = siren(shape, width=4, depth=2, omega=3.0, chunk=2 if kind == "chunked" else None)
    field = field.double()
    names, values = zip(*field.named_parameters(), strict=True)
    values = [v.detach().clone().requires_grad_() for v in values]
    points = 0.3 * torch.rand(5, ndim, dtype=torch.float64) + 0.03
    points.requires_grad_()

    def evaluate(points, *values):
        return torch.func.functional_call(field, dict(zip(names, values, strict=True)), (points,))

    assert torch.autograd.gradcheck(evaluate, (points, *values))


@both
def test_features_start_at_the_identity_and_can_learn(shape):
    """To a twentieth of a voxel, to both sides; and a gradient reaches every lattice."""
    torch.manual_seed(0)
    field = FeatureField(shape)
    velocity = field.on_lattice(shape)
    assert -0.05 < velocity.min() < 0 < velocity.max() < 0.05
    (velocity * torch.randn(velocity.shape)).sum().backward()
    assert all(lattice.grad.abs().max() > 0 for lattice in field.lattices)


@both
def test_lattices_finer_than_the_samples_wait(shape):
    """Nodes between samples would learn nothing while others do; the coarsest never waits.

    What waits is zero, so that the velocity is the same with or without it.
    """
    field = FeatureField(shape, (16, 8, 4, 2))
    for spacing, learn in [(1, 4), (2, 4), (3, 3), (6, 2), (100, 1)]:
        field.freeze_finer_than(spacing)
        assert [lattice.requires_grad for lattice in field.lattices] == [
            number < learn for number in range(4)
        ]
