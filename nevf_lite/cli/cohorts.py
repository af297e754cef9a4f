"""`nevf labels`, `template` and `change`: what people register several scans for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.assignments import SET_HELP, assign
from nevf_lite.cli.settings import PRESET_HELP, Preset, use_threads
from nevf_lite.cli.terminal import note, option, show_json, show_table
from nevf_lite.config import Config, preset

EXAMPLES = {
    "labels": """Examples:
  nevf labels scan.nii.gz atlases.csv -o scan_labels.nii.gz
  nevf labels scan.nii.gz atlases.csv -o scan_labels.nii.gz --method majority --affine

atlases.csv has the columns image and labels; its paths are relative to it.""",
    "template": """Examples:
  nevf template *_t1.nii.gz -o template
  nevf template *_t1.nii.gz -o template --start mni.nii.gz --affine --rounds 6""",
    "change": """Examples:
  nevf change january.nii.gz june.nii.gz -o change
  nevf change january.nii.gz june.nii.gz -o change --labels january_labels.nii.gz""",
}
Method = StrEnum("Method", {"joint": "joint", "majority": "majority"})

PresetOption = Annotated[Preset, option("--preset", "NAME", PRESET_HELP, "default")]
Spacing = Annotated[
    float | None, option("--spacing", "MM", "Working resolution.", "that of the preset", min=0.1)
]
Settings = Annotated[list[str] | None, option("--set", "KEY=VALUE", SET_HELP)]
Affine = Annotated[
    bool, option("--affine", None, "Align each pair with an affine transform first.")
]
Output = Annotated[Path, option("-o --output", "DIR", "Folder of the results.")]
Quiet = Annotated[bool, option("-q --quiet", None, "Show no progress.")]
Threads = Annotated[
    int | None, option("--threads", "N", "Number of CPU threads.", "one per core", min=1)
]


def cohort_config(
    base: Preset | Config, spacing: float | None, settings: Sequence[str] | None
) -> Config:
    """The settings of every registration. Raises ValueError for what two options would change."""
    if spacing is not None:
        settings = [f"spacing={spacing}", *(settings or ())]
    return assign(preset(str(base) if isinstance(base, Preset) else base), settings or ())


def labels(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="The image to label.")],
    atlases: Annotated[
        Path, typer.Argument(metavar="ATLASES", help="Table with columns image and labels.")
    ],
    output: Annotated[Path, option("-o --output", "IMAGE", "The labels of the scan.")],
    method: Annotated[
        Method, option("--method", "NAME", "How the atlases vote: joint or majority.", "joint")
    ] = Method.joint,
    preset_name: PresetOption = Preset.default,
    spacing: Spacing = None,
    settings: Settings = None,
    affine: Affine = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Label SCAN by registering labelled atlases to it and letting them vote.

    With joint fusion an atlas counts where it looks like the scan, and two that look alike count
    less. Each atlas costs a registration; joint fusion of eight then takes about a minute of one
    core for a scan of 2 mm, and up to eight times that for one of 1 mm.
    """
    from nevf_lite.cohorts.pairs import find_atlases

    entries = find_atlases(atlases)
    used = {"scan": scan, "atlases": atlases}
    checks.protect_inputs(output, used | {f"atlas {i}": p for i, p in enumerate(sum(entries, ()))})
    checks.check_image_file(output)

    from nevf_lite.cohorts.atlases import labels_from_atlases
    from nevf_lite.scans.io import save_image
    from nevf_lite.scans.readers import space_code
    from nevf_lite.scans.space import Grid

    config = cohort_config(preset_name, spacing, settings)
    use_threads(threads)
    bar = sys.stderr.isatty() and not quiet
    options = {"method": str(method), "affine": affine, "progress": bar}
    fused = labels_from_atlases(scan, entries, config, **options)
    save_image(output, fused.dataobj, Grid.of(fused), space_code(fused))
    note(f"{len(entries)} atlases, {method} vote; {output}")


def template(
    ctx: typer.Context,
    scans: Annotated[list[Path], typer.Argument(metavar="SCANS...", help="Two or more images.")],
    output: Output,
    rounds: Annotated[int, option("--rounds", "N", "Times each is registered.", min=1)] = 4,
    start: Annotated[
        Path | None, option("--start", "IMAGE", "First template.", "the mean of the scans")
    ] = None,
    preset_name: Annotated[Preset, option("--preset", "NAME", PRESET_HELP, "fast")] = Preset.fast,
    spacing: Spacing = None,
    settings: Settings = None,
    affine: Affine = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Build the template of a group: its mean image, in its mean shape."""
    inputs = {"start": start} | {f"scan {i}": scan for i, scan in enumerate(scans, start=1)}
    files = (f"to_{i:02d}.safetensors" for i in range(len(scans)))
    checks.check_result_folder(output, inputs, files=("template.nii.gz", "result.json", *files))
    config = cohort_config(preset_name, spacing, settings)
    use_threads(threads)
    options = {"command": ctx.find_root().meta["nevf.command"], "rounds": rounds, "quiet": quiet}
    write_template(scans, output, config, **options, start=start, affine=affine)


def write_template(
    scans: Sequence,
    output: Path,
    config: Config,
    *,
    command: str,
    rounds: int = 4,
    quiet: bool = False,
    **options,
) -> None:
    """Build a template and write it, with a note on each round. options: of `build_template`."""
    from nevf_lite.cohorts.template import build_template

    def show(entry: dict) -> None:
        note(
            f"round {entry['round']} of {rounds}: the mean shape was {entry['shape_mm']:.2f} mm "
            f"away, spread {entry['spread']:.3f}"
        )

    options |= {"callback": None if quiet else show, "progress": sys.stderr.isatty() and not quiet}
    build_template(scans, config, rounds=rounds, **options).save(output, command=command)
    note(f"template of {len(scans)} scans; {output / 'template.nii.gz'}")


def change(
    ctx: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="The earlier scan.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="The later scan.")],
    output: Output,
    labels: Annotated[
        Path | None, option("--labels", "IMAGE", "Labels of the first scan, to measure volumes.")
    ] = None,
    preset_name: Annotated[
        Preset | None,
        option("--preset", "NAME", PRESET_HELP, "default, with weaker penalties"),
    ] = None,
    spacing: Spacing = None,
    settings: Settings = None,
    threads: Threads = None,
    as_json: Annotated[
        bool, option("--json", None, "Print the volumes of --labels as one JSON document.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Measure how volumes changed between two scans of one person.

    Both are brought half-way to each other, so that neither is treated otherwise. DIR holds
    log_jacobian.nii.gz, the logarithm of volume in the second over volume in the first.
    """
    checks.require(labels is not None, "--labels", json=as_json or None)

    from nevf_lite.cohorts.change import CONFIG, IMAGES, longitudinal
    from nevf_lite.scans.io import load_labels

    inputs = {"first scan": first, "second scan": second, "labels": labels}
    files = [f"{name}.nii.gz" for name in IMAGES]
    checks.check_result_folder(output, inputs, files=[*files, "result.json"])
    label_image = None if labels is None else load_labels(labels, "labels")
    config = cohort_config(preset_name or CONFIG, spacing, settings)
    use_threads(threads)
    bar = sys.stderr.isatty() and not quiet
    result = longitudinal(first, second, config, options={"progress": bar})
    rows = []
    unit = f"mm{result.to_first.fixed.ndim}"  # slices have areas
    header = ("label", f"first_{unit}", f"second_{unit}", "change_percent")
    if label_image is not None:
        volumes = result.volumes(result.middle_labels(label_image))
        rows = [(str(label), *values) for label, values in volumes.items()]
    table = {"volumes": [dict(zip(header, row, strict=True)) for row in rows]}
    result.save(output, command=ctx.find_root().meta["nevf.command"], **table)
    note(f"log of volume change, second over first; {output / 'log_jacobian.nii.gz'}")
    if as_json:
        show_json(table)
    elif rows:
        show_table(header, rows)
