"""Thumbnails of the home page for pages whose charts say nothing when they are small.

Each is drawn anew, with a few strong marks, from what its page is about.
"""

from __future__ import annotations

import math
from dataclasses import replace

from nevf_claims import entries

from nevf_lite import kernels
from nevf_lite.config import preset
from nevf_lite.registration.memory import predict_memory
from nevf_lite.study.verdicts import FAILS, HOLDS, IN_PART
from nevf_lite.viz.style import AFTER, CARD, FIXED, MOVED

WIDTH, HEIGHT = 240, 135
_DIM = "#3b434e"
_MUTED = "#a3abb5"
_COLOURS = {HOLDS: "#2fa37c", IN_PART: MOVED, FAILS: "#e0555c"}
_GRID = (160, 192, 160)  # voxels of 1 mm


def _card(*parts: str) -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}"><rect width="{WIDTH}" height="{HEIGHT}" fill="{CARD}"/>'
        f"{''.join(parts)}</svg>"
    ).encode()


def verdicts() -> bytes:
    """A square for every claim of the paper, in the colour of its verdict."""
    colours = [_COLOURS.get(entry.verdict, _DIM) for entry in entries()]
    columns = math.ceil(math.sqrt(len(colours) * WIDTH / HEIGHT))
    side = WIDTH / (columns + 1)
    rows = -(-len(colours) // columns)
    left, top = side / 2, (HEIGHT - rows * side) / 2
    places = [
        (left + side * (k % columns), top + side * (k // columns)) for k in range(len(colours))
    ]
    return _card(
        *(
            f'<rect x="{x + 2:.1f}" y="{y + 2:.1f}" width="{side - 4:.1f}" '
            f'height="{side - 4:.1f}" rx="3" fill="{colour}"/>'
            for (x, y), colour in zip(places, colours, strict=True)
        )
    )


def sparse_points() -> bytes:
    """A lattice of voxels, and the points of every third along each axis."""
    pitch = 15
    return _card(
        *(
            f'<circle cx="{15 + pitch * i}" cy="{15 + pitch * j}" '
            + (f'r="5" fill="{FIXED}"/>' if i % 3 == j % 3 == 0 else f'r="1.6" fill="{_MUTED}"/>')
            for j in range(8)
            for i in range(15)
        )
    )


def wide_step() -> bytes:
    """A wave, read at points that are too far apart, and what they make of it."""

    def height(x: float) -> float:
        return HEIGHT / 2 - 44 * math.sin(2 * math.pi * x / 48)

    wave = " ".join(f"{x},{height(x):.1f}" for x in range(0, WIDTH + 1, 2))
    read = [(x, height(x)) for x in range(4, WIDTH, 58)]
    points = " ".join(f"{x},{y:.1f}" for x, y in read)
    return _card(
        f'<polyline points="{wave}" fill="none" stroke="{MOVED}" stroke-width="3"/>',
        f'<polyline points="{points}" fill="none" stroke="{FIXED}" stroke-width="4"/>',
        *(f'<circle cx="{x}" cy="{y:.1f}" r="7" fill="{FIXED}"/>' for x, y in read),
    )


def differences() -> bytes:
    """By how much NeVF's Dice is above that of others, with intervals, of the claims about it."""
    found = [
        finding
        for entry in entries()
        if entry.claim.part == "NeVF beside others" and entry.claim.kind == "difference"
        for finding in entry.findings
        if finding.pairs and not math.isnan(finding.low)
    ]
    low, high = min(0.0, *(f.low for f in found)), max(f.high for f in found)

    def at(value: float) -> float:
        return 24 + (WIDTH - 48) * (value - low) / (high - low)

    parts = [f'<path d="M{at(0):.1f} 8V{HEIGHT - 8}" stroke="{_MUTED}" stroke-width="2"/>']
    for k, finding in enumerate(found):
        y = HEIGHT * (k + 1) / (len(found) + 1)
        ends = f"M{at(finding.low):.1f} {y:.1f}H{at(finding.high):.1f}"
        parts.append(f'<path d="{ends}" stroke="{FIXED}" stroke-width="3"/>')
        parts.append(f'<circle cx="{at(finding.value):.1f}" cy="{y:.1f}" r="5" fill="{FIXED}"/>')
    return _card(*parts)


def memory() -> bytes:
    """What a registration at the paper's settings takes in plain torch at the steps 2 to 5, and the
    floor that no step is below.
    """
    paper = preset("paper")
    with kernels.backend("torch"):
        sizes = [
            predict_memory(replace(paper, levels=(replace(paper.levels[0], step=step),)), _GRID)
            for step in (2, 3, 4, 5, max(_GRID))
        ]
    high, scale = (HEIGHT - 20) / 4, (WIDTH - 36) / max(sizes)
    return _card(
        *(
            f'<rect x="18" y="{13 + k * high:.1f}" width="{length * scale:.1f}" '
            f'height="{high - 7:.1f}" rx="3" fill="{colour}"/>'
            for k, size in enumerate(sizes[:-1])
            for length, colour in ((size, AFTER), (sizes[-1], MOVED))
        )
    )


#: Pages and what draws their thumbnails.
DRAWN = {
    "book/claims": verdicts,
    "notebooks/06_sparse_sampling": sparse_points,
    "notebooks/11_step_size": wide_step,
    "notebooks/13_peers": differences,
    "notebooks/18_memory": memory,
}
