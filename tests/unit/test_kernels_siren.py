"""The network of sine layers in blocks against plain torch, values and gradients."""

from __future__ import annotations

import pytest
import torch

from nevf_lite.fields import SirenField
from nevf_lite.kernels import backend
from nevf_lite.kernels.cpu import sine

pytest.importorskip("numba", reason="the kernels on the CPU are Numba's")


def evaluate(name: str, field, points):
    field.zero_grad()
    with backend(name):
        out = field(points)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    return [out.detach(), *(p.grad.clone() for p in field.parameters())]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("count", [1, 64, 150], ids=["one point", "a block", "blocks and a rest"])
def test_blocks_are_torch(monkeypatch, ndim, count):
    """Velocities and every parameter's gradient, to 1e-5 of the largest."""
    monkeypatch.setattr(sine, "SIREN_BLOCK", 64)
    torch.manual_seed(0)
    field = SirenField((20,) * ndim, width=24, depth=3, scale=2.0)
    points = 2 * torch.rand(count, ndim) - 1
    for a, b in zip(
        evaluate("numba", field, points), evaluate("torch", field, points), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item() + 1e-9)


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
