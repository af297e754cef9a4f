"""The home page: a picture that moves, three ways on, and a map that leaves nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOME = "notebooks/00_preface.html"


def contents() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [entry["file"] for part in toc["parts"] for entry in part["chapters"]]


def test_the_map_leaves_no_page_out(visit, site):
    """Every page of the contents, each chapter with its number and a picture that loads.

    What stands under a page is named there.
    """
    wanted = contents()
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
    numbers = [int(page[10:12]) for page in contents() if page.startswith("notebooks/")]
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


def test_it_leads_to_the_method_in_the_page(visit, site):
    with visit(f"{site}/{HOME}") as seen:
        seen.page.locator('article p a[href$="book/nevf_in_the_page.html"]').click()
        seen.page.wait_for_selector("#nevf-bench")


@pytest.mark.parametrize("name", ["description", "og:description"])
def test_a_link_to_it_can_be_shown(visit, site, name):
    with visit(f"{site}/{HOME}") as seen:
        found = seen.page.locator(f'meta[name="{name}"], meta[property="{name}"]')
        assert found.count() == 1 and len(found.get_attribute("content")) > 10
        assert seen.page.title() == "NeVF, hands on"


@pytest.mark.parametrize("name", [HOME, "notebooks/07_nevf.html", "book/claims.html"])
def test_the_picture_to_share_has_a_whole_address(visit, site, name):
    """A service that shows a link does not follow an address that begins with dots."""
    with visit(f"{site}/{name}") as seen:
        tags = seen.page.locator('meta[property^="og:"]')
        told = dict(
            tags.evaluate_all("all => all.map((e) => [e.getAttribute('property'), e.content])")
        )
        assert told["og:image"].startswith("https://") and told["og:image"].endswith("/share.jpg")
        assert told["og:title"] and "NeVF, hands on" not in told["og:title"] or name == HOME
        assert 60 < len(told["og:description"]) <= 203 and "\\(" not in told["og:description"]
    assert (ROOT / "book" / "_static" / "share.jpg").is_file()


@pytest.mark.parametrize(("size", "most"), [("desktop", 5), ("phone", 2)])
def test_no_card_stands_alone_at_the_end_of_its_part(visit, site, size, most):
    """Protects the map's shape: a part of a single page is a line of its own, as wide as all."""
    with visit(f"{site}/{HOME}", size) as seen:
        for part in seen.page.locator(".nevf-cards:has(img)").all():
            boxes = [card.bounding_box() for card in part.locator("li").all()]
            lines = [sum(box["y"] == other["y"] for other in boxes) for box in boxes]
            assert max(lines) <= most
            for box, beside in zip(boxes, lines, strict=True):
                assert beside > 1 or box["width"] > 0.99 * part.bounding_box()["width"]
