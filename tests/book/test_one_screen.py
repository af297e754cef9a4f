"""The method on one screen, in chapter "NeVF, whole", computes what the package computes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch

from nevf_lite.config import Config, Level
from nevf_lite.fields import SirenField
from nevf_lite.grid import identity
from nevf_lite.losses import LocalNCC, jacobian_penalty, smoothness
from nevf_lite.optimise import deformation, fit
from nevf_lite.warp import warp

CHAPTER = Path(__file__).parents[2] / "notebooks" / "07_nevf.ipynb"
OMEGA = 20.0
CASES = [((37, 29), 1), ((37, 29), 3), ((17, 14, 19), 2), ((17, 14, 19), 3)]


def one_screen() -> str:
    """The source of the one cell with that tag."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    (cell,) = [c for c in cells if "one-screen" in c["metadata"].get("tags", ())]
    return "".join(cell["source"])


@pytest.fixture(scope="module")
def screen() -> dict:
    """What the cell defines."""
    defined: dict = {}
    exec(compile(one_screen(), str(CHAPTER), "exec"), defined)
    return defined


def brains(shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images with detail everywhere and a flat, dark rim: (1, 1, *shape), float64."""
    points = identity(shape, dtype=torch.float64)
    centre = (torch.tensor(shape) - 1).view(1, -1, *[1] * len(shape)) / 2
    inside = ((points - centre).abs() < centre - 2).all(1, keepdim=True)

    def image(shift: float):
        waves = sum(torch.sin(points[:, [i]] * (0.7 + 0.2 * i) + shift) for i in range(len(shape)))
        return (0.5 + 0.15 * waves) * inside

    return image(0.0), image(0.6)


def field(shape) -> tuple[SirenField, list]:
    """A field that moves by voxels and folds, and its weights as the screen wants them."""
    torch.manual_seed(3)
    siren = SirenField(shape, width=24, depth=3, omega=OMEGA).double()
    with torch.no_grad():
        siren.net[-1].weight *= 200
        siren.net[-1].bias += 0.5
    return siren, [(layer.weight, layer.bias) for layer in siren.net]


def settings(step: float) -> Config:
    level = Level(1, 1, step=step, lr=1e-3, window=9)
    return Config(levels=(level,), omega=OMEGA, jacobian=100.0, margin=0.0, smooth=0.1, decay=1.0)


def test_it_fits_on_one_screen():
    lines = [line for line in one_screen().splitlines() if line.strip()]
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 75


def test_it_needs_torch_alone():
    tree = ast.walk(ast.parse(one_screen()))
    imports = [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    assert {name.split(".")[0] for name in names} == {"torch"}


@pytest.mark.parametrize(("shape", "step"), CASES)
def test_the_displacement(screen, shape, step):
    siren, weights = field(shape)
    expected, velocity = deformation(siren, shape, step, settings(step))
    assert expected.abs().max() > 1
    got = screen["deformation"](weights, shape, step, OMEGA)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    got = screen["deformation"](weights, shape, step, OMEGA, T=0)
    torch.testing.assert_close(got, velocity, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(37, 29), (17, 14, 19)])
@pytest.mark.parametrize("window", [5, 9])
def test_the_similarity(screen, shape, window):
    fixed, moving = brains(shape)
    expected = 1 - LocalNCC(fixed, window)(moving)
    got = screen["local_ncc"](fixed[0, 0], moving[0, 0], window)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("shape", "step"), CASES)
def test_the_loss_and_the_gradient_of_every_weight(screen, shape, step):
    fixed, moving = brains(shape)
    siren, weights = field(shape)
    u, _ = deformation(siren, shape, step, settings(step))
    folding = jacobian_penalty(u)
    assert folding > 1e-4  # every term takes part
    dissimilarity = LocalNCC(fixed, 9)(warp(moving, u))
    expected = dissimilarity + 100 * folding + 0.1 * smoothness(u)
    got = screen["loss"](weights, fixed, moving, step, OMEGA)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)

    numbers = list(siren.parameters())
    pairs = zip(
        torch.autograd.grad(got, numbers), torch.autograd.grad(expected, numbers), strict=True
    )
    for ours, theirs in pairs:
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9 * theirs.abs().max().item())


@pytest.mark.parametrize("shape", [(37, 29), (17, 14, 19)])
def test_the_first_iteration_of_a_fit(screen, shape):
    """What `fit` itself reports, in single precision and with the fast kernels."""
    fixed, moving = (image.float() for image in brains(shape))
    siren, _ = field(shape)
    weights = [(layer.weight, layer.bias) for layer in siren.float().net]
    got = screen["loss"](weights, fixed, moving, 3, OMEGA).item()
    first = fit(fixed, moving, settings(3), field=siren).history[0]
    assert got == pytest.approx(first["loss"], rel=1e-5)
