"""What the book's extension makes of a chapter, and of tables, references and the search."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_grammar import CONVERTED, cells, code, tags

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
pytest.importorskip("sphinx")
from nevf_bibliography import AuthorYear  # noqa: E402
from nevf_html import fix_page  # noqa: E402

from nevf_lite.viz import sketch  # noqa: E402
from nevf_lite.viz.style import encode  # noqa: E402

converted = pytest.mark.parametrize("name", CONVERTED)


@converted
def test_figures_are_numbered_after_their_chapter(site_folder, name):
    page = (site_folder / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    captioned = [c for c in code(name) if "figure" in c.metadata.get("mystnb", {})]
    numbers = re.findall(r'<span class="caption-number">Figure ([\d.]+) </span>', page)
    assert numbers == [f"{int(name[:2])}.{n + 1}" for n in range(len(captioned))]


@converted
def test_an_answer_is_folded_until_it_is_asked_for(visit, site, name):
    asked = ("> **Predict.**", '<details class="nevf-answer">')  # the second of a live figure
    predictions = sum(cell.source.count(mark) for cell in cells(name) for mark in asked)
    with visit(f"{site}/notebooks/{name}.html") as seen:
        answers = seen.page.locator("details.nevf-answer")
        assert answers.count() == predictions > 1
        beside = seen.page.locator("details.nevf-answer + :is(ul, ol)")
        assert beside.count() == 0, "a list under a check is a part of the answer"
        first = answers.first.locator("p:has(strong:text-is('Check.'))")
        assert not first.is_visible()
        answers.first.locator("summary").first.click()
        assert first.is_visible()


@converted
def test_no_assert_is_seen_until_it_is_asked_for(visit, site, name):
    with visit(f"{site}/notebooks/{name}.html") as seen:
        seen.page.evaluate(
            "document.querySelectorAll('details.nevf-answer').forEach(d => d.open = true)"
        )
        asserts = seen.page.locator("div.highlight span.k:text-is('assert')")
        assert asserts.count() > 3
        assert not any(asserts.nth(k).is_visible() for k in range(asserts.count()))


@converted
def test_no_fold_stands_directly_under_another(visit, site, name):
    """Protects the eye: two lines that both say "Show the code" are one; a check is beside it."""
    with visit(f"{site}/notebooks/{name}.html") as seen:
        seen.page.evaluate(
            "document.querySelectorAll('details.nevf-answer').forEach(d => d.open = true)"
        )
        tops = seen.page.evaluate(
            """[...document.querySelectorAll('div.cell:not(.nevf-solution) details.hide > summary')]
              .map((summary) => summary.getBoundingClientRect().top)"""
        )
        near = [b - a for a, b in pairwise(tops) if 3 < b - a < 34]
        assert len(tops) > 4 and not near


def test_a_folded_cell_keeps_the_code_of_its_neighbour(visit, site):
    """Protects who reads the code: imports are in the setup, and every cell is in one fold."""
    with visit(f"{site}/notebooks/12_networks.html") as seen:
        told = "\n".join(seen.page.locator("div.cell details.hide pre").all_text_contents())
        setup = seen.page.locator("div.nevf-setup pre").first.text_content()
    assert "import nibabel as nib" in setup and "profile = begin()" in setup
    folded = [cell.source for cell in code("12_networks") if "hide-input" in tags(cell)]
    assert all(told.count(source.rstrip()) == 1 for source in folded)


def test_paper_shows_the_answers(visit, site):
    with visit(f"{site}/notebooks/{CONVERTED[0]}.html") as seen:
        seen.page.emulate_media(media="print")
        answer = seen.page.locator("details.nevf-answer p:has(strong:text-is('Check.'))").first
        assert answer.is_visible()


def test_a_long_name_of_code_goes_on_in_the_next_line():
    name = "test_files.py::test_long_names_of_files"
    code = f'<code><span class="pre">{name}</span></code>'
    fixed = fix_page(code, Path("page.html"))
    assert "test_<wbr>files.py::<wbr>test_<wbr>long" in fixed and name in fixed.replace("<wbr>", "")
    short = '<code><span class="pre">penalty_target</span></code>'
    assert fix_page(short, Path("page.html")) == short


def test_a_full_stop_stays_with_its_formula():
    formula = r'<span class="math notranslate nohighlight">\(|J| \le 0\)</span>'
    fixed = fix_page(f"<p>Where {formula}.) A fold has {formula} there.</p>", Path("page.html"))
    assert f'<span class="nevf-whole">{formula}.)</span> A' in fixed
    assert fixed.count("nevf-whole") == 1
    assert "-th</span> voxel" in fix_page(f"<p>every {formula}-th voxel</p>", Path("page.html"))


def test_a_picture_becomes_a_file_of_the_book(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "notebooks").mkdir()
    picture = sketch.curves({"a": ([1, 2], [3, 4])}, alt="a line that rises", x="x", y="y")
    fixed = fix_page(picture.html(), tmp_path / "notebooks" / "page.html")
    source = re.search(r'alt="a line that rises" width="(\d+)" height="(\d+)" src="(\S+)"', fixed)
    assert "base64" not in fixed and int(source[1]) > int(source[2]) > 100
    assert (tmp_path / "notebooks" / source[3]).read_bytes() == encode(picture, "svg")


def test_an_entry_is_labelled_as_it_is_cited():
    def entry(year: str, *names: str):
        persons = [SimpleNamespace(last_names=name.split()) for name in names]
        return SimpleNamespace(persons={"author": persons}, fields={"year": year})

    entries = [entry("2023", "Han", "Sun", "Yan"), entry("2007", "Ashburner")]
    entries += [entry("2015", "Kingma", "Ba"), entry("2007", "Ashburner")]
    assert list(AuthorYear().format_labels(entries)) == [
        "Han et al., 2023",
        "Ashburner, 2007",
        "Kingma and Ba, 2015",
        "Ashburner, 2007b",
    ]


def test_an_excerpt_of_the_search_is_of_the_article(visit, site):
    with visit(f"{site}/search.html?q=liouville") as seen:
        seen.page.wait_for_selector("#search-results li p.context", timeout=20_000)
        excerpts = seen.page.locator("#search-results li p.context").all_inner_texts()
    assert any("iouville" in text for text in excerpts)
    assert not any(re.search(r"Contents\s", text) for text in excerpts)
