"""`--set KEY=VALUE`: any setting of a preset, typed as the fields of `Config` and `Level` are."""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import fields, replace

from nevf_lite.config import Config, Level

SET_HELP = (
    "Change a setting of the preset, such as smooth=1 or window=9; may be repeated. A setting of "
    "the levels (factor, iterations, step, lr, window) takes one value for all, or one for each "
    "with commas between; levels= takes a JSON list."
)
_TYPES = {cls: typing.get_type_hints(cls) for cls in (Config, Level)}
_NONE = type(None)
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WANTED = {int: "a whole number", float: "a number", bool: "true or false", _NONE: "none"}


def assign(config: Config, assignments: Sequence[str]) -> Config:
    """The config with settings changed, each given as "KEY=VALUE".

    Raises ValueError for an unknown key, with the nearest known one, for a key that is given twice,
    and for a value of another type or out of range.
    """
    changes: dict[str, object] = {}
    of_levels: dict[str, list] = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise ValueError(f"--set: wanted KEY=VALUE, such as smooth=1, got {text!r}")
        if key in changes or key in of_levels:
            raise ValueError(f"--set: {key} is given twice; keep one")
        if key == "levels":
            changes[key] = _parse_levels(value)
        elif key in _TYPES[Config]:
            changes[key] = _parse(key, value, _TYPES[Config][key])
        elif key in _TYPES[Level]:
            kind = _TYPES[Level][key]
            of_levels[key] = [_parse(key, part.strip(), kind) for part in value.split(",")]
        else:
            raise ValueError(f"--set: there is no setting {key!r}; {_nearest(key)}")
    config = replace(config, **changes)  # all at once: an order may want another integrator
    levels = list(config.levels)
    for key, values in of_levels.items():
        if len(values) not in (1, len(levels)):
            example = ",".join(f"{getattr(level, key):g}" for level in levels)
            raise ValueError(
                f"--set: {key} wants one value, or {len(levels)} with commas between, one for each "
                f"level, such as {example}; got {len(values)}"
            )
        values = values * len(levels) if len(values) == 1 else values
        levels = [replace(lv, **{key: v}) for lv, v in zip(levels, values, strict=True)]
    return replace(config, levels=tuple(levels))


def _nearest(key: str) -> str:
    known = [field.name for cls in (Config, Level) for field in fields(cls)]
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"wanted one of {', '.join(sorted(known))}"


def _parse(key: str, text: str, kind) -> object:
    """A value of a type hint; of the types of a union the first that can hold it, text last."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_parse(key, part.strip(), inner[0]) for part in text.split(","))
    choices = inner if origin in (types.UnionType, typing.Union) else (kind,)
    for choice in sorted(choices, key=lambda choice: choice is str):
        try:
            return _scalar(text, choice)
        except ValueError:
            continue
    wanted = " or ".join(_WANTED.get(choice, "text") for choice in choices)
    raise ValueError(f"--set: {key} wants {wanted}, got {text!r}")


def _scalar(text: str, kind: type) -> object:
    """Text as one value of a type. Raises ValueError."""
    if kind is str and text:
        return text
    if kind is _NONE and text.lower() == "none":
        return None
    if kind is bool and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind is int:
        return int(text)
    if kind is float and math.isfinite(value := float(text)):
        return value
    raise ValueError(text)


def _parse_levels(text: str) -> tuple[Level, ...]:
    """A JSON list of objects with the fields of `Level`."""
    example = '[{"factor": 2, "iterations": 50}, {"factor": 1}]'
    try:
        entries = json.loads(text)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError(text)
    except ValueError as error:
        raise ValueError(f"--set: levels wants a JSON list such as {example}") from error
    for entry in entries:
        for key, value in entry.items():
            if key not in _TYPES[Level]:
                raise ValueError(f"--set: a level has no setting {key!r}; {_nearest(key)}")
            entry[key] = _parse(key, str(value), _TYPES[Level][key])
    return tuple(Level(**entry) for entry in entries)
