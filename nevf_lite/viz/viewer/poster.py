"""A small picture of the deformation, for print and until the script has drawn."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib.colors import to_rgb

from nevf_lite.viz.slices import Plane, shades, window
from nevf_lite.viz.style import CARD, GREY

_GAP = 8  # pixels between slices
_HEIGHT = 190  # pixels of the tallest slice


def poster(scans: list[np.ndarray], view_planes: list[Plane]) -> str:
    """The planes of each scan in a row, rows of equal scale, as the data URI of a WebP image.

    scans: canonical arrays that the planes cut.
    """
    from PIL import Image

    scale = _HEIGHT / max(plane.size[1] for plane in view_planes)  # pixels a mm
    sizes = [tuple(max(round(scale * side), 1) for side in plane.size) for plane in view_planes]
    width = sum(w for w, _ in sizes) + _GAP * (len(sizes) - 1)
    height = max(h for _, h in sizes)
    card = tuple(round(255 * c) for c in to_rgb(CARD))
    sheet = Image.new("RGB", (width, (height + _GAP) * len(scans) - _GAP), card)
    for row, scan in enumerate(scans):
        limits = window(scan)
        left = 0
        for plane, size in zip(view_planes, sizes, strict=True):
            flat = shades(scan, limits, plane)[::-1]  # the first row of a file is the upper one
            pixels = (255 * GREY(flat)[..., :3]).astype(np.uint8)
            tile = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            sheet.paste(tile, (left, row * (height + _GAP) + (height - size[1]) // 2))
            left += size[0] + _GAP
    file = io.BytesIO()
    sheet.save(file, "webp", quality=62, method=6)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
