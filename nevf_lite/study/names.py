"""What a method is called in tables. "NeVF" is the paper's method and nothing else.

This package has other fields and other schedules behind the same call. They are named after what
they are, and rows that were written when one of them was labelled "NeVF" are read under its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.config import PRESETS, Config, preset

if TYPE_CHECKING:
    import pandas as pd

#: What the paper leaves open; a method that differs in these alone is still the paper's.
OPEN = ("width", "omega", "squarings", "seed", "bfloat16", "chunk")
_PRESETS = {"siren": "SIREN, coarse to fine", "paper": "NeVF"}
_FIELDS = {"siren": "SIREN", "voxel": "voxel parameter", "features": "features"}
#: (label, options) of rows of another method, and what the book calls them: greedy as it was at
#: first, before its options at 1 mm were searched.
_EARLIER = {("greedy at 1 mm", "{}"): "greedy, untuned"}
_COLUMNS = ["label", "method", "options", "spacing_mm"]
_LABEL = re.compile(r"\bNeVF\b(, (fast|SIREN)\b)?")


def is_paper(options: Mapping, spacing: float | None) -> bool:
    """Whether options of the method "nevf" are the paper's method.

    Sections 2 and 3.2 and Table 1: a sine network of five layers, one level, L = 3, 300 iterations,
    lambda 0.1 and 100, local NCC over 9 voxels, at 1 mm. What the paper does not state (`OPEN`) may
    be anything. The unit of velocity is open too, but one knob with the learning rate: their
    product is as in the preset "paper". A start from a network is composed, as in section 2.3.
    spacing: mm; None is that of the images, 1 mm.
    """
    config, wanted = _config(options), PRESETS["paper"]
    steps = [level.lr * config.scale for level in config.levels]
    if not np.allclose(steps, [level.lr * wanted.scale for level in wanted.levels][:1]):
        return False
    levels = tuple(replace(level, lr=wanted.levels[0].lr) for level in config.levels)
    free = {name: getattr(wanted, name) for name in (*OPEN, "scale", "spacing")}
    composed = options.get("init_mode", "compose") == "compose"
    return spacing in (None, 1) and composed and replace(config, levels=levels, **free) == wanted


def nevf_title(options: Mapping, spacing: float | None = None) -> str:
    """The name of options of the method "nevf", such as "NeVF" or "features, default".

    With an initial transform from another method this is the name of what goes on from there.
    """
    if is_paper(options, spacing):
        return "NeVF"
    name, config = options.get("preset", "default"), _config(options)
    field = _FIELDS[config.field]
    if name == "paper" or config.field != PRESETS[name].field:
        return field
    return _PRESETS.get(name, f"{field}, {name}")


def true_label(label: str, method: str, options: Mapping, spacing: float | None) -> str:
    """The label of a row, where "NeVF" stands for the paper's method alone.

    "NeVF", "NeVF, fast" and "NeVF, SIREN", also behind "VoxelMorph + ", become the name of the
    configuration; a label without the word stays.
    """
    if method != "nevf" or not _LABEL.search(label):
        return label
    try:
        title = nevf_title(options, spacing)
    except ValueError:  # settings of another version
        title = "velocity field"
    return label if title == "NeVF" else _LABEL.sub(title, label)


def true_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a study with `true_label` for each, by the columns method, options, spacing_mm.

    A method that the book's studies have under two names has one.
    """
    labels = []
    for label, method, options, spacing in rows[_COLUMNS].itertuples(index=False):
        if method == "nevf":
            spacing = None if np.isnan(spacing) else spacing
            label = true_label(label, method, json.loads(options or "{}"), spacing)
        label = _EARLIER.get((label, options or "{}"), label)
        labels.append(label)
    return rows.assign(label=labels)


def _config(options: Mapping) -> Config:
    """The config that options of the method "nevf" mean, without those that are not of `Config`."""
    names = {field.name for field in fields(Config)}
    settings = {name: value for name, value in options.items() if name in names}
    return Config.from_dict({**preset(options.get("preset", "default")).to_dict(), **settings})
