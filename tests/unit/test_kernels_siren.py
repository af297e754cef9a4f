"""The networks of sine layers in blocks against plain torch, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nevf_lite.fields import FeatureField, SirenField
from nevf_lite.kernels import backend, memory

pytest.importorskip("numba", reason="the kernels on the CPU are Numba's")

from nevf_lite.kernels.cpu import features, sine, waves  # noqa: E402  (compiled when they are imported)


def evaluate(name: str, field, points):
    field.zero_grad()
    with backend(name):
        out = field(points)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    return [out.detach(), *(p.grad.clone() for p in field.parameters())]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("count", [1, 64, 150], ids=["one point", "a block", "blocks and a rest"])
@pytest.mark.parametrize("kept", [0, 2**20], ids=["computed once more", "kept"])
def test_blocks_are_torch(monkeypatch, ndim, count, kept):
    """Velocities and every parameter's gradient, to 1e-5 of the largest."""
    monkeypatch.setattr(memory, "SIREN_BLOCK", 64)
    monkeypatch.setattr(memory, "KEEP_LIMIT", kept)
    torch.manual_seed(0)
    field = SirenField((20,) * ndim, width=25, depth=3, scale=2.0)  # no multiple of the lanes
    points = 2 * torch.rand(count, ndim) - 1
    for a, b in zip(
        evaluate("numba", field, points), evaluate("torch", field, points), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item() + 1e-9)


def test_what_is_kept_changes_no_bit(monkeypatch):
    """With a chunk nothing is kept, to save memory; the numbers are the same all the same."""
    torch.manual_seed(0)
    field, points = SirenField((20, 20, 20), width=32), 2 * torch.rand(5000, 3) - 1
    kept = evaluate("numba", field, points)
    field.settings["chunk"] = 1000
    called = []
    compute = sine._inputs_and_slopes
    monkeypatch.setattr(
        sine,
        "_inputs_and_slopes",
        lambda *a: (called.append(torch.is_grad_enabled()), compute(*a))[1],
    )
    again = evaluate("numba", field, points)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
    assert len(called) == 2, "one call a block, and all of them on the way back"


@pytest.mark.parametrize("largest", [1.0, 60.0, 1e5])
def test_sine_and_cosine(largest):
    """To the rounding of single precision, in double precision's eyes, for any number of angles."""
    angles = np.random.default_rng(0).uniform(-largest, largest, 1003).astype(np.float32)
    exact = angles.astype(np.float64)
    alone, sines, cosines = angles.copy(), np.empty_like(angles), angles.copy()
    waves.sine(alone)
    waves.sine_and_cosine(cosines, sines)
    assert np.array_equal(alone, sines)
    np.testing.assert_allclose(sines, np.sin(exact), atol=2e-7)
    np.testing.assert_allclose(cosines, np.cos(exact), atol=2e-7)


def test_no_number_has_no_sine():
    """A loss that is not finite must show."""
    angles = np.array([np.nan, np.inf, 0.5], np.float32)
    waves.sine(angles)
    assert np.isnan(angles[:2]).all() and np.isfinite(angles[2])


def test_points_that_want_gradients_get_them():
    """The spatial derivative of a field comes from torch, and so does its derivative."""
    torch.manual_seed(0)
    field = SirenField((20, 20), width=16, depth=2)
    points = torch.rand(7, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(field(points).sum(), points, create_graph=True)
    slope.square().sum().backward()
    assert field.net[0].weight.grad.abs().max() > 0


def test_same_bytes_for_one_and_two_threads():
    """A seed must mean the same result on a laptop and a server, to the last bit."""
    torch.manual_seed(0)
    field, points = SirenField((20, 20, 20), width=64), 2 * torch.rand(9000, 3) - 1
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(evaluate("numba", field, points))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def on_lattice(name: str, field, nodes):
    """The velocity of a field of features, and the gradient by every parameter."""
    field.zero_grad()
    with backend(name):
        out = field.on_lattice(nodes)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    return [out.detach(), *(p.grad.clone() for p in field.parameters())]


def field_of_noise(ndim: int) -> FeatureField:
    torch.manual_seed(0)
    field = FeatureField((20,) * ndim, (8, 4), channels=3, width=13)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(std=0.3)
    return field


@pytest.mark.parametrize("nodes", [(4, 4), (3, 5), (13, 17), (4, 3, 2), (9, 10, 11)], ids=str)
def test_features_in_sixteens_are_torch(monkeypatch, nodes):
    """One group, fewer points than one, and chunks whose last group has some points once more."""
    monkeypatch.setattr(features, "CHUNK", 64)
    field = field_of_noise(len(nodes))
    for a, b in zip(
        on_lattice("numba", field, nodes), on_lattice("torch", field, nodes), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item())


def test_features_have_the_same_bytes_for_one_and_two_threads(monkeypatch):
    """The sums over points are made chunk by chunk, whoever makes them."""
    monkeypatch.setattr(features, "CHUNK", 512)
    field, before, results = field_of_noise(3), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(on_lattice("numba", field, (15, 16, 17)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
