"""Every page of the finished book in a real browser, with the network cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    f"{path.parent.name}/{path.stem}.html"
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
)
LOOKS = [(size, theme) for size in ("phone", "desktop") for theme in ("light", "dark")]
MOST_BYTES = 1_000_000
#: What can be scrolled sideways by itself and does not show it at its edge.
SCROLLS_IN_SECRET = """[...document.querySelectorAll('.bd-article *')].filter((e) => {
  const style = getComputedStyle(e);
  return ['auto', 'scroll'].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1
    && e.clientWidth && !style.backgroundImage.includes('gradient');
}).map((e) => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize(("size", "theme"), LOOKS, ids="-".join)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_without_a_network(visit, site, name, size, theme):
    with visit(f"{site}/{name}", size, theme) as seen:
        page = seen.page
        page.wait_for_function("document.readyState === 'complete'")
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000)
            assert page.locator("mjx-merror").count() == 0
        assert seen.outside == []
        assert seen.errors == []
        # nothing is wider than the window: no sideways scrolling on a phone
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 1
        if (size, theme) == ("phone", "dark"):
            assert page.evaluate(SCROLLS_IN_SECRET) == []
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light(site_folder, name):
    assert (site_folder / name).stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(visit, site, name, theme):
    with visit(f"{site}/{name}", "desktop", theme) as seen:
        found = Axe().run(seen.page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, [
        (v["id"], v["help"], [n["target"] for n in v["nodes"]][:4]) for v in serious
    ]


def test_the_first_page_opens_from_the_disk(visit, site_folder):
    with visit((site_folder / "index.html").as_uri()) as seen:
        seen.page.wait_for_selector("main article h1")
        assert seen.errors == []
        assert seen.outside == []


def test_search_finds_a_word(visit, site):
    with visit(f"{site}/search.html?q=diffeomorphism") as seen:
        seen.page.wait_for_selector("#search-results li a", timeout=20_000)
        assert seen.errors == []
