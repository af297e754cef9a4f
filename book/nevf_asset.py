"""Write book/_static/nevf/slices.js: the brain slices of the page "NeVF, live".

    NEVF_DATA=... python book/nevf_asset.py

Eight people of slices2d and the ICBM-152 template of the playground, 64 x 80 at 2.5 mm, one byte a
voxel. Axis 0 runs right and axis 1 up. The people are those of the `train` split: the page's
settings and figures were chosen by looking at them.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import torch

from nevf_lite.data import load_pair
from nevf_lite.data.splits import TRAIN
from nevf_lite.grid import antialiasing_sigma, blur, identity
from nevf_lite.warp import sample

TARGET = Path(__file__).parent / "_static" / "nevf" / "slices.js"
SHAPE, MM = (64, 80), 2.5
CENTRE = (109, 141)  # of the brains of slices2d, in voxels of 1 mm


def coarse(image: np.ndarray, centre: tuple[float, float]) -> str:
    """An image of 1 mm, at 2.5 mm around a centre in its voxels, as base64 of its bytes."""
    volume = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    for axis in range(2):
        volume = blur(volume, antialiasing_sigma(MM), axis)
    middle = [MM * (n - 1) / 2 - c for n, c in zip(SHAPE, centre, strict=True)]
    values = sample(volume, MM * identity(SHAPE) - torch.tensor(middle).view(1, 2, 1, 1))[0, 0]
    grey = np.rint(255 * values.clamp(0, 1).numpy()).astype(np.uint8)
    return base64.b64encode(grey.tobytes()).decode()


def main() -> None:
    people = TRAIN["mindboggle"]
    images, terms = {}, None
    for person in people:
        terms = load_pair("slices2d", person, people[0])
        image = np.asarray(terms.fixed.dataobj)[::-1]  # its axis 0 runs left
        images[person] = coarse(image, (image.shape[0] - 1 - CENTRE[0], CENTRE[1]))
    template = load_pair("simulated", ndim=2)
    image = np.where(template.moving_mask.dataobj, template.moving.dataobj, 0)
    images["template"] = coarse(image, tuple((n - 1) / 2 for n in image.shape))
    lines = "".join(f'    {name}: "{data}",\n' for name, data in images.items())
    TARGET.write_text(
        "// Made by book/nevf_asset.py.\n"
        f"// {terms.credit}\n// {terms.licence}\n// {template.credit}\n// {template.licence}\n"
        f"self.nevfSlices = {{\n  shape: [{SHAPE[0]}, {SHAPE[1]}],\n  mm: {MM},\n  images: {{\n"
        f"{lines}  }},\n}};\n",
        encoding="utf-8",
    )
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
