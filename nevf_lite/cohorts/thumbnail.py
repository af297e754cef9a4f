"""A small picture of a pair: the fixed image, the warped one, and where they agree."""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

from nevf_lite.scans.files import atomic
from nevf_lite.scans.space import Grid
from nevf_lite.viz.slices import Plane, foreground, on_grid, planes, shades, window
from nevf_lite.viz.style import GREY, SEQUENTIAL

#: Height of each panel, in pixels.
HEIGHT = 120


def write_thumbnail(path: str | os.PathLike, fixed, warped, ncc: np.ndarray) -> None:
    """Write a row of panels as .webp: fixed and warped image, and the map of local NCC.

    fixed, warped: nibabel images on the fixed grid. ncc: (*shape), see `quality.ncc_map`; dark is
    poor. The planes are an axial and a coronal one, or the image's own.
    """
    grid = Grid.of(fixed)
    arrays = [on_grid(image, grid, name) for image, name in ((fixed, "fixed"), (warped, "warped"))]
    masks = [foreground(array) for array in arrays]
    agreement = on_grid(ncc, grid, "ncc")
    strips = []
    for plane in planes(grid, masks[0] | masks[1])[:2]:
        panels = [
            GREY(shades(array, window(array, mask), plane))
            for array, mask in zip(arrays, masks, strict=True)
        ]
        head = plane.cut(masks[0] | masks[1])
        coloured = SEQUENTIAL(plane.cut(agreement))
        panels.append(np.where(head[..., None], coloured, GREY(np.zeros(head.shape))))
        strips += [_scaled(panel, plane) for panel in panels]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(strips, axis=1)).save(buffer, "webp", quality=70)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _scaled(panel: np.ndarray, plane: Plane) -> np.ndarray:
    """A panel, rows upward, at the common height and with square pixels: (HEIGHT, width, 3)."""
    width, height = plane.size
    size = max(1, round(HEIGHT * width / height)), HEIGHT
    picture = Image.fromarray((255 * panel[::-1, :, :3]).astype(np.uint8))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
