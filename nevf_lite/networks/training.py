"""Training: random pairs of subjects, one step of Adam for each.

Subjects of the `test` split are refused, a stopped training can be resumed from its checkpoint, and
the result is a record of the training.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nevf_lite.config import check, real, whole
from nevf_lite.data.splits import split
from nevf_lite.descent import NonFiniteLoss, learning_rate_factor
from nevf_lite.kernels.memory import keep_freed_memory
from nevf_lite.networks.base import Network, describe
from nevf_lite.networks.checkpoints import resume_checkpoint, save_checkpoint
from nevf_lite.registration.folder import versions

#: A subject whose name starts so may be trained on although it is in no split.
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Training:
    """Settings of a training run.

    steps: number of steps, one pair each. lr: Adam's learning rate; the NeVF paper uses 1e-4
    (section 3.3). decay: the fraction that the rate falls to along a cosine; 1 keeps it constant.
    flips: mirror half of the pairs left to right. every: steps between two checkpoints, and between
    two entries of the loss curve. seed: of the pairs and the mirroring. Raises ValueError for
    values out of range.
    """

    steps: int = 2000
    lr: float = 1e-4
    decay: float = 0.1
    flips: bool = True
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        check_rounds(self)
        check(self, "lr", real(lambda n: 0 < n < 1), "a number between 0 and 1")


def check_rounds(settings) -> None:
    """The settings that every training has: steps, every, decay and seed."""
    check(settings, "steps every", whole(1), "a whole number, 1 or more")
    check(settings, "decay", real(lambda n: 0 < n <= 1), "a number in (0, 1]")
    check(settings, "seed", whole(0), "a whole number, 0 or more")


def train(
    network: Network,
    images: Mapping[str, Tensor],
    training: Training,
    checkpoint: str | Path | None = None,
    *,
    mirror_axis: int = 0,
    callback: Callable[[dict], None] | None = None,
) -> dict:
    """Minimise a network's loss over pairs of images, in place, and return a record for JSON.

    images: subject to (1, 1, *shape) on the network's lattice; every subject must be of the `train`
    split, or have a name that starts with "synthetic". checkpoint: a file that is written every
    `training.every` steps; if it exists, training resumes from it, with the learning rates of
    `training.steps` steps. mirror_axis: the array axis from left to right. callback: called after
    each step with its record: step, loss, its terms and seconds.
    Returns the subjects, the settings of the network and of the training, versions, seconds, and
    the loss curve, in which each entry is the mean over `training.every` steps. The same seed and
    number of steps give the same network, resumed or not.
    Raises ValueError for a subject outside the `train` split and for a checkpoint of another
    training, NonFiniteLoss where the learning rate is too high.
    """
    check_subjects(images)
    keep_freed_memory()
    optimiser = torch.optim.Adam(network.parameters(), lr=training.lr)
    network.train()
    state = {"step": 0, "seconds": 0.0, "curve": []}
    identity = {"training": asdict(training), **describe(network), "subjects": sorted(images)}
    parts = {"network": network, "optimiser": optimiser}
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.is_file():
        state = resume_checkpoint(path, identity, **parts)
    started = time.perf_counter() - state["seconds"]
    recent = []  # the losses since the last entry of the curve
    for step in range(state["step"], training.steps):
        rate = training.lr * learning_rate_factor(step / training.steps, training.decay)
        for group in optimiser.param_groups:
            group["lr"] = rate
        fixed, moving = _draw(images, training, step, mirror_axis)
        loss = network.loss(fixed, moving)
        numbers = loss.numbers()
        if not torch.isfinite(loss.total):
            raise NonFiniteLoss(
                f"the loss became {numbers['loss']} at step {step}: try a third of the learning "
                f"rate {training.lr:g}"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        state["step"], state["seconds"] = step + 1, time.perf_counter() - started
        recent.append(numbers)
        if (step + 1) % training.every == 0 or step + 1 == training.steps:
            means = {key: sum(r[key] for r in recent) / len(recent) for key in numbers}
            means = {key: round(value, 6) for key, value in {**means, "lr": rate}.items()}
            state["curve"].append({"step": step + 1, **means})
            recent = []
            if path is not None:
                save_checkpoint(path, identity, state, **parts)
        if callback is not None:
            callback({"step": step, **numbers, "seconds": state["seconds"]})
    network.eval()
    return {
        **identity,
        "steps": state["step"],
        "seconds": round(state["seconds"], 3),
        "threads": torch.get_num_threads(),
        "shape": list(next(iter(images.values())).shape[2:]),
        "loss_curve": state["curve"],
        "versions": versions(),
    }


def check_subjects(subjects) -> None:
    """Raise ValueError for subjects outside the `train` split, and for fewer than two subjects."""
    excluded = [s for s in subjects if split(s) != "train" and not str(s).startswith(SYNTHETIC)]
    if excluded:
        raise ValueError(
            f"images: {', '.join(sorted(excluded))} are not in the `train` split, so a network "
            "must not be trained on them"
        )
    if len(list(subjects)) < 2:
        raise ValueError("images: wanted at least two subjects to make pairs of")


def _draw(
    images: Mapping[str, Tensor], training: Training, step: int, mirror_axis: int
) -> tuple[Tensor, Tensor]:
    """The fixed and moving image of a step; they depend only on the seed and the step."""
    generator = random.Random(f"{training.seed} {step}")
    pair = [images[name] for name in generator.sample(sorted(images), 2)]
    if training.flips and generator.random() < 0.5:
        pair = [image.flip(mirror_axis + 2) for image in pair]
    return pair[0], pair[1]
