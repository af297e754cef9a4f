"""Pages of the book on paper: one of A4 between its margins is 642 pixels wide."""

from __future__ import annotations

import pytest

CUT = """[...document.querySelectorAll('.bd-content table')].filter((table) => {
  const box = table.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1;
}).map((table) => table.outerHTML.slice(0, 80))"""


PAGES = ["book/trust", "book/results", "book/claims", "notebooks/12_networks", "notebooks/13_peers"]


@pytest.mark.parametrize("name", PAGES)
def test_no_table_is_cut_off(visit, site, name):
    """Protects the last column: what scrolls in a window is cut on paper."""
    with visit(f"{site}/{name}.html") as seen:
        seen.page.set_viewport_size({"width": 642, "height": 960})
        seen.page.emulate_media(media="print")
        assert seen.page.evaluate(CUT) == []


def test_a_chapter_has_its_number_and_nothing_to_be_pressed(visit, site):
    """Protects readers on paper: text calls chapters by their numbers, and paper moves nothing."""
    with visit(f"{site}/notebooks/04_similarity.html") as seen:
        seen.page.wait_for_selector("figure .is-ready .nl-invites")
        seen.page.emulate_media(media="print")
        title = seen.page.locator("#jb-print-docs-body h1")
        assert title.is_visible() and title.inner_text().startswith("4. ")
        assert not seen.page.locator(":is(.nevf-button, .nl-invites):visible").count()


def test_a_page_has_its_number_and_its_title_at_its_foot(visit, site):
    """Protects a sheet that has left its pile."""
    with visit(f"{site}/notebooks/04_similarity.html") as seen:
        feet = seen.page.evaluate(
            """[...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
              .filter((rule) => rule instanceof CSSPageRule).map((rule) => rule.cssText).join("")"""
        )
        assert "counter(page)" in feet and "NeVF, hands on · 4. Similarity" in feet


def test_folded_code_leaves_nothing_on_paper(visit, site):
    """Protects captions: what lies over the line above on the screen must not do so there."""
    with visit(f"{site}/notebooks/07_nevf.html") as seen:
        seen.page.emulate_media(media="print")
        for check in seen.page.locator("div.cell.nevf-check").all():
            assert check.evaluate("e => parseFloat(getComputedStyle(e).marginTop)") >= 0


def test_no_shadow_of_a_scroll_and_no_figure_higher_than_a_third_of_a_page(visit, site):
    """Protects the page on paper: a shadow is a dash beside a formula there, a high figure leaves
    the page before it empty, and one made lower must not be stretched."""
    with visit(f"{site}/notebooks/03_flows.html") as seen:
        seen.page.emulate_media(media="print")
        shadows = """[...document.querySelectorAll('.bd-content *')].filter(
          (e) => getComputedStyle(e).backgroundImage.includes('gradient')).length"""
        assert seen.page.evaluate(shadows) == 0
        heights = seen.page.locator(".bd-content figure :is(img, canvas)").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect().height)"
        )
        assert heights and max(heights) < 9 * 96 / 2.54
        stretched = seen.page.locator(".bd-content figure img").evaluate_all(
            "all => all.map((e) => (e.width * e.naturalHeight) / (e.height * e.naturalWidth) || 1)"
        )
        assert stretched == pytest.approx([1] * len(stretched), abs=0.02)


def test_a_live_figure_has_no_frame_on_paper(visit, site):
    """Protects the foot of a page: a frame would begin there with nothing in it."""
    with visit(f"{site}/notebooks/03_flows.html") as seen:
        seen.page.emulate_media(media="print")
        for figure in seen.page.locator(".nevf-live").all():
            assert figure.evaluate("e => getComputedStyle(e).borderTopWidth") == "0px"


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
    """Protects readers on a narrow screen: numbers without their row's name say nothing. Where the
    name stands above the numbers it says enough there.
    """
    with visit(f"{site}/{name}.html", size="phone") as seen:
        seen.page.set_viewport_size({"width": 240, "height": 844})
        moved = seen.page.evaluate(
            """[...document.querySelectorAll('.bd-content table')].flatMap((table) => {
              const room = table.parentElement;
              if (!room.clientWidth || room.scrollWidth < room.clientWidth + 9) return [];
              const first = table.querySelector('tbody tr:last-child > *');
              if (!first.clientWidth) return [];
              const before = first.getBoundingClientRect().left;
              room.scrollLeft = 99;
              return [Math.abs(first.getBoundingClientRect().left - before)];
            })"""
        )
        assert moved and max(moved) <= 4, moved
