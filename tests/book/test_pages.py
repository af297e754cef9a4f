"""Every page of the finished book in a real browser, with the network cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    f"{path.parent.name}/{path.stem}.html"
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
)
MOST_BYTES = 1_000_000
#: Pixels that a page is wider than its window, which is then scrolled sideways.
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
BROKEN = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
#: What can be scrolled sideways by itself and does not show it at its edge.
SCROLLS_IN_SECRET = """[...document.querySelectorAll('.bd-article *')].filter((e) => {
  const style = getComputedStyle(e);
  return ['auto', 'scroll'].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1
    && e.clientWidth && !style.backgroundImage.includes('gradient');
}).map((e) => e.outerHTML.slice(0, 80))"""
#: The keyboard reaches what scrolls: the theme sees to it a third of a second after a resize.
REACHED = """[...document.querySelectorAll('.cell_output > .output, pre')].every(
  (e) => e.scrollWidth <= e.clientWidth || e.tabIndex === 0)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_accessible_without_a_network(visit, site, name, theme):
    """On a desktop, then made as narrow as a phone: one visit, since loading takes longest."""
    with visit(f"{site}/{name}", "desktop", theme) as seen:
        page = seen.page
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000)
            assert page.locator("mjx-merror").count() == 0
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate(TOO_WIDE) <= 1
        seen.resize("phone")
        assert page.evaluate(TOO_WIDE) <= 1
        assert page.evaluate(SCROLLS_IN_SECRET) == []
        assert page.evaluate(BROKEN) == []
        assert seen.outside == []
        assert seen.errors == []
        seen.resize("desktop")
        page.wait_for_function(REACHED)
        # last, since axe asks for style sheets that are not there
        found = Axe().run(page).response["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, [
            (v["id"], v["help"], [n["target"] for n in v["nodes"]][:4]) for v in serious
        ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light(site_folder, name):
    assert (site_folder / name).stat().st_size <= MOST_BYTES


def test_the_first_page_opens_from_the_disk(visit, site_folder):
    with visit((site_folder / "index.html").as_uri()) as seen:
        seen.page.wait_for_selector("main article h1")
        assert seen.errors == []
        assert seen.outside == []


def test_search_finds_a_word(visit, site):
    with visit(f"{site}/search.html?q=diffeomorphism") as seen:
        seen.page.wait_for_selector("#search-results li a", timeout=20_000)
        assert seen.errors == []


def test_excerpts_of_the_search_have_no_tex(visit, site):
    """Protects who reads them: a formula is a line of backslashes there."""
    with visit(f"{site}/search.html?q=squaring") as seen:
        excerpts = seen.page.locator("#search-results .context")
        excerpts.nth(5).wait_for(timeout=20_000)
        told = " ".join(excerpts.all_text_contents())
        assert "squaring" in told.lower() and "\\" not in told


@pytest.mark.parametrize("name", ["notebooks/05_neural_fields", "book/claims"])
def test_a_line_is_short_enough_to_find_the_next_one(visit, site, name):
    """About eighty letters, where figures and tables may be wider."""
    with visit(f"{site}/{name}.html") as seen:
        widths = seen.page.evaluate(
            "[...document.querySelectorAll('.bd-article section > p')].map(p => p.offsetWidth)"
        )
        assert max(widths) <= 44 * 16


def test_a_formula_that_goes_on_says_so(visit, site):
    """A phone has no bar to scroll by: the edge behind which there is more lies in a shadow."""

    def edges(formula) -> list[int]:
        """The lightest pixel near the left edge and near the right one, at half height."""
        image = Image.open(io.BytesIO(formula.screenshot())).convert("L")
        above, below = image.height // 4, 3 * image.height // 4
        near = (image.crop((x, above, x + 1, below)) for x in (3, image.width - 4))
        return [column.getextrema()[1] for column in near]

    with visit(f"{site}/notebooks/04_similarity.html", "phone", "light") as seen:
        formulas = seen.page.locator("div.math mjx-container")
        formulas.first.wait_for()
        seen.page.set_viewport_size({"width": 280, "height": 844})  # all fit the usual phone
        more = "e => e.scrollWidth - e.clientWidth"
        shown = [one for one in formulas.all() if one.is_visible()]
        formula = max(shown, key=lambda one: one.evaluate(more))
        assert formula.evaluate(more) > 20
        left, right = edges(formula)
        assert left > 250 and right < 235
        formula.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        left, right = edges(formula)
        assert left < 235 and right > 250
