"""The settings of a registration from the options of the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from nevf_lite.cli.assignments import assign
from nevf_lite.config import CHOICES, PRESETS, Config, preset

#: The names of the presets, as an enumeration that a shell can complete.
Preset = StrEnum("Preset", {name: name for name in PRESETS})
PRESET_HELP = (
    "Settings: default, fast (quickest), accurate (slowest), siren (coordinate network), "
    "paper (as published)."
)
Similarity = StrEnum("Similarity", {name: name for name in CHOICES["similarity"]})
SIMILARITY_HELP = (
    "What is compared: lncc or ncc (correlation, local or global), mse (same intensities), nmi or "
    "mind (another contrast: T2, inverted, CT)."
)


def build_config(
    name: Preset | None,
    iterations: str | None,
    resume: Path | None,
    spacing: float | None,
    seed: int | None,
    similarity: Similarity | None = None,
    assignments: Sequence[str] = (),
) -> Config:
    """The preset, or the settings of the result to resume, with the changes of the options.

    assignments: of --set, "KEY=VALUE". Raises ValueError for what two options would change.
    """
    config = preset(str(name or Preset.default))
    if resume is not None and name is None:
        config = _earlier_config(resume) or config
    changes = {"spacing": spacing, "seed": seed}
    changes |= {"similarity": None if similarity is None else str(similarity)}
    changes = {key: value for key, value in changes.items() if value is not None}
    for key in (*changes, *(["iterations"] if iterations is not None else [])):
        if any(text.partition("=")[0].strip() == key for text in assignments):
            raise ValueError(f"--set: {key} has an option of its own, --{key}; keep one of the two")
    config = assign(config, assignments)
    if iterations is not None:
        try:
            counts = [int(count) for count in iterations.split(",")]
        except ValueError:
            counts = []
        if len(counts) != len(config.levels):
            example = ",".join(str(level.iterations) for level in config.levels)
            raise ValueError(
                f"iterations: wanted {len(config.levels)} whole numbers with commas between, one "
                f"for each level, such as {example}; got {iterations!r}"
            )
        levels = zip(config.levels, counts, strict=True)
        changes["levels"] = tuple(replace(level, iterations=count) for level, count in levels)
    return preset(config, **changes)


def use_threads(count: int | None) -> None:
    """Compute on so many CPU threads; None leaves it at one per core."""
    if count is not None:
        import torch

        torch.set_num_threads(count)  # the numba kernels use torch's number


def _earlier_config(folder: Path) -> Config | None:
    """The settings in the result.json of a result folder; None if there is no such file."""
    file = folder.expanduser() / "result.json"
    if not file.is_file():
        return None
    try:
        return Config.from_dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"resume: {file} is damaged; name the velocity.safetensors beside it and the --preset"
        ) from error
