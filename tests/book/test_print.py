"""Pages of the book on paper: one of A4 between its margins is 680 pixels wide."""

from __future__ import annotations

import pytest

CUT = """[...document.querySelectorAll('.bd-content table')].filter((table) => {
  const box = table.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1;
}).map((table) => table.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("name", ["book/trust", "book/results", "notebooks/13_peers"])
def test_no_table_is_cut_off(visit, site, name):
    """Protects the last column: what scrolls in a window is cut on paper."""
    with visit(f"{site}/{name}.html") as seen:
        seen.page.set_viewport_size({"width": 680, "height": 960})
        seen.page.emulate_media(media="print")
        assert seen.page.evaluate(CUT) == []


def test_a_dark_page_is_printed_as_a_light_one(visit, site):
    """Protects readers in the dark: pale ink and figures made for black cannot be read on paper."""
    with visit(f"{site}/book/results.html", theme="dark") as seen:
        theme = "document.documentElement.dataset.theme"
        record = f"() => {{ window.printed = {theme}; }}"
        seen.page.evaluate(f"addEventListener('beforeprint', {record})")
        seen.page.pdf()
        assert seen.page.evaluate("window.printed") == "light"
        assert seen.page.evaluate(theme) == "dark"


@pytest.mark.parametrize("name", ["book/trust", "notebooks/13_peers"])
def test_a_wide_table_scrolls_under_its_first_column(visit, site, name):
    """Protects readers on a phone: numbers without their row's name say nothing."""
    with visit(f"{site}/{name}.html", size="phone") as seen:
        moved = seen.page.evaluate(
            """[...document.querySelectorAll('.bd-content table')].flatMap((table) => {
              const room = table.parentElement;
              if (!room.clientWidth || room.scrollWidth < room.clientWidth + 9) return [];
              const first = table.querySelector('tbody tr:last-child > *');
              const before = first.getBoundingClientRect().left;
              room.scrollLeft = 99;
              return [Math.abs(first.getBoundingClientRect().left - before)];
            })"""
        )
        assert moved and max(moved) <= 4, moved
