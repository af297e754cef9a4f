"""The page "NeVF, live": the same numbers as `nevf_lite`, and controls that work.

It runs on the page's own files, opened from the disk without the rest of the book. The reference is
computed here, by the package, from the slices that the page carries.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from nevf_lite.config import Config, Level
from nevf_lite.descent import Descent
from nevf_lite.fields import SirenField, VoxelField
from nevf_lite.grid import sparse_shape
from nevf_lite.losses import LocalNCC, penalties
from nevf_lite.optimise import deformation, fit
from nevf_lite.warp import warp

BOOK = Path(__file__).parents[2] / "book"
FOLDER = BOOK / "_static" / "nevf"
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'"
PAGES = ("nevf_in_the_page", "playground")
SHAPE = (64, 80)
PAIR = ("trt06", "trt04")
CASES = {
    "the page's own": dict(field="siren", omega=10.0, step=2, order="upsample-integrate"),
    "every voxel": dict(field="siren", omega=20.0, step=1, order="upsample-integrate"),
    "the other order": dict(field="siren", omega=30.0, step=3, order="integrate-upsample"),
    "voxels that fold": dict(field="voxel", omega=10.0, step=2, order="upsample-integrate"),
}


def lay_out(folder: Path) -> Path:
    """The pages' raw HTML with their scripts, without a theme. Returns the page's path."""
    (folder / "book").mkdir()
    ignored = shutil.ignore_patterns("mathjax")
    shutil.copytree(BOOK / "_static", folder / "_static", ignore=ignored)
    for name in PAGES:
        text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
        body = "\n".join(re.findall(r"```\{raw\} html\n(.*?)```", text, re.S))
        (folder / "book" / f"{name}.html").write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
            f'<body style="margin: 16px">{body}</body></html>',
            encoding="utf-8",
        )
    return folder / "book" / "nevf_in_the_page.html"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def strict(page_file):
    """The address of a server whose policy allows its own scripts alone: no inline, no blob."""

    class Strict(SimpleHTTPRequestHandler):
        def end_headers(self):
            self.send_header("Content-Security-Policy", POLICY)
            super().end_headers()

        def log_message(self, *_):
            pass

    handler = functools.partial(Strict, directory=str(page_file.parents[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/book/{page_file.name}"
    server.shutdown()


@pytest.fixture
def live(visit, page_file):
    """A page that is ready and, motion being reduced, at rest. It must not complain."""
    with visit(page_file.as_uri()) as seen:
        seen.page.evaluate("nevfLive.ready")
        rest(seen.page)  # what it shows is drawn a frame later
        yield seen.page
        assert not seen.errors
        assert not seen.outside


def slices() -> dict[str, torch.Tensor]:
    text = (FOLDER / "slices.js").read_text(encoding="utf-8")
    found = re.findall(r'^ +(\w+): "([^"]+)"', text, re.M)
    as_bytes = {name: np.frombuffer(base64.b64decode(data), np.uint8) for name, data in found}
    return {k: torch.from_numpy(v / 255.0).reshape(1, 1, *SHAPE) for k, v in as_bytes.items()}


def config_of(case: dict) -> Config:
    rate = 1e-3 if case["field"] == "siren" else 3e-2
    level = Level(1, 20, step=case["step"], lr=rate, window=9)
    kept = {k: case[k] for k in ("field", "omega", "order")}
    same = dict(width=32, depth=3, jacobian=100.0, margin=0.0, smooth=0.1, decay=1.0, patience=20)
    return Config(levels=(level,), **same, **kept)


def field_of(case: dict) -> torch.nn.Module:
    """In double precision; the voxels hold noise, since from zero some terms have no slope."""
    torch.manual_seed(5)
    if case["field"] == "siren":
        return SirenField(SHAPE, width=32, depth=3, omega=case["omega"]).double()
    field = VoxelField(SHAPE, sparse_shape(SHAPE, case["step"])).double()
    torch.nn.init.normal_(field.values, std=2.0)
    return field


def flat(tensors) -> torch.Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


class Reference:
    """The package's loss of the page's pair, and its descent."""

    def __init__(self, case: dict):
        self.config, self.field = config_of(case), field_of(case)
        self.step = case["step"]
        images = slices()
        self.fixed, self.moving = (images[name] for name in PAIR)
        self.ncc = LocalNCC(self.fixed, window=9)

    def evaluate(self, field):
        u, _ = deformation(field, SHAPE, self.step, self.config)
        dissimilarity = self.ncc(warp(self.moving, u))
        folding, smooth, folds = penalties(u)
        loss = dissimilarity + self.config.jacobian * folding + self.config.smooth * smooth
        return loss, dissimilarity, folds

    def after_twenty_steps(self) -> torch.Tensor:
        descent = Descent(self.field, self.evaluate, self.config.levels[0], self.config)
        while not descent.done:
            descent.launch()
            descent.read()
        return deformation(self.field, SHAPE, self.step, self.config)[0].detach()


FIRST = """([changes, theta]) => {
  const { fixed, moving } = nevfLive.pair();
  const descent = nevfDescent();
  const settings = { ...nevfLive.state(), ...changes };
  const run = descent.begin(settings, fixed.values, moving.values, fixed.shape, { theta });
  const record = descent.evaluate(run);
  return { ...record, gradient: [...run.gradient], cells: run.cells.length };
}"""


@pytest.mark.parametrize("name", CASES)
def test_the_first_loss_and_its_gradient_are_the_package_s(live, name):
    case = CASES[name]
    reference = Reference(case)
    parameters = list(reference.field.parameters())
    loss, dissimilarity, folds = reference.evaluate(reference.field)
    loss.backward()
    expected = flat(p.grad for p in parameters)
    found = live.evaluate(FIRST, [case, flat(parameters).tolist()])
    assert abs(found["loss"] - loss.item()) < 1e-10
    assert abs(1 - found["similarity"] - dissimilarity.item()) < 1e-10
    assert found["folds"] == round(folds.item() * found["cells"])
    assert (found["folds"] > 0) == (case["field"] == "voxel"), "one case has the penalty at work"
    gradient = torch.tensor(found["gradient"], dtype=torch.float64)
    difference = (gradient - expected).abs().max()
    assert expected.abs().max() > 1e-3
    assert difference < 1e-10, "of every parameter"


def test_the_first_loss_is_that_of_a_registration_in_single_precision(live):
    reference = Reference(CASES["the page's own"])
    theta = flat(reference.field.parameters())
    images = reference.fixed.float(), reference.moving.float()
    history = fit(*images, reference.config, field=reference.field.float()).history
    found = live.evaluate(FIRST, [CASES["the page's own"], theta.tolist()])
    assert found["loss"] == pytest.approx(history[0]["loss"], abs=1e-5)


TWENTY = """async ([changes, theta]) => {
  await nevfLive.set(changes);
  nevfLive.begin(theta);
  const { record, displacement, kind } = await nevfLive.go(20);
  return { ...record, kind, displacement: [...displacement] };
}"""


@pytest.mark.parametrize("name", CASES)
def test_after_twenty_steps_in_the_worker_the_field_is_the_package_s(live, name):
    case = CASES[name]
    reference = Reference(case)
    theta = flat(reference.field.parameters()).tolist()
    changes = {**case, "rate": reference.config.levels[0].lr}
    found = live.evaluate(TWENTY, [changes, theta])
    expected = reference.after_twenty_steps()
    assert (found["iteration"], found["kind"]) == (20, "worker")
    assert expected.abs().max() > 0.5, "it has moved"
    got = torch.tensor(found["displacement"]).reshape(expected.shape)
    assert (got - expected).abs().max() < 1e-3


# Each derivative along one random direction, against a central difference of the value.
DERIVATIVES = """() => {
  const shape = [9, 12], n = 108;
  let seed = 7;
  const random = () => ((seed = (seed * 16807) % 2147483647) / 2147483647);
  const noise = (size, scale = 1) =>
    Float64Array.from({ length: size }, () => scale * (2 * random() - 1));
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const flow = nevfFlow(), losses = nevfLosses(), siren = nevfSiren(), descent = nevfDescent();
  const found = {};
  // value(x): a number. slope: its gradient at x.
  const check = (name, value, x, slope, h = 1e-6) => {
    const way = noise(x.length);
    const at = (t) => value(x.map((v, k) => v + t * way[k]));
    found[name] = [dot(slope, way), (at(h) - at(-h)) / (2 * h)];
  };
  const zeros = (size) => new Float64Array(size);

  const net = siren.plan(8, 2, 10);
  const room = siren.room(net, 35);
  room.inputs[0].set(siren.points([5, 7], shape));
  const theta = siren.start(net, random), weight = noise(70), gradient = zeros(net.size);
  siren.forward(net, theta, room);
  siren.backward(net, theta, room, weight, gradient);
  check("siren", (t) => dot(weight, siren.forward(net, t, room)), theta, gradient);

  const up = flow.resizer([5, 7], shape), coarse = noise(70), across = noise(2 * n);
  check("resize", (v) => dot(across, flow.resize(up, v, zeros(2 * n))), coarse,
    flow.resizeBack(up, across, zeros(70)));

  const u = noise(2 * n, 3);
  check("square", (v) => dot(across, flow.square(v, shape, zeros(2 * n))), u,
    flow.squareBack(u, shape, across, zeros(2 * n)));

  const steps = flow.room(shape, 5);
  flow.exponential(u, steps);
  const back = flow.exponentialBack(steps, across).slice();
  check("exponential", (v) => dot(across, flow.exponential(v, steps)), u, back);

  const image = noise(n), out = zeros(n), slopes = zeros(2 * n);
  flow.pull(image, u, shape, out, slopes);
  const byPlace = slopes.map((s, k) => s * across[k % n]);
  const pulled = (v) => flow.pull(image, v, shape, zeros(n), zeros(2 * n));
  check("pull", (v) => dot(across.subarray(0, n), pulled(v)), u, byPlace);

  const fixed = noise(n), ncc = losses.localNcc(fixed, shape, 5);
  ncc.value(image);
  check("local NCC", (w) => ncc.value(w), image, ncc.gradient.slice());

  const fold = zeros(2 * n), cells = zeros(88);
  const { folds } = losses.jacobian(u, shape, 1, fold, cells);
  found.folds = folds;
  check("jacobian", (v) => losses.jacobian(v, shape, 1, zeros(2 * n), cells).value, u, fold);

  const bend = zeros(2 * n);
  losses.smoothness(u, shape, 1, bend);
  check("smoothness", (v) => losses.smoothness(v, shape, 1, zeros(2 * n)), u, bend);

  for (const order of ["upsample-integrate", "integrate-upsample"]) {
    const settings = { ...nevfLive.state(), order, width: 8, window: 5, squarings: 3 };
    const start = noise(descent.begin(settings, fixed, image, shape).theta.length, 0.3);
    const run = descent.begin(settings, fixed, image, shape, { theta: start });
    descent.evaluate(run);
    const total = (t) =>
      descent.evaluate(descent.begin(settings, fixed, image, shape, { theta: t })).loss;
    check(order, total, start, run.gradient.slice(), 1e-8);
  }
  return found;
}"""


def test_each_derivative_agrees_with_finite_differences(live):
    found = live.evaluate(DERIVATIVES)
    assert found.pop("folds") > 10, "the folding penalty is at work"
    assert len(found) == 10
    for name, (by_hand, measured) in found.items():
        assert abs(by_hand) > 1e-4, name
        assert by_hand == pytest.approx(measured, rel=1e-4), name


def test_the_window_sum_is_its_own_adjoint_and_stops_at_the_rim(live):
    sums = live.evaluate(
        """() => {
          const [ones, out, spare] = [1, 0, 0].map((value) => new Float64Array(42).fill(value));
          return [...nevfLosses().boxSum(ones, [7, 6], 5, out, spare)];
        }"""
    )
    expected = torch.nn.functional.conv2d(torch.ones(1, 1, 7, 6), torch.ones(1, 1, 5, 5), padding=2)
    assert sums == expected.flatten().tolist()


# ---- where the worker comes from ----


def test_under_a_strict_policy_the_worker_is_a_file(visit, strict):
    with visit(strict) as seen:
        seen.page.evaluate("nevfLive.ready")
        assert seen.page.evaluate("nevfLive.go(3).then(s => [s.kind, s.record.iteration])") == [
            "worker",
            3,
        ]
        assert not seen.errors
        assert not seen.outside


BROKEN = {
    "no worker": "delete window.Worker",
    "no file": """window.Worker = class extends Worker {
      constructor() { super("nowhere.js"); }
    }""",
}


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_worker_the_page_does_it_itself(browser, strict, how):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(BROKEN[how])
    page.goto(strict)
    page.evaluate("nevfLive.ready")
    assert page.evaluate("nevfLive.go(2).then(s => [s.kind, s.record.iteration])") == ["page", 2]
    context.close()


# ---- the reader's hands ----


def rest(page) -> dict:
    """What is shown once the steps have been taken."""
    page.wait_for_function("nevfLive.shown() && !nevfLive.shown().running", timeout=60_000)
    shown = page.evaluate(
        "(({ record, look, running }) => ({ record, look, running }))(nevfLive.shown())"
    )
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return shown


def picture(page, name: str = "warped") -> str:
    return page.evaluate("name => document.querySelector(`[data-part=${name}]`).toDataURL()", name)


def setting(page, name: str):
    return page.evaluate("name => nevfLive.state()[name]", name)


def test_with_reduced_motion_it_waits_and_otherwise_it_starts_by_itself(browser, live, page_file):
    assert live.evaluate("nevfLive.shown().record.iteration") == 0
    assert live.inner_text("[data-part=run]") == "Run"
    context = browser.new_context(reduced_motion="no-preference")
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_function("nevfLive.shown()?.record.iteration > 2", timeout=60_000)
    assert page.inner_text("[data-part=run]") == "Pause"
    context.close()


def test_a_mouse_runs_pauses_steps_and_starts_again(live):
    first = picture(live)
    live.click("[data-part=step]")
    assert rest(live)["record"]["iteration"] == 1
    live.click("[data-part=run]")
    live.wait_for_function("nevfLive.shown().record.iteration > 5", timeout=60_000)
    live.click("[data-part=run]")
    paused = rest(live)["record"]["iteration"]
    assert 5 < paused < 300
    assert picture(live) != first
    assert f"iteration {paused}" == live.inner_text("[data-part=look-value]")
    live.click("[data-part=run]")
    live.wait_for_function(f"nevfLive.shown().record.iteration > {paused}", timeout=60_000)
    live.click("[data-part=again]")
    live.wait_for_function(f"nevfLive.shown()?.record.iteration < {paused}", timeout=60_000)
    live.click("[data-part=run]")
    rest(live)


def test_a_preset_sets_the_controls_and_runs(live):
    live.click("#nevf-bench [data-nevf-preset=voxel]")
    live.wait_for_function("nevfLive.shown()?.record.iteration > 2", timeout=60_000)
    live.click("[data-part=run]")
    rest(live)
    assert live.is_checked("[data-part=voxel]")
    assert live.is_disabled("[data-setting=omega]")
    assert live.get_attribute("[data-nevf-preset=voxel] >> nth=0", "aria-pressed") == "true"
    assert live.get_attribute("[data-nevf-preset=paper] >> nth=0", "aria-pressed") == "false"
    assert setting(live, "rate") == 0.03


def test_weights_change_the_run_and_the_frequency_begins_another(live):
    live.evaluate("nevfLive.go(5).then(() => 0)")
    live.focus("[data-setting=jacobian]")
    live.keyboard.press("ArrowRight")
    assert setting(live, "jacobian") == 1000
    assert rest(live)["record"]["iteration"] == 5
    live.click("label:has([data-part=integrate-upsample])")
    assert setting(live, "order") == "integrate-upsample"
    assert rest(live)["record"]["iteration"] == 5
    live.focus("[data-setting=omega]")
    live.keyboard.press("ArrowRight")
    assert setting(live, "omega") == 20
    live.wait_for_function("nevfLive.shown()?.running && nevfLive.shown().record.iteration < 100")


def test_a_new_run_runs_unless_it_is_held(live):
    """Looking back is no wish to stop; the button is, and then it says what it waits for."""
    waits = "document.querySelector('[data-part=run]').classList.contains('is-waiting')"
    live.wait_for_function(waits)
    live.click("[data-part=run]")
    live.wait_for_function("nevfLive.shown().record.iteration > 3", timeout=60_000)
    live.focus("[data-part=look]")
    live.keyboard.press("Home")
    assert not rest(live)["running"] and not live.evaluate(waits)
    live.focus("[data-setting=omega]")
    live.keyboard.press("ArrowRight")
    live.wait_for_function("nevfLive.shown()?.record.iteration > 3", timeout=60_000)
    live.click("[data-part=run]")
    assert not rest(live)["running"]
    live.focus("[data-setting=omega]")
    live.keyboard.press("ArrowRight")
    live.wait_for_function("nevfLive.shown()?.record.iteration === 0")
    live.wait_for_function(waits)
    assert live.inner_text("[data-part=run]") == "Run" and not rest(live)["running"]


def test_the_keyboard_chooses_a_brain_and_looks_back(live):
    before = picture(live)
    live.focus("[data-part=pick-moving] input:checked")
    live.keyboard.press("ArrowRight")
    assert setting(live, "moving") == "trt05"
    live.wait_for_function("nevfLive.shown()?.record.iteration > 3", timeout=60_000)
    live.focus("[data-part=run]")
    live.keyboard.press("Space")
    end = rest(live)["record"]["iteration"]
    assert picture(live) != before
    live.focus("[data-part=look]")
    live.keyboard.press("Home")
    assert rest(live)["record"]["iteration"] == 0
    live.keyboard.press("End")
    assert rest(live)["record"]["iteration"] == end
    live.keyboard.press("Tab")
    ring = "getComputedStyle(document.activeElement.closest('label')).outlineStyle"
    assert live.evaluate(ring) == "solid"


def test_a_finger_taps_and_the_phone_does_not_scroll_sideways(visit, page_file):
    for theme in ("light", "dark"):
        with visit(page_file.as_uri(), "phone", theme, touch=True) as seen:
            page = seen.page
            page.evaluate("nevfLive.ready")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.locator("[data-part=warped]").bounding_box()["width"] > 250
            page.tap("[data-part=step]")
            assert rest(page)["record"]["iteration"] == 1
            page.tap("[data-part=pick-fixed] label >> nth=1")
            assert setting(page, "fixed") == "trt02"
            thumb = page.locator("[data-part=pick-fixed] label").first.bounding_box()
            assert min(thumb["width"], thumb["height"]) >= 44
            ink = page.evaluate("getComputedStyle(document.querySelector('.nv-controls')).color")
            assert (ink == "rgb(36, 41, 47)") == (theme == "light")
            assert not seen.errors


def test_the_picture_stays_in_sight_while_sliders_are_turned_on_a_phone(visit, page_file):
    """Protects what a slider is turned for: it stands three screens below the picture."""
    with visit(page_file.as_uri(), "phone", touch=True) as seen:
        seen.page.evaluate("nevfLive.ready")
        picture = seen.page.locator("[data-part=warped]")
        for slider in seen.page.locator(".nv-controls input[type=range]").all():
            slider.evaluate("e => e.scrollIntoView({ block: 'end' })")
            box = picture.bounding_box()
            assert 0 <= box["y"] and box["y"] + box["height"] < slider.bounding_box()["y"]


def test_picture_and_controls_fit_a_laptop_s_screen(browser, page_file):
    context = browser.new_context(viewport={"width": 1060, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("nevfLive.ready")
    assert page.locator("#nevf-bench").bounding_box()["height"] < 720
    context.close()


def test_a_screen_reader_is_told_the_numbers_at_rest(live):
    live.evaluate("nevfLive.go(4).then(() => 0)")
    status = live.locator("[role=status]")
    said = r"Iteration 4\. Loss 0\.\d{3}, similarity 0\.\d{3}, folds: 0 of 4977 cells\."
    status.filter(has_text=re.compile(said)).wait_for(state="attached")
    assert "Iteration 4" in live.get_attribute("[data-part=curve]", "aria-label")


# ---- from the playground ----


def test_a_push_of_the_playground_is_found_back(visit, page_file):
    with visit(page_file.with_name("playground.html").as_uri()) as seen:
        page = seen.page
        page.evaluate("nevfPlayground.ready")
        page.evaluate("nevfPlayground.replay({ amplitude: 12, smoothness: 15 }) && 0")
        drawn = page.evaluate("nevfPlayground.record()")
        page.click("[data-part=ask]")
        page.wait_for_url("**/nevf_in_the_page.html#push-*")
        page.evaluate("nevfLive.ready")
        assert (setting(page, "fixed"), setting(page, "moving")) == ("push", "template")
        truth = page.evaluate("[...nevfLive.pair().truth]")
        longest = 2.5 * np.hypot(*np.reshape(truth, (2, -1))).max()
        assert 6 < longest < drawn["amplitude"] + 0.5, "mm"
        off = "[data-part=miss]"
        before = float(re.search(r"mean ([\d.]+)", page.inner_text(off))[1])
        page.evaluate("nevfLive.go(60).then(() => 0)")
        rest(page)
        after = float(re.search(r"mean ([\d.]+)", page.inner_text(off))[1])
        assert after < 0.5 * before
        assert not seen.errors


NO_PUSH = [{}, {"strokes": [[["a", 1]]]}, {"amplitude": 1, "smoothness": 0, "strokes": []}]


@pytest.mark.parametrize("record", [None, *NO_PUSH], ids=str)
def test_an_address_that_holds_no_push_is_ignored(visit, page_file, record):
    letters = base64.urlsafe_b64encode(json.dumps(record).encode()).decode().strip("=")
    with visit(f"{page_file.as_uri()}#push-{letters if record is not None else '!'}") as seen:
        seen.page.evaluate("nevfLive.ready")
        assert setting(seen.page, "fixed") == "trt06"
        assert not seen.errors


# ---- what the page says ----

RUN = """([name, more, count]) => {
  const { SAME, PRESETS } = nevfState;
  const settings = { ...SAME, ...PRESETS[name], ...more };
  const image = (key) => nevfPictures.slice(nevfSlices.images[key], nevfSlices.shape);
  const moving = image(settings.moving);
  const push = nevfState.pushed(nevfState.PUSH, image("template"), nevfSlices.mm);
  const fixed = settings.fixed === "push" ? push.image : image(settings.fixed);
  const descent = nevfDescent();
  const run = descent.begin(settings, fixed.values, moving.values, fixed.shape);
  const begun = descent.evaluate(run).similarity;
  let mostFolds = 0;
  let [last, leap] = [Infinity, 0]; // the largest rise of the loss in a step
  for (let k = 0; k < count; k++) {
    const { folds, loss } = descent.step(run);
    mostFolds = Math.max(mostFolds, folds);
    leap = Math.max(leap, loss - last);
    last = loss;
  }
  const end = descent.evaluate(run);
  const u = run.displacement;
  let longest = 0;
  for (let p = 0; p < 5120; p++) longest = Math.max(longest, 2.5 * Math.hypot(u[p], u[5120 + p]));
  const miss = nevfState.miss(u, push.truth, push.image, 2.5);
  const found = { ...end, begun, mostFolds, leap, longest, miss };
  if (name === "free") {
    const with100 = { ...settings, jacobian: 100 };
    const again = descent.begin(with100, fixed.values, moving.values, fixed.shape, run);
    found.after = Array.from({ length: 101 }, () => descent.step(again));
  }
  return found;
}"""


@pytest.mark.slow
def test_the_page_quotes_what_its_experiments_show(live):
    """The numbers in "What you should see"."""

    def run(name: str, **more) -> dict:
        return live.evaluate(RUN, [name, more, 300])

    paper = run("paper")
    assert paper["begun"] == pytest.approx(0.34, abs=0.005)
    assert paper["similarity"] == pytest.approx(0.68, abs=0.01)
    assert paper["longest"] > 9 and paper["mostFolds"] == 0
    free = run("free")
    assert free["similarity"] == pytest.approx(0.73, abs=0.01) and free["folds"] > 100
    assert free["after"][12]["folds"] == 0
    assert min(r["similarity"] for r in free["after"]) < 0.4
    assert free["after"][100]["similarity"] > 0.6
    large = run("omega")
    assert large["similarity"] < paper["similarity"] and large["mostFolds"] > 0
    assert large["leap"] > 0.01 > paper["leap"]
    assert large["smooth"] == pytest.approx(2 * paper["smooth"], rel=0.25)
    assert run("omega", omega=1)["similarity"] == pytest.approx(0.48, abs=0.01)
    dead = run("rate")
    assert dead["similarity"] == pytest.approx(0.35, abs=0.01) and dead["longest"] < 3
    assert run("order")["similarity"] == pytest.approx(0.60, abs=0.01)
    upsampled = run("order", order="upsample-integrate")["similarity"]
    assert upsampled == pytest.approx(0.61, abs=0.01)
    network, voxels = run("push"), run("push-voxel")
    assert network["miss"]["mean"] < 0.1 and network["miss"]["largest"] < 1
    assert voxels["miss"]["mean"] == pytest.approx(1, abs=0.1)
    assert voxels["miss"]["largest"] == pytest.approx(19, abs=1)
    assert abs(network["similarity"] - voxels["similarity"]) < 0.01


def test_a_script_is_one_sitting():
    """At most 250 lines, as in the package."""
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in FOLDER.iterdir()}
    assert max(lengths.values()) <= 250


def test_a_preset_below_the_bench_brings_it_back(visit, site):
    """On the built page, whose headings have names too: the bench is not the whole page."""
    with visit(f"{site}/book/nevf_in_the_page.html") as seen:
        seen.page.evaluate("nevfLive.ready")
        assert seen.page.locator("#nevf-bench").count() == 1
        below = seen.page.locator("[data-nevf-preset=paper]").last
        below.scroll_into_view_if_needed()
        before = seen.page.evaluate("scrollY")
        below.click()
        top = "document.querySelector('#nevf-bench canvas').getBoundingClientRect().top"
        seen.page.wait_for_function(f"{top} > 0 && {top} < innerHeight")
        assert seen.page.evaluate("scrollY") < before
