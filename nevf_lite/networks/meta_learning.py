"""Initial weights of a velocity field that a few iterations fit to any pair: Reptile.

A field of coordinates has no image as its input, so no network can look at the images for it. What
can be learned is where its weights start (Tancik et al. 2021, "Learned initializations for
optimizing coordinate-based neural representations"). Reptile (Nichol et al. 2018) fits the field to
one pair for a few iterations and moves the start a part of the way to what it has found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nevf_lite.config import Config, check, real
from nevf_lite.descent import learning_rate_factor
from nevf_lite.fields import VelocityField
from nevf_lite.networks.checkpoints import resume_checkpoint, save_checkpoint
from nevf_lite.networks.training import check_rounds, check_subjects
from nevf_lite.optimise import FOREGROUND, fit, make_field
from nevf_lite.registration.folder import versions

#: Voxels kept around both heads, as `register` does.
MARGIN = 5


@dataclass(frozen=True)
class Reptile:
    """Settings of the meta-learning.

    steps: pairs that the field is fitted to, one after the other. rate: share of the way from the
    start to the fitted weights that the start is moved. decay: the fraction that the rate falls to
    along a cosine. flips: mirror half of the pairs left to right. every: steps between two
    checkpoints, and between two entries of the curve. seed: of the pairs and the mirroring. Raises
    ValueError for values out of range.
    """

    steps: int = 200
    rate: float = 0.5
    decay: float = 0.1
    flips: bool = True
    every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_rounds(self)
        check(self, "rate", real(lambda n: 0 < n <= 1), "a number in (0, 1]")


def learn_start(
    config: Config,
    images: Mapping[str, Tensor],
    reptile: Reptile,
    checkpoint: str | Path | None = None,
    *,
    mirror_axis: int = 0,
    callback: Callable[[dict], None] | None = None,
) -> tuple[VelocityField, dict]:
    """Learn initial weights for the field of a config; returns a field and a record for JSON.

    config: of the fit to one pair. Its levels have the few iterations after which the field should
    be good. images: subject to (1, 1, *shape), all on one lattice with the config's spacing; each
    pair is cropped to its heads. checkpoint, mirror_axis: see `training.train`. callback: called
    after each step with step, similarity (at the end of that fit) and seconds.
    Raises ValueError for a subject outside the `train` split and for a checkpoint of another
    training, NonFiniteLoss where a learning rate of the config is too high.
    """
    check_subjects(images)
    if config.field != "siren":
        raise ValueError(f"config: wanted the field 'siren', got {config.field!r}")
    shape = next(iter(images.values())).shape[2:]
    start = make_field(shape, config)
    state = {"step": 0, "seconds": 0.0, "curve": [], "recent": []}
    identity = {
        "training": asdict(reptile),
        "config": config.to_dict(),
        "subjects": sorted(images),
        "shape": list(shape),
    }
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.is_file():
        state = resume_checkpoint(path, identity, field=start)
    began = time.perf_counter() - state["seconds"]
    for step in range(state["step"], reptile.steps):
        fixed, moving = _draw(images, reptile, step, mirror_axis)
        field = make_field(fixed.shape[2:], config)
        field.load_state_dict(start.state_dict())
        similarity = fit(fixed, moving, config, field=field).history[-1]["similarity"]
        rate = reptile.rate * learning_rate_factor(step / reptile.steps, reptile.decay)
        with torch.no_grad():
            for weight, fitted in zip(start.parameters(), field.parameters(), strict=True):
                weight.lerp_(fitted, rate)
        state |= {"step": step + 1, "seconds": time.perf_counter() - began}
        state["recent"].append(similarity)
        if (step + 1) % reptile.every == 0 or step + 1 == reptile.steps:
            mean = sum(state["recent"]) / len(state["recent"])
            state["curve"].append({"step": step + 1, "similarity": round(mean, 6)})
            state["recent"] = []
            if path is not None:
                save_checkpoint(path, identity, state, field=start)
        if callback is not None:
            callback({"step": step, "similarity": similarity, "seconds": state["seconds"]})
    return start, {
        **identity,
        "seconds": round(state["seconds"], 3),
        "threads": torch.get_num_threads(),
        "similarity_curve": state["curve"],
        "versions": versions(),
    }


def _draw(
    images: Mapping[str, Tensor], reptile: Reptile, step: int, mirror_axis: int
) -> tuple[Tensor, Tensor]:
    """The pair of a step, cropped to its heads; it depends only on the seed and the step."""
    generator = random.Random(f"{reptile.seed} {step}")
    pair = torch.cat([images[name] for name in generator.sample(sorted(images), 2)])
    if reptile.flips and generator.random() < 0.5:
        pair = pair.flip(mirror_axis + 2)
    head = (pair > FOREGROUND).any(dim=1).any(dim=0)
    inside = head.nonzero()
    ends = zip(inside.amin(dim=0).tolist(), inside.amax(dim=0).tolist(), head.shape, strict=True)
    for axis, (first, last, size) in enumerate(ends, start=2):
        first, last = max(0, first - MARGIN), min(size - 1, last + MARGIN)
        pair = pair.narrow(axis, first, last - first + 1)
    return pair[:1].contiguous(), pair[1:].contiguous()
