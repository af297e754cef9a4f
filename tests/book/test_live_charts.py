"""The charts of the live figures: their words are whole, and can be read."""

from __future__ import annotations

import pytest

from nevf_lite.viz.live import LiveFigure


@pytest.fixture
def show(live):
    """show(name, ...): the page of a figure that is ready."""
    return lambda name, *look: live(name, LiveFigure(name, "What it shows.")._repr_html_(), *look)


@pytest.mark.parametrize("name", ["learn", "window", "siren", "wave"])
def test_a_phone_cuts_no_word_of_a_chart(show, name):
    """Protects a key of long names, and the last number of an axis."""
    script = """[...document.querySelectorAll('.nl-chart svg')].flatMap((svg) => {
      const room = svg.getBoundingClientRect();
      const boxes = [...svg.querySelectorAll('text')].map((e) => e.getBoundingClientRect());
      return boxes.map((box) => Math.max(room.left - box.left, box.right - room.right));
    })"""
    with show(name, "phone") as page:
        beyond = page.evaluate(script)
        assert beyond and max(beyond) <= 0.5


def test_the_name_of_a_mark_lies_on_no_curve(show):
    """Where the curves have their peak at the mark, it stands under them."""
    with show("window") as page:
        name = page.locator(".nl-said").bounding_box()
        axes = page.locator(".nl-mark").bounding_box()
        assert name["y"] > axes["y"] + axes["height"] / 2


def test_a_mark_with_no_room_on_either_side_is_named_in_two_lines(show):
    """Protects the narrowest phones: its name would run over the axis."""
    with show("learn") as page:
        page.set_viewport_size({"width": 270, "height": 700})
        page.wait_for_function("document.querySelectorAll('.nl-said').length === 3")
        names = page.locator(".nl-said")
        assert sorted(filter(None, names.all_text_contents())) == ["2 mm", "from here"]
        axis = page.locator(".nl-grid").evaluate_all(
            "all => Math.min(...all.map((e) => e.getBoundingClientRect().left))"
        )
        for box in (name.bounding_box() for name in names.all()):
            assert box["x"] >= axis or not box["width"]
