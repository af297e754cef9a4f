"""`nevf demo`: two brains registered, with nothing to prepare."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nevf_lite.cli import checks, outcome
from nevf_lite.cli.register import Preset
from nevf_lite.cli.terminal import note, option
from nevf_lite.config import preset

if TYPE_CHECKING:
    from nevf_lite.data import Pair
    from nevf_lite.transform import Transform

EXAMPLES = {
    "demo": """Examples:
  nevf demo
  nevf demo --data simulated -o demo-simulated"""
}
#: Real pairs first, the one with the finest labels before the others; the last is always there.
PAIRS = {
    "mindboggle": ("trt02", "trt01"),
    "oasis": ("1001", "1000"),
    "sample": (),
    "simulated": (),
}
Name = StrEnum("Name", {name: name for name in PAIRS})


def demo(
    output: Annotated[Path, option("-o --output", "DIR", "Folder for the result.")] = Path(
        "nevf-demo"
    ),
    data: Annotated[Name | None, option("--data", None, "Which pair.", "the first here")] = None,
    settings: Annotated[
        Preset, option("--preset", None, "The best; quick; of coordinates; the paper's.")
    ] = Preset.default,
) -> None:
    """Register two brains and show Dice before and after.

    A real pair where one is here (see `nevf data list`), otherwise the ICBM-152 template warped by
    a known deformation, so that the error can be told in millimetres.
    """
    checks.result_folder(output, {})
    pair = find_pair(data)
    note(f"pair: {pair.name}")
    note(f"credit: {pair.credit}")
    note(f"licence: {pair.licence}")

    from nevf_lite.registration import register

    config = preset(str(settings))
    bar = sys.stderr.isatty()
    registration = register(
        pair.fixed,
        pair.moving,
        config,
        progress=bar,
        callback=None if bar else outcome.log_levels(config),
    )
    more, metrics = [], {}
    if pair.truth is not None:
        before, after = true_errors(pair, registration.transform)
        more = [("True error", f"{before:.2f} -> {after:.2f} mm, mean in the brain")]
        metrics = {"error_before_mm": before, "error_after_mm": after}
    outcome.write(
        registration,
        output,
        title=pair.name,
        command=f"nevf demo --data {pair.name.split()[0]} --preset {settings}",
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
        labels=pair.protocol,
        label_names=pair.label_names,
        more=more,
        metrics=metrics,
    )


def find_pair(name: str | None) -> Pair:
    """The pair of that name, or the first real one that is here, or the simulated one."""
    from nevf_lite.data import load_pair

    if name is not None:
        return load_pair(str(name), *PAIRS[name])
    for candidate, subjects in PAIRS.items():
        try:
            return load_pair(candidate, *subjects)
        except (FileNotFoundError, ValueError) as error:  # not here, or not these subjects
            reason = error
    raise reason


def true_errors(pair: Pair, transform: Transform) -> tuple[float, float]:
    """Mean distance in mm to the true deformation of a simulated pair, before and after."""
    import numpy as np

    brain = np.asarray(pair.fixed_mask.dataobj) != 0
    found = transform.displacement()
    before, after = pair.truth[brain], (found - pair.truth)[brain]
    return tuple(float(np.linalg.norm(error, axis=-1).mean()) for error in (before, after))
