"""Ask the tangent kernel, a wave that passes a lattice, an iteration and its kernels: live figures.

They are in chapters 9, 11 and 14.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nevf_lite.fields import SirenField
from nevf_lite.grid import resize, sparse_shape
from nevf_lite.viz.live import LiveFigure

SHAPE = (61, 73)


@pytest.fixture
def show(live):
    """show(name, ...): the page of a figure that is ready."""

    def opened(name: str, *look, given=None, **more):
        figure = LiveFigure(name, "What it shows.", given)
        return live(name, figure._repr_html_(), *look, **more)

    return opened


def tangent(weights, field, shape, point) -> torch.Tensor:
    """The kernel between every point and one, by torch's derivatives, a point at a time."""
    v = field()[0, 0]
    at_point = torch.autograd.grad(v[point], weights, retain_graph=True)
    kernel = torch.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            here = torch.autograd.grad(v[i, j], weights, retain_graph=True)
            kernel[i, j] = sum((a * b).sum() for a, b in zip(here, at_point, strict=True))
    return kernel


def test_the_kernels_are_those_of_torch(show):
    """Of a SIREN with the figure's own weights, and of lattices that are summed."""
    shape, point, omega = (7, 9), (2, 5), 20.0
    script = """([shape, point, omega]) => {
      const field = nevfSiren.start(omega, { seed: 4, width: 12, depth: 3 });
      const known = nevfTangent.remember(field, shape);
      const siren = nevfTangent.siren(known, point[0] * shape[1] + point[1]);
      const lattices = nevfTangent.lattices([4, 2], shape, point);
      const layers = field.layers.map(l => [[...l.weight], [...l.bias], l.rows, l.columns]);
      return [layers, [...siren], [...lattices]];
    }"""
    with show("kernel") as page:
        layers, siren, lattices = page.evaluate(script, [shape, point, omega])
    field = SirenField(shape, width=12, depth=3, omega=omega)
    with torch.no_grad():
        for layer, (weight, bias, rows, columns) in zip(field.net, layers, strict=True):
            layer.weight.copy_(torch.tensor(weight).reshape(rows, columns))
            layer.bias.copy_(torch.tensor(bias))
    wanted = tangent(list(field.parameters()), lambda: field.on_lattice(shape), shape, point)
    found = torch.tensor(siren).reshape(shape)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())

    nodes = [torch.zeros(1, 2, *sparse_shape(shape, s), requires_grad=True) for s in (4, 2)]
    wanted = tangent(nodes, lambda: sum(resize(n, shape) for n in nodes), shape, point)
    assert torch.allclose(torch.tensor(lattices).reshape(shape), wanted, atol=1e-5)


def test_a_higher_frequency_is_heard_by_fewer_and_a_pointer_asks(show, measured):
    with show("kernel") as page:
        first = measured(page)
        assert first["half"][0] == 1 < first["half"][1]
        page.get_by_label("Frequency ω₀", exact=True).focus()
        page.keyboard.press("End")
        last = measured(page)
        assert last["omega"] == 60 and last["half"][1] < first["half"][1] / 3
        assert last["half"][2] == first["half"][2], "lattices know no frequency"
        box = page.locator("canvas").nth(1).bounding_box()
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
        asked = measured(page)
        assert asked["x"] == pytest.approx(0.25 * SHAPE[0], abs=1)
        assert asked["y"] == pytest.approx(0.75 * SHAPE[1], abs=1)
        page.get_by_label("Point, across", exact=True).focus()
        page.keyboard.press("ArrowRight")
        assert measured(page)["x"] == asked["x"] + 1
        page.click("text=Another network")
        assert measured(page)["seed"] == first["seed"] + 1


def test_the_error_of_a_wave_is_that_of_straight_pieces(show, measured):
    """It grows with the step, and stands still until it is moved or played."""
    with show("wave") as page:
        found = measured(page)
        x = np.linspace(0, 95, 95 * 8 + 1)[:-1]
        at = np.arange(0, 97, found["step"])

        def wave(x):
            return np.sin(2 * math.pi * x / found["length"] + 1)

        off = np.interp(x, at, wave(at)) - wave(x)
        assert found["turn"] == 0
        assert found["error"] == pytest.approx(np.sqrt(2 * (off**2).mean()), rel=1e-6)
        page.get_by_label("Step L", exact=True).focus()
        page.keyboard.press("Home")
        errors = []
        for _ in range(6):
            errors.append(measured(page)["error"])
            page.keyboard.press("ArrowRight")
        assert errors == sorted(errors) and errors[0] < 0.05
        page.keyboard.press("End")
        assert measured(page)["each"] < 2 and "another wave" in page.inner_text("[role=status]")
        page.click("text=Play")
        page.wait_for_function(
            "JSON.parse(document.querySelector('figure').dataset.measured).turn > 0"
        )
        page.click("text=Pause")


def test_what_has_no_kernel_is_the_limit(show, measured):
    """Amdahl's law, on numbers that the chapter gives."""
    pieces = {"network": [1.5, 1.0], "squarings": [3.0, 0.5], "pull": [0.5, 0.25]}
    with show("amdahl", given={size: pieces for size in "124"}) as page:
        found = measured(page)
        assert (found["plain"], found["chosen"], found["left"]) == (5, 1.75, 0)
        page.click("text=network")
        found = measured(page)
        assert (found["chosen"], found["left"]) == (2.25, 1.5)
        assert "at most 3.3 times" in page.inner_text("[role=status]")
        assert page.get_by_text("network", exact=True).get_attribute("aria-pressed") == "false"
        fills = "[...document.querySelectorAll('.nl-clock rect')].map(r => r.getAttribute('fill'))"
        colours = page.evaluate(fills)
        assert colours == 2 * ["#8a8f98", "#d9660d", "#2f86cc"]  # those of the roofline
        page.get_by_label("Squarings", exact=True).focus()
        page.keyboard.press("Home")
        assert measured(page)["plain"] == 2
        page.click("text=Play")
        done = "JSON.parse(document.querySelector('figure').dataset.measured).rounds > 0"
        page.wait_for_function(done)
        page.click("text=Pause")


def test_what_a_figure_is_given_is_quoted():
    figure = LiveFigure("amdahl", "a < b", {"a": ['"', 1]})._repr_html_()
    assert figure == (
        '<figure class="nevf-live" data-live="amdahl" data-given="{&quot;a&quot;: '
        '[&quot;\\&quot;&quot;, 1]}">a &lt; b</figure>'
    )
    with pytest.raises(ValueError, match="JSON"):
        LiveFigure("amdahl", "", {"a": math.nan})._repr_html_()
