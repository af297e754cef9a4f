"""`nevf demo`: register two brains without any input files."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nevf_lite.cli import checks, outcome
from nevf_lite.cli.settings import PRESET_HELP, Preset
from nevf_lite.cli.terminal import note, option
from nevf_lite.config import preset

if TYPE_CHECKING:
    from nevf_lite.data import Pair
    from nevf_lite.transforms.transform import Transform

EXAMPLES = {
    "demo": """Examples:
  nevf demo
  nevf demo --data simulated -o demo-simulated
  nevf demo --template -o demo-template"""
}
#: Subjects of the pair of each dataset, in the order of choice: real pairs first, the one with the
#: finest labels before the others. The simulated pair needs no data.
PAIRS = {
    "mindboggle": ("trt02", "trt01"),
    "oasis": ("1001", "1000"),
    "sample": (),
    "simulated": (),
}
#: Whose slices make a template: all of Mindboggle's OASIS-TRT people.
SLICES = tuple(f"trt{number:02d}" for number in range(1, 21))
PairName = StrEnum("PairName", {name: name for name in PAIRS})


def demo(
    output: Annotated[Path, option("-o --output", "DIR", "Folder to write the result to.")] = Path(
        "nevf-demo"
    ),
    data: Annotated[
        PairName | None,
        option("--data", None, "Dataset to take the pair from.", "the first one installed"),
    ] = None,
    template: Annotated[
        bool,
        option("--template", None, f"Build a 2-D template of {len(SLICES)} slices instead."),
    ] = False,
    preset_name: Annotated[
        Preset | None, option("--preset", None, PRESET_HELP, "default, of a template fast")
    ] = None,
) -> None:
    """Register two brains and show Dice before and after.

    The pair is a real one if its data is installed (see `nevf data list`). Otherwise it is the
    ICBM-152 template and a copy of it under a known deformation, so that the error in millimetres
    is shown as well. Slices are real, or simulated, in the same way.
    """
    checks.check_result_folder(output, {})
    if template:
        checks.require(False, "a pair, and --template has none", data=data)
        build_demo_template(output, str(preset_name or Preset.fast))
        return
    preset_name = preset_name or Preset.default
    pair = find_pair(data)
    note(f"pair: {pair.name}")
    note(f"credit: {pair.credit}")
    note(f"licence: {pair.licence}")

    from nevf_lite.registration.register import register

    config = preset(str(preset_name))
    bar = sys.stderr.isatty()
    registration = register(
        pair.fixed,
        pair.moving,
        config,
        progress=bar,
        callback=None if bar else outcome.log_levels(config),
    )
    summary_lines, metrics = [], {}
    if pair.truth is not None:
        before, after = true_errors(pair, registration.transform)
        summary_lines = [("True error", f"{before:.2f} -> {after:.2f} mm, mean in the brain")]
        metrics = {"error_before_mm": before, "error_after_mm": after}
    outcome.write_outcome(
        registration,
        output,
        title=pair.name,
        command=f"nevf demo --data {pair.name.split()[0]} --preset {preset_name}",
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
        labels=pair.protocol,
        label_names=pair.label_names,
        summary_lines=summary_lines,
        metrics=metrics,
    )


def build_demo_template(output: Path, preset_name: str) -> None:
    """Write the template of `SLICES`, and the transforms to each."""
    from nevf_lite.chapters import people
    from nevf_lite.cli.cohorts import write_template

    group = people(len(SLICES), names=SLICES)
    note(f"slices: {len(group.images)} of {group.name}")
    note(f"credit: {group.credit}")
    note(f"licence: {group.licence}")
    command = f"nevf demo --template --preset {preset_name}"
    write_template(group.images, output, preset(preset_name), command=command)


def find_pair(name: str | None) -> Pair:
    """The pair of a dataset; by default the first of PAIRS that is installed."""
    from nevf_lite.data import load_pair

    if name is not None:
        return load_pair(str(name), *PAIRS[name])
    for candidate, subjects in PAIRS.items():
        try:
            return load_pair(candidate, *subjects)
        except (FileNotFoundError, ValueError) as error:  # not installed, or without these subjects
            last_error = error
    raise last_error


def true_errors(pair: Pair, transform: Transform) -> tuple[float, float]:
    """Mean distance in mm from the true deformation of a simulated pair, before and after."""
    import numpy as np

    brain = np.asarray(pair.fixed_mask.dataobj) != 0
    before, after = pair.truth[brain], (transform.displacement() - pair.truth)[brain]
    return tuple(float(np.linalg.norm(error, axis=-1).mean()) for error in (before, after))
