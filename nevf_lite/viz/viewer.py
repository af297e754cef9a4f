"""The deformation viewer: a warped lattice and the scans, turned and played in the browser.

The object shows itself in a notebook as an `<iframe>` that holds all it needs: a transform at five
times and two scans as whole numbers, deflated, in base64, and a script that draws them on plain
canvases. It needs no kernel, no network and no other file, so it is the same in Jupyter, in Colab
and in a page that was rendered long ago. The same bytes come out each time.

What it shows. On the left, where the lattice of the fixed image lies in the moving one at time t of
the flow, x -> phi_t(x), over the moving scan; its colour is the determinant |J| of that map over
the surroundings of a node, blue where the moving scan has less volume and orange where it has
more. On the right, what the lattice reads: the moving scan pulled back by phi_t onto the fixed
grid. At t = 0 nothing has moved, at t = 1 it is the registered image. Yellow marks are voxels where
the map folds, det <= 0, looked for on the fixed image's own voxels and not on the lattice.
"""

from __future__ import annotations

import base64
import html
import zlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from nibabel.orientations import apply_orientation

from nevf_lite.files import atomic
from nevf_lite.space import Grid
from nevf_lite.transform import Transform
from nevf_lite.viz import keyframes
from nevf_lite.viz.packing import pack_motion, pack_scan, three
from nevf_lite.viz.slices import Plane, planes
from nevf_lite.viz.style import CARD, DIVERGING, FIXED, FOLD, ON_CARD, ON_CARD_MUTED

#: Bytes of the HTML that a notebook stores: never more than the first; finer scans up to the other.
LIMIT, AIM = 300_000, 250_000
LEVELS = 48  # of grey: seen through interpolation, no fewer than 256
START = 0.55  # time: at 0 it looks as if nothing happened
HEIGHT = 640  # px, for a phone and for a page
CELLS = {2: 48, 3: 24}  # of the lattice that is stored, along its longest side
EVERY = 2  # of its lines, these are drawn, in the space between the planes
COLOURS = 17
_SCRIPTS = ("viewer_model.js", "viewer_draw.js", "viewer_scene.js", "viewer.js")
_TICKS = {
    0.5: ("0.7", "1.4"),
    0.75: ("0.6", "1.7"),
    1.0: ("½", "2"),
    1.5: ("0.35", "2.8"),
    2.0: ("¼", "4"),
}


@dataclass(frozen=True, eq=False)
class DeformationViewer:
    """A deformation to look at from all sides and at any time of its flow.

    transform: fixed to moving, in 2-D or 3-D. moving, fixed: paths or nibabel images on any grid of
    their own spaces; without the fixed one there is nothing to compare with. title: what the page
    is called. See `keyframes.at_time` for what time means where a transform is not only a velocity.
    Raises ValueError for an image that cannot be read or has another number of axes.
    """

    transform: Transform
    moving: object
    fixed: object = None
    title: str = "Deformation of a registration"

    @property
    def alt(self) -> str:
        """What a person who cannot see it should be told."""
        return self._content[1]

    @cached_property
    def page(self) -> str:
        """A whole HTML page, to be written to a file or put into a frame."""
        return self._content[0]

    def _repr_html_(self) -> str:
        frame = html.escape(self.page, quote=False).replace('"', "&quot;")
        return (
            f'<iframe title="{html.escape(self.title)}" sandbox="allow-scripts" '
            f'style="display:block;width:100%;height:{HEIGHT}px;border:0;border-radius:10px;'
            f'background:{CARD}" srcdoc="{frame}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<DeformationViewer: {self.alt}>"

    def save(self, path) -> None:
        """Write the page to a file, whole or not at all. Raises OSError, as `files.atomic` does."""
        page = self.page
        with atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="replace")

    @cached_property
    def _content(self) -> tuple[str, str]:
        """The page and its description: built once, and only when it is looked at."""
        grid = self.transform.fixed
        before = keyframes.at_time(self.transform, 0.0)
        sources = [(self.moving, before)] + ([] if self.fixed is None else [(self.fixed, None)])
        turn = grid.canonical()[1]
        seen = [
            apply_orientation(keyframes.scan_on(image, chain, grid), turn)
            for image, chain in sources
        ]
        box, mask = keyframes.box_of(grid, seen)
        motion = keyframes.motion(self.transform, box, mask, CELLS[grid.ndim])
        cuts = planes(box, mask)
        meta, numbers = pack_motion(motion)
        meta |= _placed(box, cuts, motion) | {"hasFixed": self.fixed is not None}
        alt = _describe(motion, meta)
        spacing = max(min(box.spacing), max(box.extent) / (96 if grid.ndim == 3 else 320))
        empty = len(_render(self.title, alt, meta, "", cuts).encode("utf-8", "replace"))
        while True:
            scan = box.with_shape(tuple(max(round(e / spacing) + 1, 2) for e in box.extent))
            pictures = [
                keyframes.shades(keyframes.scan_on(image, chain, scan), LEVELS)
                for image, chain in sources
            ]
            meta |= {"scan": three(scan.shape), "finer": 1.5, "levels": LEVELS}
            data = zlib.compress(numbers + b"".join(map(pack_scan, pictures)), 9)
            size = empty + 4 * len(data) / 3
            if size <= AIM:
                text = base64.b64encode(data).decode("ascii")
                return _render(self.title, alt, meta, text, cuts), alt
            spacing *= 1.01 * (size / AIM) ** (1 / grid.ndim)


def _placed(box: Grid, cuts: list[Plane], motion: keyframes.Motion) -> dict:
    """Where the box lies in the world, in words and mm, and the colours."""
    letters: list = [None] * box.ndim
    start = [e / 2 for e in box.extent]
    axes: list = [None] * box.ndim
    for plane in cuts:
        for place, axis in enumerate(plane.axes):
            letters[axis] = plane.letters[2 * place : 2 * place + 2]
        if plane.across is not None:
            a = plane.across
            start[a] = plane.index * box.spacing[a]
            aligned = box.directions[a, a] > 0.9998 * box.spacing[a]  # within about one degree
            axes[a] = {"name": "xyz"[a], "start": float(box.affine[a, 3]) if aligned else None}
    reach = _reach(motion)
    shades = DIVERGING(np.linspace(0.12, 0.88, COLOURS))
    return {
        "extent": [*map(float, box.extent), *[0.0] * (3 - box.ndim)],
        "startTime": START,
        "start": [*map(float, start), *[0.0] * (3 - box.ndim)],
        "letters": letters,
        "axes": axes,
        "reach": reach,
        "every": EVERY,
        "everyOnPlane": {2: EVERY, 3: 1}[box.ndim],
        "colours": [*(to_hex(c) for c in shades), FOLD],
        "card": [round(255 * c) for c in to_rgb(CARD)],
        "dark": CARD,
        "ink": ON_CARD,
        "muted": ON_CARD_MUTED,
        "cross": FIXED,
    }


def _reach(motion: keyframes.Motion) -> float:
    """Half the width of the colour scale, in log2: from 1.4-fold to fourfold."""
    cell = motion.lattice.spacing
    gradients = [
        np.gradient(motion.displacement[-1, ..., c], *cell, axis=tuple(range(len(cell))))
        for c in range(len(cell))
    ]
    matrix = np.moveaxis(np.array(gradients), (0, 1), (-2, -1)) + np.eye(len(cell))
    inside = np.linalg.det(matrix)[motion.inside]
    inside = np.abs(np.log2(inside[inside > 0]))
    wide = float(np.percentile(inside, 95)) if inside.size else 0.0
    return next((reach for reach in _TICKS if reach >= wide), max(_TICKS))


def _describe(motion: keyframes.Motion, meta: dict) -> str:
    distance = np.linalg.norm(motion.displacement[-1], axis=-1)[motion.inside]
    folds = meta["folds"][-1]["total"]
    most = distance.max() if distance.size else 0.0
    return (
        f"A regular lattice in the fixed scan, drawn where the deformation takes it in the moving "
        f"scan at a time t from 0 to 1, beside the moving scan warped to that time. At t = 1 the "
        f"brain has moved by up to {most:.1f} mm, and "
        f"{f'{folds:,} voxels fold' if folds else 'no voxel folds'}."
    )


def _render(title: str, alt: str, meta: dict, data: str, cuts: list[Plane]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    files = resources.files("nevf_lite.viz")
    low, high = _TICKS[meta["reach"]]
    across = [2 if plane.across is None else plane.across for plane in cuts]
    cell = max(meta["extent"]) / (max(meta["lattice"]) - 1) * meta["everyOnPlane"]
    return environment.from_string(files.joinpath("viewer.html.jinja").read_text("utf-8")).render(
        title=title,
        alt=alt,
        deep=meta["ndim"] == 3,
        measure="volume" if meta["ndim"] == 3 else "area",
        has_fixed=meta["hasFixed"],
        ticks=[low, "1", high],
        gradient=", ".join(meta["colours"][:-1]),
        cell=f"{cell:.0f}",
        start_time=START,
        planes=[
            {
                "name": plane.name,
                "across": a,
                "extent": f"{meta['extent'][a]:.2f}",
                "start": f"{meta['start'][a]:.2f}",
            }
            for a, plane in zip(across, cuts, strict=True)
        ],
        meta=meta,
        data=data,
        script="\n".join(files.joinpath(name).read_text("utf-8") for name in _SCRIPTS),
        card=CARD,
        ink=ON_CARD,
        muted=ON_CARD_MUTED,
        accent=FIXED,
        fold=FOLD,
    )
