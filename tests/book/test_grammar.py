"""The grammar of a chapter, as CONTRIBUTING.md writes it down, in the chapters that follow it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
#: Chapters that follow it; the tuple grows with each that is converted.
CONVERTED = (
    "01_quickstart",
    "02_images",
    "03_flows",
    "04_similarity",
    "05_neural_fields",
    "06_sparse_sampling",
    "07_nevf",
    "08_reading_a_result",
    "09_voxel_or_field",
    "10_upsample_order",
    "11_step_size",
    "12_networks",
    "13_peers",
    "16_fast_kernels",
    "17_neural_ode",
    "18_memory",
    "19_own_scan_to_mni",
    "20_labels_from_atlases",
    "21_a_template",
    "22_change_over_time",
    "23_a_study_on_a_cluster",
    "14_features",
    "15_learned_starts",
)
HIDING = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
PICTURE = re.compile(r"<(?:img|svg|iframe|figure|canvas)\b")

converted = pytest.mark.parametrize("name", CONVERTED)


def cells(name: str) -> list:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells


def code(name: str) -> list:
    return [cell for cell in cells(name) if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def pictures(cell) -> int:
    shown = (output.get("data", {}).get("text/html", "") for output in cell.outputs)
    return sum(bool(PICTURE.search(text)) for text in shown)


@converted
def test_every_picture_is_a_figure_with_a_caption(name):
    names = []
    for cell in code(name):
        if "remove-cell" in tags(cell):
            continue  # not on the page: sliders, which need a kernel
        figure = cell.metadata.get("mystnb", {}).get("figure")
        assert bool(figure) == bool(pictures(cell)), cell.source
        if figure:
            names.append(figure["name"])
            assert figure["name"].startswith("fig-"), figure["name"]
            assert len(figure["caption"]) >= 40, figure["caption"]
            assert figure["caption"].startswith("**"), figure["caption"]  # what it is, first
    assert len(set(names)) == len(names)


def test_no_two_figures_of_the_book_have_one_name():
    every = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        for cell in code(path.stem)
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(set(every)) == len(every)


@converted
def test_no_assert_stands_in_plain_view(name):
    for cell in code(name):
        assert "assert " not in cell.source or tags(cell) & HIDING, cell.source


@converted
def test_imports_and_drawing_are_folded(name):
    for cell in code(name):
        if tags(cell) & HIDING:
            continue
        assert cell.source.count("import ") <= 2, cell.source
        assert "alt=" not in cell.source, cell.source


@converted
def test_a_chapter_is_read_as_text(name):
    """Code in plain view: what the reader needs, not what draws it."""
    shown = [cell.source for cell in code(name) if not tags(cell) & HIDING]
    assert sum(len(source.splitlines()) for source in shown) <= 150


@converted
def test_a_chapter_begins_with_its_picture(name):
    """Before its second section, with no more code in plain view than what makes it."""
    sections = lines = 0
    for cell in cells(name):
        if "figure" in cell.metadata.get("mystnb", {}):
            break
        if cell.cell_type == "markdown":
            sections += len(re.findall(r"(?m)^## ", cell.source))
        elif not tags(cell) & HIDING:
            lines += len(cell.source.splitlines())
    else:
        pytest.fail("no picture")
    assert sections <= 1 and lines <= 12


@converted
def test_every_prediction_has_its_check(name):
    """In that order and in the same section; its answer stands behind a click."""
    text = "\n\n".join(cell.source for cell in cells(name) if cell.cell_type == "markdown")
    marks = re.findall(r"(?m)^(#+ |> \*\*Predict\.\*\*|\*\*Check\.\*\*)", text)
    for mark, after in zip(marks, [*marks[1:], "the end"], strict=True):
        if mark.startswith(">"):
            assert after == "**Check.**", after


@converted
def test_solutions_print_numbers(name):
    solutions = [cell for cell in code(name) if "hide-cell" in tags(cell)]
    for cell in solutions:
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert re.search(r"\d", printed), cell.source


@converted
def test_every_exercise_has_a_grade(name):
    text = "\n\n".join(cell.source for cell in cells(name) if cell.cell_type == "markdown")
    exercises = re.findall(r"(?m)^### (Exercise \d+.*)\n+(.*)", text)
    assert len(exercises) >= 3
    for title, first in exercises:
        assert re.match(r"\*(Easy|Harder|Hard)\.\* ", first), title


ASIDE = re.compile(r"```.*?```|`[^`]*`|\$[^$]*\$|<!--.*?-->", re.S)


@pytest.mark.parametrize("name", [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))])
def test_prose_has_a_real_arrow_and_a_real_times(name):
    """Protects the eye: "trt02 <- trt01" and "32 x 48" are for code."""
    for cell in cells(name):
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        prose = cell.source if cell.cell_type == "markdown" else ""
        told = ASIDE.sub("", f"{prose}\n{figure.get('caption', '')}")
        assert not re.search(r"\w <- \w|\d ?x ?\d", told), told
