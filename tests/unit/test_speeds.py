"""Charts of the benchmark: what is drawn is what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from nevf_lite.viz.speeds import roofline, speedups
from nevf_lite.viz.style import encode

POINTS = {"pull": {"torch": (2.0, 1e9), "numba": (2.0, 4e9)}, "siren": {"torch": (1e4, 9e10)}}


def test_the_roof_is_memory_first_and_then_arithmetic():
    """Protects the reading: a point's limit is the lower of the slope and the flat part."""
    (axes,) = roofline(POINTS, {"memory": 1e10}, 1e11).axes
    x, roof = axes.lines[0].get_data()
    np.testing.assert_allclose(roof, np.minimum(10 * x, 100))
    assert x.min() < 2 and x.max() > 1e4


def test_a_line_joins_the_backends_of_an_operation():
    """Protects the numbers: Gflop a second, torch's symbol open."""
    figure = roofline(POINTS, {"memory": 1e10}, 1e11)
    _, joined, torch, numba, *_ = figure.axes[0].lines
    np.testing.assert_allclose(joined.get_ydata(), [1, 4])
    assert torch.get_ydata() == [1] and torch.get_markerfacecolor() == "none"
    assert numba.get_ydata() == [4] and numba.get_markerfacecolor() != "none"
    assert "pull by numba 4" in figure.alt and encode(figure, "svg")


def test_a_bar_is_a_ratio_and_one_that_is_missing_is_left_out():
    figure = speedups(
        {"pull": {"numba": 2.0, "torch.compile": 1.1}, "ncc": {"numba": 12.3}}, "torch"
    )
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(widths, [2.0, 12.3, 1.1, np.nan])
    assert "ncc by numba 12" in figure.alt and "ncc by torch.compile" not in figure.alt


@pytest.mark.parametrize("draw", [lambda: roofline({}, {}, 1.0), lambda: speedups({}, "torch")])
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(ValueError, match="wanted at least one"):
        draw()
