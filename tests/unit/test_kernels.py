"""The fast interpolation on the CPU against plain torch, and what it must leave alone."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from synthetic import SHAPES, blobs, motion

from nevf_lite import kernels
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.kernels import backend
from nevf_lite.kernels.cpu import slabs as slabs_module
from nevf_lite.warp import warp

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"
)
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
padded = pytest.mark.parametrize("padding", ["zeros", "border"])


@pytest.fixture
def threads():
    """Sets torch's thread count for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def pull(name: str, image, displacement, padding: str, seed: int = 0):
    """Warp and both gradients of a random linear function of the result, by one backend."""
    image, displacement = image.clone().requires_grad_(), displacement.clone().requires_grad_()
    with backend(name):
        out = warp(image, displacement, padding=padding)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    (out * weights).sum().backward()
    return out.detach(), image.grad, displacement.grad


def assert_same(fast, plain):
    """torch goes through [-1, 1] and loses a few bits of position, hence the tolerance."""
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@both
@padded
@pytest.mark.parametrize("amplitude", [0.7, 6.0, 40.0], ids=["near", "across", "far outside"])
def test_numba_is_torch(shape, padding, amplitude):
    """Values and both gradients, for two images of two channels, inside and outside."""
    image = torch.cat([blobs(shape, seed=s) for s in range(4)]).view(2, 2, *shape)
    field = torch.cat([motion(shape, amplitude, seed=s, rim=True) for s in (1, 2)])
    fast = pull("numba", image, field, padding)
    assert_same(fast, pull("torch", image, field, padding))
    assert fast[2].abs().max() > 0 or amplitude == 40.0


@both
@padded
@pytest.mark.parametrize("extra", [7, -4], ids=["larger", "smaller"])
def test_numba_is_torch_on_another_grid(shape, padding, extra):
    """The displacement's grid may be larger or smaller than the image's."""
    image = blobs(shape)
    field = motion([n + extra for n in shape], 2.0, seed=3, rim=True)
    fast = pull("numba", image, field, padding)
    assert_same(fast, pull("torch", image, field, padding))


def test_gradients_through_squarings_agree():
    """Seven compositions, each image its own displacement, add up the same way."""
    grads = {}
    for name in ("torch", "numba"):
        velocity = motion(SHAPES[3], 3.0, rim=True).requires_grad_()
        with backend(name):
            scaling_and_squaring(velocity).square().sum().backward()
        grads[name] = velocity.grad
    torch.testing.assert_close(grads["numba"], grads["torch"], rtol=1e-3, atol=1e-3)


@padded
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -3e9])
def test_wild_displacements_do_not_crash(padding, bad):
    """One broken voxel leaves every other voxel right, forward and backward."""
    shape = SHAPES[3]
    image, field = blobs(shape), motion(shape, 1.0, rim=True)
    good = pull("numba", image, field, padding)
    field[0, :, 4, 5, 6] = bad
    out, image_grad, field_grad = pull("numba", image, field, padding)
    others = torch.ones(shape, dtype=torch.bool)
    others[4, 5, 6] = False
    torch.testing.assert_close(out[..., others], good[0][..., others])
    torch.testing.assert_close(field_grad[..., others], good[2][..., others])
    assert image_grad.isfinite().all()


@padded
@pytest.mark.parametrize(
    "image_shape, grid, amplitude",
    [
        ((40, 40), (40, 40), 2.0),
        ((24, 20, 22), (24, 20, 22), 3.0),
        ((3, 20, 22), (30, 20, 22), 1.0),  # many slices of the field read one face of the image
        ((30, 20, 22), (9, 20, 22), 1.0),
    ],
)
def test_same_bytes_for_one_and_two_threads(
    monkeypatch, threads, padding, image_shape, grid, amplitude
):
    """A seed must mean the same result on a laptop and a server, to the last bit.

    Slabs of a slice or two, so that these small images are shared out at all.
    """
    monkeypatch.setattr(slabs_module, "SLAB_VOXELS", 400)
    image, field = blobs(image_shape, seed=5), motion(grid, amplitude, seed=6, rim=True)
    results = []
    for count in (1, 2, 4):
        threads(count)
        results.append(pull("numba", image, field, padding))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "slices, far, expected",
    [(30, 2.2, 3), (3, 0.5, 27), (50, 0.0, 0), (30, float("nan"), 60), (30, float("inf"), 60)],
)
def test_slabs_worked_on_at_once_cannot_meet(slices, far, expected):
    """Two threads that add to the same voxel would lose an addition once in a while.

    A field of 30 slices on an image of `slices`: how far apart its reads can lie from their own
    slice, those brought back to the face of a smaller image included.
    """
    field = torch.zeros(3, 30, 4, 4)
    field[0, 7] = far
    reach = slabs_module.reach_of(field[0].abs().max().item(), field.shape[1], slices)
    assert reach == expected
    slabs = slabs_module.slabs_of(field.shape[1:], reach)
    assert slabs[0][0] == 0 and slabs[-1][1] == 30
    for (_, a_last), (c_first, _) in zip(slabs, slabs[2:], strict=False):
        assert c_first - reach > a_last - 1 + reach + 1


@pytest.mark.parametrize("count", [1, 2])
def test_torchs_thread_count_is_left_alone(threads, count):
    """Numba's own thread pools change it, which slowed every later torch call."""
    threads(count)
    pull("numba", blobs(SHAPES[3]), motion(SHAPES[3], 1.0), "border")
    assert torch.get_num_threads() == count


def test_double_precision_and_second_derivatives_stay_with_torch():
    """float64 is never computed in float32, and a second derivative is never silently zero."""
    image = blobs(SHAPES[2], dtype=torch.float64)
    field = motion(SHAPES[2], 1.0, dtype=torch.float64)
    with backend("numba"):
        assert kernels.find_kernel("pull", image, field) is None
    field = field.float().requires_grad_()
    with backend("numba"):
        out = warp(image.float(), field).square().sum()
    (grad,) = torch.autograd.grad(out, field, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


def test_backend_is_chosen_for_a_block_only(monkeypatch):
    """A choice ends with its block, errors included; unknown names and a missing numba say so."""
    with pytest.raises(RuntimeError, match="inner"), backend("torch"):
        assert kernels.find_kernel("pull", blobs((8, 8)), motion((8, 8), 1.0)) is None
        raise RuntimeError("inner")
    assert kernels.find_kernel("pull", blobs((8, 8)), motion((8, 8), 1.0)) is not None
    with pytest.raises(ValueError, match="backend: wanted one of .* got 'cuda'"), backend("cuda"):
        pass
    monkeypatch.setattr(kernels, "_installed", lambda name: False)
    assert kernels.find_kernel("pull", blobs((8, 8)), motion((8, 8), 1.0)) is None
    for name in ("numba", "triton"):
        with pytest.raises(ValueError, match=f"{name} is not installed"), backend(name):
            pass
