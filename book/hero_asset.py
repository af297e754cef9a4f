"""Write book/_static/hero.webp and share.jpg: one person's slice on its way to another's.

    python book/hero_asset.py

The strip holds the frames one below another, the moving slice warped by phi_t with the fixed
slice's outline, and last the fixed slice; nevf_home.css shows them in turn. The people are of the
`train` split of `slices2d`, and the times crowd at both ends, so that the motion rests there.
"""

from __future__ import annotations

from pathlib import Path

import contourpy
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates

from nevf_lite import register
from nevf_lite.data import load_pair
from nevf_lite.viz.slices import foreground, window
from nevf_lite.viz.style import FIXED, GREY
from nevf_lite.viz.viewer.keyframes import at_time

STATIC = Path(__file__).parent / "_static"
FIXED_PERSON, MOVING_PERSON = "trt02", "trt05"
FRAMES = 32
SIZE = (264, 328)  # pixels of a frame
MARGIN = 6  # mm around the brain
OVER = 2  # drawn so much larger, then reduced


def main() -> None:
    pair = load_pair("slices2d", FIXED_PERSON, MOVING_PERSON)
    result = register(pair.fixed, pair.moving, "fast", spacing=1, progress=False)
    fixed = np.asarray(pair.fixed.dataobj, np.float32)
    times = (1 - np.cos(np.pi * np.linspace(0, 1, FRAMES))) / 2
    warped = [
        np.asarray(at_time(result.transform, t).warp_image(pair.moving).dataobj) for t in times
    ]
    corner, scale = _fit(fixed, warped[0])
    outline = _outline(fixed)
    tiles = [_tile(scan, corner, scale, outline) for scan in (*warped, fixed)]
    width, height = SIZE
    strip = Image.new("RGB", (width, height * len(tiles)))
    for k, tile in enumerate(tiles):
        strip.paste(tile, (0, k * height))
    strip.save(STATIC / "hero.webp", quality=60, method=6)
    share = Image.new("RGB", (1200, 630), tiles[0].getpixel((0, 0)))
    for k, tile in enumerate((tiles[0], tiles[-2], tiles[-1])):
        share.paste(tile.resize((380, 472), Image.Resampling.LANCZOS), (15 + 395 * k, 79))
    share.save(STATIC / "share.jpg", quality=80, optimize=True)
    for name in ("hero.webp", "share.jpg"):
        print(f"{name}: {(STATIC / name).stat().st_size / 1024:.0f} kB")


def _fit(*scans: np.ndarray) -> tuple[np.ndarray, float]:
    """The voxel at the lower left of a frame, and pixels a voxel, so that every brain fits."""
    there = np.argwhere(np.any([foreground(scan) for scan in scans], axis=0))
    low, high = there.min(axis=0) - MARGIN, there.max(axis=0) + MARGIN
    scale = min(np.array(SIZE) / (high - low))
    return (low + high) / 2 - np.array(SIZE) / scale / 2, scale


def _outline(fixed: np.ndarray) -> list[np.ndarray]:
    """The border of the brain and of its ventricles, as (point, 2) voxels."""
    low, high = window(fixed)
    lines = contourpy.contour_generator(z=gaussian_filter(fixed, 1.2).T).lines(
        low + 0.33 * (high - low)
    )
    return [line for line in lines if len(line) > 40]


def _tile(scan: np.ndarray, corner: np.ndarray, scale: float, outline: list) -> Image.Image:
    width, height = (OVER * side for side in SIZE)
    scale = OVER * scale
    low, high = window(scan)
    x, y = np.meshgrid(np.arange(width) / scale, (height - np.arange(height)) / scale)
    places = np.stack([x + corner[0], y + corner[1]])
    values = map_coordinates((scan - low) / (high - low), places, order=1, cval=0.0)
    tile = Image.fromarray((255 * GREY(np.clip(values, 0, 1))[..., :3]).astype(np.uint8))
    pen = ImageDraw.Draw(tile)
    for line in outline:
        pixels = (line - corner) * scale
        pixels[:, 1] = height - pixels[:, 1]
        pen.line([tuple(p) for p in pixels], fill=FIXED, width=2 * OVER - 1, joint="curve")
    return tile.resize(SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
