"""A figure that fills the screen, by finger, mouse and keyboard."""

from __future__ import annotations

import pytest

PAGE = "notebooks/23_a_study_on_a_cluster.html"
LARGE = "dialog.nevf-large"
BOX = f"document.querySelector('{LARGE} img').getBoundingClientRect().toJSON()"


def test_a_wide_picture_is_turned_on_an_upright_phone(visit, site):
    """Its letters are then twice as large as in the page."""
    with visit(f"{site}/{PAGE}", "phone", "dark", touch=True) as seen:
        page = seen.page
        picture = page.locator("figure img").first
        picture.tap()
        page.wait_for_selector(f"{LARGE}[open].nevf-turned")
        box = page.evaluate(BOX)
        assert box["height"] > 1.9 * picture.bounding_box()["width"]
        assert box["left"] >= -1 and box["right"] <= 391
        page.locator(LARGE).tap()
        assert not page.locator(LARGE).evaluate("e => e.open")
        assert seen.errors == []


def test_a_chart_of_a_phone_has_letters_as_large_as_the_text(visit, site):
    """Protects second drawings: nine points of a chart, or of a card, are ten pixels or more."""
    charts = "[...document.querySelectorAll('figure picture > img')].map(img => "
    with visit(f"{site}/notebooks/03_flows.html", "phone") as seen:
        page = seen.page
        page.evaluate("document.querySelectorAll('details').forEach(e => (e.open = true))")
        for picture in page.locator("figure picture > img").all():
            picture.scroll_into_view_if_needed()
        page.wait_for_function(f"{charts}img.complete && img.naturalWidth > 0).every(Boolean)")
        scales = page.evaluate(f"{charts}img.clientWidth / img.naturalWidth)")
        sources = page.evaluate(f"{charts}[img.currentSrc, img.src])")
        assert all(shown != wide for shown, wide in sources) and len(sources) > 10
        inches = [96 if shown.endswith(".svg") else 150 for shown, _ in sources]  # pixels
        assert min(9 / 72 * s * i for s, i in zip(scales, inches, strict=True)) >= 10


def test_a_chart_of_a_phone_opens_its_wide_drawing(visit, site):
    """Protects what Enlarge is for: the narrow drawing twice as large shows a corner of it."""
    with visit(f"{site}/notebooks/13_peers.html", "phone", touch=True) as seen:
        picture = seen.page.locator("figure picture > img").first
        picture.tap()
        seen.page.wait_for_selector(f"{LARGE}[open].nevf-turned")
        shown = seen.page.locator(f"{LARGE} img").evaluate("e => e.src")
        narrow, wide = picture.evaluate("e => [e.currentSrc, e.src]")
        assert shown == wide != narrow
        box = seen.page.evaluate(BOX)
        assert box["left"] >= -1 and box["right"] <= 391 and box["bottom"] <= 845


@pytest.mark.parametrize(
    ("page", "alt"),
    [
        ("01_quickstart", "Brain slices (axial"),
        ("16_fast_kernels", "than plain torch: pull"),
    ],
)
def test_a_picture_that_gains_little_by_it_scrolls_instead(visit, site, page, alt):
    """Protects what is nearly square: its wide drawing is as wide as it was drawn."""
    with visit(f"{site}/notebooks/{page}.html", "phone", touch=True) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach(e => (e.open = true))")
        seen.page.locator(f"figure img[alt*='{alt}']").first.tap()
        dialog = seen.page.locator(f"{LARGE}[open].nevf-scrolled:not(.nevf-turned)")
        dialog.wait_for()
        assert seen.page.evaluate(BOX)["width"] == 624
        assert dialog.evaluate("e => (e.scrollLeft = 999, e.scrollLeft)") > 200
        close = dialog.locator("button").bounding_box()
        assert close["x"] + close["width"] <= 390, "it stays in sight"


def test_the_keyboard_opens_and_closes_it(visit, site):
    with visit(f"{site}/{PAGE}") as seen:
        page = seen.page
        button = page.get_by_role("button", name="Enlarge Figure 23.1")
        button.focus()
        page.keyboard.press("Enter")
        box = page.evaluate(BOX)
        assert box["width"] > 1200 and box["bottom"] <= 901
        page.keyboard.press("Escape")
        assert not page.locator(LARGE).evaluate("e => e.open")
        assert button.evaluate("e => e === document.activeElement")


def test_every_figure_of_a_picture_can_be_enlarged(visit, site):
    with visit(f"{site}/notebooks/19_own_scan_to_mni.html") as seen:
        pictures = seen.page.locator("figure.nevf-figure img").count()
        assert seen.page.locator("figure .nevf-enlarge").count() == pictures > 3
