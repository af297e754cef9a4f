"""The grid: voxels, millimetres, and the rule between them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from nibabel.orientations import aff2axcodes, apply_orientation
from scipy.spatial.transform import Rotation

from nevf_lite.scans.space import Grid

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * np.array(signs)
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1), (1, 2, 0))
    for signs in ((1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1))
]


@st.composite
def grids(draw, ndim: int | None = None, most_turn: float = 3.0) -> Grid:
    """Any orientation, anisotropic and oblique, in 2-D or 3-D."""
    ndim = draw(st.sampled_from([2, 3])) if ndim is None else ndim
    shape = tuple(draw(st.integers(2, 9)) for _ in range(ndim))
    affine = np.eye(4)
    turn = Rotation.from_rotvec(
        [draw(st.floats(-most_turn, most_turn)) / np.sqrt(3) for _ in range(3)]
    )
    spacing = [draw(st.floats(0.3, 5)) for _ in range(3)]
    affine[:3, :3] = turn.as_matrix() @ draw(st.sampled_from(SIGNED_PERMUTATIONS)) * spacing
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return Grid(shape, affine)


@QUICK
@given(grids())
def test_to_world_is_the_affine_and_to_voxels_undoes_it(grid):
    """nibabel agrees about the way there; the way back ends where it began, between voxels too."""
    random = np.random.default_rng(0)
    voxels = random.uniform(-3, 12, (4, 5, grid.ndim))
    padded = np.concatenate([voxels, np.zeros((4, 5, 3 - grid.ndim))], axis=-1)
    world = grid.to_world(voxels)
    assert world.shape == (4, 5, 3)
    np.testing.assert_allclose(world, apply_affine(grid.affine, padded), atol=1e-9)
    np.testing.assert_allclose(grid.to_voxels(world), voxels, atol=1e-8)


@QUICK
@given(grids(ndim=2))
def test_a_slice_projects_points_onto_itself(grid):
    """For orthogonal axes, the distance from the slice does not change the voxel."""
    voxels = np.array([[0.5, 1.25]])
    across = grid.affine[:3, 2] / np.linalg.norm(grid.affine[:3, 2])
    off = grid.to_world(voxels) + 7 * across
    np.testing.assert_allclose(grid.to_voxels(off), voxels, atol=1e-8)


def test_distance_of_points_outside():
    """In millimetres, to the box of the voxel centres; within the plane of a slice."""
    grid = Grid((11, 6, 21), np.diag([1.0, 2.0, 0.5, 1.0]))  # 10 mm along each axis
    points = np.array([[5.0, 5, 5], [10, 10, 10], [13, 14, 5], [-2, 5, 5]])
    np.testing.assert_allclose(grid.distance(points), [0, 0, 5, 2])
    plane = Grid((11, 6), np.diag([1.0, 2.0, 1.0, 1.0]))
    np.testing.assert_allclose(plane.distance(points + [0, 0, 40]), [0, 0, 5, 2])


@QUICK
@given(grids())
def test_spacing_extent_and_points(grid):
    """Spacing is the step of one voxel, extent the length from first to last, points the rule."""
    points = grid.points()
    assert points.shape == (*grid.shape, 3)
    np.testing.assert_allclose(points[(1,) * grid.ndim], grid.to_world(np.ones(grid.ndim)))
    for axis in range(grid.ndim):
        last = [0] * grid.ndim
        last[axis] = grid.shape[axis] - 1
        length = np.linalg.norm(points[tuple(last)] - points[(0,) * grid.ndim])
        assert grid.extent[axis] == pytest.approx(length, abs=1e-9)
        assert grid.spacing[axis] * (grid.shape[axis] - 1) == pytest.approx(length, abs=1e-9)


@QUICK
@given(grids(), st.integers(2, 9))
def test_with_shape_keeps_the_corners(grid, n):
    """Another number of voxels over the same box: first and last voxel centres stay put."""
    other = grid.with_shape((n,) * grid.ndim)
    assert other.shape == (n,) * grid.ndim
    for here, there in ((np.zeros, np.zeros), (np.ones, np.ones)):
        a = grid.to_world(here(grid.ndim) * (np.array(grid.shape) - 1))
        b = other.to_world(there(grid.ndim) * (n - 1))
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert grid.with_shape(grid.shape) == grid


def test_at_spacing():
    """160 mm at 2 mm is 80 voxels and a little: the corners decide; never fewer than two."""
    grid = Grid((160, 192, 160), np.diag([1.0, -1, 1, 1]))
    coarse = grid.at_spacing(2)
    assert coarse.shape == (81, 97, 81)
    np.testing.assert_allclose(coarse.spacing, 2, rtol=0.01)
    assert grid.at_spacing(1) == grid
    assert grid.at_spacing(1000).shape == (2, 2, 2)


@pytest.mark.parametrize("axis", [81, 161, 400])
def test_at_spacing_has_one_shape_for_an_affine_and_its_float32(axis):
    """79.5 steps are a tie: the eighth digit, lost in a file, does not decide it."""
    spacing = 2 * (axis - 1.5) / (axis - 1)  # 1.9875 mm for 81 voxels
    affine = np.diag([-spacing, spacing, spacing, 1])
    stored = affine.astype(np.float32).astype(np.float64)
    shapes = {
        Grid((axis,) * 3, affine * scale).at_spacing(2).shape
        for affine in (affine, stored)
        for scale in (1, 1 - 6e-8, 1 + 6e-8)
    }
    assert len(shapes) == 1
    assert shapes.pop()[0] in (axis - 1, axis)


@QUICK
@given(grids(most_turn=0.6))
def test_canonical_is_lossless_and_closest_to_ras(grid):
    """Every voxel keeps its value and its place; the axes end up nearest R, A and S."""
    data = np.random.default_rng(0).normal(size=grid.shape)
    canonical, change = grid.canonical()
    turned = apply_orientation(data, change)
    assert turned.shape == canonical.shape
    voxels = grid.to_voxels(canonical.points())
    index = np.rint(voxels).astype(int)
    np.testing.assert_allclose(grid.to_world(index), canonical.points(), atol=1e-8)
    np.testing.assert_array_equal(data[tuple(np.moveaxis(index, -1, 0))], turned)
    codes = aff2axcodes(canonical.affine)[: grid.ndim]
    assert list(codes) == [c for c in "RAS" if c in codes]


@pytest.mark.parametrize("axes", SIGNED_PERMUTATIONS)
def test_canonical_agrees_with_nibabel(axes):
    """In 3-D it is nibabel's as_closest_canonical, data and affine."""
    affine = np.eye(4)
    affine[:3, :3] = axes * [1.0, 2.0, 3.0]
    affine[:3, 3] = 5, -6, 7
    data = np.random.default_rng(0).normal(size=(3, 4, 5))
    expected = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    grid, change = Grid(data.shape, affine).canonical()
    np.testing.assert_allclose(grid.affine, expected.affine, atol=1e-12)
    np.testing.assert_array_equal(apply_orientation(data, change), expected.get_fdata())


@QUICK
@given(grids(ndim=3, most_turn=0.5))
def test_flipped_copies_have_one_canonical_grid(grid):
    """However a scan is stored, its canonical grid is the same: the reason for having one."""
    image = nib.Nifti1Image(np.zeros(grid.shape, np.int16), grid.affine)
    change = np.array([[2, -1], [0, 1], [1, -1]])
    stored = image.as_reoriented(change)
    assert Grid.of(stored).canonical()[0] == grid.canonical()[0]


def test_of_an_image():
    """A last axis of length one makes a slice, which keeps its place in the world."""
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = 4, 5, 6
    volume = Grid.of(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine))
    assert (volume.shape, volume.ndim, volume.spacing) == ((3, 4, 5), 3, (1, 2, 3))
    for shape in ((3, 4, 1), (3, 4)):
        flat = Grid.of(nib.Nifti1Image(np.zeros(shape, np.float32), affine))
        assert (flat.shape, flat.ndim, flat.spacing) == ((3, 4), 2, (1, 2))
        np.testing.assert_allclose(flat.to_world(np.zeros(2)), [4, 5, 6])


def test_equality():
    """Shape and place count; rounding as in a file's float32 does not."""
    grid = Grid((3, 4, 5), np.diag([1.0, 1.2, 1.4, 1]))
    assert grid == Grid((3, 4, 5), grid.affine.astype(np.float32))
    moved = grid.affine.copy()
    moved[0, 3] += 0.01
    assert grid != Grid((3, 4, 5), moved) and grid != Grid((3, 4, 6), grid.affine) and grid != 3


@pytest.mark.parametrize(
    ("shape", "affine", "word"),
    [
        ((3,), np.eye(4), "axes"),
        ((3, 4, 5, 6), np.eye(4), "axes"),
        ((3, 4, 5), np.eye(3), "4x4"),
        ((3, 4, 5), np.eye(4) * np.nan, "finite"),
        ((3, 4, 5), np.diag([1.0, 0, 1, 1]), "singular"),
    ],
)
def test_refusals(shape, affine, word):
    """One line each, with the argument's name."""
    with pytest.raises(ValueError, match=word) as caught:
        Grid(shape, affine)
    assert "\n" not in str(caught.value)
