"""The reference pages say what the code says: presets, data, modules, commands, equations."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
pytest.importorskip("sphinx")
sys.path.insert(0, str(BOOK / "_ext"))
import nevf_bibliography  # noqa: E402
import nevf_book  # noqa: E402
import nevf_docstrings  # noqa: E402
import nevf_html  # noqa: E402

from nevf_lite.config import PRESETS, Config  # noqa: E402
from nevf_lite.data import DATASETS  # noqa: E402


def text(name: str) -> str:
    return (BOOK / name).read_text(encoding="utf-8")


def test_the_table_of_presets_has_every_setting_of_every_preset():
    table = nevf_book.presets_table()
    assert set(nevf_book.PRESETS) == set(PRESETS)
    for setting in dataclasses.fields(Config):
        assert setting.name == "levels" or f"| `{setting.name}` |" in table
    rows = {row.split(" | ")[0].strip("| "): row for row in table.split("\n")}
    assert rows["`omega`"] == "| `omega` | 30 | **10** | **10** | **10** | **10** |"
    assert rows["iterations of a level"].startswith("| iterations of a level | 300 | **100, then")


def test_every_dataset_has_its_entry():
    page = text("data.md")
    assert set(re.findall(r"^```\{nevf-dataset\} (\w+)$", page, re.M)) == set(DATASETS)
    for name in DATASETS:
        assert f"\n## {name}\n" in page


def test_the_package_pages_have_every_module_once_and_every_command():
    rooms = re.findall(r"book/(api_\w+)$", (BOOK.parent / "_toc.yml").read_text("utf-8"), re.M)
    assert {f"{room}.md" for room in rooms} == {path.name for path in BOOK.glob("api_*.md")}
    shown = re.findall(r"automodule:: nevf_lite\.([\w.]+)", "".join(text(f"{r}.md") for r in rooms))
    assert shown == nevf_docstrings.MODULES
    page = text("api.md")
    from nevf_lite.cli import app

    commands = {c.name or c.callback.__name__ for c in app.registered_commands} | {"data"}
    assert set(re.findall(r"^```\{nevf-help\} (\w+)$", page, re.M)) == commands


def test_the_method_page_has_eight_equations_that_can_be_linked():
    page = text("method.md")
    numbers = [f"B{n}" for n in range(1, 9)]
    assert re.findall(r"^### (.*)$", page, re.M) == [f"Equation {n}" for n in numbers]


def test_an_equation_without_a_b_is_the_papers():
    pages = {path.name: path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")}
    for path in (BOOK.parent / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        pages[path.name] = "\n\n".join("".join(cell["source"]) for cell in cells)
    for name, page in pages.items():
        cited = re.findall(r"(?i)\bequations? \d.{0,20}", page)
        assert all("of the paper" in words for words in cited), (name, cited)
        assert not re.findall(r"#equation-\d", page), name


def test_the_glossary_is_in_order():
    terms = re.findall(r"^(\S.*)$", text("glossary.md").split("{glossary}")[1], re.M)[:-1]
    assert terms == sorted(terms, key=str.lower)
    assert len(terms) >= 40


def to_rst(docstring: str, *arguments: str) -> str:
    lines = inspect.cleandoc(docstring).split("\n")
    links = {"blur": ":py:func:`~nevf_lite.grid.blur`"}
    return "\n".join(nevf_docstrings.to_rst(lines, arguments, links.get))


def test_arguments_of_a_docstring_become_a_list():
    text = "Sum. shape: (N, *shape). a, b: `blur` them; 2 |A|. Returns x_."
    made = to_rst(text, "shape", "a", "b")
    assert made.split("\n") == [
        "Sum.",
        "",
        r"- **shape**: (N, \*shape).",
        r"- **a, b**: :py:func:`~nevf_lite.grid.blur` them; 2 \|A\|.",
        "",
        r"Returns x\_.",
        "",
        "",
    ]


def test_a_colon_after_any_other_word_stays_prose():
    assert "**" not in to_rst("Three things hold: one, two. Note: none is an argument.", "shape")


def test_indented_code_is_shown_as_code():
    assert ".. code-block:: python" in to_rst("Use it so:\n\n    x = blur(y)\n\nand no more.")
    assert ".. code-block:: python" in to_rst("Use it so.\n\nx = blur(y)\nshow(x)")


@pytest.mark.parametrize("module", nevf_docstrings.MODULES)
def test_no_word_of_a_docstring_is_lost(module):
    found = importlib.import_module(f"nevf_lite.{module}")
    for obj in [found, *vars(found).values()]:
        own = getattr(obj, "__module__", None) == found.__name__ or obj is found
        if not own or not (doc := inspect.getdoc(obj)):
            continue
        arguments = nevf_docstrings.known_arguments(obj)
        made = "\n".join(nevf_docstrings.to_rst(doc.split("\n"), arguments, lambda _: None))
        words = [re.findall(r"\w+", side) for side in (doc, made.replace("code-block::", ""))]
        words[1] = [w for w in words[1] if w not in ("python", "text")]
        words[0] = [w for w in words[0] if w not in ("python", "text")]
        assert words[0] == words[1], obj


def test_a_finished_page_is_mended(tmp_path):
    (tmp_path / "data.html").touch()
    (tmp_path / "kept.ipynb").touch()
    (tmp_path / "kept.html").touch()
    page = (
        '<link rel="preload" as="font" href="f.woff2"><a href="data.md#terms">x</a>'
        '<a href="kept.ipynb">download</a><a href="https://a.org/data.md">y</a>'
        '<dl><dd><em class="sig-param">a</em>,</dd>\n<dd><em class="sig-param">b</em>,</dd></dl>'
        'a<span class="w"> </span>b'
    )
    made = nevf_html.fix_page(page, tmp_path / "page.html")
    assert "preload" not in made
    assert '<a href="data.html#terms">' in made
    assert '<a href="kept.ipynb">' in made
    assert '<a href="https://a.org/data.md">' in made
    assert "<dl>" not in made and "<dd>" not in made and made.count('class="sig-line"') == 2
    assert made.endswith("a b")


def test_a_citation_leads_to_its_entry():
    """Whether it is named in the link or behind it; a label is shorter than its list of links."""
    page = (
        '<div class="citation" id="id3">\n<span class="label">[<a href="#id1">Han et al., 2023</a>]'
        ' <a href="#id1">1</a></span>\n<p>Kun Han.</p></div>'
        '<div class="citation" id="id4">\n<span class="label">[Wang et al., 2013]</span>\n<p>W.</p>'
    )
    known = nevf_bibliography.entries(page)
    assert known == {"Han et al. 2023": "id3", "Wang et al. 2013": "id4"}
    to = '<a class="internal" href="../book/bibliography.html">'
    cited = (
        f"({to}<span>Han et al. 2023</span></a>), ({to}fusion</a>, Wang et al. 2013), {to}all</a>."
    )
    made = nevf_bibliography.link_to_entries(cited, known)
    assert re.findall(r'href="([^"]*)"', made) == [
        "../book/bibliography.html#id3",
        "../book/bibliography.html#id4",
        "../book/bibliography.html",
    ]
