"""The headline and the metric tiles of the report, as text.

The summary is a flat dict. A key consists of words joined by underscores. Two keys that differ only
in ``before`` and ``after`` become one entry. A last word ``mm``, ``percent``, ``seconds`` or
``mib`` is the unit. Examples: ``dice_before``, ``hd95_after_mm``, ``folds_percent``, ``seconds``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# the headline begins with the first of these that the summary holds
_HEADLINE_METRICS = (
    ("dice", "Dice"),
    ("tre", "error"),
    ("ncc", "NCC"),
    ("similarity", "similarity"),
)
_LEADING = ("dice", "tre", "error", "ncc", "similarity", "folds", "inverse_consistency", "")
_UNITS = {"mm": "mm", "percent": "%", "seconds": "s", "mib": "MiB"}
_KNOWN = {  # key without before, after and unit: (name, what it means)
    "dice": ("Mean Dice", "overlap of the labels; 1 is perfect"),
    "hd95": ("HD95", "95th percentile of the distance between label surfaces"),
    "tre": ("Target registration error", "mean distance between paired points"),
    "error": ("True error", "mean distance to the known deformation, in the brain"),
    "similarity": ("Similarity", "on the last grid; compare it between equal settings only"),
    "ncc": ("Local NCC", "similarity in the brain; 1 is best"),
    "folds": ("Folds", "cells with Jacobian determinant ≤ 0"),
    "folds_any": ("Folds, strict count", "cells where any difference stencil folds"),
    "ndv": ("Non-diffeomorphic volume", "how much of the volume is turned over"),
    "inverse_consistency": ("Inverse consistency", "mean distance after going there and back"),
    "inverse_consistency_max": ("Worst inverse", "largest distance after going there and back"),
    "": ("Time", "for the registration"),
    "memory": ("Peak memory", ""),
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ALIASES = {
    "mean_dice": "dice",
    "non_diffeomorphic_volume": "ndv",
    "inverse_error": "inverse_consistency",
    "peak_memory": "memory",
}


@dataclass(frozen=True)
class Metric:
    """One entry of the report. before: the value before registration, or None."""

    key: str
    name: str
    meaning: str
    unit: str
    value: object
    before: object = None

    @property
    def text(self) -> str:
        return self._with_unit(number(self.value))

    @property
    def text_before(self) -> str | None:
        return None if self.before is None else number(self.before)

    def _with_unit(self, text: str) -> str:
        if self.unit == "s" and isinstance(self.value, int | float):
            return duration(self.value)
        return f"{text}\u00a0{self.unit}" if self.unit and text != "–" else text


def metrics(summary: Mapping[str, object]) -> list[Metric]:
    """The entries of a summary: metrics of `_KNOWN` first, then the others in their order."""
    entries: dict[tuple[str, str], dict] = {}
    for key, value in summary.items():
        words = str(key).lower().replace(" ", "_").split("_")
        field = "before" if "before" in words else "value"
        words = [word for word in words if word not in ("before", "after")]
        unit = _UNITS.get(words[-1], "") if words else ""
        if unit:
            words.pop()
        name = "_".join(words)
        name = _ALIASES.get(name, name)
        entry = entries.setdefault((name, unit), {"key": str(key)})
        entry[field] = _to_python(value)
    known = list(_KNOWN)
    order = sorted(entries, key=lambda key: known.index(key[0]) if key[0] in known else len(known))
    return [_metric(name, unit, entries[name, unit]) for name, unit in order]


def _metric(name: str, unit: str, entry: dict) -> Metric:
    words = name.replace("_", " ").strip() or entry["key"]
    title, meaning = _KNOWN.get(name, (words[:1].upper() + words[1:], ""))
    if "value" not in entry:  # the summary has no value after registration
        return Metric(name, f"{title}, before", meaning, unit, entry["before"])
    return Metric(name, title, meaning, unit, entry["value"], entry.get("before"))


def headline(entries: list[Metric]) -> str:
    """The result in one line: "Dice 0.347 → 0.600, no folds, 70 s"."""
    by_key = {metric.key: metric for metric in reversed(entries)}
    phrases = []
    for key, name in _HEADLINE_METRICS:
        metric = by_key.get(key)
        if metric and _finite(metric.value):
            unit = f" {metric.unit}" if metric.unit else ""
            start = f"{number(metric.before)} → " if _finite(metric.before) else ""
            phrases.append(f"{name} {start}{number(metric.value)}{unit}")
            break
    folds = by_key.get("folds")
    if folds and _finite(folds.value):
        phrases.append(f"{folds.text} folds" if folds.value else "no folds")
    time = by_key.get("")
    if time and _finite(time.value):
        phrases.append(duration(time.value))
    sentence = ", ".join(phrases) or "Registered"
    return sentence[0].upper() + sentence[1:]


def leading(entries: list[Metric], count: int = 4) -> tuple[list[Metric], list[Metric]]:
    """The numbers of the first screen, which say different things, and all others."""
    order = {key: place for place, key in enumerate(_LEADING)}
    ranked = sorted(entries, key=lambda metric: order.get(metric.key, len(order)))
    return ranked[:count], [metric for metric in entries if metric not in ranked[:count]]


def verdict(entries: list[Metric]) -> str:
    """What the numbers say, in a sentence: whether it got better, and whether the map folds."""
    by_key = {metric.key: metric for metric in reversed(entries)}
    told = []
    for key, name, better in (("dice", "overlap of the labels", 1), ("tre", "error", -1)):
        metric = by_key.get(key)
        if metric and _finite(metric.value) and _finite(metric.before):
            gain = better * (metric.value - metric.before)
            told.append(f"The {name} {'improved' if gain > 0 else 'did not improve'}")
            break
    folds = by_key.get("folds")
    if folds and _finite(folds.value):
        if folds.value == 0:
            told.append("the map folds nowhere")
        elif folds.value < 0.1:
            told.append("hardly any of the map folds")
        else:
            told.append(f"the map folds in {folds.text} of its cells: look at the yellow marks")
    sentence = (" and " if len(told) < 2 or "not" not in told[0] else ", and ").join(told)
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""


def number(value: object) -> str:
    """A value as text: up to three significant digits, thousands separated, "–" if not finite."""
    value = _to_python(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _three_digits(value)
    return value if isinstance(value, str) else as_json(value)


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        power = str(int(exponent)).translate(_SUPERSCRIPTS)
        return f"{mantissa} × 10{power}".replace("-", "\u2212")
    decimals = min(max(2 - math.floor(math.log10(abs(value))), 0), 3) if abs(value) >= 0.1 else None
    text = f"{value:.2g}" if decimals is None else f"{value:,.{decimals}f}"
    return text.replace("-", "\u2212")


def duration(seconds: float) -> str:
    """A time as text: "0.8 s", "70 s", "6 min 20 s" or "1 h 5 min"."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    count, minor, major = round(seconds), "s", "min"
    if seconds >= 3600:
        count, minor, major = round(seconds / 60), "min", "h"
    quotient, remainder = divmod(count, 60)
    return f"{quotient} {major} {remainder} {minor}" if remainder else f"{quotient} {major}"


def as_json(value: object) -> str:
    """One line of JSON; values that JSON cannot express are written as their `str`."""
    return json.dumps(value, ensure_ascii=False, default=lambda x: _to_python(x, str))


def _to_python(value: object, convert=lambda x: x) -> object:
    """NumPy scalars and arrays as Python numbers and lists; `convert` of any other value."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return convert(value)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
