"""Dust in the wind, squaring as a film, and the window and force of a similarity: live figures.

Their numbers are the package's; mouse, finger, keyboard and reduced motion work.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nevf_lite.grid import blur
from nevf_lite.integrate import integrate_ode, scaling_and_squaring
from nevf_lite.losses import MSE, LocalNCC, weighted_mean
from nevf_lite.viz.live import LiveFigure
from nevf_lite.warp import warp

SHAPE = (40, 28)


@pytest.fixture
def show(live):
    """show(name, ...): the page of a figure that is ready."""

    def opened(name: str, *look, **more):
        return live(name, LiveFigure(name, "What it shows.")._repr_html_(), *look, **more)

    return opened


def slider(page, label: str):
    return page.get_by_label(label, exact=True)


def press(page, label: str, key: str) -> None:
    slider(page, label).focus()
    page.keyboard.press(key)


def test_the_wind_is_smoothed_as_the_package_smooths(show):
    noise = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    script = """([values, shape]) => [0, 1].map(axis => [
      ...nevfWind.blur(Float32Array.from(values), shape, 3, axis)])"""
    with show("dust") as page:
        found = page.evaluate(script, [noise.flatten().tolist(), SHAPE])
        longest = page.evaluate(
            "() => { const w = nevfWind.field([40, 28], 5, 1), n = 40 * 28;"
            " return Math.max(...w.slice(0, n).map((x, p) => Math.hypot(x, w[n + p]))); }"
        )
    for axis in (0, 1):
        smooth = torch.tensor(found[axis]).reshape(noise.shape)
        assert torch.allclose(smooth, blur(noise, 3, axis), atol=1e-5)
    assert longest == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rule", ["euler", "midpoint", "rk4"])
def test_dust_goes_where_the_package_takes_it(show, rule):
    """Also where it is blown out of the grid."""
    random = torch.Generator().manual_seed(1)
    v = 9 * torch.randn(1, 2, *SHAPE, generator=random)
    starts = torch.rand(1, 2, 12, generator=random) * (torch.tensor(SHAPE).view(1, 2, 1) - 1)
    script = """([v, shape, starts, rule]) =>
      starts.map(at => nevfWind.trail(Float32Array.from(v), shape, at, rule, 5)[5])"""
    with show("dust") as page:
        ends = page.evaluate(script, [v.flatten().tolist(), SHAPE, starts[0].T.tolist(), rule])
    starts = starts.double()
    wanted = starts + integrate_ode(v.double(), starts, rule, 5)
    assert torch.allclose(torch.tensor(ends, dtype=torch.float64), wanted[0].T, atol=1e-5)


def test_smaller_steps_stay_closer_and_midpoint_closest(show, measured):
    with show("dust") as page:
        first = measured(page)
        assert first["time"] == 100, "reduced motion: the whole path, and nothing runs"
        assert 0 < first["midpoint"] < first["euler"]
        press(page, "Steps in one unit of time", "End")
        last = measured(page)
        assert last["euler"] < first["euler"] / 10 and last["midpoint"] < last["euler"]
        press(page, "Time t", "Home")
        assert measured(page)["time"] == 0
        page.click("text=Play")
        page.wait_for_function("JSON.parse(document.querySelector('figure').dataset.measured).time")
        page.click("text=Pause")
        page.click("text=Another wind")
        assert measured(page)["seed"] == first["seed"] + 1


@pytest.mark.parametrize(("name", "share"), [("dust", "time"), ("squaring", "frame")])
def test_a_frame_stamped_before_play_was_pressed_shows_the_beginning(show, measured, name, share):
    """Protects both films on a busy machine, where the first stamp may lie before the press."""
    with show(name) as page:
        before = measured(page)[share]
        page.evaluate("""() => {
          const ask = requestAnimationFrame;
          window.requestAnimationFrame = (draw) => ask((now) => draw(now - 60));
        }""")
        page.click("text=Play")
        page.wait_for_function(
            "([share, before]) => ![0, before].includes("
            "JSON.parse(document.querySelector('figure').dataset.measured)[share])",
            arg=[share, before],
        )


def test_dust_is_released_by_mouse_and_by_keyboard(show, measured):
    with show("dust") as page:
        page.click("text=Sweep away")
        assert measured(page)["released"] == 0
        box = page.locator("canvas").bounding_box()
        page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
        assert measured(page)["released"] == 1
        page.locator("canvas").focus()
        for key in ("ArrowLeft", "ArrowUp", "Enter"):
            page.keyboard.press(key)
        assert measured(page)["released"] == 2


def test_dust_is_released_by_a_finger(show, measured):
    with show("dust", "phone", touch=True) as page:
        before = measured(page)["released"]
        page.locator("canvas").tap()
        assert measured(page)["released"] == before + 1


def test_the_film_of_squaring_ends_at_the_package(show, measured):
    """And with too few squarings it folds."""
    with show("squaring") as page:
        assert measured(page)["whole"] == 0 and measured(page)["frame"] == 0
        press(page, "Film", "End")
        last = measured(page)
        assert last["whole"] == 7 and last["folds"] == 0
        v = page.evaluate("s => [...nevfWind.field([96, 80], 9, s.seed)]", last)
        v = last["longest"] * torch.tensor(v).reshape(1, 2, 96, 80)
        most = scaling_and_squaring(v, 7).norm(dim=1).max().item()
        assert last["most"] == pytest.approx(most, rel=1e-4)
        press(page, "Longest velocity", "End")
        press(page, "Squarings T", "Home")
        assert measured(page)["folds"] > 0
        assert "cells fold" in page.inner_text("[role=status]")


LOADED = """() => {
  const { shape, values, brain } = document.querySelector('figure').slice;
  return [shape, [...values], [...brain]];
}"""


def test_the_window_sees_what_the_package_sees(show, measured):
    with show("window") as page:
        shape, values, brain = page.evaluate(LOADED)
        press(page, "Noise", "Home")
        found = measured(page)
    fixed, mask = (torch.tensor(x).reshape(1, 1, *shape) for x in (values, brain))
    u = torch.zeros(1, 2, *shape)
    u[:, 0] = -found["shift"]
    likeness = LocalNCC(fixed, found["window"]).map(warp(fixed, u))
    assert found["now"] == pytest.approx(weighted_mean(likeness, mask).item(), rel=1e-3)


def test_small_windows_lose_the_way_first(show, measured):
    with show("window") as page:
        press(page, "Shift of the partner", "End")
        press(page, "Noise", "Home")
        far = measured(page)
        assert 31 in far["good"] and 3 in far["bad"]
        press(page, "Shift of the partner", "Home")
        assert measured(page)["bad"] == []
        before = measured(page)["now"]
        press(page, "Noise", "End")
        assert measured(page)["now"] < before


@pytest.mark.parametrize("window", [0, 9])
def test_the_force_is_that_of_autograd(show, window):
    random = np.random.default_rng(2)
    fixed, moving = (random.random(SHAPE) for _ in range(2))
    script = """([fixed, moving, shape, window]) => [...document.querySelector('figure').force(
      fixed, moving, shape, window ? nevfTemplate.similarity(fixed, shape, window) : null)]"""
    with show("force") as page:
        found = page.evaluate(
            script, [fixed.ravel().tolist(), moving.ravel().tolist(), SHAPE, window]
        )
    F, M = (torch.tensor(x)[None, None] for x in (fixed, moving))
    # on the voxel itself the slope has two sides; a little further on it is that to the next one
    u = torch.full((1, 2, *SHAPE), 1e-7, dtype=torch.float64, requires_grad=True)
    loss = (LocalNCC(F, window) if window else MSE(F))(warp(M, u))
    wanted = -torch.autograd.grad(loss, u)[0]
    got = torch.tensor(found, dtype=torch.float64).reshape(wanted.shape)
    inside = (..., slice(0, -1), slice(0, -1))  # at the last voxel there is no next one
    assert torch.allclose(got[inside], wanted[inside], atol=1e-5 * wanted.abs().max().item())


def test_another_contrast_misleads_the_squared_error_alone(show, measured):
    with show("force") as page:
        press(page, "Contrast, moving slice", "End")
        local = measured(page)
        press(page, "Similarity", "Home")
        squared = measured(page)
        assert local["contrast"] == squared["contrast"] == 0.4
        assert local["share"] > squared["share"] + 0.1
        box = page.locator("canvas").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        spot = measured(page)["spot"]
        page.locator("canvas").first.focus()
        page.keyboard.press("ArrowRight")
        assert measured(page)["spot"] == [spot[0] + 1, spot[1]]
        assert f"Voxel ({spot[0] + 1}, {spot[1]})" in page.inner_text("figure")
