"""What cells print, and signs, on a page: columns stay columns, sentences flow, code stays code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from nevf_printed import fix_printed  # noqa: E402
from nevf_signs import fix_signs  # noqa: E402

TABLE = """field      weight   Dice
SIREN        0.01  0.423
voxels       0.01  0.408"""
SENTENCE = """The fields differ: the one on a lattice has a crease at each
of its nodes, and the other has none."""
RECORDS = """moving half first: images differ by 0.045 on average
fixed half first: images differ by 0.006 on average"""


def printed(text: str) -> BeautifulSoup:
    page = (
        '<div class="output stream highlight-myst-ansi notranslate"><div class="highlight">'
        f"<pre><span></span>{text}\n</pre></div></div>"
    )
    return BeautifulSoup(fix_printed(page), "html.parser").pre


def test_columns_stay_columns_and_say_how_wide_they_are():
    """Protects tables on a phone: their lines do not break, and may scroll."""
    found = printed(f"{SENTENCE}\n{TABLE}")
    (columns,) = found.find_all(class_="nevf-columns")
    assert columns.get_text() == TABLE + "\n"
    assert columns["style"] == "--columns:24" and columns["tabindex"] == "0"


def test_a_sentence_flows_and_records_do_not():
    """Protects what is read: no line of two words on a phone, and no two records in one line."""
    found = printed(f"{SENTENCE}\n{RECORDS}")
    assert len(found.find_all(class_="nevf-soft")) == 1
    lines = [line.get_text() for line in found.find_all(class_="nevf-line")]
    assert lines == [f"{SENTENCE}\n", *(f"{record}\n" for record in RECORDS.split("\n"))]


@pytest.mark.parametrize("text", [TABLE, SENTENCE, RECORDS, "a &lt; b " * 9, f"{TABLE}\n\n{TABLE}"])
def test_nothing_that_was_printed_is_lost(text):
    given = BeautifulSoup(text, "html.parser").get_text()
    assert printed(text).get_text() == given + "\n"


def test_short_lines_are_left_alone():
    assert not printed("side  3: 0.667\nside 10: 0.900").find("span", class_=re.compile("nevf"))


def test_signs_are_set_in_text_alone():
    """Protects what one types: code, formulas, settings in signatures and attributes."""
    text = "trt02 &lt;- trt01, x -&gt; y, 160 x 192x224, -1 and 1-62"
    assert (
        fix_signs(f"<p>{text}</p>") == "<p>trt02 ← trt01, x → y, 160 × 192 × 224, −1 and 1-62</p>"
    )
    assert fix_signs("<p>0 % at 1 mm, 40 000 in 3 s</p>").count("\u00a0") == 4
    for kept in (
        f"<pre>{text} 0 %</pre>",
        f'<code class="docutils"><span>{text}</span></code>',
        f'<span class="math notranslate">\\({text}\\)</span>',
        "<span class=\"pre\">'NCC 2x2x2'</span>",
        '<img alt="2 x 3"/>',
        "<script>a = 2 x 3 <!-- -1 --></script>",
    ):
        assert fix_signs(kept) == kept
