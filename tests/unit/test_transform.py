"""`Transform`: the one object whose mistakes a user would not see, so every direction is checked.

Over orientations, spacings and obliquity, in 2-D and 3-D; the moving image on a grid of its own.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from synthetic import affine_of, motion
from worlds import (
    WORLDS,
    chain,
    grid_of,
    image_on,
    other_grid,
    picture,
    points_within,
    turn,
    velocity,
    well_inside,
)

from nevf_lite.scans.space import Grid
from nevf_lite.transforms import resample
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform

worlds = pytest.mark.parametrize("name", list(WORLDS))


@worlds
def test_identity_moves_nothing(name):
    """The start, and what an empty chain means: bytes come back as they were."""
    grid = grid_of(name)
    still = Transform.identity(grid)
    points = points_within(grid)
    np.testing.assert_array_equal(still.points_to_moving(points), points)
    assert not still.displacement().any() and still.displacement().shape == (*grid.shape, 3)
    image = image_on(grid)
    np.testing.assert_allclose(still.warp_image(image).get_fdata(), image.get_fdata(), atol=1e-5)


@worlds
def test_a_warped_picture_is_the_picture_at_the_mapped_points(name):
    """Fixed and moving differ in grid, spacing and orientation; the world is what counts."""
    transform = chain(name)
    moving = image_on(transform.moving)
    for interpolation, tolerance in (("linear", 0.02), ("cubic", 1e-3), ("nearest", 0.3)):
        warped = transform.warp_image(moving, interpolation)
        assert warped.shape == transform.fixed.shape
        np.testing.assert_allclose(warped.affine, transform.fixed.affine)
        points = transform.fixed.points().reshape(-1, 3)
        mapped = transform.points_to_moving(points)
        # splines feel the rim, where the picture ends, some voxels further in
        inside = well_inside(transform.moving, mapped, 6 if interpolation == "cubic" else 1)
        assert inside.sum() > 200
        difference = warped.get_fdata().reshape(-1)[inside] - picture(mapped[inside])
        assert np.abs(difference).max() < tolerance


@worlds
def test_a_bright_dot_goes_where_its_point_goes(name):
    """The pull-back trap: warping an image moves a dot the way `points_to_fixed` moves points."""
    transform = chain(name)
    for centre in points_within(transform.fixed, margin=0.4, count=3):
        dot_at = transform.points_to_moving(centre[None])[0]
        width = 2 * max(transform.moving.spacing)
        dot = image_on(
            transform.moving, lambda p, c=dot_at, w=width: np.exp(-((p - c) ** 2).sum(-1) / w**2)
        )
        warped = transform.warp_image(dot).get_fdata()
        weights = warped / warped.sum()
        found = (weights[..., None] * transform.fixed.points()).reshape(-1, 3).sum(0)
        expected = transform.points_to_fixed(dot_at[None])[0]
        # the dot is stretched as it moves, so its centre is known to a fraction of its width
        assert np.linalg.norm(found - expected) < 0.25 * width
        assert np.linalg.norm(dot_at - expected) > np.linalg.norm(found - expected)
        wrong = transform.points_to_moving(dot_at[None])[0]
        assert np.linalg.norm(found - wrong) > 2 * np.linalg.norm(found - expected)


@worlds
def test_points_come_back(name):
    """To the moving image and back, and by the inverse; a slice's points stay in its plane."""
    transform = chain(name)
    points = points_within(transform.fixed)
    moved = transform.points_to_moving(points)
    size = np.linalg.norm(moved - points, axis=1)
    back = np.linalg.norm(transform.points_to_fixed(moved) - points, axis=1)
    assert size.max() > 2 and back.max() < 0.1 * min(transform.fixed.spacing)
    np.testing.assert_array_equal(
        transform.inverse.points_to_moving(moved), transform.points_to_fixed(moved)
    )
    if transform.fixed.ndim == 2:
        across = np.cross(*transform.fixed.directions.T)
        np.testing.assert_allclose((moved - points) @ across, 0, atol=1e-9)


@worlds
def test_inverse_of_the_inverse_is_the_transform(name):
    """exp(-v) twice is exp(v), to the byte; grids change places and come back."""
    transform = chain(name)
    twice = transform.inverse.inverse
    assert (
        transform.inverse.components[-1] is transform.inverse.components[-1]
    )  # integrated once, not anew
    assert (twice.fixed, twice.moving) == (transform.fixed, transform.moving)
    assert transform.inverse.fixed == transform.moving
    np.testing.assert_allclose(twice.displacement(), transform.displacement(), atol=1e-5)
    both = transform.compose(transform.inverse).displacement()
    middle = tuple(slice(n // 4, -(n // 4)) for n in transform.fixed.shape)
    assert np.abs(both[middle]).max() < 0.1 * min(transform.fixed.spacing)


@worlds
def test_composition_is_associative_and_in_order(name):
    """(a then b) then c is a then (b then c), and a then b is not b then a."""
    grid = grid_of(name)
    parts = (velocity(grid, 1), turn(grid), velocity(grid, 2))
    a, b, c = (Transform((part,), grid, grid) for part in parts)
    points = points_within(grid)
    left = a.compose(b).compose(c).points_to_moving(points)
    right = a.compose(b.compose(c)).points_to_moving(points)
    np.testing.assert_array_equal(left, right)
    step_by_step = points
    for t in (a, b, c):
        step_by_step = t.points_to_moving(step_by_step)
    np.testing.assert_array_equal(left, step_by_step)
    assert (
        np.abs(a.compose(b).points_to_moving(points) - b.compose(a).points_to_moving(points)).max()
        > 0.1
    )


@worlds
def test_displacement_is_where_points_go(name):
    """In mm at every voxel, and in voxels along the grid's own axes for the ground floor."""
    transform = chain(name)
    points = transform.fixed.points().reshape(-1, 3)
    expected = (transform.points_to_moving(points) - points).reshape(*transform.fixed.shape, 3)
    found = transform.displacement()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    voxels = np.moveaxis(transform.voxel_displacement()[0].numpy(), 0, -1)
    np.testing.assert_allclose(voxels @ transform.fixed.directions.T, expected, atol=1e-4)


@worlds
def test_affines_alone_take_a_shorter_way_to_the_same_place(monkeypatch, name):
    """One matrix instead of points in the world; also where several blocks meet."""
    monkeypatch.setattr(resample, "SLAB_VOXELS", 500)
    fixed, moving = grid_of(name), other_grid(name)
    parts = (turn(fixed), turn(fixed, 0.9))
    nothing = DisplacementField.from_mm(np.zeros((*fixed.shape, 3)), fixed)
    image = image_on(moving)
    short, long = (
        Transform(p, fixed, moving).warp_image(image).get_fdata()
        for p in (parts, (*parts, nothing))
    )
    assert short.std() > 0.05
    np.testing.assert_allclose(short, long, atol=1e-4)


def test_large_images_are_warped_in_blocks(monkeypatch):
    """Slab by slab, for memory's sake, gives what all at once gives."""
    transform = chain("3d-ASL-oblique")
    image = image_on(transform.moving)
    labels = nib.Nifti1Image((image.get_fdata() * 10).astype(np.int16), image.affine)
    whole = [transform.warp_image(image, i).get_fdata() for i in ("linear", "cubic")]
    whole += [transform.displacement(), transform.warp_labels(labels, "onehot").get_fdata()]
    monkeypatch.setattr(resample, "SLAB_VOXELS", 1000)
    parts = [transform.warp_image(image, i).get_fdata() for i in ("linear", "cubic")]
    parts += [transform.displacement(), transform.warp_labels(labels, "onehot").get_fdata()]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


@worlds
def test_any_resolution_shows_the_same_map(name):
    """`like`: a grid twice as fine over the same box has the same motion at the shared voxels."""
    transform = chain(name)
    fine = transform.fixed.with_shape(tuple(2 * n - 1 for n in transform.fixed.shape))
    every_other = tuple(slice(None, None, 2) for _ in fine.shape)
    np.testing.assert_allclose(
        transform.displacement(fine)[every_other], transform.displacement(), atol=1e-4
    )
    warped = transform.warp_image(image_on(transform.moving), like=image_on(fine))
    assert warped.shape == fine.shape
    # the field is continuous: it may also be integrated there, not only read there
    flow = transform.components[0]
    finer = replace(transform, components=(flow.at_shape(fine.shape), *transform.components[1:]))
    difference = finer.displacement() - transform.displacement()
    middle = tuple(slice(n // 4, -(n // 4)) for n in transform.fixed.shape)
    assert np.abs(difference[middle]).max() < 0.15 * min(transform.fixed.spacing)


@pytest.mark.parametrize("name", ["2d-LPS-flat", "3d"])
def test_cubic_is_sharper_than_linear(name):
    """On a smooth image, against the truth: the reason to offer it."""
    transform = chain(name)
    points = transform.fixed.points().reshape(-1, 3)
    mapped = transform.points_to_moving(points)
    inside = well_inside(transform.moving, mapped, 6)
    errors = {}
    for kind in ("linear", "cubic"):
        warped = transform.warp_image(image_on(transform.moving), kind).get_fdata().reshape(-1)
        errors[kind] = np.abs(warped[inside] - picture(mapped[inside])).mean()
    assert errors["cubic"] < 0.2 * errors["linear"]


@worlds
def test_labels_stay_whole(name):
    """No label that was not there, zero outside, and both ways agree except at borders."""
    transform = chain(name)
    bands = (picture(transform.moving.points()) * 3).astype(np.int32) * 7
    labels = nib.Nifti1Image(bands, transform.moving.affine)
    nearest, onehot = (
        np.asarray(transform.warp_labels(labels, mode).dataobj) for mode in ("nearest", "onehot")
    )
    assert nearest.dtype == onehot.dtype == np.int32
    assert set(np.unique(nearest)) | set(np.unique(onehot)) <= {0, *np.unique(bands)}
    assert (nearest == onehot).mean() > 0.9
    mapped = transform.points_to_moving(transform.fixed.points().reshape(-1, 3))
    voxels = np.rint(transform.moving.to_voxels(mapped)).astype(int)
    inside = ((voxels >= 0) & (voxels < transform.moving.shape)).all(1)
    assert (nearest.reshape(-1)[inside] == bands[tuple(voxels[inside].T)]).mean() > 0.999
    assert not nearest.reshape(-1)[~inside].any()


def test_large_label_numbers_survive():
    """16777217 has no float32; FreeSurfer numbers and hashes reach that far."""
    grid = grid_of("2d")
    labels = nib.Nifti1Image(np.full(grid.shape, 16777217, np.int32), grid.affine)
    for mode in ("nearest", "onehot"):
        assert set(np.unique(Transform.identity(grid).warp_labels(labels, mode).dataobj)) == {
            16777217
        }


def test_onehot_ties_take_the_smaller_label():
    """Half-way between two labels the answer must not depend on the order of anything."""
    grid = Grid((10, 12), np.eye(4))
    values = np.full(grid.shape, 9, np.int32)
    values[5:] = 3
    shift = np.eye(4)
    shift[0, 3] = 0.5
    warped = Transform.from_affine(shift, grid, grid).warp_labels(
        nib.Nifti1Image(values, grid.affine), "onehot"
    )
    assert np.asarray(warped.dataobj)[4, 3] == 3
    assert np.asarray(warped.dataobj)[3, 3] == 9


def test_dense_parts_go_on_beyond_their_grid():
    """Outside, the edge's motion continues; the inverse is found by fixed point."""
    grid = Grid((16, 14), affine_of((16, 14), (2.0, 1.0), "LPS"))
    mm = np.zeros((*grid.shape, 3))
    mm[..., 0], mm[..., 1] = 1.0, -0.5
    part = DisplacementField.from_mm(mm, grid)
    far = grid.to_world(np.array([[-20.0, 3.0], [8.0, 50.0], [7.3, 6.1]]))
    np.testing.assert_allclose(part.map(far) - far, [[1, -0.5, 0]] * 3, atol=1e-5)
    smooth = DisplacementField(motion(grid.shape, 1.0, sigma=4), grid)
    points = points_within(grid)
    np.testing.assert_allclose(smooth.inverse.map(smooth.map(points)), points, atol=0.2)


def test_what_makes_no_sense_is_refused():
    """One line each: kinds of interpolation, shapes of points, numbers of axes, singular maps."""
    transform = chain("2d")
    image = image_on(transform.moving)
    with pytest.raises(ValueError, match="interpolation: wanted 'linear', 'cubic' or 'nearest'"):
        transform.warp_image(image, "spline")
    with pytest.raises(ValueError, match="mode: wanted 'nearest' or 'onehot', got 'linear'"):
        transform.warp_labels(image, "linear")
    for points in (np.zeros((3, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"points: wanted \(N, 3\) coordinates in mm"):
            transform.points_to_moving(points)
    with pytest.raises(ValueError, match="wanted 2-D like the fixed image, got 3-D"):
        transform.warp_image(image_on(grid_of("3d")))
    with pytest.raises(ValueError, match="singular"):
        Transform.from_affine(np.zeros((4, 4)), transform.fixed, transform.moving)


@pytest.mark.parametrize("shift", [(0, 0, 0), (3, -2, 1), (-4, 0, 2), (90, 0, 0), (0, -90, 0)])
def test_voxels_that_coincide_are_not_interpolated(shift):
    """A crop, or a larger box, on the same lattice: the same numbers, and zeros outside."""
    fixed = grid_of("3d-ASL-oblique")
    affine = fixed.affine.copy()
    affine[:3, 3] = fixed.to_world(np.array(shift, float))
    target = Grid((17, 30, 19), affine)
    volume = np.random.default_rng(0).random(fixed.shape).astype(np.float32)
    expected = np.zeros(target.shape, np.float32)
    for index in np.ndindex(*target.shape):
        there = np.add(index, shift)
        if (there >= 0).all() and (there < fixed.shape).all():
            expected[index] = volume[tuple(there)]
    for interpolation in ("linear", "cubic", "nearest"):
        found = Transform.identity(fixed).pull_back(volume, fixed, target, interpolation)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("apart", ["shifted", "scaled", "turned"])
def test_voxels_that_nearly_coincide_are_interpolated(apart):
    """A hundredth of a voxel at the far end counts, however it comes about."""
    grid, matrix = Grid((1000, 9, 9), np.eye(4)), np.eye(4)
    where = {"shifted": (0, 3), "scaled": (0, 0), "turned": (0, 1)}[apart]
    matrix[where] += {"shifted": 1e-2, "scaled": 1e-5, "turned": 1e-2 / 8}[apart]
    ramp = np.broadcast_to(np.arange(1000, dtype=np.float32)[:, None, None], grid.shape)
    found = Transform.from_affine(matrix, grid, grid).pull_back(ramp, grid, grid)
    np.testing.assert_allclose(found[900, 8, 4] - 900, 1e-2, atol=2e-3)
