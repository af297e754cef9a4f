"""The deformation viewer: an interactive page with a warped lattice and the scans.

In a notebook the viewer is an `<iframe>` that contains everything: a transform at five times and
two scans as integers, deflated, in base64, and a script that draws them on 2-D canvases. It needs
no kernel, no network and no other file, so it also works in a rendered page. Equal inputs give
equal bytes.

Everything lies in the frame of the fixed image and shows the moving scan pulled back by phi_t: at
t = 0 before the flow, at t = 1 the registered image. On the left is the moving brain's surface,
carried by the inverse of phi_t and cut open along three planes that show the warped scan; on the
right are the planes, with the outline of the fixed scan. The lattice belongs to the moving scan and
is carried with it. Colours are the determinant |J| of phi_t, blue where the moving scan has less
volume and orange where it has more, or the length of phi_t(x) - x. Yellow marks are voxels where
the map folds, det <= 0. Folds are counted on voxels of the fixed image, not on the lattice.
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

from nevf_lite.scans.files import atomic
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.panels import round_length
from nevf_lite.viz.slices import Plane, planes
from nevf_lite.viz.style import CARD, DIVERGING, FIXED, FOLD, ON_CARD, ON_CARD_MUTED, SEQUENTIAL
from nevf_lite.viz.viewer import keyframes
from nevf_lite.viz.viewer.packing import pack_motion, pack_scan, pad_shape
from nevf_lite.viz.viewer.poster import poster as still

#: Bytes of the HTML that a notebook stores: the limit, and the size up to which scans get finer.
MAX_BYTES, TARGET_BYTES = 300_000, 285_000
GREY_LEVELS = 48  # interpolation between voxels hides the steps
START_TIME = 0.55  # of the flow; at 0 there would be no deformation
FRAME_HEIGHT = 720  # px
LATTICE_CELLS = {2: 48, 3: 24}  # along the longest side of the stored lattice, by ndim
COLOUR_COUNT = 17
_SCRIPTS = (
    *("model.js", "surface.js", "draw.js", "slices.js"),
    *("raster.js", "scene.js", "input.js", "viewer.js"),
)
_TICKS = {  # limit of the colour scale in log2: its tick labels
    0.5: ("0.7", "1.4"),
    0.75: ("0.6", "1.7"),
    1.0: ("½", "2"),
    1.5: ("0.35", "2.8"),
    2.0: ("¼", "4"),
}


@dataclass(frozen=True, eq=False)
class DeformationViewer:
    """An interactive view of a deformation, from all sides and at any time of its flow.

    transform: fixed to moving, in 2-D or 3-D. moving, fixed: paths or nibabel images, on any grid
    of the moving and of the fixed space; the fixed image is optional. title: title of the page.
    kind: what the images are, in a word; only a "scan" has the letters of its sides (R, L, A, P).
    `keyframes.at_time` defines time for a transform that is not only a velocity.
    Raises ValueError for an image that cannot be read or has another number of axes.
    """

    transform: Transform
    moving: object
    fixed: object = None
    title: str = "Deformation of a registration"
    kind: str = "scan"

    @property
    def alt(self) -> str:
        """The text alternative, for screen readers and where scripts are off."""
        return self._content[1]

    @cached_property
    def page(self) -> str:
        """The complete HTML page, for a file or the `srcdoc` of a frame."""
        return self._content[0]

    def _repr_html_(self) -> str:
        frame = html.escape(self.page, quote=False).replace('"', "&quot;")
        return (
            f'<iframe title="{html.escape(self.title)}" sandbox="allow-scripts" '
            f'style="display:block;width:100%;height:{FRAME_HEIGHT}px;border:0;border-radius:10px;'
            f'background:{CARD}" srcdoc="{frame}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<DeformationViewer: {self.alt}>"

    def save(self, path) -> None:
        """Write the page completely or not at all. Raises OSError like `files.atomic`."""
        page = self.page
        with atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="replace")

    @cached_property
    def _content(self) -> tuple[str, str]:
        """The page and its text alternative, built on first use."""
        grid = self.transform.fixed
        start = keyframes.at_time(self.transform, 0.0)
        sources = [(self.moving, start)] + ([] if self.fixed is None else [(self.fixed, None)])
        orientation = grid.canonical()[1]
        scans = [
            apply_orientation(keyframes.resample_scan(image, transform, grid), orientation)
            for image, transform in sources
        ]
        box, mask = keyframes.brain_box(grid, scans)
        motion = keyframes.motion(self.transform, box, mask, LATTICE_CELLS[grid.ndim])
        view_planes = planes(box, mask)
        meta, motion_bytes = pack_motion(motion)
        meta |= _settings(box, view_planes, motion) | {"hasFixed": self.fixed is not None}
        if self.kind != "scan":
            meta["letters"] = [["", ""]] * grid.ndim
        alt = _describe(motion, meta)
        words = {"title": self.title, "kind": self.kind, "alt": alt}
        midway = keyframes.at_time(self.transform, START_TIME)
        stills = [keyframes.resample_scan(self.moving, midway, box)]
        if self.fixed is not None:
            stills.append(keyframes.resample_scan(self.fixed, None, box))
        picture = still(stills, view_planes)
        spacing = max(min(box.spacing), max(box.extent) / (96 if grid.ndim == 3 else 320))
        page = _render(words, picture, meta, "", view_planes)
        size_without_data = len(page.encode("utf-8", "replace"))
        while True:
            shape = tuple(max(round(side / spacing) + 1, 2) for side in box.extent)
            scan_grid = box.with_shape(shape)
            grey_scans = [
                keyframes.quantise(
                    keyframes.resample_scan(image, transform, scan_grid), GREY_LEVELS
                )
                for image, transform in sources
            ]
            meta |= {"scan": pad_shape(shape), "finer": 1.5, "levels": GREY_LEVELS}
            data = zlib.compress(motion_bytes + b"".join(map(pack_scan, grey_scans)), 9)
            size = size_without_data + 4 * len(data) / 3
            if size <= TARGET_BYTES:
                text = base64.b64encode(data).decode("ascii")
                return _render(words, picture, meta, text, view_planes), alt
            spacing *= 1.01 * (size / TARGET_BYTES) ** (1 / grid.ndim)


def _settings(box: Grid, view_planes: list[Plane], motion: keyframes.Motion) -> dict:
    """The script's settings: size, orientation and world position of the box, and the colours."""
    letters: list = [None] * box.ndim
    start = [side / 2 for side in box.extent]
    axes: list = [None] * box.ndim
    for plane in view_planes:
        for i, axis in enumerate(plane.axes):
            letters[axis] = plane.letters[2 * i : 2 * i + 2]
        if plane.across is not None:
            a = plane.across
            start[a] = plane.index * box.spacing[a]
            aligned = box.directions[a, a] > 0.9998 * box.spacing[a]  # within about one degree
            axes[a] = {"name": "xyz"[a], "start": float(box.affine[a, 3]) if aligned else None}
    colours = DIVERGING(np.linspace(0.12, 0.88, COLOUR_COUNT))
    return {
        "extent": [*map(float, box.extent), *[0.0] * (3 - box.ndim)],
        "startTime": START_TIME,
        "start": [*map(float, start), *[0.0] * (3 - box.ndim)],
        "letters": letters,
        "axes": axes,
        "reach": _log2_limit(motion),
        "far": max(round(float(np.linalg.norm(motion.displacement[-1], axis=-1).max())), 1),
        "every": round_length(max(box.extent) / 16),
        "colours": [to_hex(c) for c in colours],
        "distances": [to_hex(c) for c in SEQUENTIAL(np.linspace(0, 1, COLOUR_COUNT))],
        "fold": FOLD,
        "card": [round(255 * c) for c in to_rgb(CARD)],
        "dark": CARD,
        "ink": ON_CARD,
        "muted": ON_CARD_MUTED,
        "cross": FIXED,
    }


def _log2_limit(motion: keyframes.Motion) -> float:
    """Limit of the colour scale, +-log2 of the determinant: between 1.4-fold and fourfold."""
    spacing = motion.lattice.spacing
    gradients = [
        np.gradient(motion.displacement[-1, ..., c], *spacing, axis=tuple(range(len(spacing))))
        for c in range(len(spacing))
    ]
    matrix = np.moveaxis(np.array(gradients), (0, 1), (-2, -1)) + np.eye(len(spacing))
    determinants = np.linalg.det(matrix)[motion.inside]
    magnitudes = np.abs(np.log2(determinants[determinants > 0]))
    spread = float(np.percentile(magnitudes, 95)) if magnitudes.size else 0.0
    return next((limit for limit in _TICKS if limit >= spread), max(_TICKS))


def _describe(motion: keyframes.Motion, meta: dict) -> str:
    distance = np.linalg.norm(motion.displacement[-1], axis=-1)[motion.inside]
    folds = meta["folds"][-1]["total"]
    largest = distance.max() if distance.size else 0.0
    return (
        f"The moving scan on its way to the fixed one at a time t from 0 to 1, from outside and in "
        f"slices, coloured by the change of {'volume' if motion.lattice.ndim == 3 else 'area'}. At "
        f"t = 1 it has moved by up to {largest:.1f} mm, and "
        f"{f'{folds:,} voxels fold' if folds else 'no voxel folds'}."
    )


def _render(words: dict, poster: str, meta: dict, data: str, view_planes: list[Plane]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    files = resources.files("nevf_lite.viz.viewer")
    low, high = _TICKS[meta["reach"]]
    across = [2 if plane.across is None else plane.across for plane in view_planes]
    return environment.from_string(files.joinpath("page.html.jinja").read_text("utf-8")).render(
        **words,
        poster=poster,
        deep=meta["ndim"] == 3,
        measure="volume" if meta["ndim"] == 3 else "area",
        has_fixed=meta["hasFixed"],
        ticks=[low, "1", high],
        gradient=", ".join(meta["colours"]),
        distance_gradient=", ".join(meta["distances"]),
        start_time=START_TIME,
        planes=[
            {
                "name": plane.name,
                "across": a,
                "extent": f"{meta['extent'][a]:.2f}",
                "start": f"{meta['start'][a]:.2f}",
            }
            for a, plane in zip(across, view_planes, strict=True)
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
