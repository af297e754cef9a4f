"""Training: pairs of brains drawn at random, one step of Adam for each.

The loop is short enough to read; what there is to it is that nobody of the `test` split is ever
seen, that it can be stopped and gone on with, and that it leaves a record.
"""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nevf_lite.data.pairs import split
from nevf_lite.descent import NonFiniteLoss, learning_rate_factor
from nevf_lite.files import atomic
from nevf_lite.kernels import keep_freed_memory
from nevf_lite.networks.base import Network, describe
from nevf_lite.result import versions

#: Beside the `train` split, images whose subject's name starts so may be learned from.
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Training:
    """How to train. steps: pairs seen. lr: Adam's learning rate; the papers' is 1e-4. decay: it
    falls to this fraction along a cosine; 1 keeps it. flips: mirror half of the pairs left to
    right. every: steps between two checkpoints, and between two entries of the loss curve's mean.
    seed: of the order of pairs.
    """

    steps: int = 2000
    lr: float = 1e-4
    decay: float = 0.1
    flips: bool = True
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, good, wanted in (
            ("steps", self.steps >= 1, "1 or more"),
            ("lr", 0 < self.lr < 1, "between 0 and 1"),
            ("decay", 0 < self.decay <= 1, "in (0, 1]"),
            ("every", self.every >= 1, "1 or more"),
        ):
            if not good:
                raise ValueError(f"{name}: wanted {wanted}, got {getattr(self, name)!r}")


def train(
    network: Network,
    images: Mapping[str, Tensor],
    training: Training,
    checkpoint: str | Path | None = None,
    *,
    mirror_axis: int = 0,
    callback: Callable[[dict], None] | None = None,
) -> dict:
    """Minimise the network's own loss over pairs of the images, in place; returns the record.

    images: subject to (1, 1, *shape) on the network's lattice; every subject must be of the `train`
    split, or its name start with "synthetic". checkpoint: a file that is written every
    `training.every` steps; where it exists already, training goes on from it, with the course of
    the learning rate that belongs to the steps asked for now. mirror_axis: the array's axis from
    left to right. callback: is given each step's record, with step, loss, its terms and seconds.

    The record is for JSON: subjects, what was trained and how, versions, seconds, and the curve of
    the loss, each entry the mean over `every` steps. The same seed and number of steps give the
    same network, resumed or not. Raises ValueError for anybody else's image and for a checkpoint of
    another training, NonFiniteLoss where the learning rate is too high.
    """
    check_subjects(images)
    keep_freed_memory()
    optimiser = torch.optim.Adam(network.parameters(), lr=training.lr)
    network.train()
    state = {"step": 0, "seconds": 0.0, "curve": []}
    identity = {"training": asdict(training), **describe(network), "subjects": sorted(images)}
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.is_file():
        state = _resume(path, identity, network, optimiser)
    started, since = time.perf_counter() - state["seconds"], []
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
        since.append(numbers)
        if (step + 1) % training.every == 0 or step + 1 == training.steps:
            means = {key: sum(r[key] for r in since) / len(since) for key in numbers}
            means = {key: round(value, 6) for key, value in {**means, "lr": rate}.items()}
            state["curve"].append({"step": step + 1, **means})
            since = []
            if path is not None:
                _save(path, identity, state, network, optimiser)
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
    """Raise ValueError naming everybody who must not be learned from, or if there are too few."""
    foreign = [s for s in subjects if split(s) != "train" and not str(s).startswith(SYNTHETIC)]
    if foreign:
        raise ValueError(
            f"images: {', '.join(sorted(foreign))} are not in the `train` split, so nothing may be "
            "learned from them"
        )
    if len(list(subjects)) < 2:
        raise ValueError("images: wanted at least two subjects to make pairs of")


def _draw(
    images: Mapping[str, Tensor], training: Training, step: int, mirror_axis: int
) -> tuple[Tensor, Tensor]:
    """The pair of a step; it depends on nothing but the seed and the step."""
    chance = random.Random(f"{training.seed} {step}")
    pair = [images[name] for name in chance.sample(sorted(images), 2)]
    if training.flips and chance.random() < 0.5:
        pair = [image.flip(mirror_axis + 2) for image in pair]
    return pair[0], pair[1]


def _save(path: Path, identity: dict, state: dict, network: Network, optimiser) -> None:
    whole = {
        "identity": identity,
        "state": state,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with atomic(path) as temporary:
        torch.save(whole, temporary)


def _resume(path: Path, identity: dict, network: Network, optimiser) -> dict:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        other = saved["identity"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint: {path} cannot be read; delete it and start again") from error
    different = [key for key in identity if _fixed(other).get(key) != _fixed(identity)[key]]
    if different:
        raise ValueError(
            f"checkpoint: {path} is of another training (its {', '.join(different)} differ); name "
            "another file, or delete it"
        )
    network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    return saved["state"]


def _fixed(identity: dict) -> dict:
    """What may not change on the way: all but the number of steps."""
    training = {k: v for k, v in identity["training"].items() if k != "steps"}
    return {**identity, "training": training}
