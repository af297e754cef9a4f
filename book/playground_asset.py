"""Write book/_static/playground_slice.js: the brain slice of the playground, 160 x 192 at 1 mm.

    python book/playground_asset.py

The slice is a data URI in a script, because a page opened as a file may not read the pixels of
another file. It is the moving image of the simulated pair, the ICBM-152 template that comes with
nilearn, so it needs no download and is not the scan of a person.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from nevf_lite.data import load_pair

TARGET = Path(__file__).parent / "_static" / "playground_slice.js"


def main() -> None:
    pair = load_pair("simulated", ndim=2)
    values = np.asarray(pair.moving.dataobj)
    brain = np.asarray(pair.moving_mask.dataobj) > 0
    grey = np.where(brain, 1 + np.clip(values, 0, 1) * 254, 0)  # 0 is outside the brain
    # RAS to the rows of a picture: axis 0 runs right, axis 1 runs up
    picture = Image.fromarray(np.rint(grey.T[::-1]).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    TARGET.write_text(
        "// Made by book/playground_asset.py.\n"
        f"// {pair.credit}\n// {pair.licence}\n"
        f'window.nevfSlice = {{\n  shape: [{values.shape[0]}, {values.shape[1]}],\n  uri: "{uri}",'
        "\n};\n",
        encoding="utf-8",
    )
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
