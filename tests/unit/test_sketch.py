"""What `sketch` draws: words, arrows, edges and cropping of images, and how curves look."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

from nevf_lite.viz import sketch
from nevf_lite.viz.remarks import Remark
from nevf_lite.viz.speeds import stacks
from nevf_lite.viz.style import CARD, LABELS, encode


def _image() -> np.ndarray:
    image = np.zeros((30, 40))
    image[10:20, 12:30] = 0.8
    return image


def test_words_stand_under_their_panel_and_arrows_point_to_a_voxel():
    remarks = {"a": "0.5 mm", "b": ["0.7 mm", Remark("the corner", (10, 12), (0.8, 0.9))]}
    picture = sketch.images({"a": _image(), "b": _image()}, alt="two", remarks=remarks)
    one, two = (list(axes.texts) for axes in picture.axes)
    assert [text.get_text() for text in one] == ["0.5 mm"]
    assert [text.get_text() for text in two] == ["0.7 mm", "the corner"]
    assert two[1].xy == (10, 12) and encode(picture, picture.kind)


def test_an_arrow_is_its_displacement_magnified_and_nan_has_none():
    move = np.full((2, 30, 40), np.nan)
    move[:, 9, 15] = 1.5, -0.5
    picture = sketch.images({"a": _image()}, alt="one", moves={"a": move}, magnified=3)
    (arrows,) = (a for a in picture.axes[0].collections if isinstance(a, Quiver))
    assert (arrows.U.tolist(), arrows.V.tolist()) == ([1.5], [-0.5])
    assert arrows.scale == pytest.approx(1 / 3) and arrows.XY.tolist() == [[9, 15]]


def test_the_rim_that_is_dark_in_all_panels_is_left_out():
    """Protects the scale: every panel shows the same voxels."""
    other = _image()
    other[25, 20] = 1.0
    picture = sketch.images({"a": _image(), "b": other}, alt="two", crop=True)
    for axes in picture.axes:
        assert axes.get_xlim() == (7.5, 27.5) and axes.get_ylim() == (9.5, 31.5)


def test_edges_are_of_one_panel():
    edges = {"b": [_image(), _image()]}
    picture = sketch.images(
        {"a": _image(), "b": _image()}, alt="two", edges=edges, outline={"b": _image()}
    )
    assert [len(axes.collections) for axes in picture.axes] == [0, 3]


def test_a_bar_is_the_sum_of_its_parts():
    picture = stacks({"L = 1": {"field": 2.0, "rest": 1.0}, "L = 2": {"rest": 1.0}}, unit="MB")
    axes = picture.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2, 0, 1, 1]
    assert [bar.get_x() for bar in axes.patches] == [0, 0, 2, 0]
    assert [text.get_text().strip() for text in axes.texts] == ["3", "1"]
    with pytest.raises(ValueError, match="wanted at least one"):
        stacks({}, unit="MB")


def test_labels_that_follow_each_other_differ_in_hue_and_none_is_the_card():
    """Protects label maps, whose neighbours in number are often neighbours in the brain."""
    colours = LABELS(np.arange(256))[:, :3]
    assert to_hex(colours[0]) == CARD
    assert np.abs(np.diff(colours[1:], axis=0)).max(axis=1).min() > 0.15
    assert np.abs(colours[1:] - colours[0]).max(axis=1).min() > 0.3


def test_a_curve_may_look_otherwise():
    lines = {"a": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}
    looks = {"b": {"c": "#123456", "ls": "--"}}
    one, two = sketch.curves(lines, alt="two", x="x", y="y", looks=looks).axes[0].lines
    assert (one.get_linestyle(), two.get_linestyle()) == ("-", "--")
    assert two.get_color() == "#123456" != one.get_color()
