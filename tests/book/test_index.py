"""What leads to a name of the package is short: index, list of modules, names of a module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
from nevf_index import fix_index  # noqa: E402


def index(*entries: str) -> str:
    return fix_index('<table class="indextable genindextable">' + "".join(entries))


def test_an_entry_of_the_index_says_where_it_is_from_in_few_letters():
    said = {
        "blur() (in module nevf_lite.grid)": "blur()</a> <small>grid</small>",
        "Grid (class in nevf_lite.scans.space)": "Grid</a> <small>class, scans.space</small>",
        "extent (Grid property)": "extent</a> <small>of Grid</small>",
        "(Transform class method)": "<small>of Transform</small></a>",
        "<strong>Dice</strong>": "<strong>Dice</strong></a>",
    }
    for entry, short in said.items():
        assert index(f'<li><a href="x.html#a">{entry}</a>').endswith(f'<a href="x.html#a">{short}')


def test_the_index_leads_to_the_list_of_modules_and_does_not_repeat_it():
    one = '<li><a href="m.html#warp">nevf_lite.warp</a></li>'
    again = (
        '<li>\n nevf_lite.warp\n <ul>\n <li><a href="m.html#warp">module</a>\n</li>\n </ul></li>'
    )
    made = index(f"<li>\n module\n <ul>{one}</ul></li>", again, '<li><a href="n.html">n</a></li>')
    assert "nevf_lite.warp" not in made
    assert 'href="py-modindex.html"' in made and '<li><a href="n.html">n</a></li>' in made


def test_the_list_of_modules_says_what_each_does():
    rows = "".join(
        f'<tr><td><a href="a.html#module-{m}"><code class="xref">{m}</code></a></td></tr>'
        for m in ("nevf_lite.scans.space", "nevf_lite.warp")
    )
    made = fix_index(
        f'<div class="modindex-jumpbox"></div><table class="modindextable">{rows}</table>'
    )
    assert "table" not in made
    assert made.index("#module-nevf_lite.warp") < made.index("<h2><code>scans</code></h2>")
    assert "<code>space</code></a></dt><dd>" in made and "Interpolation: sampling a volume" in made


def test_a_module_begins_with_its_names():
    names = "".join(
        f'<dl class="py x"><dt class="sig sig-object py" id="nevf_lite.warp.{n}">{n}</dt></dl>'
        for n in ("sample", "warp", "pull", "Field", "Field.read")
    )
    made = fix_index(f'<section id="module-nevf_lite.warp"><p>What for.</p>{names}</section>')
    listed = made.partition("What for.</p>")[2].partition("<dl")[0]
    assert (
        listed.count("<a ") == 4 and '<a href="#nevf_lite.warp.Field"><code>Field</code>' in listed
    )
