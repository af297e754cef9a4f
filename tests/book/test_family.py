"""The page "Family tree": of each method one idea, one equation, one picture and what it mended."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

BOOK = Path(__file__).parents[2] / "book"
TEXT = (BOOK / "family_tree.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT))
METHODS = [name for name in SECTIONS if name != "What NeVF inherits"]
PICTURES = re.findall(r"_static/family/(\w+)\.svg", TEXT)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_told_in_full(name):
    section = SECTIONS[name]
    for part in ("**Idea.**", "**What it mended.**", "**What it left.**"):
        assert section.count(part) == 1, part
    assert section.count("$$") == 2, "one equation"
    assert section.count("```{figure}") == 1 and ":alt:" in section
    assert re.search(r"\{cite(?::t)?\}`\w+`", section)


def test_the_table_has_every_method():
    table = TEXT[: TEXT.index("\n## ")]
    assert len(re.findall(r"(?m)^\| \[", table)) == len(METHODS) == 10


def test_every_picture_is_there_and_asks_for_nothing():
    assert sorted(PICTURES) == sorted(p.stem for p in (BOOK / "_static" / "family").glob("*.svg"))
    for name in PICTURES:
        path = BOOK / "_static" / "family" / f"{name}.svg"
        assert path.stat().st_size < 200_000
        root = ElementTree.parse(path).getroot()
        links = [v for node in root.iter() for key, v in node.attrib.items() if "href" in key]
        assert all(link.startswith("#") for link in links)


def test_every_reference_of_the_book_can_be_found():
    """A DOI, or the publisher's page where there is none."""
    bib = (BOOK / "references.bib").read_text(encoding="utf-8")
    entries = dict(re.findall(r"(?ms)^@\w+\{(\w+),\n(.*?)^\}", bib))
    assert len(entries) >= 40
    lost = [k for k, e in entries.items() if not re.search(r"(?m)^\s*(doi|url)\s*=\s*\{\S+\}", e)]
    assert lost == []
    assert len(set(re.findall(r"\{cite(?::t)?\}`(\w+)`", TEXT))) >= 12


def test_a_box_of_the_tree_leads_to_its_section(visit, site):
    with visit(f"{site}/book/family_tree.html") as seen:
        boxes = seen.page.locator(".nevf-linked > a")
        sections = [box.get_attribute("href") for box in boxes.all()]
        assert len(sections) == len(METHODS)
        assert all(seen.page.locator(section).count() == 1 for section in sections)
        picture = seen.page.locator(".nevf-linked > img").bounding_box()
        for box in (box.bounding_box() for box in boxes.all()):
            assert box["height"] > 20 and box["width"] > 30
            assert picture["x"] < box["x"] < picture["x"] + picture["width"] - box["width"]
        boxes.nth(sections.index("#syn")).click()
        assert seen.page.url.endswith("#syn")
        assert seen.errors == []
