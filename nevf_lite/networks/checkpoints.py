"""Checkpoints of a training: written whole or not at all, resumed only by the same training."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from nevf_lite.scans.files import atomic


def save_checkpoint(path: Path, identity: dict, state: dict, **parts) -> None:
    """Write a checkpoint.

    identity: what decides the result, for JSON; its "training" holds the number of steps. state:
    how far it has come. parts: modules and optimisers by name.
    """
    checkpoint = {"identity": identity, "state": state}
    checkpoint |= {name: part.state_dict() for name, part in parts.items()}
    with atomic(path) as temporary:
        torch.save(checkpoint, temporary)


def resume_checkpoint(path: Path, identity: dict, **parts) -> dict:
    """Restore the parts from a checkpoint of the same training; returns its state.

    The number of steps may differ. Raises ValueError for a checkpoint of another training, and for
    a damaged file.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved = _without_steps(checkpoint["identity"])
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint: {path} cannot be read; delete it and start again") from error
    mismatched = [k for k, v in _without_steps(identity).items() if saved.get(k) != v]
    if mismatched:
        raise ValueError(
            f"checkpoint: {path} is of another training (its {', '.join(mismatched)} differ); name "
            "another file, or delete it"
        )
    for name, part in parts.items():
        part.load_state_dict(checkpoint[name])
    return checkpoint["state"]


def _without_steps(identity: dict) -> dict:
    """What a resumed training has in common with its checkpoint: all but the number of steps."""
    training = {k: v for k, v in identity["training"].items() if k != "steps"}
    return {**identity, "training": training}
