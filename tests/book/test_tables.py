"""Tables of pandas on a page: what was rounded, missing and named stays so, and is readable."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from nevf_html import fix_page  # noqa: E402
from nevf_tables import aligned, fix_tables  # noqa: E402

NAMES = ["dataset", "label"]
ROWS = pd.MultiIndex.from_product([["mindboggle", "oasis"], ["SyN", "NeVF"]], names=NAMES)


def table(**columns) -> BeautifulSoup:
    """The table of two data sets with these columns, as a page shows it."""
    made = pd.DataFrame(columns, index=ROWS)._repr_html_()
    return BeautifulSoup(fix_tables(made), "html.parser").table


def column(found: BeautifulSoup, number: int) -> list[str]:
    return [row.find_all("td")[number].get_text() for row in found.tbody.find_all("tr") if row.td]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["0.06", "0.031", "-0.0"], ["0.060", "0.031", "0.000"]),
        (["97.0", "4.0"], ["97", "4"]),  # counts, beside a gap
        (["-1.0", "-0.2"], ["−1.0", "−0.2"]),
        (["12", "7"], ["12", "7"]),
        (["0.1", "0.02"], ["0.1\u2007", "0.02"]),  # one significant digit: no zero is claimed
    ],
)
def test_numbers_stand_under_one_another(given, wanted):
    """Protects the reader from ragged decimals, and the numbers from more digits than they had."""
    found = aligned(given)
    assert found == wanted
    assert [float(text.replace("−", "-").strip("\u2007\u2008")) for text in found] == [
        float(text) for text in given
    ]


def test_a_gap_is_a_dash_and_counts_stay_counts():
    found = table(after=[4.0, 16.0, np.nan, 2.0], seen=pd.array([1, None, 3, 4], dtype="Int64"))
    assert column(found, 0) == ["4", "16", "–", "2"] and column(found, 1) == ["1", "–", "3", "4"]


def test_words_stand_on_the_left_under_their_title():
    found = table(verdict=["ahead", "3 pairs: open", "", "ahead"], pairs=["-1 to 2"] * 4)
    assert column(found, 1) == ["−1 to 2"] * 4
    left = [cell.get_text() for cell in found.find_all(class_="nevf-text") if cell.name == "td"]
    assert left == ["ahead", "3 pairs: open", "", "ahead"]
    assert "verdict" in [cell.get_text() for cell in found.thead.find_all(class_="nevf-text")]


def test_a_data_set_is_a_line_above_its_rows():
    """Protects the width of a table on a phone, and what belongs to which data set."""
    found = table(dice=[0.5, 0.25, 0.75, 0.125])
    shown = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in found("tr")]
    assert shown == [
        ["label", "dice"],
        ["Mindboggle"],
        ["SyN", "0.500"],
        ["NeVF", "0.250"],
        ["OASIS"],
        ["SyN", "0.750"],
        ["NeVF", "0.125"],
    ]


def test_one_header_row_holds_the_names_of_the_index_too():
    named = pd.DataFrame({"dice": [0.5, np.nan]}, index=pd.Index(["a", "b"], name="method"))
    other = "<table><thead><tr><th></th><th>x</th></tr></thead><tbody><tr><td>1</td></tr></tbody>"
    fixed = fix_page(other + named._repr_html_(), Path("page.html"))
    assert fixed.startswith(other) and "NaN" not in fixed and "<td>–</td>" in fixed
    assert re.search(r"<th[^>]*>method</th>\s*<th>dice</th>", fixed) and fixed.count("<thead>") == 2
    assert len(re.findall("<tr", fixed)) == 2 + 3


def test_columns_of_two_levels_keep_both():
    """Protects headers that say two things: nothing is merged away."""
    columns = pd.MultiIndex.from_product([["VoxelMorph", "SYMNet"], ["grid"]])
    made = pd.DataFrame([["8 x 12", "4 x 6"]], columns=columns)._repr_html_()
    found = BeautifulSoup(fix_tables(made), "html.parser")
    assert [len(row("th")) for row in found.thead("tr")] == [3, 3]


def test_few_pairs_are_grey_beside_many_and_not_among_themselves():
    def grey(*pairs):
        rows = table(pairs=pairs, dice=[0.1, 0.2, 0.3, 0.4]).tbody.find_all("tr")
        return ["nevf-few" in row.get("class", ()) for row in rows if row.td]

    assert grey(9, 3, 9, 1) == [False, True, False, True]
    assert grey(3, 3, 1, 3) == [False] * 4
    assert grey("1 to 2", "3", "9", "9") == [False] * 4
