"""Learned starts: the field that a registration begins with, learned from other pairs.

The last sentence of the paper's section 4 is to "train a network that can predict the initialized
weight of neural representation". A SIREN, whose weights each belong to the whole brain, gets
weights from which any pair is soon fitted at 4 mm. For a `FeatureField` a network looks at the two
images and predicts its features. Nothing is composed: from the start on the images alone decide.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nevf_lite.config import Config
from nevf_lite.fields import FeatureField, SirenField, VelocityField
from nevf_lite.grid import downsample_masked
from nevf_lite.networks.lattice_net import SCALE, STRIDE, LatticeNet
from nevf_lite.optimise import make_field
from nevf_lite.scans.files import atomic, existing_file

#: Initial weights of the preset "siren".
SIREN_WEIGHTS = Path(__file__).parent / "weights" / "siren_start.safetensors"
FORMAT = "nevf-siren-start-1"


def predicted_start(
    config: Config,
    fixed: Tensor,
    moving: Tensor,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
) -> tuple[VelocityField, Config]:
    """The `start` of `register` with the SIREN's weights that come with this package.

    config: with the spacing in mm. fixed, moving: (1, 1, *shape) in [0, 1] on the finest grid, its
    axes closest to RAS. Returns the field and the config as it is. At 4 mm the field needs half
    of the iterations that it needs from random weights; little of that is left after the level of
    2 mm (`book/results/starts_train.csv`). Raises ValueError for images that the weights are not
    for, and for another field: what `start_features` predicts costs overlap, so it is there to
    experiment with.
    """
    if fixed.ndim != 5:
        raise ValueError(f"start: the predicted one is for volumes, got {fixed.ndim - 2}-D images")
    if config.field != "siren":
        raise ValueError(
            f"start: only the preset 'siren' has a predicted one, got the field "
            f"{config.field!r}; choose that preset, or leave it out"
        )
    return start_siren(SIREN_WEIGHTS, config, fixed), config


def start_features(
    network: LatticeNet,
    config: Config,
    fixed: Tensor,
    moving: Tensor,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
) -> tuple[FeatureField, Config]:
    """The `start` of a field of features that a network predicts.

    network: such as `load_network("lattices", "small")`. The features are predicted on images whose
    every second voxel is a node of one of the field's lattices, that of the network's spacing. The
    other lattices start as ever. Coarser levels of the config are left out. Raises ValueError for a
    field without such a lattice, or of another width.
    """
    factor = network.frame.spacing / config.spacing
    wanted = STRIDE * factor
    number = min(range(len(config.lattices)), key=lambda i: abs(config.lattices[i] - wanted))
    if config.width != network.settings["width"] or abs(config.lattices[number] - wanted) > 0.5:
        raise ValueError(
            f"start: the predicted one has features of width {network.settings['width']}, every "
            f"{STRIDE * network.frame.spacing:g} mm, got width {config.width} and lattices of "
            f"{', '.join(f'{n * config.spacing:g}' for n in config.lattices)} mm"
        )
    field = make_field(fixed.shape[2:], config).to(fixed)
    lattice = field.lattices[number]
    shape = [STRIDE * (nodes - 1) + 1 for nodes in lattice.shape[2:]]
    images = []
    for image, mask in ((fixed, fixed_mask), (moving, moving_mask)):
        images += downsample_masked(image, mask, shape)
    with torch.no_grad():
        features = network.predict_features(*images[::2], *images[1::2])
        lattice.copy_(features / (field.settings["gain"] * config.lattices[number]))
        first, second = field.net
        first.weight.copy_(network.features_to_sines.repeat(1, len(field.lattices)))
        second.weight.copy_(network.sines_to_velocity * SCALE / (config.scale * config.spacing))
    left = tuple(level for level in config.levels if level.factor < 1.5 * factor)
    return field, replace(config, levels=left or config.levels[-1:])


def start_siren(path: str | os.PathLike, config: Config, fixed: Tensor) -> SirenField:
    """A SIREN over the box of the fixed image, with the initial weights of a file.

    Raises ValueError for a file that is damaged, or of a SIREN of other settings.
    """
    path = existing_file(path, "weights")
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
        raise ValueError(f"start: the predicted one is for a SIREN of {wanted}, got {got}")
    field = make_field(fixed.shape[2:], config).to(fixed)
    field.load_state_dict(state)
    with torch.no_grad():  # velocities in voxels of this grid
        for parameter in field.net[-1].parameters():
            parameter *= described["spacing"] / config.spacing
    return field


def save_siren(
    field: SirenField, path: str | os.PathLike, spacing: float, record: dict | None = None
) -> None:
    """Write the weights of a SIREN for `start_siren`, as 16-bit floats.

    spacing: mm of the voxels of its velocities. record: how it was trained, for JSON.
    """
    settings = {name: field.settings[name] for name in ("width", "depth", "omega", "scale")}
    metadata = {"format": FORMAT, "settings": settings, "spacing": spacing, "record": record or {}}
    tensors = {name: value.half().contiguous() for name, value in field.state_dict().items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {"start": json.dumps(metadata, sort_keys=True)}))
