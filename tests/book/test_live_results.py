"""The results explorer: made of the rows, sorted, followed, downloaded; on a phone, in the dark."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("sphinx")
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import nevf_explorer  # noqa: E402

from nevf_lite.data.splits import test_pairs as pairs_of_test  # noqa: E402


@pytest.fixture
def show(live):
    """show(...): the explorer, ready."""
    return lambda *look, **more: live("results", nevf_explorer.figure(), *look, **more)


def test_rows_are_those_that_may_decide_a_claim():
    rows = nevf_explorer.rows()
    assert len(rows) and (rows["spacing_mm"].fillna(1) == 1).all()
    allowed = {(d, *pair) for d in ("mindboggle", "oasis") for pair in pairs_of_test(d)}
    assert set(zip(rows["dataset"], rows["fixed"], rows["moving"], strict=True)) <= allowed


def test_the_sentence_is_of_the_rows():
    rows, said = nevf_explorer.rows(), nevf_explorer.sentence()
    for dataset, title in (("mindboggle", "Mindboggle"), ("oasis", "OASIS")):
        ours = rows[(rows["label"] == "NeVF") & (rows["dataset"] == dataset)]
        assert f"{ours['dice'].mean():.3f} on {title}" in said
        assert f"{len(ours)} pairs" in said
    assert "0.604 in the paper" in said and "0.792 in the paper" in said


def test_the_papers_start_is_no_result_of_its_method():
    """The claims name the affine start after the rows that tell it; here it is a row of its own."""
    dice = {(p["label"], p["dataset"]): p["dice"] for p in nevf_explorer.paper()}
    assert dice["NeVF", "mindboggle"] == 0.604
    assert dice[nevf_explorer.BEFORE, "mindboggle"] == 0.356


def test_it_comes_first_and_is_light():
    page = (ROOT / "book" / "results.md").read_text(encoding="utf-8")
    assert page.index("```{nevf-explorer}") < page.index("## What was run")
    assert not re.search(r"\w", page[len("# The results") : page.index("```{nevf-explorer}")])
    assert len(nevf_explorer.figure()) < 150_000


def test_methods_are_sorted_and_few_pairs_come_last(show, measured):
    rows = nevf_explorer.rows()
    here = rows[(rows["dataset"] == "mindboggle") & (rows["label"] != "Affine")]  # the start, once
    count = here.groupby("label").size()
    with show() as page:
        found = measured(page)
        order = found["order"][:-1]
        assert sorted(order) == sorted(count.index)
        assert found["counts"][:-1] == [count[label] for label in order]
        enough = [label for label in order if count[label] >= 6]
        assert order[: len(enough)] == enough
        means = here.groupby("label")["dice"].mean()
        assert [means[label] for label in enough] == sorted(means[enough], reverse=True)
        assert page.locator(".nl-mean").count() == len(enough) + 1  # and that before registration
        assert page.locator(".nl-pair-dot:not(.is-before)").count() == len(here)
        page.get_by_label("Sort by").select_option("time")
        times = here.groupby("label")["cpu_seconds"].median()
        order = [label for label in measured(page)["order"][:-1] if count[label] >= 6]
        assert [times[label] for label in order] == sorted(times[enough])
        shown = page.locator(".nl-dots text").all_text_contents()
        assert sum(text.startswith("n = ") for text in shown) == len(count) + 1
        assert shown.count("0.50") == 2, "the scale stands above the first row too"
        page.get_by_label("Data set").select_option("oasis")
        assert set(measured(page)["order"]) > {"NeVF"}


def middle(page, dot: int) -> tuple[float, float]:
    box = page.locator(".nl-pair-dot").nth(dot).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_pair_is_followed_by_mouse_keyboard_and_finger(show, measured):
    with show() as page:
        page.mouse.move(*middle(page, 3))
        followed = measured(page)["pair"]
        assert followed and page.locator(".nl-follow").count() == 1
        assert page.inner_text("[role=status]").startswith(followed)
        page.mouse.move(1, 1)
        assert measured(page)["pair"] == ""
        page.get_by_label("Follow a pair").focus()
        page.keyboard.press("ArrowDown")
        chosen = measured(page)["pinned"]
        assert chosen and page.locator(".nl-pair-dot.is-on").count() > 5
        rows = nevf_explorer.rows()
        of_pair = (rows["fixed"] + " ← " + rows["moving"] == chosen) & (rows["label"] == "NeVF")
        (dice,) = rows[of_pair]["dice"]  # in its row, where the eye is
        assert f"{dice:.3f}" in page.locator(".nl-dots .nl-ours").all_text_contents()
    with show("phone", touch=True) as page:
        page.touchscreen.tap(*middle(page, 2))
        assert measured(page)["pinned"]


def test_the_line_of_a_pair_leaves_out_rows_that_lack_it(show):
    """It joins neighbours only: a line through a row that has not run the pair would say it has."""
    rows = nevf_explorer.rows()
    here = rows[rows["dataset"] == "mindboggle"]
    having = here.groupby(["fixed", "moving"])["label"].nunique().sort_values()
    pair = having[having < here["label"].nunique()].index[-1]
    with show() as page:
        page.get_by_label("Follow a pair").select_option(" ← ".join(pair))
        heights = page.evaluate("""() => [...new Set([...document.querySelectorAll(".nl-pair-dot")]
            .map((dot) => +dot.getAttribute("cy")))].sort((a, b) => a - b)""")
        path = page.get_attribute(".nl-follow", "d")
        lit = page.locator(".nl-pair-dot.is-on").count()
    runs = [[float(y) for y in re.findall(r" ([\d.]+)", run)] for run in path.split("M")[1:]]
    assert len(runs) > 1 and sum(map(len, runs)) == lit
    for run in runs:
        at = heights.index(run[0])
        assert run == heights[at : at + len(run)]


@pytest.mark.parametrize(("size", "touch"), [("desktop", False), ("phone", True)])
def test_a_mark_that_is_pressed_says_what_it_is(show, measured, size, touch):
    with show(size, touch=touch) as page:
        assert "pale: fewer than" in page.inner_text(".nl-key")
        mark = page.locator(".nl-time g[data-mark='0']")
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.touchscreen.tap(*place) if touch else page.mouse.click(*place)
        found = measured(page)
        told = page.locator(".nl-time + .nl-words").inner_text()
        assert told == f"{found['mark']}." and told.startswith(f"{found['method']}: Dice")
        if size == "desktop":  # where there is room for the name in the picture too
            assert found["method"] in page.locator(".nl-time .nl-name").all_text_contents()
        assert page.locator(".nl-lit").count() == page.locator(".nl-ring").count() == 1
        page.locator(".nl-time").click(position={"x": 3, "y": 3})
        assert measured(page)["mark"] == "" and page.locator(".nl-lit").count() == 0


def test_the_rows_are_downloaded_whole(show, tmp_path):
    with show() as page:
        with page.expect_download() as wait:
            page.click("text=Download the rows")
        wait.value.save_as(tmp_path / "rows.csv")
        assert wait.value.suggested_filename == "nevf-results.csv"
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        got = list(csv.DictReader(file))
    rows = nevf_explorer.rows()
    assert tuple(got[0]) == nevf_explorer.COLUMNS and len(got) == len(rows)
    for line, row in zip(got, rows.itertuples(), strict=True):
        assert (line["label"], line["moving"]) == (row.label, row.moving)
        assert float(line["dice"]) == pytest.approx(row.dice, abs=1e-4)


def test_the_papers_points_are_diamonds(show):
    with show() as page:
        timed = [p for p in nevf_explorer.paper() if p["minutes"] and p["dataset"] == "mindboggle"]
        assert page.locator(".nl-time .nl-diamond").count() == len(timed) >= 5
        names = page.locator(".nl-time .nl-name").all_text_contents()
        assert len(set(names)) == len(names), "ours and the paper's are told apart"
        assert any(name.endswith(" (paper)") for name in names)


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("dataset", ["mindboggle", "oasis"])
def test_no_name_lies_on_another_or_on_a_mark(show, size, dataset):
    """Protects the reader of Dice against time, whose marks crowd where methods are alike."""
    with show(size) as page:
        page.get_by_label("Data set").select_option(dataset)
        boxes = """(query) => [...document.querySelectorAll(query)].map((e) => {
            const { left, top, right, bottom } = e.getBoundingClientRect();
            return [left, top + 2, right, bottom - 2]; })"""
        names = page.evaluate(boxes, ".nl-time .nl-name")
        marks = page.evaluate(boxes, ".nl-time g > circle, .nl-time g > .nl-diamond")
    assert len(names) > 4 and len(marks) > 8

    def apart(a, b):
        return a[0] >= b[2] - 1 or b[0] >= a[2] - 1 or a[1] >= b[3] - 1 or b[1] >= a[3] - 1

    assert all(apart(a, b) for a, b in itertools.combinations(names, 2))
    assert all(apart(name, mark) for name in names for mark in marks)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(show, theme):
    with show("phone", theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ink = page.evaluate("getComputedStyle(document.querySelector('figure')).color")
        assert (ink == "rgb(36, 41, 47)") == (theme == "light")
        page.click("text=As a table")
        assert page.locator(".nl-table tbody tr").count() > 5
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_shows_methods_of_few_pairs_when_it_is_asked_to(show, measured):
    """They have no mean to compare, and would be two of its screens."""
    with show("phone") as page:
        all_methods = len(measured(page)["order"])
        rows = page.locator(".nl-dots text", has_text="n = ")
        few = page.locator(".nl-dots .nl-few")
        assert few.count() == 0 and rows.count() < all_methods
        page.get_by_role("button", name="with fewer than").click()
        assert few.count() and rows.count() == all_methods
        page.get_by_role("button", name="Hide methods").click()
        assert few.count() == 0
    with show() as page:
        assert page.get_by_role("button", name="with fewer than").count() == 0
