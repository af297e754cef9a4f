"""Charts of a study: what is drawn is what the rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from nevf_lite.viz.comparisons import dice_against_time, overlap
from nevf_lite.viz.style import encode


def rows(**dice) -> pd.DataFrame:
    """Rows of one data set: label to the Dice of its pairs."""
    found = [
        {"dataset": "toy", "label": label, "dice": value, "status": "done"}
        for label, values in dice.items()
        for value in values
    ]
    return pd.DataFrame(found)


def test_overlap_draws_each_pair_and_the_mean():
    """Protects the picture: a dot a pair, the bar at their mean, methods in the rows' order."""
    figure = overlap(rows(second=[0.5, 0.7], first=[0.2]))
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["second", "first"]
    dots, bar = axes.lines[:2]
    np.testing.assert_allclose(dots.get_xdata(), [0.5, 0.7])
    np.testing.assert_allclose(bar.get_xdata(), 0.6)
    assert "second on toy 0.600" in figure.alt
    assert "first on toy" not in figure.alt  # one pair beside two is no mean to compare


def test_a_difference_has_its_zero_and_every_mean_its_bar():
    """Protects the comparison within pairs: few pairs may stand beside many, and one has no bar."""
    some = rows(a=[-0.1, 0.0, 0.1], b=[0.1, 0.3], c=[0.2])
    figure = overlap(some, difference="Dice added")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Dice added" and "b on toy 0.200" in figure.alt
    zero, *others = [ln.get_xdata()[0] for ln in axes.lines if len(set(ln.get_xdata())) == 1]
    assert zero == 0 and others == pytest.approx([0.0, 0.2, 0.2])  # the last is the one dot


def test_one_pair_has_no_bar():
    """Protects honesty: a bar says "mean", and neither a row nor the legend has one of one pair."""
    figure = overlap(rows(a=[0.5], b=[0.6]))
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "o"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one pair"]


def test_overlap_leaves_out_what_failed():
    """Protects means: a failed row has no Dice, and its method no bar."""
    some = rows(good=[0.5], bad=[0.9])
    some.loc[some.label == "bad", "status"] = "failed"
    assert "bad" not in overlap(some).alt
    with pytest.raises(ValueError, match="^rows: "):
        overlap(some[some.status == "failed"])


def test_overlap_puts_the_papers_mean_on_its_own_row_and_data_set():
    """Protects the comparison: a diamond stands where its key says, or nowhere."""
    two = pd.concat([rows(a=[0.5], b=[0.6]), rows(b=[0.8]).assign(dataset="other")])
    figure = overlap(two, {("other", "b"): 0.7, ("toy", "unknown"): 0.1})
    diamonds = [[ln for ln in axes.lines if ln.get_marker() == "D"] for axes in figure.axes]
    assert [len(found) for found in diamonds] == [0, 1]
    assert diamonds[1][0].get_xdata() == [0.7] and diamonds[1][0].get_ydata() == [1]


def test_courses_begin_after_zero_seconds():
    """Protects the logarithmic axis: where all start is the dotted line, not a point."""
    figure = dice_against_time({"a": ([0, 1, 10], [0.3, 0.4, 0.5])}, before=0.38)
    before, line = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 10])
    assert set(before.get_ydata()) == {0.38}
    assert "a reaches 0.500 after 10 s" in figure.alt


def test_a_start_far_below_is_written_into_the_corner():
    """Protects the height: a line far below would leave the curves a strip. It covers no curve."""
    for course, side in (([0.7, 0.8], "right"), ([0.8, 0.7], "left")):
        axes = dice_against_time({"a": ([1, 10], course)}, before=0.3).axes[0]
        assert [line.get_label() for line in axes.lines] == ["a"]
        (written,) = (text for text in axes.texts if text.get_text() == "start: 0.300")
        assert written.get_ha() == side


def test_what_lies_below_the_least_is_not_shown():
    """Protects the ends: one course that comes from far below would press all others together."""
    courses = {"a": ([1, 10, 100], [0.4, 0.6, 0.8]), "b": ([10], [0.7])}
    axes = dice_against_time(courses, before=0.35, least=0.6).axes[0]
    assert axes.get_ylim()[0] == 0.6
    assert "start: 0.350" in [text.get_text() for text in axes.texts]


def test_seconds_are_plain_numbers():
    """Protects the reader: 200, not 2 x 10^2."""
    axes = dice_against_time({"a": ([0.5, 300], [0.4, 0.5])}, before=0.38).axes[0]
    axes.figure.canvas.draw()
    labels = [t.get_text() for t in axes.get_xticklabels()]
    assert {"0.5", "20", "200"} <= set(labels)


def test_courses_are_told_apart_without_colour():
    """Protects print: no two of eight courses share a symbol, and none shares colour and dash."""
    names = [*(f"m{i}" for i in range(7)), "m2 at 1 mm"]
    courses = {name: ([1, 2], [0.4, 0.5 + i / 100]) for i, name in enumerate(names)}
    lines = dice_against_time(courses, before=0.38).axes[0].lines[1:]
    assert len({line.get_marker() for line in lines}) == 8
    assert len({(to_rgb(line.get_color()), line.get_linestyle()) for line in lines}) == 8
    assert lines[7].get_color() == lines[2].get_color() and lines[7].get_linestyle() == "--"


def test_variants_share_a_colour_and_differ_in_their_dashes():
    names = ["SYMNet", "NeVF", "SYMNet + TTR", "SYMNet + NeVF"]
    courses = {name: ([1, 2], [0.4, 0.5]) for name in names}
    lines = dice_against_time(courses, before=0.38).axes[0].lines[1:]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", ":"]
    assert len({line.get_color() for line in lines}) == 2


def test_more_than_nine_courses_are_named_in_a_legend():
    """Protects the chart: ten names at the ends would lie on courses and on each other."""
    courses = {f"m{i}": ([1, 2][: 1 + i % 2], [0.4, 0.5][: 1 + i % 2]) for i in range(10)}
    wide = dice_against_time(courses, before=0.38)
    for figure in (wide, wide.narrow()):
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["before", *courses]
        assert not figure.axes[0].texts
        handles = {line.get_label(): line.get_linestyle() for line in legend.get_lines()}
        assert handles["m0"] == "None" and handles["m1"] == "-"  # a finished run is a symbol alone
    few = dice_against_time({name: courses[name] for name in list(courses)[:9]}, before=0.38)
    assert not few.legends and len(few.axes[0].texts) == 10


def test_a_watched_course_keeps_its_line_visible():
    """Protects long courses: every point is in the line, few have a symbol."""
    seconds = np.arange(1, 36)
    line = dice_against_time({"a": (seconds, seconds / 40)}, before=0.38).axes[0].lines[1]
    assert len(line.get_xdata()) == 35 and line.get_markevery() == 5


def test_bands_and_the_papers_points_have_the_colour_of_their_course():
    """Protects the reading: whose band, whose symbol; the start leaves the band as the course."""
    courses = {"a": ([0, 1, 2], [0.3, 0.4, 0.5]), "b": ([4], [0.45])}
    bands = {"a": ([0.3, 0.35, 0.45], [0.3, 0.45, 0.55]), "b": ([0.4], [0.5])}
    figure = dice_against_time(courses, 0.3, bands, {"b": (60, 0.6)})
    axes = figure.axes[0]
    band = axes.collections[0]
    assert np.array_equal(np.unique(band.get_paths()[0].vertices[:, 0]), [1, 2])
    curve, hollow, other = (line for line in axes.lines if line.get_marker() in ("o", "s"))
    assert band.get_facecolor()[0][:3] == pytest.approx(to_rgb(curve.get_color()))
    bar, way = (line for line in axes.lines if len(set(line.get_ydata())) == 2 and line != curve)
    np.testing.assert_array_equal(bar.get_xydata(), [[4, 0.4], [4, 0.5]])
    np.testing.assert_array_equal(way.get_xydata(), [[4, 0.45], [60, 0.6]])
    np.testing.assert_array_equal(hollow.get_xydata(), [[60, 0.6]])
    assert hollow.get_markeredgecolor() == other.get_color() != curve.get_color()
    assert hollow.get_marker() == other.get_marker() and hollow.get_markerfacecolor() == "none"
    assert "b reaches 0.450 after 4 s (in the paper 0.600)" in figure.alt


def test_no_course_is_refused():
    """Protects the message: what was missing."""
    with pytest.raises(ValueError, match="^courses: "):
        dice_against_time({"a": ([0], [0.3])}, before=0.38)


@pytest.mark.parametrize("theme", ["light", "dark", "any"])
def test_both_charts_become_images_in_every_theme(theme):
    """Protects the pages: both are SVG without a background."""
    for figure in (
        overlap(rows(a=[0.4, 0.5]), theme=theme),
        dice_against_time({"a": ([1, 2], [0.4, 0.5])}, 0.3, theme=theme),
    ):
        assert figure.kind == "svg" and encode(figure, "svg").lstrip().startswith(b"<?xml")
