"""The deformation viewer in a real browser, without a kernel and without a network."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from scipy.ndimage import map_coordinates

from nevf_lite.fields import SirenField
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import VelocityFlow
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.viewer import keyframes
from nevf_lite.viz.viewer.viewer import DeformationViewer

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Viewers</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"></head><body><main><h1>Viewers</h1>{}</main></body></html>"""
PIXELS = "canvas => canvas.toDataURL()"


def viewer(ndim: int) -> DeformationViewer:
    """Two scans of an ellipsoid full of detail, and a smooth flow of up to four voxels of 4 mm."""
    shape = (40, 48, 36)[:ndim]
    grid = Grid(shape, np.array([[4.0, 0, 0, -80], [0, 4, 0, -90], [0, 0, 4, -60], [0, 0, 0, 1]]))
    torch.manual_seed(0)
    field = SirenField(shape, width=24, depth=2, omega=4.0)
    with torch.no_grad():
        field.net[-1].weight.mul_(4 / field.on_lattice(shape).abs().max())
    transform = Transform((VelocityFlow(field.requires_grad_(False), grid, shape),), grid, grid)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum((x / 0.75) ** 2 for x in axes) < 1
    scans = [
        nib.Nifti1Image((inside * (2 + np.sin(k * sum(axes) * 9))).astype(np.float32), grid.affine)
        for k in (1, 2)
    ]
    return DeformationViewer(transform, *scans)


@pytest.fixture(scope="module")
def viewers() -> dict[int, DeformationViewer]:
    return {ndim: viewer(ndim) for ndim in (2, 3)}


@pytest.fixture(scope="module")
def pages(viewers, tmp_path_factory) -> dict:
    """A page with each viewer, one with eighteen of them: addresses of files."""
    folder = tmp_path_factory.mktemp("viewers")
    frames = {ndim: shown._repr_html_() for ndim, shown in viewers.items()}
    texts = {**frames, "many": "<p>and</p>".join([frames[3], frames[2]] * 9)}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(PAGE.format(text), encoding="utf-8")
    for ndim, shown in viewers.items():
        shown.save(folder / f"alone{ndim}.html")
    return {path.stem: path.as_uri() for path in Path(folder).iterdir()}


def inside(page):
    """The viewer's own document, once it has drawn."""
    frame = page.frames[1]
    frame.locator("body[data-drawn]").wait_for(timeout=20_000)
    return frame


def after(frame, act, selector: str = "#scene") -> tuple[str, str]:
    """What a canvas showed before and what it shows after something was done to it."""
    before = frame.eval_on_selector(selector, PIXELS)
    drawn = frame.evaluate("document.body.dataset.drawn")
    act()
    frame.wait_for_function("drawn => document.body.dataset.drawn !== drawn", arg=drawn, polling=20)
    return before, frame.eval_on_selector(selector, PIXELS)


def colours(frame, selector: str) -> int:
    """How many different colours a canvas shows: one or two where nothing was drawn."""
    return frame.eval_on_selector(
        selector,
        """canvas => { const pen = canvas.getContext('2d');
        const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size; }""",
    )


# ------------------------------------------------------------------------------ what it draws


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_it_draws_on_every_screen(visit, pages, ndim, size, theme):
    """Every canvas shows a picture; nothing is cut off, asked for, or complained about."""
    with visit(pages[str(ndim)], size, theme) as seen:
        frame = inside(seen.page)
        for canvas in frame.locator("canvas").all():
            box = canvas.bounding_box()
            assert box["width"] > 80 and box["height"] > 80
        for i in range(frame.locator("canvas").count()):
            assert colours(frame, f"canvas >> nth={i}") > 30
        for document in (seen.page, frame):
            wide = document.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0
        high = frame.evaluate("document.documentElement.scrollHeight - innerHeight")
        assert high <= 0
        assert (seen.errors, seen.outside) == ([], [])


def test_a_narrow_phone(visit, pages):
    """360 px: nothing sticks out and every control is there."""
    with visit(pages["3"], "phone") as seen:
        seen.page.set_viewport_size({"width": 360, "height": 740})
        frame = inside(seen.page)
        assert frame.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        for control in frame.locator("button:visible, input:visible").all():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 24


def test_no_letter_of_a_slice_is_cut(visit, pages):
    """The sides of the body are named within their canvas, in the small ones of a phone too."""
    rim = """canvas => {
      const [w, h, ctx] = [canvas.width, canvas.height, canvas.getContext('2d')];
      const boxes = [[0, 0, w, 1], [0, h - 1, w, 1], [0, 0, 1, h], [w - 1, 0, 1, h]];
      return boxes.map((box) => ctx.getImageData(...box).data.some(Boolean));
    }"""
    with visit(pages["3"], "phone") as seen:
        for canvas in inside(seen.page).locator(".slices canvas").all():
            assert canvas.evaluate(rim) == [False] * 4


def test_eighteen_on_a_page(visit, pages):
    """All of them draw when they are reached, and none forgets its picture afterwards."""
    with visit(pages["many"]) as seen:
        frames = seen.page.frames[1:]
        assert len(frames) == 18
        # only what is near the screen has been unpacked
        assert sum(frame.locator("body[data-drawn]").count() for frame in frames) < 18
        for element, frame in zip(seen.page.locator("iframe").all(), frames, strict=True):
            element.scroll_into_view_if_needed()
            frame.locator("body[data-drawn]").wait_for(timeout=20_000)
        assert all(colours(frame, "#scene") > 30 for frame in frames)
        assert (seen.errors, seen.outside) == ([], [])


def test_it_agrees_with_the_package(visit, pages, viewers):
    """The browser's warped slice and determinants are those of the transform."""
    shown = viewers[3]
    with visit(pages["alone3"]) as seen:
        seen.page.locator("body[data-drawn]").wait_for(timeout=20_000)
        got = seen.page.evaluate(
            """() => {
            model.setTime(0.75);
            const slice = model.slice(model.moving, 2, state.crosshair[2], 60, 70, true);
            return { meta, at: state.crosshair[2], slice: [...slice], jacobian: [...model.jacobian],
                     brain: [...model.brain], longest: model.maxDisplacement };
            }"""
        )
    meta, grid = got["meta"], shown.transform.fixed
    scans = [keyframes.resample_scan(image, None, grid) for image in (shown.moving, shown.fixed)]
    box, mask = keyframes.brain_box(grid, scans)
    now = keyframes.at_time(shown.transform, 0.75)
    x, y = np.linspace(0, meta["extent"][0], 60), np.linspace(meta["extent"][1], 0, 70)
    mm = np.stack([*np.meshgrid(x, y), np.full((70, 60), got["at"])], -1)  # (rows, columns, 3)
    moved = now.points_to_moving(box.to_world(mm / box.spacing).reshape(-1, 3))
    values = keyframes.resample_scan(shown.moving, None, box)
    wanted = map_coordinates(values, box.to_voxels(moved).T, order=1).reshape(70, 60)
    wanted = wanted / wanted.max()
    error = np.abs(np.reshape(got["slice"], (70, 60)) - wanted)
    assert error.mean() < 0.03 and wanted.std() > 0.2

    motion = keyframes.motion(shown.transform, box, mask, 24)
    brain = np.reshape(got["brain"], motion.inside.shape) > 0
    assert np.array_equal(brain, motion.inside)
    distance = np.linalg.norm(motion.displacement[2], axis=-1)[brain]
    assert got["longest"] == pytest.approx(distance.max(), abs=0.1)
    gradient = np.stack(
        [
            np.stack(np.gradient(motion.displacement[2, ..., c], *motion.lattice.spacing), -1)
            for c in range(3)
        ],
        -2,
    )
    wanted = np.linalg.det(np.eye(3) + gradient)
    assert np.abs(np.ravel(got["jacobian"]) - wanted.ravel()).max() < 0.05


# -------------------------------------------------------------------------- what one can do


def test_time_slices_and_buttons(visit, pages):
    """Sliders, by mouse and by key, change what is drawn; reset brings the first picture back."""
    with visit(pages["3"]) as seen:
        frame = inside(seen.page)
        first = frame.eval_on_selector("#scene", PIXELS)
        assert frame.locator("#now").inner_text() == "0.55"

        before, now = after(frame, lambda: frame.locator("#time").press("ArrowRight"))
        assert now != before and frame.locator("#now").inner_text() == "0.56"
        axial = 'canvas[data-across="2"]'
        before, now = after(frame, lambda: frame.locator("#time").fill("1"), axial)
        assert now != before
        before, now = after(frame, lambda: frame.locator("#at2").press("ArrowRight"), axial)
        assert now != before and " mm" in frame.locator("#at2").get_attribute("aria-valuetext")
        before, now = after(frame, lambda: frame.locator("#showFixed").click(), axial)
        assert now != before and "Fixed scan" in frame.locator(".slices figcaption").inner_text()
        assert frame.locator("#showFixed").get_attribute("aria-pressed") == "true"
        canvas = frame.locator(axial)
        before, now = after(frame, lambda: canvas.click(position={"x": 90, "y": 60}))
        assert now != before

        _, now = after(frame, lambda: frame.locator("#reset").click())
        assert now == first
        assert seen.errors == []


def test_turning_by_drag_and_by_keys(visit, pages):
    """The scene turns under the pointer and under the arrow keys, which show where they are."""
    with visit(pages["3"]) as seen:
        frame, mouse = inside(seen.page), seen.page.mouse
        box = frame.locator("#scene").bounding_box()

        def drag() -> None:
            mouse.move(box["x"] + 150, box["y"] + 150)
            mouse.down()
            mouse.move(box["x"] + 220, box["y"] + 180, steps=3)
            mouse.up()

        before, now = after(frame, drag)
        assert now != before
        for key in ("ArrowLeft", "ArrowUp"):
            before, now = after(frame, lambda key=key: frame.locator("#scene").press(key))
            assert now != before
        outline = "canvas => getComputedStyle(canvas).outlineStyle"
        assert frame.eval_on_selector("#scene", outline) == "solid"
        before, now = after(frame, lambda: frame.locator("#reset").click())
        assert now != before


def test_fingers(visit, pages):
    """On the scene one finger turns and tilts, two zoom; on the slices the page still scrolls."""
    with visit(pages["3"], "phone", touch=True) as seen:
        frame = inside(seen.page)
        box = frame.locator("#scene").bounding_box()
        touch = seen.page.context.new_cdp_session(seen.page)

        def stroke(*steps: list[tuple[int, int]]) -> None:
            for k, fingers in enumerate(steps):
                points = [{"x": box["x"] + x, "y": box["y"] + y} for x, y in fingers]
                kind = "touchMove" if k else "touchStart"
                touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        def view() -> dict:
            return frame.evaluate("({ yaw: state.yaw, pitch: state.pitch, zoom: state.zoom })")

        start = view()
        after(frame, lambda: stroke([(100, 120)], [(150, 120)], [(200, 120)]))
        turned = view()
        assert turned["yaw"] != start["yaw"] and turned["pitch"] == start["pitch"]
        after(frame, lambda: stroke([(100, 120)], [(100, 90)], [(100, 60)]))
        assert view()["pitch"] < turned["pitch"] and seen.page.evaluate("scrollY") == 0
        after(frame, lambda: stroke([(100, 90), (140, 90)], [(80, 90), (160, 90)]))
        assert view()["zoom"] == pytest.approx(2, rel=0.1)
        style = "c => getComputedStyle(c).touchAction"
        assert frame.eval_on_selector("#scene", style) == "none"
        assert frame.eval_on_selector("canvas[data-across]", style) == "pan-y"


def test_wheel_and_space(visit, pages):
    """The wheel zooms a scene that was clicked, and no other; the space bar plays and pauses."""
    with visit(pages["3"]) as seen:
        frame, mouse = inside(seen.page), seen.page.mouse
        box = frame.locator("#scene").bounding_box()
        mouse.move(box["x"] + 150, box["y"] + 150)
        mouse.wheel(0, -200)
        seen.page.wait_for_timeout(100)
        assert frame.evaluate("state.zoom") == 1
        mouse.click(box["x"] + 150, box["y"] + 150)
        after(frame, lambda: mouse.wheel(0, -200))
        assert frame.evaluate("state.zoom") > 1.2
        frame.locator("#scene").press(" ")
        assert frame.locator("#play").get_attribute("aria-label") == "Pause"
        frame.locator("#scene").press(" ")
        assert frame.locator("#play").get_attribute("aria-label") == "Play"
        assert seen.page.evaluate("scrollY") == 0


def test_playback_walks_back(visit, pages):
    """After t = 1 time runs down again, and up from 0: the map is walked both ways."""
    with visit(pages["3"]) as seen:
        seen.page.emulate_media(reduced_motion="no-preference")
        frame = inside(seen.page)
        frame.locator("#time").fill("0.97")
        frame.locator("#play").click()
        for reached in ("t === 1", "t < 0.95 && t > 0.5"):
            frame.wait_for_function(f"() => {{ const {{ t }} = state; return {reached}; }}")
        frame.evaluate("setTime(0.03)")
        for reached in ("t === 0", "t > 0.05 && t < 0.5"):
            frame.wait_for_function(f"() => {{ const {{ t }} = state; return {reached}; }}")


def test_hover_tells_what_the_map_does(visit, pages, viewers):
    """The place under the pointer, its displacement and |J|, as the transform has them."""
    with visit(pages["3"]) as seen:
        frame, mouse = inside(seen.page), seen.page.mouse
        frame.locator("#time").fill("1")
        box = frame.locator('canvas[data-across="2"]').bounding_box()
        mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 + 10)
        frame.wait_for_function("document.getElementById('probe').textContent.startsWith('here')")
        text = frame.locator("#probe").inner_text().replace("\u2212", "-")
        where, u, length, determinant = re.fullmatch(
            r"here: \((.*)\) mm · u = \((.*)\), (.*) mm · \|J\| = (.*)", text
        ).groups()
        point = np.array([[float(x) for x in where.split(",")]])
        wanted = viewers[3].transform.points_to_moving(point)[0] - point[0]
        assert np.abs(np.array([float(x) for x in u.split(",")]) - wanted).max() < 0.6
        assert float(length) == pytest.approx(np.linalg.norm(wanted), abs=0.6)
        assert 0.2 < float(determinant) < 3
        told = frame.locator("#probe").inner_text()
        scene = frame.locator("#scene").bounding_box()
        mouse.move(scene["x"] + scene["width"] / 2, scene["y"] + scene["height"] / 2)
        frame.wait_for_function(
            "old => document.getElementById('probe').textContent !== old", arg=told
        )


def test_the_brain_moves(visit, pages):
    """The surface is the moving brain's at t = 0 and at t = 1 lies where the map puts it."""
    with visit(pages["alone3"]) as seen:
        seen.page.locator("body[data-drawn]").wait_for(timeout=20_000)
        left = seen.page.evaluate(
            """() => {
            const { moving } = surfaces;
            const at = (t) => { model.setTime(t); return moving.at(t); };
            const gaps = (t) => { // between phi_t of where a point is seen, and the point
              const now = at(t), u = model.atNodes(model.u, 3, now);
              return now.map((p, i) => Math.abs(p + u[i] - moving.points[i]))
                .reduce((a, b) => Math.max(a, b));
            };
            const far = at(1).map((p, i) => Math.abs(p - moving.points[i]));
            return { gaps: [0, 0.25, 0.6, 1].map(gaps), far: far.reduce((a, b) => Math.max(a, b)),
                     points: moving.count };
            }"""
        )
    assert left["points"] > 1000 and left["far"] > 3
    assert left["gaps"][0] == 0 and max(left["gaps"]) < 0.5  # mm; voxels are of 4 mm


def test_compare_and_look(visit, pages):
    """Swipe, blink, outline, lattice, cut and colour change what is drawn, and say so."""
    with visit(pages["3"]) as seen:
        frame = inside(seen.page)
        axial = 'canvas[data-across="2"]'
        for name, canvas in (
            *(("outline", axial), ("lattice", axial), ("lattice", "#scene"), ("cut", "#scene")),
            *(("swipe", axial), ("blink", axial)),
        ):
            pressed = frame.locator(f"#{name}").get_attribute("aria-pressed")
            before, now = after(frame, lambda name=name: frame.locator(f"#{name}").click(), canvas)
            assert now != before, name
            assert frame.locator(f"#{name}").get_attribute("aria-pressed") != pressed
        frame.locator("#blink").click()
        before, now = after(frame, lambda: frame.locator("#divide").fill("0.2"), axial)
        assert now != before
        before, now = after(frame, lambda: frame.locator("#colour").select_option("distance"))
        assert now != before and "moved by, mm" in frame.locator(".legend").inner_text()


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_nothing_covers_a_letter_or_cuts_it(visit, pages, size):
    """Protects left and right, front and back: every letter lies whole on its canvas, and what
    stands beside a canvas does not lie on it."""
    with visit(pages["3"], size) as seen:
        frame = inside(seen.page)
        frame.evaluate(
            """() => { window.letters = [];
            const pen = CanvasRenderingContext2D.prototype, fill = pen.fillText;
            pen.fillText = function (text, x, y) {
              const { clientWidth, clientHeight } = this.canvas;
              window.letters.push([text, x, y, clientWidth, clientHeight]);
              return fill.apply(this, arguments); }; }"""
        )
        for turned in ("0, 0", "0.7, -0.4", "0.9, 1.2"):
            for factor in (1, 4, 0.25):
                act = (
                    f"turn({turned if factor == 1 else '0, 0'}); zoom({factor}); redraw('position')"
                )
                after(frame, lambda act=act: frame.evaluate(act))
        letters = frame.evaluate("window.letters")
        assert len(letters) > 3 * 3 * 6
        for letter, x, y, width, height in letters:
            assert 7 <= x <= width - 7 and 7 <= y <= height - 7, letter
        scene, legend, hint = (
            frame.locator(name).bounding_box() for name in ("#scene", ".legend", ".hint")
        )
        assert legend["y"] >= scene["y"] + scene["height"] - 1
        frame_box = seen.page.locator("iframe").bounding_box()
        assert hint["y"] >= frame_box["y"] + 4
        assert hint["x"] + hint["width"] <= frame_box["x"] + frame_box["width"] - 4
        after(frame, lambda: frame.locator("#swipe").click())
        divide = frame.locator("#divide").bounding_box()
        for canvas in frame.locator(".slices canvas").all():
            box = canvas.bounding_box()
            above = divide["y"] + divide["height"] <= box["y"] + 1
            assert above or box["y"] + box["height"] <= divide["y"] + 1


def test_letters_of_a_zoomed_brain_lie_apart(visit, pages):
    """Protects what they say: where the frame holds them, two fell on the same place."""
    with visit(pages["3"]) as seen:
        for view in ((0, -0.8, 3), (0, -1.2, 4)):
            places = inside(seen.page).evaluate(
                """view => { const drawn = [], pen = CanvasRenderingContext2D.prototype;
                const fill = pen.fillText;
                pen.fillText = function (text, x, y) {
                  if (this.globalAlpha > 0.2) drawn.push([x, y]); };
                Object.assign(state, view); drawScene();
                pen.fillText = fill;
                return drawn; }""",
                dict(zip(("yaw", "pitch", "zoom"), view, strict=True)),
            )
            assert len(places) > 1
            assert all(math.dist(*two) > 12 for two in combinations(places, 2))


def test_the_hint_goes(visit, pages):
    """ "Drag to turn" is there until somebody turns the brain, or takes hold of it."""
    for touch in (lambda scene: scene.press("ArrowLeft"), lambda scene: scene.click()):
        with visit(pages["3"]) as seen:
            frame = inside(seen.page)
            assert "Drag to turn" in frame.locator(".hint").inner_text()
            touch(frame.locator("#scene"))
            frame.wait_for_function(
                "getComputedStyle(document.querySelector('.hint')).opacity === '0'"
            )


def test_a_viewer_prints_as_its_still(visit, pages):
    """Paper is not the window: what was drawn for one is stretched on the other, on no ground. The
    still is whole in a frame that the page makes lower on paper."""
    with visit(pages["many"]) as seen:
        seen.page.add_style_tag(content="@media print { iframe { max-height: 24rem } }")
        inside(seen.page)
        seen.page.emulate_media(media="print")
        drawn = [frame.locator("body[data-drawn]").count() for frame in seen.page.frames[1:]]
        assert drawn[0] == 1 and drawn[-1] == 0
        for frame in (seen.page.frames[1], seen.page.frames[-1]):
            assert frame.evaluate(
                """() => { const still = document.querySelector('.poster');
                return still.complete && still.naturalWidth > 100 && still.checkVisibility()
                && still.getBoundingClientRect().bottom <= innerHeight; }"""
            )
            assert not frame.locator(":is(canvas, button, figcaption):visible").count()


def test_a_phone_on_its_side_shows_more_than_controls(visit, pages):
    """Protects the pictures: 390 pixels of height leave them a finger's width; the page scrolls."""
    with visit(pages["alone3"]) as seen:
        seen.page.set_viewport_size({"width": 844, "height": 390})
        seen.page.wait_for_function("document.querySelector('#scene').offsetHeight > 200")


def test_play_and_pause(visit, pages):
    """Play moves the time, in steps where less motion is wished for; pause holds it."""
    for motion in ("no-preference", "reduce"):
        with visit(pages["2"]) as seen:
            seen.page.emulate_media(reduced_motion=motion)
            frame = inside(seen.page)
            after(frame, lambda frame=frame: frame.locator("#play").click())
            assert frame.locator("#play").get_attribute("aria-label") == "Pause"
            seen.page.wait_for_timeout(300)
            now = float(frame.locator("#now").inner_text())
            assert now in (0.75, 1.0) if motion == "reduce" else now != 0.55
            frame.locator("#play").click()
            frame.wait_for_function(  # what was under way is drawn, and then nothing is
                "() => window.held === (window.held = document.body.dataset.drawn)", polling=400
            )


@pytest.mark.parametrize("ndim", [2, 3])
def test_accessible(visit, pages, ndim):
    """axe finds nothing serious in the viewer's page."""
    with visit(pages[f"alone{ndim}"]) as seen:
        seen.page.locator("body[data-drawn]").wait_for(timeout=20_000)
        found = Axe().run(seen.page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_an_old_browser_is_told(browser, pages):
    """Without DecompressionStream: one line that says so, and no error."""
    context = browser.new_context()
    context.add_init_script("delete globalThis.DecompressionStream")
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(pages["alone2"])
    assert "DecompressionStream" in page.locator("#note").inner_text()
    assert errors == []
    context.close()


def test_without_scripts(browser, pages):
    """The description stands in the place of the picture."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["alone3"])
    assert "moved by up to" in page.locator("noscript").inner_text()
    context.close()
