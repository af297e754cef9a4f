"""Write book/_static/live_learn_data.js: a registration in 3-D, recorded while it learns.

    NEVF_DATA=... python book/learn_asset.py

A SIREN is fitted to a pair of the `train` split on voxels of 4 mm, then of 2 mm. At some of its
iterations the warped brain is kept, of it an axial slice and the lattice in its plane, with
likeness, overlap and folds: all of them measured on voxels of 2 mm, so that the curves of the two
levels are one curve. The numbers are packed as bytes, as differences from frame to frame.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import torch

from nevf_lite.chapters import tensor
from nevf_lite.config import Level, preset
from nevf_lite.data import load_pair
from nevf_lite.losses import LocalNCC, weighted_mean
from nevf_lite.optimise import deformation, fit, make_field
from nevf_lite.scores.deformation import folds
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.warp import warp

TARGET = Path(__file__).parent / "_static" / "live_learn_data.js"
SPACING = 2  # mm
LEVELS = (Level(2, 100), Level(1, 100))
EVERY = 4  # voxels between the recorded nodes of the lattice
DENSE = 12  # the first iterations are all kept, later ones every fourth


def main() -> None:
    pair = load_pair("mindboggle", spacing=SPACING)
    fixed, moving = tensor(pair.fixed), tensor(pair.moving)
    labels = [tensor(image) for image in (pair.fixed_labels, pair.moving_labels)]
    mask = tensor(pair.fixed_mask)
    shape = tuple(fixed.shape[2:])
    at = round(0.55 * shape[2])  # through the ventricles
    config = preset("siren", levels=LEVELS)
    field = make_field(shape, config)
    compare = LocalNCC(fixed)
    pictures, nodes, record = [], [], []

    def keep(iteration: int) -> None:
        with torch.no_grad():
            u, _ = deformation(field, shape, 2, config)
            warped = warp(moving, u)
            moved = warp(labels[1], u, mode="nearest")
            likeness = weighted_mean(compare.map(warped), mask).item()
        picture = warped[0, 0, :, :, at].clamp(0, 1)
        pictures.append((picture * 255).round().to(torch.uint8).numpy())
        nodes.append(u[0, :2, ::EVERY, ::EVERY, at].numpy())
        overlap = mean_dice(labels[0][0, 0], moved[0, 0], pair.protocol)
        row = (iteration, likeness, overlap, 100 * folds(u).forward, u.norm(dim=1).mean().item())
        record.append([round(value, 4) for value in row])

    seen = 0

    def watch(_record: dict) -> None:
        nonlocal seen
        seen += 1
        if seen <= DENSE or seen % 4 == 0:
            keep(seen)

    keep(0)
    torch.manual_seed(0)
    fit(fixed, moving, config, field=field, callback=watch)
    reach = max(np.abs(n).max() for n in nodes)
    lattice = np.stack([np.rint(n / reach * 127).astype(np.int8) for n in nodes])
    frames = np.stack(pictures)
    target = (fixed[0, 0, :, :, at].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    parts = [target.tobytes(), differences(frames), differences(lattice.view(np.uint8))]
    text = base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()
    said = {
        "shape": frames.shape[1:],
        "nodes": lattice.shape[2:],
        "every": EVERY,
        "spacing": SPACING,
        "unit": round(float(reach) / 127, 6),  # voxels in one step of the lattice's bytes
        "firstLevel": LEVELS[0].iterations,
        "columns": ["iteration", "likeness", "dice", "folds", "motion"],
        "rows": record,
    }
    TARGET.write_text(
        "// Made by book/learn_asset.py.\n"
        f"// {pair.name}: {pair.credit}\n// {pair.licence}\n"
        f"window.nevfLearnData = {json.dumps(said)};\n"
        f'window.nevfLearnData.packed = "{text}";\n',
        encoding="utf-8",
    )
    print(f"{len(record)} frames, {TARGET.stat().st_size / 1000:.0f} kB; last {record[-1]}")


def differences(frames: np.ndarray) -> bytes:
    """Bytes of the first frame, then of what each adds to the one before, modulo 256."""
    return np.concatenate([frames[:1], np.diff(frames, axis=0)]).astype(np.uint8).tobytes()


if __name__ == "__main__":
    main()
