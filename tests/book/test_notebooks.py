"""The chapters as files: executed in order, the same everywhere, readable without a kernel.

That they run is proved by nbval (`make test`); here is what a run cannot show.
"""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if not path.name.startswith("00_")]
SETUP = (ROOT / "book" / "setup_cell.py").read_text(encoding="utf-8").rstrip()
MACHINE = {"perf_counter", "time", "seconds", "timings", "platform", "__version__", "cpu_count"}

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def outputs(path: Path) -> list[dict]:
    return [output for cell in code(path) for output in cell.outputs]


def html(path: Path) -> str:
    return "\n".join(output.get("data", {}).get("text/html", "") for output in outputs(path))


def test_the_contents_list_every_notebook_and_nothing_else():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    chapters += [page for chapter in chapters for page in chapter.get("sections", ())]
    listed = [toc["root"], *(chapter["file"] for chapter in chapters)]
    there = {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    assert {name for name in listed if name.startswith("notebooks/")} == there
    pages = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert {name for name in listed if name.startswith("book/")} == pages


@every
def test_it_was_executed_in_order_from_a_clean_kernel(path):
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(path) if output.output_type == "error"]


@every
def test_its_metadata_is_of_no_particular_machine(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no widget state
    assert set(notebook.metadata.language_info) == {"name"}
    assert "widget" not in " ".join(k for o in outputs(path) for k in o.get("data", {}))


@every
def test_the_setup_cell_is_the_common_one(path):
    cells = code(path)
    assert cells[0].source == SETUP
    tags = set(cells[0].metadata.tags)
    assert "setup" in tags and tags & {"hide-input", "remove-input"}  # folded, or not shown
    assert not [cell for cell in cells[1:] if "setup" in cell.metadata.get("tags", ())]


@every
def test_it_is_small(path):
    assert path.stat().st_size <= 1_500_000


@every
def test_no_folder_of_a_machine_is_in_it(path):
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", path.read_text(encoding="utf-8"))
    text = re.sub(r'data-payload=\\?"[^"]+"', "", text)
    assert not re.findall(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|Users)/\w+|[A-Z]:\\\\\w+", text)


@every
def test_no_cell_prints_what_depends_on_the_machine(path):
    for cell in code(path):
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
        for call in calls:
            if not (isinstance(call.func, ast.Name) and call.func.id == "print"):
                continue
            names = {getattr(n, "id", getattr(n, "attr", None)) for n in ast.walk(call)}
            assert not names & MACHINE, ast.unparse(call)
    for output in outputs(path):  # a raw float has as many digits as the machine likes
        assert not re.search(r"\d\.\d{7,}", output.get("text", ""))


@every
def test_every_picture_says_what_it_shows(path):
    class Pictures(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag in ("img", "iframe"):
                text = dict(attrs).get("alt" if tag == "img" else "title") or ""
                assert len(text) >= 20, f"{tag} without a description: {text!r}"

    Pictures().feed(html(path))
    raw = {kind for output in outputs(path) for kind in output.get("data", {})}
    assert not {kind for kind in raw if kind.startswith("image/")}  # these carry no alt text


@every
def test_code_is_short_enough_to_be_read_in_the_page(path):
    for cell in code(path)[1:]:
        longest = max(cell.source.splitlines() or [""], key=len)
        assert len(longest) <= 80, longest


@every_chapter
def test_a_chapter_teaches(path):
    """Objectives, a run time, predictions and checks, a failure, exercises, a balance."""
    text = prose(path)
    assert len(re.findall(r"(?m)^# ", text)) == 1
    assert "You will be able to" in text
    assert re.search(r"\*\*Run time:?\*\*", text)
    assert len(re.findall(r"(?m)^> \*\*Predict\.?\*\*", text)) >= 2
    assert re.search(r"(?mi)^##.*\bfail", text)
    assert re.search(r"(?m)^## What worked, what did not", text)
    assert re.search(r"\]\([\w./]+\.(ipynb|md)\)", text.splitlines()[-1]), "the way on"
    assert sum("assert " in cell.source for cell in code(path)) >= 4


@every_chapter
def test_exercises_have_folded_solutions_that_check_themselves(path):
    exercises = re.findall(r"(?m)^### Exercise (\d+)\.", prose(path))
    assert [int(n) for n in exercises] == list(range(1, len(exercises) + 1))
    assert 3 <= len(exercises) <= 6
    folded = [c for c in code(path) if "hide-cell" in c.metadata.get("tags", ())]
    assert len(folded) >= len(exercises) - 1  # one may have to be done with the page closed
    assert all("assert" in cell.source for cell in folded)


def test_some_cells_are_checked_to_the_letter():
    """nbval compares the outputs of these cells only; without them it would compare nothing."""
    tagged = [
        path.stem
        for path in CHAPTERS
        for cell in code(path)
        if "nbval-check-output" in cell.metadata.get("tags", ()) and cell.outputs
    ]
    assert len(tagged) >= 5
