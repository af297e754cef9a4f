"""The home page: a picture that moves, three ways on, and a map that leaves nothing out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytest.importorskip("sphinx")
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import nevf_home  # noqa: E402

HOME = "notebooks/00_preface.html"


def listed(entries: list[dict]) -> list[str]:
    return [f for e in entries for f in (e["file"], *listed(e.get("sections", [])))]


def test_the_map_leaves_no_page_out(visit, site):
    """Every page of the contents, each chapter with its number and a picture that loads."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    wanted = [page for part in toc["parts"] for page in listed(part["chapters"])]
    with visit(f"{site}/{HOME}") as seen:
        cards = seen.page.locator(".nevf-cards a").all()
        found = [card.get_attribute("href").removeprefix("../") for card in cards]
        assert found == [f"{page}.html" for page in wanted]
        for page, card in zip(wanted, cards, strict=True):
            name = page.removeprefix("notebooks/")
            if name[:2].isdigit():
                assert card.locator("b").inner_text() == str(int(name[:2]))
                card.scroll_into_view_if_needed()
                picture = card.locator("img").element_handle()
                seen.page.wait_for_function("img => img.naturalWidth > 100", arg=picture)
        assert "claims of the paper" in seen.page.locator(".nevf-verdicts").inner_text()
        numbers = seen.page.locator(".nevf-pipeline a").all_inner_texts()
        chapters = [page for page in wanted if page.startswith("notebooks/")]
        assert sorted(map(int, numbers)) == [int(page[10:12]) for page in chapters]


def test_chapters_come_in_the_order_of_their_numbers():
    """The sidebar and the figures count them in the order of the contents; text and map name them
    by the number of the file.
    """
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [page for part in toc["parts"] for page in listed(part["chapters"])]
    numbers = [int(page[10:12]) for page in pages if page.startswith("notebooks/")]
    assert numbers == sorted(numbers)


def test_the_hero_moves_by_itself_or_stands_still(visit, site):
    """Above the fold; it holds still for who wishes less motion, and for who asks it to."""
    position = "e => getComputedStyle(e).backgroundPositionY"
    with visit(f"{site}/{HOME}") as seen:
        seen.page.set_viewport_size({"width": 1440, "height": 900})
        flows = ".nevf-flows"
        assert seen.page.eval_on_selector(flows, "e => getComputedStyle(e).animationName") == "none"
        seen.page.emulate_media(reduced_motion="no-preference")
        first = seen.page.eval_on_selector(flows, position)
        seen.page.wait_for_function(
            f"before => ({position})(document.querySelector('{flows}')) !== before", arg=first
        )
        seen.page.locator(".nevf-pause input").check()
        held = seen.page.eval_on_selector(flows, position)
        seen.page.wait_for_timeout(400)
        assert seen.page.eval_on_selector(flows, position) == held
        for button in seen.page.locator(".nevf-hero + p a").all():
            box = button.bounding_box()
            assert box["y"] + box["height"] < 900
        assert seen.page.locator(flows).bounding_box()["width"] > 250


@pytest.mark.parametrize("name", ["description", "og:description"])
def test_a_link_to_it_can_be_shown(visit, site, name):
    with visit(f"{site}/{HOME}") as seen:
        found = seen.page.locator(f'meta[name="{name}"], meta[property="{name}"]')
        assert found.count() == 1 and len(found.get_attribute("content")) > 10
        assert seen.page.title() == "NeVF, hands on"


def test_the_picture_to_share_has_a_whole_address_or_none(tmp_path):
    """A service that shows a link does not follow an address that begins with dots."""
    page = "<title>x</title>"
    titles = {name: name for _, pages in nevf_home.contents() for name in pages}
    assert "og:image" not in nevf_home.fix_home(page, titles, tmp_path)
    shown = nevf_home.fix_home(page, titles, tmp_path, "https://example.org/book/")
    assert 'content="https://example.org/book/_static/share.webp"' in shown
    assert (ROOT / "book" / "_static" / "share.webp").is_file()
