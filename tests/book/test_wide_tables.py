"""On a phone no table hides a column, and the help of a command is read without scrolling."""

from __future__ import annotations

import html
import sys
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from nevf_help import fix_help  # noqa: E402
from nevf_html import LONG_CODE  # noqa: E402
from nevf_tables import fix_tables  # noqa: E402
from nevf_wide_tables import name_rows  # noqa: E402

HELP = """Usage: nevf warp [OPTIONS] {IN}

  Warp an image that is on a disk, and write the result
  to a folder.

Options:
  -o, --output DIR  Folder to write to, which is made
                    if there is none.
  --mode <linear|nearest>
                    How values are read.

Examples:
  nevf warp a.nii.gz -o out
  nevf warp b.nii.gz -o out
"""


def shown(columns: int) -> BeautifulSoup:
    """A table of so many columns of numbers under two data sets, as a page has it."""
    rows = pd.MultiIndex.from_product([["mindboggle", "oasis"], ["SyN, tuned", "NeVF"]])
    rows.names = ["dataset", "label"]
    values = {f"column {i}": ["0.023 to 0.046", "0.5", "0.25", "0.125"] for i in range(columns)}
    return BeautifulSoup(
        name_rows(fix_tables(pd.DataFrame(values, index=rows)._repr_html_())), "html.parser"
    )


def test_a_narrow_table_stays_as_it_is():
    assert not shown(1).find(class_="nevf-name")


def test_a_wide_table_has_the_name_of_each_row_above_it():
    table = shown(4).table
    assert "nevf-above" in table["class"]
    names = [row for row in table.tbody("tr") if "nevf-name" in row.get("class", ())]
    assert [row.get_text() for row in names] == ["SyN, tuned", "NeVF"] * 2
    for row in names:
        assert (
            row.th["colspan"] == "4" and row.find_next_sibling("tr").th.get_text() == row.th.string
        )
    assert "0.023 to\N{NO-BREAK SPACE}0.046" in table.get_text()  # may break before the "to" alone


def test_nothing_of_a_help_is_lost():
    fixed = fix_help(f"<pre><span></span>{html.escape(HELP, quote=False)}</pre>")
    assert BeautifulSoup(fixed, "html.parser").get_text() == HELP


def test_an_option_has_a_line_and_what_it_does_another():
    fixed = fix_help(f"<pre><span></span>{html.escape(HELP, quote=False)}</pre>")
    found = BeautifulSoup(fixed, "html.parser")
    items = [" ".join(item.get_text().split()) for item in found(class_="nevf-told")]
    assert items == ["Folder to write to, which is made if there is none.", "How values are read."]
    lines = [line.get_text() for line in found(class_="nevf-said")]
    assert "  nevf warp a.nii.gz -o out\n" in lines and "Options:\n" in lines
    assert len(found(class_="nevf-soft")) == 1  # within the sentence


@pytest.mark.parametrize(
    "name", ["nevf_lite.integrate.scaling_and_squaring()", "paper_ablations_tuning"]
)
def test_a_long_name_breaks_between_its_words(name):
    assert LONG_CODE.search(f'<span class="pre">{name}</span>')


def test_no_table_of_the_book_hides_a_column_of_a_phone(visit, site):
    """The widest: each scrolls by a letter at most."""
    hidden = """() => [...document.querySelectorAll("table")].filter((t) => t.offsetWidth)
        .map((t) => t.parentElement.scrollWidth - t.parentElement.clientWidth)"""
    for page in ("notebooks/13_peers", "book/trust", "book/method", "notebooks/12_networks"):
        with visit(f"{site}/{page}.html") as seen:
            seen.page.set_viewport_size({"width": 390, "height": 844})
            assert max(seen.page.evaluate(hidden)) < 9, page
