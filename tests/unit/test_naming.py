"""Names at curves and marks: readable, in the right colour, beside what they name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from nevf_lite.viz.comparisons import dice_against_time
from nevf_lite.viz.sketch import curves
from nevf_lite.viz.speeds import roofline
from nevf_lite.viz.style import LETTER_COLOURS

ENDS = {"low": [0.9, 0.2], "twin": [0.1, 0.5], "other twin": [0.3, 0.5], "high": [0.4, 0.8]}
COURSES = {
    f"method {i}": ([seconds], [0.5 + 0.004 * (i % 3)])
    for i, seconds in enumerate(np.geomspace(5, 60, 8))
}
POINTS = {
    name: {"torch": (x, 1e9), "numba": (x, 9e9)}
    for name, x in zip("abcd", (2, 3, 4, 5), strict=True)
}
#: Where names have no room at their ends: three bundled curves, and courses that cross.
BUNDLE = {
    f"tool {i}": ([600, 190, 80, 40], [16 + i, 7.5 + i / 2, 5 + i / 4, 4.5 + i / 4])
    for i in range(3)
}
CROSSING = {
    "network + TTR": ([0.42, 2.7, 4.2], [0.44, 0.436, 0.438]),
    "features, fast": ([0.11, 0.16, 0.37, 0.55, 0.74], [0.375, 0.383, 0.462, 0.478, 0.48]),
    "network + features, fast": ([0.42, 0.65, 0.7, 0.97, 1.4], [0.44, 0.415, 0.427, 0.457, 0.468]),
    "network, then features, fast": (
        [0.42, 1.02, 1.05, 1.25, 1.6],
        [0.44, 0.389, 0.389, 0.471, 0.484],
    ),
}
FIGURES = {
    "column": lambda: curves({n: ([0, 1], y) for n, y in ENDS.items()}, "", x="", y="", log=""),
    "scattered": lambda: curves({n: (y, y) for n, y in ENDS.items()}, "", x="", y=""),
    "courses": lambda: dice_against_time(COURSES, before=0.49),
    "bundle": lambda: curves(BUNDLE, "", x="", y=""),
    "crossing": lambda: dice_against_time(CROSSING, before=0.353),
    "roofline": lambda: roofline(POINTS, {"memory": 1e10}, 1e11),
}


def named(name):
    """A figure, and the boxes of its names: not of the thin lines to them, nor of sloping texts."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    level = [text for text in figure.axes[0].texts if not text.get_rotation()]
    return figure, [Text.get_window_extent(text) for text in level]


@pytest.mark.parametrize("name", FIGURES)
def test_no_name_lies_on_another(name):
    """Protects the reader: each of many close names can be read."""
    figure, boxes = named(name)
    assert len(boxes) >= 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)


@pytest.mark.parametrize("name", FIGURES)
def test_no_name_lies_on_a_line(name):
    """Protects both: the name that would be crossed out and the curve that would be hidden."""
    figure, boxes = named(name)
    for line in figure.axes[0].lines:
        corners = line.get_transform().transform(line.get_xydata())
        steps = np.linspace(corners[:-1], corners[1:], 200).reshape(-1, 2)
        for box in boxes:
            inside = (steps > box.min) & (steps < box.max)
            assert not inside.all(axis=1).any(), line.get_label()


@pytest.mark.parametrize("name", ["column", "scattered"])
def test_a_name_has_its_curves_colour_and_there_is_no_legend(name):
    """Protects the key: the colour says which curve, and nothing says it twice."""
    (axes,) = FIGURES[name]().axes
    said = {text.get_text(): text.get_color() for text in axes.texts}
    assert said == {line.get_label(): LETTER_COLOURS[line.get_color()] for line in axes.lines}
    assert axes.get_legend() is None


def test_letters_can_be_read_on_white():
    """Protects readers with weak eyes: 4.5:1, as WCAG asks of small text."""
    for colour in LETTER_COLOURS.values():
        parts = np.array(to_rgb(colour))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, colour


def test_names_at_the_edge_stand_in_the_order_of_their_curves():
    """Protects the eye: the uppermost name belongs to the uppermost end."""
    (axes,) = FIGURES["column"]().axes
    heights = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert sorted(heights, key=heights.get) == ["low", "twin", "other twin", "high"]
    low, high = (axes.transAxes.inverted().transform(axes.transData.transform((1, y)))[1]
                 for y in (0.2, 0.8))  # fmt: skip
    assert heights["low"] == pytest.approx(low) and heights["high"] == pytest.approx(high)


def test_long_names_keep_a_legend():
    """Protects the curves: a name of half the width would leave them no room."""
    long = {"a" * 25: ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}
    (axes,) = curves(long, "", x="", y="").axes
    assert axes.get_legend() is not None and not axes.texts


def test_dots_are_not_joined():
    """Protects ranks and clouds, where a line between two points would say something."""
    few = {"sound": ([2, 3, 5], [1, 2, 1]), "spoiled": ([1, 4], [9, 2]), "limit": ([1, 5], [4, 4])}
    (axes,) = curves(few, "", x="rank", y="score", dots=("sound", "spoiled")).axes
    styles = {line.get_label(): (line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert styles["sound"][0] == styles["spoiled"][0] == "None" and styles["limit"][0] == "-"
    assert "None" not in (styles["sound"][1], styles["spoiled"][1])
