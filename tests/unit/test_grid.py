"""Coordinates and resampling between resolutions: where every millimetre of error would start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from synthetic import SHAPES, inside, motion

from nevf_lite.grid import (
    blur,
    downsample,
    identity,
    normalised,
    resize,
    resize_field,
    sparse_shape,
    voxel_ratio,
)

DTYPES = [torch.float32, torch.float64]
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
precise = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])


@both
@precise
def test_identity_holds_each_voxels_own_index(shape, dtype):
    """Components stand in the order of the axes: a swap would warp along the wrong axis."""
    grid = identity(shape, dtype=dtype)
    assert grid.shape == (1, len(shape), *shape) and grid.dtype == dtype
    expected = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    np.testing.assert_array_equal(grid[0], expected)


@pytest.mark.parametrize(
    "shape, step, expected",
    [
        ((160, 192, 160), 3, (54, 64, 54)),  # ceil(S / L), as in the paper
        ((160, 192), 2.5, (64, 77)),
        ((10, 3), 8, (2, 2)),  # both ends, even of a short axis
        ((7, 1), 1, (7, 1)),  # never more samples than voxels
    ],
)
def test_sparse_shape(shape, step, expected):
    """The number of samples, hence the memory, that a step L asks for."""
    assert sparse_shape(shape, step) == expected


def test_sparse_shape_refuses_a_step_below_one():
    """L < 1 would silently sample more points than there are voxels."""
    with pytest.raises(ValueError, match=r"step: wanted L >= 1 voxel, got 0.5"):
        sparse_shape((8, 8), 0.5)


@both
@precise
def test_normalised_points_share_one_scale(shape, dtype):
    """omega_0 means the same per mm on each axis only if one scale serves all of them."""
    points = normalised(shape, shape, dtype=dtype)[0]
    steps = [points[a].diff(dim=a).mean().item() for a in range(len(shape))]
    assert steps == pytest.approx([2 / (max(shape) - 1)] * len(shape), rel=1e-5)
    longest = int(np.argmax(shape))
    assert points[longest].min() == -1 and points[longest].max() == 1
    torch.testing.assert_close(points.flatten(1).mean(1), torch.zeros(len(shape), dtype=dtype))


@both
@pytest.mark.parametrize("step", [2, 3, 5])
def test_sparse_lattice_shares_its_corners(shape, step):
    """Strided sampling misses the last plane, and upsampling then has to invent it."""
    full = normalised(shape, shape)[0]
    sparse = normalised(sparse_shape(shape, step), shape)[0]
    for corner in np.ndindex(*[2] * len(shape)):
        index = tuple(-c for c in corner)
        torch.testing.assert_close(sparse[(slice(None), *index)], full[(slice(None), *index)])


@both
@precise
def test_resize_is_exact_for_linear_functions(shape, dtype):
    """Upsampling a sparse velocity adds nothing and moves nothing: corners stay in place."""
    nodes = sparse_shape(shape, 3)
    slopes = torch.arange(1, len(shape) + 1, dtype=dtype).view(1, -1, *[1] * len(shape))
    coarse = (normalised(nodes, shape, dtype=dtype) * slopes).sum(1, keepdim=True)
    fine = (normalised(shape, shape, dtype=dtype) * slopes).sum(1, keepdim=True)
    torch.testing.assert_close(resize(coarse, shape), fine)
    torch.testing.assert_close(resize(fine, nodes), coarse)


@both
@pytest.mark.parametrize("factor", [0.6, 1, 2.3])
def test_resize_is_what_torch_interpolates(shape, factor):
    """Products with small matrices are the same linear interpolation, values and gradient."""
    volume = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    other = [round(factor * n) for n in shape]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    wanted = torch.nn.functional.interpolate(volume, size=other, mode=mode, align_corners=True)
    torch.testing.assert_close(resize(volume, other), wanted)
    upstream = torch.randn_like(wanted)
    gradients = [
        torch.autograd.grad(out, volume, upstream)[0] for out in (resize(volume, other), wanted)
    ]
    torch.testing.assert_close(*gradients)


@both
def test_resize_field_keeps_the_motion(shape):
    """The same affine motion of the same box, written in voxels of two grids, is one motion."""
    other = tuple(2 * n + 3 for n in shape)
    rng = np.random.default_rng(0)
    matrix = torch.from_numpy(rng.normal(0, 0.1, (len(shape), len(shape))))

    def in_voxels(grid):
        extent = torch.tensor([n - 1.0 for n in grid], dtype=torch.float64)
        unit = identity(grid, dtype=torch.float64)[0] / extent.view(-1, *[1] * len(grid))
        moved = torch.einsum("ij,j...->i...", matrix, unit) + 0.03
        return (moved * extent.view(-1, *[1] * len(grid)))[None]

    torch.testing.assert_close(resize_field(in_voxels(shape), other), in_voxels(other))
    torch.testing.assert_close(resize_field(in_voxels(other), shape), in_voxels(shape))


def test_voxel_ratio_is_per_axis():
    """Axes that are refined differently scale their components differently."""
    ratio = voxel_ratio((5, 11), (9, 11), like=torch.zeros(1, dtype=torch.float64))
    assert ratio.flatten().tolist() == [2.0, 1.0] and ratio.shape == (1, 2, 1, 1)


@both
def test_downsample_leaves_linear_ramps_and_equal_grids_alone(shape):
    """A coarse level must not shift the image: a ramp keeps its values away from the rim."""
    ramp = normalised(shape, shape, dtype=torch.float64).sum(1, keepdim=True)
    assert downsample(ramp, shape) is ramp
    coarse = tuple(math.ceil(n / 2) for n in shape)
    centre = tuple(slice(2, -2) for _ in shape)
    expected = normalised(coarse, shape, dtype=torch.float64).sum(1, keepdim=True)
    torch.testing.assert_close(downsample(ramp, coarse)[0, 0][centre], expected[0, 0][centre])


@both
def test_downsample_removes_what_the_coarse_grid_cannot_show(shape):
    """Without the blur a checkerboard would alias into a false pattern on the coarse level."""
    board = (identity(shape).sum(1, keepdim=True) % 2).double()
    coarse = downsample(board, tuple(math.ceil(n / 4) for n in shape))
    assert (inside(coarse, 1) - 0.5).abs().max() < 0.01
    flat = torch.full_like(board, 0.3)
    torch.testing.assert_close(downsample(flat, (4,) * len(shape)).aminmax(), flat.aminmax())


@both
@pytest.mark.parametrize("sigma", [0.3, 1.0, 6.0])
def test_blur_is_scipys_gaussian(shape, sigma):
    """The smoothing before a coarse level, edges and kernels longer than the image included."""
    image = motion(shape, 1.0, rim=True, sigma=1.0, dtype=torch.float64)
    for axis in range(len(shape)):
        expected = gaussian_filter1d(
            image.numpy(), sigma, axis=axis + 2, mode="nearest", radius=max(1, math.ceil(3 * sigma))
        )
        np.testing.assert_allclose(blur(image, sigma, axis), expected, atol=1e-12)
