"""From volume to slice: sides, letters, planes, and what is foreground."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from toy_images import AFFINE, blob, rotated, turned

from nevf_lite.scans.space import Grid
from nevf_lite.viz.slices import foreground, middle, on_grid, planes, window


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL"])
def test_a_spot_on_the_left_is_drawn_at_the_letter_L(codes):
    """Protects the meaning of the letters: each side of the picture is the side it says."""
    data = np.zeros((24, 20, 12), np.float32)
    data[2, 16, 3] = 1.0  # low x, high y, low z: left, anterior, inferior
    image = turned(nib.Nifti1Image(data, AFFINE), codes)
    grid = Grid.of(image)
    array = on_grid(image, grid, "image")
    everything = np.ones(array.shape, bool)
    spot = AFFINE @ [2, 16, 3, 1]
    sides = {"axial": "LA", "coronal": "LI", "sagittal": "AI"}
    for plane in planes(grid, everything, at=tuple(spot[:3])):
        row, column = np.argwhere(plane.cut(array) == 1)[0]
        rows, columns = plane.cut(array).shape
        across = plane.letters[0] if column < columns / 2 else plane.letters[1]
        upward = plane.letters[2] if row < rows / 2 else plane.letters[3]
        assert across + upward == sides[plane.name]


@pytest.mark.parametrize(
    ("degrees", "axial", "sagittal"),
    [
        (5, ("L", "R", "P", "A"), ("P", "A", "I", "S")),
        (20, ("L", "R", "PI", "AS"), ("PI", "AS", "IA", "SP")),
        (-20, ("L", "R", "PS", "AI"), ("PS", "AI", "IP", "SA")),
    ],
)
def test_an_oblique_image_says_which_way_it_leans(degrees, axial, sagittal):
    """Protects oblique scans: a second letter where an axis leans, none for a slight tilt."""
    image = blob(affine=rotated(degrees))
    grid = Grid.of(image)
    by_name = {p.name: p for p in planes(grid, np.ones(grid.shape, bool))}
    assert by_name["axial"].letters == axial
    assert by_name["sagittal"].letters == sagittal
    assert by_name["axial"].position.startswith("slice ")  # no single z to name
    assert by_name["sagittal"].position.startswith("x = ")


def test_planes_pass_through_the_point_asked_for():
    """Protects `at`: the position written above a slice is where it was cut."""
    grid = Grid.of(blob())
    found = planes(grid, np.ones(grid.shape, bool), at=(-20 + 2 * 7, -30 + 3 * 11, -10 + 4 * 5))
    assert [(p.name, p.index, p.position) for p in found] == [
        ("axial", 5, "z = 10 mm"),
        ("coronal", 11, "y = 3 mm"),
        ("sagittal", 7, "x = \u22126 mm"),
    ]


def test_the_middle_avoids_the_gap_between_two_halves():
    """Protects the sagittal slice of a real brain, which through the fissure would be empty."""
    mask = np.ones((41, 30, 30), bool)
    mask[19:22] = False
    grid = Grid(mask.shape, np.eye(4))
    x, y, z = middle(grid, mask)
    assert mask[round(x), round(y), round(z)] and abs(x - 20) <= 8


@pytest.mark.parametrize("background", [0.0, -1000.0])
def test_foreground_is_the_object_whatever_the_background(background):
    """Protects cropping and brightness for stripped brains, CT and a noisy rim alike."""
    rng = np.random.default_rng(0)
    values = background + rng.normal(0, 1, (20, 20, 20))
    values[5:15, 5:15, 5:15] += 400
    seen = foreground(values)
    assert seen[5:15, 5:15, 5:15].all() and seen.sum() == 1000
    black, white = window(values)
    assert abs(black - background) < 5 and abs(white - background - 400) < 5


def test_a_real_brain_is_cut_where_there_is_brain(nevf_data):
    """Protects the default planes on a real scan: each cuts a good part of the brain."""
    image = nib.load(nevf_data / "mindboggle" / "trt02_t1.nii.gz")
    grid = Grid.of(image)
    array = on_grid(image, grid, "image")
    mask = foreground(array)
    for plane in planes(grid, mask):
        assert plane.cut(mask).mean() > 0.4
