"""What the figures of brains must get right: proportions, places and numbers."""

from __future__ import annotations

import itertools
import re

import matplotlib.figure
import nibabel as nib
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from toy_images import AFFINE, blob, cells, rotated, slice_axes, turned

from nevf_lite.scans.space import Grid
from nevf_lite.viz import figures, style
from nevf_lite.viz.panels import outline, round_length
from nevf_lite.viz.slices import on_grid, planes, view_point


def png(figure) -> bytes:
    return style.encode(figure, "png", dpi=60)


@pytest.mark.parametrize("codes", ["LAS", "LPI", "PSR", "SRA", "LIA"])
def test_every_orientation_draws_the_same_picture(codes):
    """Protects left from right: how the voxels are stored must not change a pixel of the figure."""
    fixed, moving = blob(seed=0), blob(seed=1)
    images = (fixed, moving, fixed, cells(fixed), cells(moving))
    drawn = png(figures.before_after(*images))
    assert png(figures.before_after(*(turned(image, codes) for image in images))) == drawn


@pytest.mark.parametrize("affine", [AFFINE, rotated(25)])
def test_a_millimetre_is_as_long_across_as_up(affine):
    """Protects proportion under anisotropic voxels: one scale for both directions of every panel,
    and for all panels of a row."""
    figure = figures.before_after(*[blob(affine=affine)] * 3)
    wide, high = figure.get_size_inches()
    scales = []
    for axes in slice_axes(figure):
        box = axes.get_position()
        scales.append(box.width * wide / np.ptp(axes.get_xlim()))
        scales.append(box.height * high / np.ptp(axes.get_ylim()))
    assert len(scales) == 2 * 15
    np.testing.assert_allclose(scales, scales[0], rtol=1e-6)


def test_the_scale_bar_is_as_long_as_it_says():
    """Protects the only ruler on the page."""
    figure = figures.before_after(blob(), blob(), blob(), views=["slices"])
    bars = [(axes, axes.lines[0]) for axes in slice_axes(figure) if axes.lines]
    assert len(bars) == 3  # one a row
    for axes, bar in bars:
        said = next(t.get_text() for t in axes.texts if t.get_text().endswith(" mm"))
        assert np.ptp(bar.get_xdata()) == pytest.approx(float(said[:-3]))


@pytest.mark.parametrize(("size", "bar"), [(37.0, 20.0), (50.0, 50.0), (9.9, 5.0), (0.3, 0.2)])
def test_a_scale_bar_is_a_round_number(size, bar):
    """Protects readability: 1, 2 or 5 times a power of ten, never longer than there is room."""
    assert round_length(size) == pytest.approx(bar)


def test_outlines_run_along_the_labels_borders():
    """Protects contours: in mm, half a voxel outside the last voxels, any id and spacing."""
    data = np.zeros((24, 20, 12), np.int32)
    data[6:15, 4:9, :] = 2035
    data[20, 15, :] = 3  # one voxel thin: must not vanish
    image = nib.Nifti1Image(data, AFFINE)
    grid = Grid.of(image)
    plane = planes(grid, np.ones(grid.shape, bool))[0]
    axes = matplotlib.figure.Figure().add_subplot()
    outline(axes, plane, plane.cut(on_grid(image, grid, "labels")), "red")
    paths = [path.vertices for path in axes.collections[0].get_paths()]
    assert len(paths) == 2
    large = max(paths, key=len)
    np.testing.assert_allclose(large.min(axis=0), [5.5 * 2, 3.5 * 3], atol=0.05)
    np.testing.assert_allclose(large.max(axis=0), [14.5 * 2, 8.5 * 3], atol=0.05)
    small = min(paths, key=len)
    np.testing.assert_allclose(small.mean(axis=0), [20 * 2, 15 * 3], atol=0.5)


def test_checkerboard_takes_squares_from_each_image_by_turns():
    """Protects the checkerboard: square in mm, half of it from each image, tints as the legend."""
    grid = Grid((90, 30), np.diag([1.0, 3.0, 1.0, 1.0]))  # 90 mm x 90 mm
    plane = planes(grid, np.ones(grid.shape, bool))[0]
    board = figures.checkerboard(np.ones((30, 90)), np.zeros((30, 90)), plane)
    bright = board.sum(axis=2) > 1
    assert bright.mean() == pytest.approx(0.5, abs=0.03)
    steps = np.flatnonzero(np.diff(bright[0].astype(int)))
    rows = np.flatnonzero(np.diff(bright[:, 0].astype(int)))
    assert np.ptp(np.diff(steps)) <= 1 and np.diff(steps).mean() == pytest.approx(10, abs=0.2)
    assert np.diff(rows).mean() * 3 == pytest.approx(10, abs=1)
    red, _, blue = board[bright][0]
    assert blue > red  # the fixed image is the bluish one


def test_jacobian_counts_and_marks_every_fold():
    """Protects the count (whole volume) and the marks (on the voxel, in mm) of folded voxels."""
    fixed = blob()
    data = np.ones(fixed.shape, np.float32)
    folded = [(12, 10, 6), (5, 10, 6), (12, 3, 1)]
    for voxel in folded:
        data[voxel] = -0.5
    at = tuple((AFFINE @ [12, 10, 6, 1])[:3])
    figure = figures.jacobian_map(
        turned(nib.Nifti1Image(data, AFFINE), "LAS"), turned(fixed, "LAS"), at
    )
    assert "3 voxels folded" in figure.alt
    axial = slice_axes(figure)[0]
    marks = [c for c in axial.collections if isinstance(c, PathCollection)][-1]
    assert to_rgb(marks.get_facecolor()[0][:3]) == to_rgb(style.FOLD)
    np.testing.assert_allclose(sorted(marks.get_offsets().tolist()), [[10, 30], [24, 30]])


def test_jacobian_says_when_its_planes_show_no_fold():
    """Protects against reading a clean picture as a clean map."""
    data = np.ones((24, 20, 12))
    data[2, 2, 2] = 0.0
    assert "1 voxel folded (0.021 %), none of them on these planes" in (
        figures.jacobian_map(data, blob(), at=(4, 0, 14)).alt
    )
    assert "no folds" in figures.jacobian_map(np.ones((24, 20, 12)), blob()).alt


def test_jacobian_scale_is_symmetric_about_one():
    """Protects the colours: a factor of two and a half are equally far from the middle."""
    data = np.full((24, 20, 12), 2.0)
    data[:12] = 0.5
    figure = figures.jacobian_map(data[:-1, :-1, :-1], blob())  # forward differences: one shorter
    image = slice_axes(figure)[0].images[0]
    assert image.norm.vmin == -image.norm.vmax
    low, high = np.unique(image.get_array().compressed())
    assert low == pytest.approx(-1) and high == pytest.approx(1)
    assert "between 0.50 and 2.00" in figure.alt


@pytest.mark.parametrize("codes", ["RAS", "LPI", "ASR"])
@pytest.mark.parametrize("lean", [0.0, 30.0])
@pytest.mark.parametrize(
    ("axis", "shifts"),
    [(0, ([4, 0], [4, 0], [0, 0])), (1, ([0, 4], [0, 0], [4, 0])), (2, ([0, 0], [0, 4], [0, 4]))],
)
def test_lattice_moves_by_the_displacement_in_mm(codes, lean, axis, shifts):
    """Protects the frame of the displacement: 4 mm to the right, front or top of the image (along
    its own axes where it is oblique) is 4 mm in the picture, in any orientation."""
    grid = Grid.of(turned(blob(affine=rotated(lean)), codes))
    along = 4 * rotated(lean)[:3, axis] / np.linalg.norm(rotated(lean)[:3, axis])
    still = figures.deformed_grid(np.zeros((*grid.shape, 3)), grid)
    moved = figures.deformed_grid(np.broadcast_to(along, (*grid.shape, 3)), grid)
    for before, after, shift in zip(slice_axes(still), slice_axes(moved), shifts, strict=True):
        for one, other in zip(before.collections, after.collections, strict=True):
            assert isinstance(one, LineCollection)
            gap = np.array(other.get_segments()) - np.array(one.get_segments())
            np.testing.assert_allclose(gap, np.broadcast_to(shift, gap.shape), atol=1e-5)
    assert "4.0 mm" in moved.alt


def test_lattice_is_as_wide_as_its_title_says():
    """Protects the printed spacing under voxels that do not divide it."""
    grid = Grid((50, 40), np.diag([1.5, 4.0, 1.0, 1.0]))
    figure = figures.deformed_grid(np.zeros((50, 40, 3)), grid)
    step = float(re.search(r"lattice of (\d+) mm", figure.alt).group(1))
    rows, columns = slice_axes(figure)[0].collections
    for lines, axis in ((rows, 1), (columns, 0)):
        places = np.unique(np.round([s[0][axis] for s in lines.get_segments()], 6))
        np.testing.assert_allclose(np.diff(places), step, atol=1e-5)


def all_figures(image, labels) -> dict:
    grid = Grid.of(image)
    field = np.random.default_rng(0).normal(size=(*image.shape, 3))
    return {
        "before_after": figures.before_after(image, image, image, labels, labels, labels),
        "jacobian_map": figures.jacobian_map(np.ones(image.shape), image),
        "deformed_grid": figures.deformed_grid(field, grid, image),
    }


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1)])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_single_slice_works_everywhere(shape, plane):
    """Protects 2-D: one column, the letters of the slice's own plane, with or without the axis of
    length one."""
    order = {"axial": [0, 1, 2], "coronal": [0, 2, 1], "sagittal": [1, 2, 0]}[plane]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 2.0, 3.0])[:, order]
    image = blob(shape[:2], affine=affine)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj).reshape(shape), affine)
    drawn = all_figures(image, cells(image))
    count = {"before_after": 3 + 2 + 2, "jacobian_map": 1, "deformed_grid": 1}
    sides = {"axial": "LRPA", "coronal": "LRIS", "sagittal": "PAIS"}[plane]
    for name, figure in drawn.items():
        panels = slice_axes(figure)
        assert len(panels) == count[name]
        assert "".join(t.get_text() for t in panels[0].texts[:4]) == sides
        assert plane in figure.alt or name == "jacobian_map"


def test_images_elsewhere_are_refused_by_name():
    """Protects against a picture of two images that do not lie on top of each other."""
    image = blob()
    elsewhere = nib.Nifti1Image(np.asanyarray(image.dataobj), np.eye(4))
    smaller = blob((10, 10, 10))
    for wrong, position in itertools.product((elsewhere, smaller), (1, 2)):
        arguments = [image, image, image]
        arguments[position] = wrong
        name = ["fixed", "moving_on_fixed", "warped"][position]
        with pytest.raises(ValueError, match=f"^{name}: .*resample it"):
            figures.before_after(*arguments)
    with pytest.raises(ValueError, match="^jacobian: "):
        figures.jacobian_map(np.ones((5, 5, 5)), image)
    with pytest.raises(ValueError, match="^displacement_mm: "):
        figures.deformed_grid(np.zeros((*image.shape, 2)), Grid.of(image))
    with pytest.raises(ValueError, match="^views: got .*'slice'"):
        figures.before_after(image, image, image, views=["slice"])
    with pytest.raises(ValueError, match="^fixed_labels: "):
        figures.before_after(image, image, image, views=["labels"])


def test_a_flat_image_is_drawn():
    """Protects against dividing by an image's range when it has none."""
    flat = nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4))
    assert png(figures.before_after(flat, flat, flat))
    assert view_point(flat) is not None
