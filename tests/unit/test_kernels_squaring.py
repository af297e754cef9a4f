"""Scaling and squaring as one operation on the CPU against plain torch."""

from __future__ import annotations

import importlib

import pytest
import torch
from synthetic import SHAPES, motion

from nevf_lite import kernels
from nevf_lite.integrate import compose, flow, midpoint_start, scaling_and_squaring
from nevf_lite.kernels import backend, memory

pytest.importorskip("numba", reason="the kernels on the CPU are Numba's")
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
methods = pytest.mark.parametrize("method", ["squaring", "midpoint-squaring"])
#: Axes of one, two and many voxels.
ODD = [(5, 3, 2), (2, 2, 2), (17, 1, 33), (1, 9, 16), (40, 37, 2), (9, 8, 1), (3, 50), (50, 3)]


@pytest.fixture
def threads():
    """Sets torch's thread count for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def square(name: str, velocity, steps: int = 7, method: str = "squaring"):
    """The displacement, and the gradient of a random linear function of it."""
    velocity = velocity.clone().requires_grad_()
    with backend(name):
        out = flow(velocity, method, steps)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * weights).sum().backward()
    return out.detach(), velocity.grad


def assert_is_torch(velocity, steps: int = 7, method: str = "squaring"):
    """Values to 1e-5 of a voxel of motion, gradients to 1e-3 of the largest.

    torch goes through [-1, 1] and loses a few bits of position, which decide between the slopes of
    two cells where a position is almost a voxel.
    """
    (value, gradient), (plain_value, plain) = (
        square(b, velocity, steps, method) for b in ("numba", "torch")
    )
    scale = max(plain_value.abs().max().item(), 1.0)
    torch.testing.assert_close(value, plain_value, rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(gradient, plain, rtol=0, atol=1e-3 * plain.abs().max().item())


@both
@methods
@pytest.mark.parametrize("amplitude", [0.3, 3.0, 12.0], ids=["near", "across", "outside"])
def test_squaring_is_torch(shape, method, amplitude):
    """Two fields that keep going at the rim, small motions to such as leave the box."""
    velocity = torch.cat([motion(shape, amplitude, seed=s, rim=True) for s in (1, 2)])
    assert_is_torch(velocity, 7 if method == "squaring" else 2, method)


@methods
@pytest.mark.parametrize("shape", ODD, ids=str)
def test_squaring_on_odd_grids(shape, method):
    """A cell at a face of the volume lies inside it, and an axis of one voxel has no cell."""
    generator = torch.Generator().manual_seed(1)
    smooth = torch.randn(1, len(shape), *[1] * len(shape), generator=generator)
    rough = torch.randn(1, len(shape), *shape, generator=generator)
    assert_is_torch(2 * smooth + 0.1 * rough, 3, method)


@both
def test_what_is_kept_changes_no_bit(monkeypatch, shape):
    """Fields between the squarings are kept while they are small, and computed once more if not."""
    velocity = torch.cat([motion(shape, 3.0, seed=s) for s in (1, 2)])
    kept = square("numba", velocity)
    module = importlib.import_module("nevf_lite.kernels.cpu.squaring")  # not its function
    compositions = module._Grid.compositions
    counts = []
    monkeypatch.setattr(memory, "KEEP_LIMIT", 0)
    monkeypatch.setattr(
        module._Grid, "compositions", lambda *a: (counts.append(len(a[-1])), compositions(*a))[1]
    )
    again = square("numba", velocity)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
    assert counts == [6, 6], "the last of seven need not be computed again"


@both
def test_neighbours_that_part_ways(shape):
    """In pure noise one voxel moves to one side of the volume and the next to the other."""
    generator = torch.Generator().manual_seed(3)
    assert_is_torch(30 * torch.randn(1, len(shape), *shape, generator=generator), steps=1)


@both
def test_whole_voxels_have_the_slope_ahead(shape):
    """Where a position is a voxel exactly, the slope is that of the next cell, as in `pull`.

    torch, which goes through [-1, 1], takes either.
    """
    generator = torch.Generator().manual_seed(2)
    field = torch.randint(-2, 3, (1, len(shape), *shape), generator=generator).float()
    field.requires_grad_()
    weights = torch.randn(field.shape, generator=generator)
    with backend("numba"):
        results = scaling_and_squaring(2 * field, 1), compose(field, field)
    torch.testing.assert_close(*results)
    gradients = [torch.autograd.grad((out * weights).sum(), field)[0] for out in results]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@both
def test_the_midpoint_start_is_one_composition_more(shape):
    """Done as the text says it: the start first, then squarings, each an operation of its own."""
    velocity = motion(shape, 3.0, seed=1, rim=True).requires_grad_()
    weights = torch.randn(velocity.shape, generator=torch.Generator().manual_seed(0))
    with backend("numba"):
        alone = flow(velocity, "midpoint-squaring", 2)
        parts = scaling_and_squaring(midpoint_start(velocity, 2), 2)
    torch.testing.assert_close(alone, parts, rtol=0, atol=1e-5)
    gradients = [torch.autograd.grad((out * weights).sum(), velocity)[0] for out in (alone, parts)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_no_squarings_are_none():
    velocity = motion(SHAPES[3], 1.0)
    value, gradient = square("numba", velocity, 0)
    assert torch.equal(value, velocity) and gradient.abs().max() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_wild_velocities_do_not_crash(bad):
    """Nothing outside the volume is read or written, and what is broken shows."""
    velocity = motion(SHAPES[3], 1.0, rim=True)
    velocity[0, :, 4, 5, 6] = bad
    value, _ = square("numba", velocity)
    assert not (value[0, :, 4, 5, 6].abs() < 1e20).any()


@both
def test_same_bytes_for_any_number_of_threads(threads, monkeypatch, shape):
    """A seed must mean the same result on a laptop and a server, to the last bit."""
    monkeypatch.setattr("nevf_lite.kernels.cpu.slabs.SLAB_VOXELS", 100)
    velocity = motion([2 * n for n in shape], 1.5, rim=True)
    results = []
    for count in (1, 2, 4):
        threads(count)
        results.append(square("numba", velocity))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_does_not_fit_stays_with_torch():
    """Double precision, and fields of other than ndim components."""
    with backend("numba"):
        assert kernels.find_kernel("squaring", motion((8, 9), 1.0, dtype=torch.float64)) is None
        assert kernels.find_kernel("squaring", torch.zeros(1, 3, 8, 9)) is None
