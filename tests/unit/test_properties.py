"""What must hold for any shape, spacing and orientation, on examples that hypothesis chooses.

The examples are the same in each run, so that a failure belongs to the change that caused it.
"""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)
from synthetic import affine_of, blobs, motion

from nevf_lite.config import Config, Level
from nevf_lite.grid import downsample, identity, resize, resize_field, sparse_shape
from nevf_lite.integrate import compose, jacobian_determinant, scaling_and_squaring
from nevf_lite.kernels import backend
from nevf_lite.losses import LocalNCC, smoothness
from nevf_lite.registration.register import register
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform
from nevf_lite.warp import warp

cheap = settings(max_examples=30, deadline=None, derandomize=True)
few = settings(max_examples=8, deadline=None, derandomize=True)

shapes = st.integers(2, 3).flatmap(lambda n: st.tuples(*[st.integers(2, 14)] * n))
seeds = st.integers(0, 1000)
#: All 48 ways to store a volume.
CODES = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in [
        ("RL", "AP", "SI"),
        ("AP", "RL", "SI"),
        ("SI", "AP", "RL"),
        ("RL", "SI", "AP"),
        ("AP", "SI", "RL"),
        ("SI", "RL", "AP"),
    ]
    for flips in np.ndindex(2, 2, 2)
]


@st.composite
def grids(draw, axes=(2, 3)) -> Grid:
    """Any storage order, spacings from 0.5 to 4 mm, turned by up to 25 degrees about each axis."""
    ndim = draw(st.sampled_from(axes))
    shape = draw(st.tuples(*[st.integers(4, 14)] * ndim))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.3, 2.0, 4.0])] * ndim))
    degrees = draw(st.tuples(*[st.integers(-25, 25)] * 3))
    centre = draw(st.tuples(*[st.integers(-200, 200)] * 3))
    return Grid(shape, affine_of(shape, spacing, draw(st.sampled_from(CODES)), degrees, centre))


@cheap
@given(grids(), seeds)
def test_voxels_and_millimetres_are_inverse(grid, seed):
    """index -> mm -> index, and spacing and extent agree with the positions of voxels."""
    voxels = np.random.default_rng(seed).uniform(-5, 20, (10, grid.ndim))
    np.testing.assert_allclose(grid.to_voxels(grid.to_world(voxels)), voxels, atol=1e-9)
    points = grid.points()
    for axis in range(grid.ndim):
        step = np.linalg.norm(np.diff(points, axis=axis), axis=-1)
        np.testing.assert_allclose(step, grid.spacing[axis], atol=1e-9)
        assert math.isclose(grid.extent[axis], step.sum(axis=axis).mean(), rel_tol=1e-9)


@cheap
@given(grids())
def test_canonical_grids_keep_every_voxel_in_place(grid):
    """Turning an array to RAS moves no voxel in the world, and turning twice changes nothing."""
    canonical, change = grid.canonical()
    points = np.stack([apply_orientation(grid.points()[..., i], change) for i in range(3)], -1)
    np.testing.assert_allclose(canonical.points(), points, atol=1e-9)
    assert canonical.canonical()[0] == canonical
    if grid.ndim == 3:
        assert "".join(nib.aff2axcodes(canonical.affine)) == "RAS"


@cheap
@given(grids(), st.floats(0.3, 5))
def test_resampled_grids_share_their_corners(grid, millimetres):
    """Another resolution of the same box is the same box."""
    other = grid.at_spacing(millimetres)
    np.testing.assert_allclose(
        other.to_world(np.zeros(grid.ndim)), grid.to_world(np.zeros(grid.ndim))
    )
    ends = [g.to_world(np.array(g.shape) - 1.0) for g in (grid, other)]
    np.testing.assert_allclose(*ends, atol=1e-9)
    for extent, n, spacing in zip(grid.extent, other.shape, other.spacing, strict=True):
        assert n == 2 or abs(spacing - millimetres) <= millimetres * spacing / (2 * extent) + 1e-9


@cheap
@given(shapes, st.floats(1, 9), st.floats(1, 9))
def test_lattices_have_both_ends_of_every_axis(shape, step, factor):
    """Between 2 and all of the voxels, never more samples for a larger step."""
    nodes, level = sparse_shape(shape, step), Level(factor).grid_shape(shape)
    for n, m, k in zip(shape, nodes, level, strict=True):
        assert 2 <= m <= n and 2 <= k <= n
    assert sparse_shape(shape, step + 1) <= nodes
    assert Level(factor + 1).grid_shape(shape) <= level


@cheap
@given(shapes, shapes, seeds)
def test_resizing_constants_and_fields(shape, other, seed):
    """A constant stays constant; a field in voxels resized there and back is itself if linear."""
    assume(len(shape) == len(other))
    flat = torch.full((1, 1, *shape), 0.7, dtype=torch.float64)
    for out in (resize(flat, other), downsample(flat, Level(2).grid_shape(shape))):
        torch.testing.assert_close(out, torch.full_like(out, 0.7))
    weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(shape),) * 2))
    linear = torch.einsum("ij,nj...->ni...", weights, identity(shape, dtype=torch.float64))
    torch.testing.assert_close(resize_field(resize_field(linear, other), shape), linear)


@cheap
@given(shapes, st.data())
def test_whole_voxel_shifts_are_exact(shape, data):
    """Any shape, any backend: a displacement of whole voxels moves the numbers themselves."""
    shift = data.draw(st.tuples(*[st.integers(-4, 4)] * len(shape)))
    image = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    displacement = torch.tensor(shift, dtype=torch.float32).view(1, -1, *[1] * len(shape))
    displacement = displacement.expand(1, -1, *shape).contiguous()
    expected = torch.zeros_like(image)
    target = tuple(slice(max(0, -s), n - max(0, s)) for n, s in zip(shape, shift, strict=True))
    source = tuple(slice(max(0, s), n - max(0, -s)) for n, s in zip(shape, shift, strict=True))
    if all(s.start < s.stop for s in target):
        expected[(..., *target)] = image[(..., *source)]
    for name in ("torch", "auto"):
        with backend(name):
            moved = warp(image, displacement)
        # torch goes through [-1, 1], where a voxel may be a rounding error away from its place
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


@cheap
@given(shapes, st.data())
def test_constant_velocities_add_up(shape, data):
    """exp of a constant is that constant, and compositions add, on grids down to two voxels."""
    values = st.tuples(*[st.floats(-20, 20)] * len(shape))
    a, b = (
        torch.tensor(data.draw(values), dtype=torch.float64)
        .view(1, -1, *[1] * len(shape))
        .expand(1, -1, *shape)
        for _ in range(2)
    )
    torch.testing.assert_close(scaling_and_squaring(a), a)
    torch.testing.assert_close(compose(a, b), a + b)
    torch.testing.assert_close(
        jacobian_determinant(a), torch.ones(1, *(n - 1 for n in shape)).double()
    )
    assert smoothness(a) < 1e-20


@cheap
@given(shapes, st.sampled_from([3, 5, 9]), seeds)
def test_local_ncc_is_bounded_on_any_shape(shape, window, seed):
    """Windows larger than the image included: in [0, 1], and finite gradients."""
    rng = torch.Generator().manual_seed(seed)
    fixed, warped = (torch.rand(1, 1, *shape, generator=rng) for _ in range(2))
    warped.requires_grad_()
    values = LocalNCC(fixed, window).map(warped)
    assert values.min() >= 0 and values.max() <= 1 + 1e-4
    values.mean().backward()
    assert warped.grad.isfinite().all()


@cheap
@given(grids(), seeds)
def test_a_displacement_in_mm_has_no_storage_order(grid, seed):
    """The same vectors on the same voxels in another order are the same map of the world."""
    voxels = motion(grid.shape, 1.5, seed=seed, sigma=2, rim=True)[0].numpy()
    mm = np.moveaxis(voxels, 0, -1) @ grid.directions.T  # (*shape, 3)
    canonical, change = grid.canonical()
    same = np.stack([apply_orientation(mm[..., i], change) for i in range(3)], -1)
    rng = np.random.default_rng(seed)
    points = grid.to_world(rng.uniform(-1, np.array(grid.shape), (20, grid.ndim)))
    a, b = (
        DisplacementField.from_mm(mm, grid).map(points),
        DisplacementField.from_mm(same, canonical).map(points),
    )
    np.testing.assert_allclose(a, b, atol=1e-3)
    everywhere = grid.points().reshape(-1, 3)
    moved = DisplacementField.from_mm(mm, grid).map(everywhere)
    np.testing.assert_allclose(moved, everywhere + mm.reshape(-1, 3), atol=1e-3)


@cheap
@given(grids(axes=(3,)), grids(axes=(3,)), st.sampled_from(CODES), seeds)
def test_warping_does_not_depend_on_how_the_moving_image_is_stored(fixed, moving, codes, seed):
    """Images and labels: flip and permute the file, and the warped result is the same."""
    centred = moving.affine.copy()  # over each other, whatever was drawn
    centred[:3, 3] += fixed.points().mean((0, 1, 2)) - moving.points().mean((0, 1, 2))
    rng = np.random.default_rng(seed)
    scan = nib.Nifti1Image(rng.random(moving.shape, dtype=np.float32), centred)
    labels = nib.Nifti1Image(rng.integers(0, 9, moving.shape).astype(np.int16), centred)
    turn = ornt_transform(io_orientation(centred), axcodes2ornt(codes))
    still = Transform.identity(fixed, moving)
    for kind in ("linear", "cubic"):
        a, b = (still.warp_image(s, kind).get_fdata() for s in (scan, scan.as_reoriented(turn)))
        np.testing.assert_allclose(a, b, atol=1e-4)
    a, b = (np.asarray(still.warp_labels(s).dataobj) for s in (labels, labels.as_reoriented(turn)))
    assert (a != b).mean() < 0.02  # voxels half-way between two may fall either way


@few
@given(
    st.sampled_from(CODES),
    st.tuples(*[st.sampled_from([0.8, 1.0, 1.7])] * 3),
    st.tuples(*[st.integers(-25, 25)] * 3),
    st.integers(2, 3),
)
def test_registration_does_not_depend_on_how_scans_are_stored(codes, spacing, degrees, ndim):
    """All 48 storage orders, any spacing and obliquity, fixed and moving stored differently."""
    shape = (14, 12, 11) if ndim == 3 else (18, 16, 1)
    affine = affine_of(shape, spacing, "RAS", degrees, centre=(10, -20, 30))
    scans = [
        nib.Nifti1Image(blobs(shape[:ndim], seed=s, sigma=1.5)[0, 0].numpy().reshape(shape), affine)
        for s in (1, 2)
    ]
    config = Config(levels=(Level(1, 3, window=5),), width=16, depth=2)
    stored = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    points = Grid.of(scans[0]).points().reshape(-1, 3)
    expected, found = (
        register(scans[0], moving, config, progress=False).transform.points_to_moving(points)
        for moving in (scans[1], scans[1].as_reoriented(stored))
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    fixed = scans[0].as_reoriented(stored)
    found = register(fixed, scans[1], config, progress=False).transform
    np.testing.assert_allclose(found.points_to_moving(points), expected, atol=1e-4)
    assert np.abs(expected - points).max() > 0
