"""The playground in a browser, on the page's own files and without the rest of the book.

stroke.json was recorded with `nevfPlayground.record()` while a mouse drew three strokes, the last
of them over the rim of the grid.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nevf_lite.integrate import compose, jacobian_determinant, scaling_and_squaring
from nevf_lite.viz import style

BOOK = Path(__file__).parents[2] / "book"
STROKE = json.loads((Path(__file__).parent / "stroke.json").read_text(encoding="utf-8"))
TEXT = (BOOK / "playground.md").read_text(encoding="utf-8")
PANELS = ("warped", "jacobian", "map", "inverse")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """The page's raw HTML with its scripts, opened as a file: no server, no theme."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "book").mkdir()
    (folder / "_static").mkdir()
    for path in (BOOK / "_static").glob("playground*"):
        shutil.copy(path, folder / "_static")
    body = "\n".join(re.findall(r"```\{raw\} html\n(.*?)```", TEXT, re.S))
    page = folder / "book" / "playground.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Playground</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
        f'<body style="margin: 16px">{body}</body></html>',
        encoding="utf-8",
    )
    return page.as_uri()


@pytest.fixture
def play(visit, address):
    """A page that is ready, on a desktop; it must not complain, nor ask for anything outside."""
    with visit(address) as seen:
        seen.page.evaluate("nevfPlayground.ready")
        yield seen.page
        assert not seen.errors
        assert not seen.outside


# Arrays travel as base64: numbers one by one take seconds.
REPLAY = """changes => {
  const found = nevfPlayground.replay(changes);
  for (const [name, values] of Object.entries(found)) {
    if (!(values instanceof Float32Array)) continue;
    let bytes = "";
    for (const byte of new Uint8Array(values.buffer)) bytes += String.fromCharCode(byte);
    found[name] = btoa(bytes);
  }
  return found;
}"""


def replay(page, **changes) -> dict:
    found = page.evaluate(REPLAY, changes)
    shape = found["shape"]
    cells = [n - 1 for n in shape]
    sizes = dict.fromkeys(("velocity", "displacement", "inverse"), (1, 2, *shape))
    for name, size in {**sizes, "determinants": (1, *cells)}.items():
        values = np.frombuffer(base64.b64decode(found[name]), dtype="<f4")
        found[name] = torch.from_numpy(values.copy()).reshape(size)
    return found


def pixels(page) -> dict[str, str]:
    """What every canvas shows, once the frame that was asked for has been drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    script = "name => document.querySelector(`[data-part=${name}]`).toDataURL()"
    return {name: page.evaluate(script, name) for name in PANELS}


def strokes(page) -> list:
    return page.evaluate("nevfPlayground.record().strokes")


def folds(page) -> int:
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    text = page.inner_text("[data-part=folds]")
    count, cells = re.fullmatch(r"folds: ([\d,]+) of ([\d,]+) cells", text).groups()
    assert cells == "30,369"  # 159 x 191
    return int(count.replace(",", ""))


def drawn_velocity(record: dict, shape) -> np.ndarray:
    """The velocity of the strokes, written independently: tangents, then scipy's Gaussian."""
    field = np.zeros((2, *shape))
    for stroke in record["strokes"]:
        for start, end in zip(stroke, stroke[1:], strict=False):
            start, step = np.array(start), np.subtract(end, start)
            parts = max(1, int(np.ceil(np.hypot(*step))))
            for place in start + (np.arange(parts)[:, None] + 0.5) / parts * step:
                corner = np.floor(place).astype(int)
                for offset in np.ndindex(2, 2):
                    voxel = corner + offset
                    if (voxel >= 0).all() and (voxel < shape).all():
                        share = np.prod(1 - np.abs(place - voxel))
                        field[:, voxel[0], voxel[1]] += share * step / parts
    sigma = record["smoothness"]
    smooth = [gaussian_filter(part, sigma, mode="constant", truncate=4) for part in field]
    return -record["amplitude"] * np.sqrt(2 * np.pi) * sigma * np.stack(smooth)


def test_the_recorded_stroke_agrees_with_the_package(play):
    for mode, squarings in (("velocity", 7), ("velocity", 3), ("displacement", 7)):
        found = replay(play, **{**STROKE, "mode": mode, "squarings": squarings})
        velocity = found["velocity"]
        if mode == "velocity":
            displacement = scaling_and_squaring(velocity, squarings)
            inverse = scaling_and_squaring(-velocity, squarings)
        else:
            displacement, inverse = velocity, -velocity
        assert displacement.abs().max() > 10, "a stroke that moves something"
        assert (found["displacement"] - displacement).abs().max() < 1e-4
        assert (found["inverse"] - inverse).abs().max() < 1e-4
        determinants = jacobian_determinant(displacement)
        assert (found["determinants"] - determinants).abs().max() < 2e-4
        assert found["folds"] == int((determinants <= 0).sum())
        assert found["cells"] == determinants.numel()


def test_the_velocity_is_the_smoothed_tangent_of_the_strokes(play):
    found = replay(play, **STROKE)
    wanted = drawn_velocity(STROKE, found["shape"])
    assert np.abs(found["velocity"][0].numpy() - wanted).max() < 1e-4


def test_a_long_straight_stroke_has_the_amplitude_as_its_speed(play):
    across = [[[20, 96], [140, 96]]]
    found = replay(play, strokes=across, amplitude=12, smoothness=8, mode="velocity")
    assert found["velocity"].abs().max() == pytest.approx(12, rel=0.01)


def test_the_round_trip_is_measured_where_the_inverse_stays_on_the_grid(play):
    found = replay(play, **STROKE)
    inverse = found["inverse"]
    left = compose(inverse, found["displacement"]).norm(dim=1)
    rows, columns = found["shape"]
    x = torch.arange(rows).view(1, -1, 1) + inverse[:, 0]
    y = torch.arange(columns).view(1, 1, -1) + inverse[:, 1]
    inside = (x >= 0) & (x <= rows - 1) & (y >= 0) & (y <= columns - 1)
    assert not inside.all(), "the recorded strokes cross the rim"
    assert found["roundTrip"]["max"] == pytest.approx(float(left[inside].max()), abs=2e-4)
    assert found["roundTrip"]["mean"] == pytest.approx(float(left[inside].mean()), abs=2e-5)


def test_the_preset_folds_as_a_displacement_only(play):
    play.click("#nevf-playground [data-playground-preset=fold]")
    assert folds(play) > 0
    play.click("label:has([data-part=velocity])")
    assert folds(play) == 0
    assert play.is_enabled("[data-part=squarings]")
    play.click("label:has([data-part=displacement])")
    assert folds(play) > 0
    assert play.is_disabled("[data-part=squarings]")


def test_the_page_quotes_what_the_playground_shows(play):
    """The figures in "What you should see" and in the table."""

    def shown(preset: str, **changes) -> tuple[int, float, float]:
        play.click(f"[data-playground-preset={preset}] >> nth=-1")
        found = replay(play, **changes)
        return found["folds"], float(found["determinants"].min()), found["roundTrip"]["max"]

    folded, _, error = shown("push")
    assert folded == 0 and error < 0.1
    folded, _, error = shown("push", mode="displacement")
    assert folded == 0 and error > 7
    folded, lowest, error = shown("fold")
    assert folded > 500 and lowest == pytest.approx(-0.86, abs=0.005)
    slope = 1 - lowest
    folded, lowest, _ = shown("fold", mode="velocity")
    assert folded == 0 and lowest == pytest.approx(0.15, abs=0.005)
    again = play.evaluate("nevfPlayground.record().strokes") * 3
    folded, deeper, _ = shown("fold", mode="velocity", amplitude=30, strokes=again)
    assert folded == 0 and deeper < lowest
    errors = []
    for squarings in range(8):
        folded, lowest, error = shown("squarings", squarings=squarings)
        assert (folded > 0) == (squarings == 0)
        power = 2**squarings  # the midpoint does not move: one line of arithmetic
        assert lowest == pytest.approx((1 - slope / power) ** power, abs=0.002)
        errors.append(error)
    assert lowest == pytest.approx(0.153, abs=0.002)
    ratios = [b / a for a, b in zip(errors, errors[1:], strict=False)]
    assert all(0.45 < ratio < 0.6 for ratio in ratios), ratios
    assert errors[0] == pytest.approx(19, abs=0.5) and errors[6] == pytest.approx(0.3, abs=0.05)
    assert errors[5] > 0.5 > errors[6]


def test_a_mouse_draws_a_stroke(play):
    play.click("[data-part=clear]")
    before = pixels(play)
    box = play.locator("[data-part=warped]").bounding_box()
    middle = box["y"] + box["height"] / 2
    play.mouse.move(box["x"] + 0.3 * box["width"], middle)
    play.mouse.down()
    play.mouse.move(box["x"] + 0.6 * box["width"], middle, steps=12)
    during = pixels(play)
    play.mouse.up()
    assert all(during[name] != before[name] for name in PANELS), "it follows the hand"
    (stroke,) = strokes(play)
    assert stroke[0] == pytest.approx([47.5, 95.5], abs=1)
    assert stroke[-1] == pytest.approx([95.5, 95.5], abs=1)
    assert replay(play)["velocity"][0, 0].min() < -5, "pull-back: it points against the stroke"
    play.click("[data-part=undo]")
    assert strokes(play) == []
    assert pixels(play)["jacobian"] == before["jacobian"]


def test_a_finger_draws_on_the_picture_and_scrolls_elsewhere(visit, address):
    with visit(address, "phone", touch=True) as seen:
        page = seen.page
        page.evaluate("nevfPlayground.ready")
        page.click("[data-part=clear]")
        before = pixels(page)
        page.locator("[data-part=warped]").scroll_into_view_if_needed()
        box = page.locator("[data-part=warped]").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
        page.evaluate("window.wasAt = scrollY")
        device = page.context.new_cdp_session(page)

        def touch(kind: str, *points) -> None:
            event = {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]}
            device.send("Input.dispatchTouchEvent", event)

        touch("touchStart", (x, y))
        for k in range(1, 11):
            touch("touchMove", (x, y + 8 * k))
        touch("touchEnd")
        (stroke,) = strokes(page)
        assert stroke[0][1] - stroke[-1][1] > 20, "downwards"
        assert page.evaluate("scrollY === wasAt"), "drawing does not scroll the page"
        after = pixels(page)
        assert all(after[name] != before[name] for name in PANELS)
        actions = page.evaluate(
            "[...document.querySelectorAll('#nevf-playground, #nevf-playground canvas')]"
            ".map(e => getComputedStyle(e).touchAction)"
        )
        assert actions == ["auto", "none", "auto", "auto", "auto"]
        assert not seen.errors


def test_the_keyboard_draws_a_stroke(play):
    play.click("[data-part=clear]")
    before = pixels(play)
    play.focus("[data-part=warped]")
    for key in ("ArrowUp", "Space", *["ArrowRight"] * 4, "Shift+ArrowRight", "Enter"):
        play.keyboard.press(key)
    assert strokes(play) == [[[80, 100], [84, 100], [88, 100], [92, 100], [96, 100], [108, 100]]]
    assert all(pixels(play)[name] != before[name] for name in PANELS)
    for key in ("Space", "ArrowDown", "Escape"):
        play.keyboard.press(key)
    assert len(strokes(play)) == 1, "Escape drops the stroke"
    play.keyboard.press("Control+z")
    assert strokes(play) == []


def test_sliders_and_switch_change_what_is_drawn(play):
    seen = pixels(play)
    for name, key in (("amplitude", "Home"), ("amplitude", "End"), ("smoothness", "Home")):
        play.focus(f"[data-part={name}]")
        play.keyboard.press(key)
        now = pixels(play)
        assert all(now[panel] != seen[panel] for panel in PANELS), (name, key)
        seen = now
    play.focus("[data-part=squarings]")
    play.keyboard.press("Home")
    none = pixels(play)
    assert all(none[panel] != seen[panel] for panel in PANELS)
    play.click("label:has([data-part=displacement])")
    now = pixels(play)
    assert all(now[panel] == none[panel] for panel in PANELS), "no squaring: x + v(x), the same map"


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_the_switch_moves_nothing(visit, address, size):
    """In either mode the pictures stand where they stood and no control leaves its column."""
    outside = """() => [...document.querySelectorAll(".pg-slider *")].filter((e) =>
      e.getBoundingClientRect().right > e.parentNode.getBoundingClientRect().right + 1).length"""
    tops = """() => [...document.querySelectorAll("#nevf-playground canvas")].map((canvas) =>
      canvas.getBoundingClientRect().y)"""
    with visit(address, size) as seen:
        seen.page.evaluate("nevfPlayground.ready")
        before = seen.page.evaluate(tops)
        for mode in ("displacement", "velocity"):
            seen.page.evaluate("mode => nevfPlayground.replay({ mode })", mode)
            assert seen.page.evaluate(tops) == before and seen.page.evaluate(outside) == 0


def test_the_switch_and_the_bar_are_seen_in_forced_colours(play):
    """Protects who lets the system choose: the side that is on differs, the bar has its colours."""
    play.emulate_media(forced_colors="active")
    look = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).borderTopStyle]"
    sides = [
        play.eval_on_selector(f".pg-switch label:has([data-part={name}])", look)
        for name in ("velocity", "displacement")
    ]
    assert sides[0][0] != sides[1][0] and [edge for _, edge in sides] == ["solid", "solid"]
    bar = play.eval_on_selector(".pg-bar i", "e => getComputedStyle(e).backgroundImage")
    assert bar.startswith("linear-gradient")


def test_the_numbers_are_told_to_a_screen_reader(play):
    play.click("#nevf-playground [data-playground-preset=fold]")
    status = play.locator("[role=status]")
    status.filter(
        has_text=re.compile(r"Used as a displacement, 2 strokes\. folds: \d+ of")
    ).wait_for(state="attached")
    assert status.get_attribute("aria-live") == "polite"
    assert "folds" in play.get_attribute("[data-part=jacobian]", "aria-label")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(visit, address, theme):
    with visit(address, "phone", theme) as seen:
        seen.page.evaluate("nevfPlayground.ready")
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        width = seen.page.locator("[data-part=warped]").bounding_box()["width"]
        assert width > 340, "the picture to push fills the phone"
        ink = seen.page.evaluate("getComputedStyle(document.querySelector('.pg-sliders')).color")
        assert (ink == "rgb(36, 41, 47)") == (theme == "light")
        assert not seen.errors


def test_its_colours_are_those_of_the_figures(play):
    used = play.evaluate("nevfDraw.STYLE")
    for name in ("CARD", "FIXED", "MOVED", "FOLD"):
        assert used[name] == getattr(style, name), name
    for name in ("DIVERGING", "SIGNED"):
        stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in used[name]]) / 255
        at = np.linspace(0, 1, len(stops))
        assert np.abs(getattr(style, name)(at)[:, :3] - stops).max() < 0.02, name
