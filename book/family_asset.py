"""Write book/_static/family/*.svg: the family tree, and one picture for each of its methods.

    python book/family_asset.py

Each picture is calculated, with the package where it has the piece: forces, flows, squarings and
networks of two blobs. They are dark cards, alike on a light page and on a dark one. A box of the
tree leads to its section of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch

from nevf_lite.fields import SirenField
from nevf_lite.grid import identity, resize, sparse_shape
from nevf_lite.integrate import flow
from nevf_lite.viz.style import (
    CARD,
    FIXED,
    MOVED,
    ON_CARD,
    ON_CARD_MUTED,
    Picture,
    encode,
    styled,
)
from nevf_lite.warp import warp

FOLDER = Path(__file__).parent / "_static" / "family"
SIZE = 49  # voxels a side
GRID = identity((SIZE, SIZE))  # (1, 2, SIZE, SIZE)
WHITE = "#ffffff"


def blob(centre=(24.0, 24.0), radii=(12.0, 12.0)) -> torch.Tensor:
    """A soft ellipse, (1, 1, SIZE, SIZE): 1 inside and 0 outside."""
    away = sum(((GRID[:, i] - centre[i]) / radii[i]) ** 2 for i in range(2)).sqrt()
    return torch.sigmoid(8 * (1 - away))[None]


FIXED_BLOB, MOVING_BLOB = blob((24, 24), (15, 10)), blob((27, 22), (9, 14))


def vortex(strength=9.0, wide=10.0, centre=(24.0, 24.0)) -> torch.Tensor:
    """A smooth velocity that turns and carries, (1, 2, SIZE, SIZE) in voxels."""
    x, y = GRID[0, 0] - centre[0], GRID[0, 1] - centre[1]
    weight = torch.exp(-(x**2 + y**2) / (2 * wide**2))
    return strength * torch.stack([0.7 - y / wide, 0.3 + x / wide])[None] * weight


def outline(axes: Axes, image: torch.Tensor, colour: str, style="-", width=1.6) -> None:
    axes.contour(image[0, 0].numpy().T, [0.5], colors=colour, linestyles=style, linewidths=width)


def lattice(axes: Axes, u: torch.Tensor, colour: str, every=6, alpha=1.0, width=0.9) -> None:
    points = (GRID + u)[0].numpy()
    lines = [points[:, :, j].T for j in range(0, SIZE, every)]
    lines += [points[:, i].T for i in range(0, SIZE, every)]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, alpha=alpha))


def arrows(axes: Axes, v: torch.Tensor, every=4, colour=WHITE, scale=1.0, at=None) -> None:
    keep = np.ones((SIZE, SIZE), bool) if at is None else at
    i, j = (k.ravel() for k in np.mgrid[0:SIZE:every, 0:SIZE:every])
    i, j = i[keep[i, j]], j[keep[i, j]]
    x, y = scale * v[0].numpy()[:, i, j]
    options = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
    axes.quiver(i, j, x, y, color=colour, **options)


def trails(axes: Axes, velocity: Callable, starts, steps: int, colour: str, dots=True) -> None:
    """Particles that follow velocity(t), a field, from 0 to 1, in Euler steps."""
    place = torch.tensor(starts, dtype=torch.float32).T[None, :, :, None]  # (1, 2, P, 1)
    path = [place]
    for k in range(steps):
        v = velocity(k / steps)
        where = (2 * place / (SIZE - 1) - 1).flip(1).movedim(1, -1)
        read = torch.nn.functional.grid_sample(v, where, padding_mode="border", align_corners=True)
        place = place + read / steps
        path.append(place)
    points = torch.stack(path)[:, 0, :, :, 0].numpy()  # (steps + 1, 2, P)
    for x, y in points.transpose(2, 1, 0):
        axes.plot(x, y, color=colour, linewidth=1.1)
        if dots:
            axes.plot(x, y, ".", color=colour, markersize=3.4)
        axes.plot(x[-1], y[-1], "o", color=WHITE, markersize=3.2)


STARTS = [(x, y) for x in range(10, 42, 8) for y in range(10, 42, 8)]


def demons(left: Axes, right: Axes) -> None:
    gap = MOVING_BLOB - FIXED_BLOB
    slope = torch.stack(torch.gradient(FIXED_BLOB[0, 0]))[None]
    force = -gap * slope / (slope.square().sum(1, keepdim=True) + gap.square() + 1e-6)
    for axes in (left, right):
        outline(axes, FIXED_BLOB, FIXED)
    outline(left, MOVING_BLOB, MOVED)
    arrows(left, force, 3, scale=7, at=(force.norm(dim=1)[0] > 0.05).numpy())
    u = torch.zeros_like(force)
    for _ in range(60):
        warped = warp(MOVING_BLOB, u)
        gap = warped - FIXED_BLOB
        step = -gap * slope / (slope.square().sum(1, keepdim=True) + gap.square() + 1e-6)
        u = smooth(u + step, 2.0)
    outline(right, warp(MOVING_BLOB, u), MOVED, "--")
    lattice(right, u, ON_CARD_MUTED, alpha=0.7)


def smooth(field: torch.Tensor, sigma: float) -> torch.Tensor:
    k = torch.arange(-8, 9).float()
    kernel = torch.exp(-(k**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    parts = field.movedim(1, 0)
    for _ in range(2):
        padded = torch.nn.functional.pad(parts, (8, 8, 0, 0), mode="replicate")
        parts = torch.nn.functional.conv2d(padded, kernel).transpose(2, 3)
    return parts.movedim(0, 1)


def lddmm(left: Axes, right: Axes) -> None:
    def at(t: float) -> torch.Tensor:
        return vortex(11, 9, (16 + 16 * t, 24 + 8 * np.sin(np.pi * t)))

    for axes, t in ((left, 0.1), (right, 0.9)):
        arrows(axes, at(t), 5, ON_CARD_MUTED, 0.5)
        trails(axes, at, STARTS, 40, MOVED, dots=False)


def syn(left: Axes, right: Axes) -> None:
    half = vortex(6, 9)  # a pair made so that it meets in the middle
    moving = warp(FIXED_BLOB, flow(-2 * half))
    for axes, image, v, colour in (
        (left, FIXED_BLOB, -half, FIXED),
        (right, moving, half, MOVED),
    ):
        outline(axes, image, colour)
        outline(axes, warp(image, flow(v)), WHITE, "--")
        lattice(axes, flow(v), colour, alpha=0.6)


def svf(left: Axes, right: Axes) -> None:
    v = vortex(9, 9)
    for axes, T in ((left, 3), (right, 0)):
        lattice(axes, flow(v / 2**T), MOVED)
    trails(left, lambda t: v / 8, STARTS, 1, WHITE, dots=False)
    trails(right, lambda t: v, STARTS, 8, WHITE)


def network(axes: Axes, columns, colour: str, heights) -> None:
    """Boxes side by side: a network as layers; heights: shares of the card."""
    for k, (x, h) in enumerate(zip(columns, heights, strict=True)):
        box = (x, (SIZE - h) / 2)
        style = dict(boxstyle="round,pad=0,rounding_size=0.8", linewidth=1.2)
        axes.add_patch(FancyBboxPatch(box, 3.4, h, fc=CARD, ec=colour, **style))
        if k:
            axes.plot([columns[k - 1] + 3.4, x], [SIZE / 2] * 2, color=ON_CARD_MUTED, linewidth=1)


def voxelmorph(left: Axes, right: Axes) -> None:
    for c, r in (((10, 37), (5, 4)), ((11, 25), (4, 6)), ((10, 12), (6, 4))):
        outline(left, blob(c, r), FIXED)
        outline(left, blob((c[0] + 12, c[1]), (r[1], r[0])), MOVED)
        left.text(34, c[1], "pair", color=ON_CARD_MUTED, va="center", fontsize=8)
    network(right, (4, 11, 18, 25, 32, 39), WHITE, (40, 26, 14, 14, 26, 40))


def symnet(left: Axes, right: Axes) -> None:
    network(left, (3, 10, 17), WHITE, (38, 26, 14))
    for y, colour, text in ((36, MOVED, "v from F to M"), (12, FIXED, "v from M to F")):
        left.annotate("", (29, y), (21, 24.5), arrowprops=dict(arrowstyle="->", color=colour))
        left.text(30, y, text, color=colour, va="center", fontsize=8)
    v = vortex(4, 9)
    lattice(right, flow(v), MOVED, alpha=0.75)
    lattice(right, flow(-v), FIXED, alpha=0.75)


def idir(left: Axes, right: Axes) -> None:
    torch.manual_seed(1)
    field = SirenField((SIZE, SIZE), width=48, depth=3, omega=6.0, scale=25.0)
    with torch.no_grad():
        u = field.on_lattice((SIZE, SIZE))
    draw = np.random.default_rng(0).uniform(4, 44, (2, 60))
    i, j = np.rint(draw).astype(int)
    left.plot(*draw, ".", color=WHITE, markersize=4)
    x, y = u[0].numpy()[:, i, j]
    left.quiver(*draw, x, y, color=MOVED, angles="xy", scale_units="xy", scale=1, width=0.006)
    lattice(right, u, MOVED)


def nodeo(left: Axes, right: Axes) -> None:
    v = vortex(10, 9)
    trails(left, lambda t: v, STARTS, 2, MOVED)
    trails(right, lambda t: smooth(v, 3.0), STARTS, 12, MOVED)


def nevf(left: Axes, right: Axes) -> None:
    torch.manual_seed(2)
    field = SirenField((SIZE, SIZE), width=48, depth=3, omega=7.0, scale=40.0)
    nodes = sparse_shape((SIZE, SIZE), 6)
    with torch.no_grad():
        sparse = field.on_lattice(nodes)
    i, j = np.meshgrid(*(np.linspace(0, SIZE - 1, n) for n in nodes), indexing="ij")
    x, y = sparse[0].numpy()
    left.plot(i.ravel(), j.ravel(), ".", color=WHITE, markersize=4)
    left.quiver(i, j, x, y, color=MOVED, angles="xy", scale_units="xy", scale=1.5, width=0.006)
    lattice(right, flow(resize(sparse, (SIZE, SIZE))), MOVED)


def fireants(left: Axes, right: Axes) -> None:
    """Updates composed, each of about the same size wherever it is."""
    u = torch.zeros(1, 2, SIZE, SIZE)
    v = vortex(3.2, 8)
    for k in range(3):
        u = v + warp_field(u, v)
        lattice(left, u, MOVED, alpha=0.3 + 0.35 * k)
    for k, side in enumerate((40, 26, 14)):
        low = (SIZE - side) / 2
        box = dict(fc="none", ec=(FIXED, WHITE, MOVED)[k], linewidth=1.4)
        right.add_patch(FancyBboxPatch((low, low), side, side, boxstyle="square,pad=0", **box))
        for m in range(1, 4):
            at = low + side * m / 4
            right.plot([at, at], [low, low + side], color=box["ec"], linewidth=0.6, alpha=0.6)
            right.plot([low, low + side], [at, at], color=box["ec"], linewidth=0.6, alpha=0.6)


def warp_field(u: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return torch.cat([warp(u[:, [c]], by, padding="border") for c in range(2)], dim=1)


METHODS = {
    "demons": (demons, "force at the edge", "after 60 steps, smoothed"),
    "lddmm": (lddmm, "the wind at the start", "and near the end"),
    "syn": (syn, "fixed, to the middle", "moving, to the middle"),
    "svf": (svf, "one eighth of the time", "the whole, by three squarings"),
    "voxelmorph": (voxelmorph, "many pairs", "one network"),
    "symnet": (symnet, "one network, two velocities", "half the way from each"),
    "idir": (idir, "asked at random points", "the map it stands for"),
    "nodeo": (nodeo, "every point a particle", "smoothed, in more steps"),
    "nevf": (nevf, "asked at every sixth voxel", "upsampled, then squared"),
    "fireants": (fireants, "updates composed", "coarse to fine"),
}


@styled
def picture(draw: Callable, first: str, second: str) -> Picture:
    figure = Picture(figsize=(5.2, 2.9), facecolor=CARD, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    panels = figure.subplots(1, 2)
    for axes, title in zip(panels, (first, second), strict=True):
        axes.set(xlim=(-1, SIZE), ylim=(-1, SIZE), aspect="equal")
        axes.axis("off")
        axes.set_title(title, color=ON_CARD, fontsize=9.5, pad=7)
    draw(*panels)
    return figure


#: Name: year, height in the tree, parents. Heights: voxels, flows, networks, neural fields.
TREE = {
    "demons": (1998, 3.3, ()),
    "LDDMM": (2005, 2.2, ()),
    "SVF": (2006.6, 1.1, ("LDDMM",)),
    "SyN": (2008.2, 3.0, ("demons", "LDDMM")),
    "VoxelMorph": (2018, 2.0, ("SVF",)),
    "SYMNet": (2020.2, 3.2, ("VoxelMorph", "SyN")),
    "NODEO": (2021.2, 0.75, ("LDDMM",)),
    "IDIR": (2021.2, 0.0, ()),
    "NeVF": (2023.6, 1.5, ("SVF", "IDIR", "NODEO")),
    "FireANTs": (2024.2, 2.6, ("SyN",)),
}
#: Sections of the page that are not called like their method.
SECTIONS = {"SVF": "stationary-velocities"}
TICKS = (1998, 2005, 2008, 2018, 2020, 2022, 2024)


def place(year: float) -> float:
    """The ten years in which little is drawn are made short."""
    return year if year < 2009 else year - 6


@styled
def tree() -> Picture:
    figure = Picture(figsize=(4.7, 3.9), facecolor=CARD, layout="constrained")  # for a phone, too
    axes = figure.subplots()
    axes.set_facecolor(CARD)
    for name, (year, height, parents) in TREE.items():
        ours = name == "NeVF"
        for parent in parents:
            old, low = TREE[parent][:2]
            colour = MOVED if ours else ON_CARD_MUTED
            axes.plot([place(old), place(year)], [low, height], color=colour, linewidth=1.3)
        box = dict(boxstyle="round,pad=0.35", fc=CARD, ec=MOVED if ours else FIXED)
        spot = (place(year), height)
        word = axes.text(
            *spot, name, color=ON_CARD, ha="center", va="center", fontsize=9.5, bbox=box, zorder=3
        )
        word.get_bbox_patch().set_url("#" + SECTIONS.get(name, name.lower()))
    axes.set(xlim=(1996.1, 2020.1), ylim=(-0.4, 3.7), yticks=[])
    axes.set_xticks([place(t) for t in TICKS], [str(t) for t in TICKS])
    axes.tick_params(colors=ON_CARD_MUTED, length=3)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    pictures = {name: picture(*parts) for name, parts in METHODS.items()}
    for name, figure in {"tree": tree(), **pictures}.items():
        with matplotlib.rc_context({"svg.hashsalt": name}):
            (FOLDER / f"{name}.svg").write_bytes(encode(figure, "svg"))
        size = (FOLDER / f"{name}.svg").stat().st_size
        print(f"{name}.svg: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
