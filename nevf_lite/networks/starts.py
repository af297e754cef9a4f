"""A learned start: the weights that a SIREN begins with, learned from other pairs.

The last sentence of the paper's section 4 is to "train a network that can predict the initialized
weight of neural representation". A SIREN's weights each belong to the whole brain and it looks at
no image, so what can be learned is one start for all pairs (`meta_learning`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nevf_lite.config import Config
from nevf_lite.fields import SirenField
from nevf_lite.optimise import make_field
from nevf_lite.scans.files import atomic, existing_file

# Initial weights of the preset "siren"; no line of the reference, which would show a path.
SIREN_WEIGHTS = Path(__file__).parent / "weights" / "siren_start.safetensors"
FORMAT = "nevf-siren-start-1"


def learned_start(
    shape: Sequence[int], config: Config, path: str | os.PathLike | None = None
) -> SirenField:
    """The `start` of `register` for the preset "siren": a field with learned initial weights.

    shape: the finest grid, of three axes closest to RAS. config: with the spacing in mm. path: a
    file of `save_start`; None for the one in this package. It takes the place of
    `optimise.make_field`, which draws the weights. At 4 mm half of the iterations then do; on the
    level of 2 mm the lead is lost (`book/results/starts_train.csv`). Raises ValueError for another
    field, for 2-D images, and for a damaged file.
    """
    if config.field != "siren" or len(shape) != 3:
        raise ValueError(
            "start: the learned one is for volumes and the preset 'siren'; leave it out, or take "
            f"that preset, got {len(shape)}-D images and the field {config.field!r}"
        )
    path = existing_file(path or SIREN_WEIGHTS, "weights")
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get("start", "{}"))
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"weights: {path} cannot be read; it is damaged") from error
    if described.get("format") != FORMAT:
        raise ValueError(f"weights: {path} holds no start of a SIREN written by nevf_lite")
    wanted = described["settings"]
    got = {name: getattr(config, name) for name in wanted}
    if got != wanted:
        raise ValueError(f"start: the learned one is for a SIREN of {wanted}, got {got}")
    field = make_field(shape, config)
    field.load_state_dict(state)
    with torch.no_grad():  # velocities in voxels of this grid
        for parameter in field.net[-1].parameters():
            parameter *= described["spacing"] / config.spacing
    return field


def save_start(
    field: SirenField, path: str | os.PathLike, spacing: float, record: dict | None = None
) -> None:
    """Write the weights of a SIREN for `learned_start`, as 16-bit floats.

    spacing: mm of the voxels of its velocities. record: how it was trained, for JSON.
    """
    settings = {name: field.settings[name] for name in ("width", "depth", "omega", "scale")}
    metadata = {"format": FORMAT, "settings": settings, "spacing": spacing, "record": record or {}}
    tensors = {name: value.half().contiguous() for name, value in field.state_dict().items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {"start": json.dumps(metadata, sort_keys=True)}))
