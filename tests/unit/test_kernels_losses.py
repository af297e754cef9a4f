"""Local correlation and penalties on the CPU against plain torch, values and gradients."""

from __future__ import annotations

import pytest
import torch
from synthetic import SHAPES, blobs, motion

from nevf_lite import kernels
from nevf_lite.kernels import backend
from nevf_lite.losses import LocalNCC, jacobian_penalty, penalties, smoothness

pytest.importorskip("numba", reason="the kernels on the CPU are Numba's")
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
THIN = [(1, 12), (12, 1), (3, 2, 14), (14, 2, 3), (1, 9, 8), (9, 8, 1)]


@pytest.fixture
def threads():
    """Sets torch's thread count for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def images(shape, batch=2, channels=2):
    """Fixed and warped (N, C, *shape), a dark background included."""
    stack = torch.cat([blobs(shape, seed=s) for s in range(2 * batch * channels)])
    fixed, warped = stack.view(2, batch, channels, *shape)
    warped[..., : shape[-1] // 3] = 0
    fixed[..., : shape[-1] // 4] = 0
    return fixed.contiguous(), warped.contiguous()


def correlate(name: str, fixed, warped, window: int):
    warped = warped.clone().requires_grad_()
    with backend(name):
        loss = LocalNCC(fixed, window)(warped)
    (3 * loss).backward()
    return loss.detach(), warped.grad


def largest(gradient) -> float:
    """Of a window of one voxel every gradient is zero but for rounding."""
    return gradient.abs().max().item() + 1e-6


@both
@pytest.mark.parametrize("window", [1, 3, 9, 17])
def test_local_ncc_is_torch(shape, window):
    """Value to 1e-6, gradient to 1e-4 of its largest: two images of two channels, some of it flat.

    Windows longer than an axis included.
    """
    fixed, warped = images(shape)
    value, gradient = correlate("numba", fixed, warped, window)
    plain_value, plain = correlate("torch", fixed, warped, window)
    torch.testing.assert_close(value, plain_value, rtol=0, atol=2e-6)
    torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4 * largest(plain))


@pytest.mark.parametrize("shape", THIN, ids=str)
def test_local_ncc_of_thin_images(shape):
    """A slice, a line: the window hangs over both sides."""
    fixed, warped = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    value, gradient = correlate("numba", fixed, warped, 5)
    plain_value, plain = correlate("torch", fixed, warped, 5)
    torch.testing.assert_close(value, plain_value, rtol=0, atol=2e-6)
    torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4 * largest(plain))


def test_local_ncc_of_broken_images_is_broken():
    """A NaN must reach the loss, where the optimisation looks for it."""
    fixed, warped = images(SHAPES[3], 1, 1)
    warped[0, 0, 5, 5, 5] = float("nan")
    with backend("numba"):
        assert LocalNCC(fixed)(warped).isnan()


def weights(shape, batch=2):
    """Of the fixed and of the moving image (N, 1, *shape): a soft edge, and a part of nothing."""
    fixed, moving = (
        torch.cat([blobs(shape, seed=s) for s in range(start, start + batch)]) for start in (20, 30)
    )
    fixed[..., :4] = 0
    moving[..., -5:] = 0
    return fixed.contiguous(), moving.contiguous()


def correlate_weighted(name: str, loss: LocalNCC, warped, weight):
    warped = warped.clone().requires_grad_()
    with backend(name):
        value = loss(warped, weight)
    (3 * value).backward()
    return value.detach(), warped.grad


@both
@pytest.mark.parametrize("window", [1, 5, 17])
@pytest.mark.parametrize("given", ["fixed", "moving", "both"])
def test_weighted_local_ncc_is_torch(shape, window, given):
    """Weights of either image or of both: value to 2e-6, gradient to 1e-4 of its largest."""
    fixed, warped = images(shape)
    of_fixed, of_moving = weights(shape)
    loss = LocalNCC(fixed, window, None if given == "moving" else of_fixed)
    weight = None if given == "fixed" else of_moving
    value, gradient = correlate_weighted("numba", loss, warped, weight)
    plain_value, plain = correlate_weighted("torch", loss, warped, weight)
    torch.testing.assert_close(value, plain_value, rtol=0, atol=2e-6)
    torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4 * largest(plain))


def test_what_has_no_weight_has_no_say():
    """Whatever stands where the weight is zero, value and gradient are the same."""
    fixed, warped = images(SHAPES[3], 1, 1)
    weight, _ = weights(SHAPES[3], 1)
    loss = LocalNCC(fixed, 5, weight)
    value, gradient = correlate_weighted("numba", loss, warped, None)
    other = torch.where(weight > 0, warped, 7.0)
    same, again = correlate_weighted("numba", loss, other, None)
    assert value == same and torch.equal(gradient, again)
    assert (gradient[weight == 0] == 0).all() and gradient.abs().max() > 0


@pytest.mark.parametrize("shape", THIN, ids=str)
def test_weighted_local_ncc_of_thin_images(shape):
    """A slice, a line, and nothing that counts."""
    fixed, warped = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    for weight in (torch.linspace(0, 1, fixed.numel()).view_as(fixed), torch.zeros_like(fixed)):
        loss = LocalNCC(fixed, 5, weight)
        value, gradient = correlate_weighted("numba", loss, warped, None)
        plain_value, plain = correlate_weighted("torch", loss, warped, None)
        torch.testing.assert_close(value, plain_value, rtol=0, atol=2e-6)
        torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4 * largest(plain))


def penalise(name: str, field, margin: float, corners: bool = False):
    """Three values, and the gradients of the first two."""
    field = field.clone().requires_grad_()
    with backend(name):
        jacobian, smooth, folds = penalties(field, margin, corners)
    gradients = [torch.autograd.grad(v, field, retain_graph=True)[0] for v in (jacobian, smooth)]
    return torch.stack([jacobian, smooth, folds]).detach(), *gradients


@both
@pytest.mark.parametrize("margin, corners", [(0.0, False), (0.3, False), (0.3, True)])
def test_penalties_are_torch(shape, margin, corners):
    """Two fields that fold in places: values to 1e-6, gradients to 1e-6 of their largest."""
    field = torch.cat([motion(shape, 6.0, seed=s, sigma=2.0, rim=True) for s in (1, 2)])
    fast, plain = (penalise(name, field, margin, corners) for name in ("numba", "torch"))
    assert 0 < plain[0][2] < 0.5
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * b.abs().max().item())


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (2, 9, 5), (7, 2, 2), (2, 2, 17)], ids=str)
def test_penalties_of_thin_fields(shape):
    """One cell along an axis is enough."""
    field = torch.randn(1, len(shape), *shape, generator=torch.Generator().manual_seed(0))
    for corners in (False, True):
        fast, plain = (penalise(name, field, 0.1, corners) for name in ("numba", "torch"))
        for a, b in zip(fast, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@both
def test_single_penalties_are_the_same_numbers(shape):
    """`jacobian_penalty` and `smoothness` alone, as the chapters call them."""
    field = motion(shape, 6.0, sigma=2.0, rim=True)
    with backend("torch"):
        plain = jacobian_penalty(field, 0.2), smoothness(field)
    with backend("numba"):
        fast = jacobian_penalty(field, 0.2), smoothness(field)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-7)


@both
def test_same_bytes_for_any_number_of_threads(threads, monkeypatch, shape):
    """A seed must mean the same result on a laptop and a server, to the last bit."""
    monkeypatch.setattr("nevf_lite.kernels.cpu.slabs.SLAB_VOXELS", 100)
    fixed, warped = images(shape, 1, 1)
    field = motion(shape, 6.0, sigma=2.0, rim=True)
    results = []
    for count in (1, 2, 4):
        threads(count)
        results.append(
            [*correlate("numba", fixed, warped, 5), *penalise("numba", field, 0.2, True)]
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_does_not_fit_stays_with_torch():
    """Double precision, fields of one voxel, other than ndim components, unlike shapes."""
    with backend("numba"):
        assert kernels.find_kernel("penalties", motion((8, 9), 1.0, dtype=torch.float64)) is None
        assert kernels.find_kernel("penalties", torch.zeros(1, 2, 1, 9)) is None
        assert kernels.find_kernel("penalties", torch.zeros(1, 3, 8, 9)) is None
        assert (
            kernels.find_kernel("local_ncc", *[torch.zeros(1, 1, 8, 9)] * 3, torch.zeros(8, 9))
            is None
        )
