"""Interpolation and the direction of a warp, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from synthetic import SHAPES, blobs, motion

from nevf_lite.grid import identity
from nevf_lite.kernels import backend
from nevf_lite.warp import sample, warp

DTYPES = [torch.float32, torch.float64]
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
precise = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
padded = pytest.mark.parametrize("padding", ["zeros", "border"])
#: What scipy calls our two kinds of padding.
SCIPY_MODE = {"zeros": "grid-constant", "border": "nearest"}


@both
@precise
@padded
def test_linear_sampling_is_scipys(shape, dtype, padding):
    """Values inside, across the rim and far outside, for two images and two channels."""
    rng = np.random.default_rng(0)
    volume = rng.random((2, 2, *shape))
    size = np.reshape(shape, (-1, 1))
    positions = rng.uniform(-4, size + 3, (2, len(shape), 200))
    expected = [
        [map_coordinates(c, p, order=1, mode=SCIPY_MODE[padding]) for c in v]
        for v, p in zip(volume, positions, strict=True)
    ]
    positions = torch.from_numpy(positions).reshape(2, len(shape), 200, *[1] * (len(shape) - 1))
    got = sample(torch.from_numpy(volume).to(dtype), positions.to(dtype), padding=padding)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(got.reshape(2, 2, 200), expected, atol=tolerance)


@both
@padded
def test_nearest_sampling_is_scipys(shape, padding):
    """Labels read through `sample` get the value of the closest voxel, never a mixture."""
    rng = np.random.default_rng(1)
    volume = rng.integers(0, 50, shape).astype(float)
    positions = rng.uniform(-3, np.reshape(shape, (-1, 1)) + 2, (len(shape), 300))
    positions = positions[:, (np.abs(positions % 1 - 0.5) > 0.01).all(0)]  # ties are a convention
    expected = map_coordinates(volume, positions, order=0, mode=SCIPY_MODE[padding])
    grid = torch.from_numpy(positions).reshape(1, len(shape), -1, *[1] * (len(shape) - 1))
    got = sample(torch.from_numpy(volume)[None, None], grid, mode="nearest", padding=padding)
    np.testing.assert_array_equal(got.flatten(), expected)


@both
@precise
def test_zero_displacement_changes_nothing(shape, dtype):
    """The start of every registration is the moving image itself."""
    image = blobs(shape, dtype=dtype)
    still = torch.zeros(1, len(shape), *shape, dtype=dtype)
    torch.testing.assert_close(warp(image, still), image, rtol=0, atol=1e-6)


@both
@precise
@pytest.mark.parametrize("kernel", ["torch", "auto"])
def test_warp_pulls_back(shape, dtype, kernel):
    """u = +2 along an axis shows at x what was at x + 2: the pull-back trap, on each axis."""
    image = blobs(shape, dtype=dtype)
    for axis in range(len(shape)):
        displacement = torch.zeros(1, len(shape), *shape, dtype=dtype)
        displacement[:, axis] = 2
        with backend(kernel):
            moved = warp(image, displacement)
        expected = torch.roll(image, -2, axis + 2)
        expected.movedim(axis + 2, 0)[-2:] = 0  # beyond the image there is nothing
        torch.testing.assert_close(moved, expected, rtol=0, atol=2e-6)


@both
@padded
def test_far_outside_is_nothing_or_the_edge(shape, padding):
    """A displacement beyond the image reads zeros, or the closest face."""
    image = blobs(shape) + 1
    away = torch.zeros(1, len(shape), *shape)
    away[:, 0] = 1e4
    moved = warp(image, away, padding=padding)
    face = image[:, :, -1:].expand_as(image) if padding == "border" else torch.zeros_like(image)
    torch.testing.assert_close(moved, face)


@both
@pytest.mark.parametrize("kernel", ["torch", "auto"])
def test_output_takes_the_displacements_grid(shape, kernel):
    """An image may be read on a smaller or a larger grid than its own."""
    image = blobs(shape)
    for other in ([n + 4 for n in shape], [n - 5 for n in shape]):
        with backend(kernel):
            out = warp(image, torch.zeros(1, len(shape), *other))
        common = tuple(slice(min(a, b)) for a, b in zip(shape, other, strict=True))
        assert out.shape[2:] == tuple(other)
        torch.testing.assert_close(out[0, 0][common], image[0, 0][common], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", ["torch", "auto"])
@pytest.mark.parametrize(
    "image, displacement",
    [
        ((1, 1, 8, 8, 8), (1, 2, 8, 8, 8)),
        ((1, 1, 8, 8, 8), (1, 2, 8, 8)),
        ((1, 1, 8, 8), (1, 3, 8, 8, 8)),
        ((1, 1, 8, 8), (1, 3, 8, 8)),
        ((2, 1, 8, 8), (3, 2, 8, 8)),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(kernel, image, displacement):
    """Compiled code checks no bounds: a field of too few components once read foreign memory."""
    with backend(kernel), pytest.raises((ValueError, RuntimeError)):
        warp(torch.rand(image), torch.rand(displacement))


def test_sample_says_what_positions_it_wants():
    """One line with what came and what was wanted."""
    with pytest.raises(ValueError, match=r"a volume of 3 axes is read at \(N, 3, ...\) positions"):
        sample(torch.rand(1, 1, 4, 4, 4), torch.rand(1, 2, 5))


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3)], ids=["2d", "3d"])
@padded
def test_gradients_of_a_warp(shape, padding):
    """gradcheck in float64 by image and by displacement, inside and across the rim."""
    image = torch.rand(
        1, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    # off the lattice points and faces, where interpolation has kinks
    displacement = motion(shape, 1.4, rim=True, sigma=1, dtype=torch.float64)
    position = identity(shape, dtype=torch.float64) + displacement
    displacement = displacement + 0.05 * ((position % 1 < 0.03) | (position % 1 > 0.97))
    inputs = (image.requires_grad_(), displacement.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, u: warp(a, u, padding=padding), inputs)
