"""The live figures of the chapters, on their own files, without a kernel and without the book.

Mouse, finger and keyboard; light and dark; a phone; and the same numbers as the package.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from nevf_lite.fields import SirenField
from nevf_lite.grid import resize, sparse_shape
from nevf_lite.viz.live import LiveFigure, still
from nevf_lite.viz.quiz import Card, Quiz, front

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import nevf_live  # noqa: E402

#: Where each is shown.
CHAPTERS = {
    "siren": "05_neural_fields",
    "sampling": "06_sparse_sampling",
    "learn": "07_nevf",
    "quiz": "08_reading_a_result",
    "dust": "03_flows",
    "squaring": "03_flows",
    "window": "04_similarity",
    "force": "04_similarity",
    "kernel": "09_voxel_or_field",
    "wave": "11_step_size",
    "lattices": "14_features",
    "amdahl": "16_fast_kernels",
}
MOST_BYTES = 300_000  # of one figure's recording or script; what all share is small


def cards() -> str:
    """Two small cards, one sound and one wrong."""
    u = np.zeros((2, 20, 24))
    picture = front(np.full((20, 24), 0.5), u, np.ones((20, 24)), alt="a grey slice, a lattice")
    made = [Card(picture, {"Dice": f"0.{i}"}, i == 0, f"What card {i} was.") for i in range(2)]
    return Quiz(made)._repr_html_()


def lattices() -> dict:
    """Two lattices on 20 x 24 voxels: the more are on, the brighter, and 0.1 of Dice for each."""
    grey = [still(np.full((20, 24), share)) for share in (0.2, 0.5, 0.8)]
    on = [number.bit_count() for number in range(4)]
    states = [{"dice": n / 10, "warped": grey[n], "velocity": grey[n]} for n in on]
    return {"shape": (20, 24), "names": ["8", "2"], "fixed": grey[0], "states": states}


@pytest.fixture
def show(live):
    """show(name, ...): the page of a figure that is ready."""

    def opened(name: str, *look, **more):
        given = {"amdahl": {size: {"a piece": [2, 1]} for size in "124"}, "lattices": lattices()}
        figure = LiveFigure(name, "What it shows.", given.get(name))
        body = cards() if name == "quiz" else figure._repr_html_()
        return live(name, body, *look, **more)

    return opened


def drawn(page) -> list[str]:
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return page.evaluate("[...document.querySelectorAll('canvas')].map(c => c.toDataURL())")


def slider(page, label: str):
    return page.get_by_label(label, exact=True)


@pytest.mark.parametrize("name", CHAPTERS)
def test_its_chapter_has_it_and_its_page_the_scripts(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{CHAPTERS[name]}.ipynb", as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    shown = "".join(o.get("data", {}).get("text/html", "") for o in outputs)
    assert shown.count(f'data-live="{name}"') == 1
    found = nevf_live.scripts(shown)
    assert found[: len(nevf_live.SHARED)] == list(nevf_live.SHARED)
    assert set(nevf_live.SCRIPTS[name]) <= set(found)
    assert max((STATIC / script).stat().st_size for script in found) <= MOST_BYTES
    assert sum((STATIC / script).stat().st_size for script in nevf_live.SHARED) <= 40_000
    assert nevf_live.scripts("<p>no figure</p>") == []


def test_the_siren_is_that_of_the_package(show):
    """Its weights, given to the package, say the same velocity at the same nodes."""
    shape, nodes = (40, 52), (13, 17)
    script = """([shape, nodes]) => {
      const field = nevfSiren.start(20, { seed: 4, width: 24, depth: 3 });
      const values = nevfSiren.onLattice(field, shape, nodes);
      const up = nevfSiren.resize(values, nodes, shape);
      const layers = field.layers.map(l => [[...l.weight], [...l.bias], l.rows, l.columns]);
      return [layers, [...values], [...up]];
    }"""
    with show("siren") as page:
        layers, values, up = page.evaluate(script, [shape, nodes])
    field = SirenField(shape, width=24, depth=3, omega=20.0)
    with torch.no_grad():
        for layer, (weight, bias, rows, columns) in zip(field.net, layers, strict=True):
            bound = layer.weight.abs().max().item()
            layer.weight.copy_(torch.tensor(weight).reshape(rows, columns))
            layer.bias.copy_(torch.tensor(bias))
            largest = layer.weight.abs().max().item()
            assert largest == pytest.approx(bound, rel=0.1)  # the same start
        wanted = field.on_lattice(nodes)
    assert torch.allclose(torch.tensor(values).reshape(wanted.shape), wanted, atol=1e-5)
    full = resize(wanted, shape)
    assert torch.allclose(torch.tensor(up).reshape(full.shape), full, atol=1e-5)


def test_a_higher_frequency_is_shorter_and_folds_sooner(show, measured):
    with show("siren") as page:
        first, before = measured(page), drawn(page)
        assert first["half"] == pytest.approx(first["rule"], rel=0.4)
        slider(page, "Frequency ω₀").focus()
        page.keyboard.press("End")
        last = measured(page)
        assert last["omega"] == 60 and last["half"] < first["half"] / 2
        assert last["low"] < min(0, first["low"])
        shown = page.inner_text("[role=status]") + page.text_content(".nl-chart svg")
        assert "|J| from −0." in shown and "−0.5" in shown
        assert not re.search(r"-\d", shown)  # a minus is no hyphen
        assert all(a != b for a, b in zip(drawn(page), before, strict=True))
        page.click("text=Another network")
        assert measured(page)["seed"] == first["seed"] + 1
        slider(page, "Largest velocity").focus()
        page.keyboard.press("Home")
        assert measured(page)["low"] == pytest.approx(1, abs=1e-5)
        assert "nothing folds" in page.inner_text("[role=status]")


def test_the_error_of_sampling_grows_with_the_step(show, measured):
    """And is that of the package's interpolation, for the same weights."""
    with show("sampling") as page:
        found = measured(page)
        assert tuple(found["nodes"]) == sparse_shape((81, 97), found["step"])
        layers = page.evaluate(
            "s => nevfSiren.start(s.omega, { seed: s.seed })"
            ".layers.map(l => [[...l.weight], [...l.bias], l.rows, l.columns])",
            found,
        )
        field = SirenField((81, 97), width=48, depth=4, omega=float(found["omega"]))
        with torch.no_grad():
            for layer, (weight, bias, rows, columns) in zip(field.net, layers, strict=True):
                layer.weight.copy_(torch.tensor(weight).reshape(rows, columns))
                layer.bias.copy_(torch.tensor(bias))
            true = field.on_lattice((81, 97))[:, :1]
            up = resize(field.on_lattice(found["nodes"])[:, :1], (81, 97))
        error = ((up - true).norm() / true.norm()).item()
        assert found["error"] == pytest.approx(error, rel=1e-3)
        slider(page, "Step L").focus()
        page.keyboard.press("Home")
        assert measured(page)["error"] < 1e-6
        errors = []
        for _ in range(4):
            page.keyboard.press("ArrowRight")
            errors.append(measured(page)["error"])
        assert errors == sorted(errors) and errors[0] > 0
        box = page.locator("canvas").first.bounding_box()
        page.mouse.click(box["x"] + 5, box["y"] + 0.25 * box["height"])
        assert measured(page)["row"] == pytest.approx(72, abs=1)


def test_the_film_stands_still_until_it_is_moved(show):
    """Reduced motion, as the browser of these tests asks for: nothing runs by itself."""
    rows = recording()["rows"]
    with show("learn") as page:
        figure = page.locator("figure")
        assert figure.get_attribute("data-frame") == "0"
        first = drawn(page)
        slider(page, "Iteration").focus()
        page.keyboard.press("End")
        assert figure.get_attribute("data-frame") == str(len(rows) - 1)
        last = drawn(page)
        assert last[0] == first[0], "the fixed brain stays"
        assert all(a != b for a, b in zip(first[1:], last[1:], strict=True))
        assert f"Dice {rows[-1][2]:.3f}" in page.inner_text("figure")
        page.click("text=Play")  # at the end: from the beginning
        page.wait_for_function("document.querySelector('figure').dataset.frame === '2'")
        page.click("text=Pause")
        box = page.locator(".nl-drag svg").bounding_box()
        page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + box["height"] / 2)
        shown = int(figure.get_attribute("data-frame"))
        assert rows[shown][0] == pytest.approx(rows[-1][0] / 2, abs=rows[-1][0] / 10)
        box = page.locator("canvas").first.bounding_box()
        still = drawn(page)
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert all(a != b for a, b in zip(still, drawn(page), strict=True)), "a cross on all"


def recording() -> dict:
    text = (STATIC / "live_learn_data.js").read_text(encoding="utf-8")
    return json.loads(re.search(r"window\.nevfLearnData = (\{.*?\});", text)[1])


def test_the_recording_learned_something():
    """Likeness and overlap rise, but for the dip that the caption names; no fold at the end."""
    found = recording()
    table = np.array(found["rows"])
    assert (np.diff(table[:, 0]) > 0).all()
    gained = table[-1] - table[0]
    assert gained[1] > 0.2 and gained[2] > 0.08 and table[-1, 3] < 0.01
    falls = table[1:, 0][np.diff(table[:, 1]) < -0.005]
    change = found["firstLevel"]
    assert all(change < iteration <= change + 8 for iteration in falls), "the first long steps"
    after = table[table[:, 0] == change + 12, 1]
    assert after > table[table[:, 0] == change, 1], "and a dozen iterations make up for them"
    assert (STATIC / "live_learn_data.js").stat().st_size <= MOST_BYTES


def test_a_card_is_judged_and_turns_over(show):
    with show("quiz") as page:
        card = page.locator(".nl-card").nth(1)
        assert not card.get_by_text("What card 1 was.").is_visible() or card.locator(
            ".nl-back"
        ).evaluate("e => e.inert")
        card.get_by_role("button", name="I trust it").click()
        assert card.get_attribute("data-judged") == "wrong"
        assert "is-turned" in card.get_attribute("class")
        assert page.evaluate("document.activeElement.className") == "nl-back"
        assert "Judged 1 of 2, 0 rightly." in page.inner_text(".nl-score")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # turn back
        assert "is-turned" not in card.get_attribute("class")
        assert "Judged wrongly: look again." in card.locator(".nl-front").inner_text()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # it is wrong
        assert "Judged 1 of 2, 1 rightly." in page.inner_text(".nl-score")


def test_on_paper_a_card_shows_both_its_sides(show):
    """One under the other, and neither as in a mirror."""
    with show("quiz") as page:
        page.emulate_media(media="print")
        for card in page.locator(".nl-card").all():
            front, back = (card.locator(side).bounding_box() for side in (".nl-front", ".nl-back"))
            assert back["y"] >= front["y"] + front["height"] - 1
        turned = "e => getComputedStyle(e).transform"
        for part in page.locator(".nl-sheet, .nl-back").all():
            assert part.evaluate(turned) == "none"


def test_lattices_are_switched_off_and_on(show):
    """By mouse and by key: the pictures and the Dice are those of the lattices that are on."""
    with show("lattices") as page:
        words, last = page.locator(".nl-words"), drawn(page)
        assert words.inner_text().startswith("Dice 0.200;")
        page.get_by_role("button", name="2", exact=True).click()
        assert words.inner_text().startswith("Dice 0.100;")
        assert page.get_attribute("figure", "data-on") == "1"
        fixed, *changed = drawn(page)
        assert fixed == last[0] and all(a != b for a, b in zip(changed, last[1:], strict=True))
        page.keyboard.press("Enter")
        assert words.inner_text().startswith("Dice 0.200;") and drawn(page) == last


def test_a_still_has_axis_0_to_the_right_and_axis_1_upwards():
    values = np.zeros((20, 30))
    values[10:, 20:] = 1
    data = base64.b64decode(still(values, quality=95).partition(",")[2])
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert picture.shape == (30, 20)
    assert picture[2, 17] > 240 and picture[27, 2] < 30 and picture[2, 2] < 30


def test_the_answers_are_folds_where_no_script_runs():
    text = cards()
    assert text.count("<details>") == 2 and "data:image/webp" in text
    assert base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])[:4] == b"RIFF"


def test_a_finger_moves_a_slider_and_judges(show, measured):
    with show("sampling", "phone", touch=True) as page:
        before = measured(page)["step"]
        box = slider(page, "Step L").bounding_box()
        page.touchscreen.tap(box["x"] + 0.95 * box["width"], box["y"] + box["height"] / 2)
        assert measured(page)["step"] > before
    with show("learn", "phone", touch=True) as page:
        box = page.locator(".nl-drag svg").bounding_box()
        page.locator(".nl-drag").scroll_into_view_if_needed()
        box = page.locator(".nl-drag svg").bounding_box()
        page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        assert int(page.get_attribute("figure", "data-frame")) > 10
    with show("quiz", "phone", touch=True) as page:
        page.get_by_role("button", name="Result A: I trust it").tap()
        assert page.get_attribute("figure", "data-right") == "1"


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_slider_obeys_a_finger_a_mouse_and_a_key(show, name):
    """Protects who has only one of the three: each moves it, and the figure hears of it."""
    heard = """e => { e.heard = 0; e.addEventListener("input", () => { e.heard += 1; }); }"""
    with show(name, "phone", touch=True) as page:
        for control in page.locator("figure input[type=range]:visible:enabled").all():
            control.evaluate(heard)
            control.scroll_into_view_if_needed()
            values = [control.input_value()]
            low, high = (float(control.get_attribute(end)) for end in ("min", "max"))
            left = (float(values[0]) - low) / (high - low) > 0.5
            for place, press in (
                (0.05 if left else 0.95, page.touchscreen.tap),
                (0.95 if left else 0.05, page.mouse.click),
            ):
                box = control.bounding_box()
                press(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
                values.append(control.input_value())
            control.press("Home" if float(values[-1]) > low else "End")
            values.append(control.input_value())
            assert all(a != b for a, b in zip(values, values[1:], strict=False)), values
            assert control.evaluate("e => e.heard") >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_phone_shows_it_without_sideways_scrolling(show, name, theme):
    with show(name, "phone", theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ink = page.evaluate("getComputedStyle(document.querySelector('figure')).color")
        assert (ink == "rgb(36, 41, 47)") == (theme == "light")
        assert page.evaluate(
            "[...document.querySelectorAll('canvas')].every(c => c.clientWidth > 90)"
        )


def test_a_name_is_one_word():
    with pytest.raises(ValueError, match="^name: wanted the name of a live figure"):
        LiveFigure('x"><script>', "no")
