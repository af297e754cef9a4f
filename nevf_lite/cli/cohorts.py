"""`nevf batch`, `labels`, `template` and `change`: what is done with more than one pair."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.settings import PRESET_HELP, Preset
from nevf_lite.cli.terminal import INTERRUPTED, note, option, show_json, show_table
from nevf_lite.config import Config, preset

EXAMPLES = {
    "batch": """Examples:
  nevf batch pairs.csv -o results --workers 2
  nevf batch bids_folder -o results --fixed template.nii.gz --affine
  nevf batch pairs.csv -o results --scheduler tcp://host:8786

pairs.csv has the columns fixed and moving, and perhaps name, fixed_mask, moving_mask, fixed_labels
and moving_labels; its paths are relative to it.""",
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
Affine = Annotated[
    bool, option("--affine", None, "Align each pair with an affine transform first.")
]
Output = Annotated[Path, option("-o --output", "DIR", "Folder of the results.")]
Quiet = Annotated[bool, option("-q --quiet", None, "Show no progress.")]


def _config(base: Preset | Config, spacing: float | None) -> Config:
    base = str(base) if isinstance(base, Preset) else base
    return preset(base, **({} if spacing is None else {"spacing": spacing}))


def batch(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="CSV or TSV table of pairs, or BIDS folder.")
    ],
    output: Output,
    fixed: Annotated[
        Path | None,
        option("--fixed", "IMAGE", "Of a BIDS folder: register all to this, not to session 1."),
    ] = None,
    suffix: Annotated[str, option("--suffix", "NAME", "Of a BIDS folder: scans to take.")] = "T1w",
    preset_name: PresetOption = Preset.default,
    spacing: Spacing = None,
    affine: Affine = False,
    workers: Annotated[
        int, option("--workers", "N", "Number of pairs registered at the same time.", min=1)
    ] = 1,
    threads: Annotated[int, option("--threads", "N", "CPU threads of each.", min=1)] = 1,
    scheduler: Annotated[
        str | None,
        option("--scheduler", "ADDRESS", "Dask scheduler to run on, such as tcp://host:8786."),
    ] = None,
    size: Annotated[int, option("--size", "N", "Pairs that one process does in turn.", min=1)] = 1,
    retry_failed: Annotated[
        bool, option("--retry-failed", None, "Try failed pairs again.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Register many pairs, and write an index with the doubtful ones first.

    Each pair gets a result folder in DIR. The same command goes on where an earlier one stopped.
    DIR/index.html shows every pair, and DIR/quality.csv the numbers. The exit status is 1 if pairs
    could not be registered.
    """
    from nevf_lite.cohorts.batch import batch as register_batch

    try:
        records = register_batch(
            pairs,
            output,
            _config(preset_name, spacing),
            fixed=fixed,
            suffix=suffix,
            affine=affine,
            workers=workers,
            threads=threads,
            scheduler=scheduler,
            size=size,
            retry_failed=retry_failed,
            progress=not quiet,
        )
    except KeyboardInterrupt:
        note(f"interrupted; what was finished is in {output}, the same command continues it")
        raise typer.Exit(INTERRUPTED) from None
    failed = [record for record in records if record["status"] == "failed"]
    for record in failed[:5]:
        note(f"failed: {record['name']}: {record['reason']}")
    note(f"{len(records) - len(failed)} of {len(records)} pairs done; {output / 'index.html'}")
    if failed:
        raise typer.Exit(1)


def labels(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="The image to label.")],
    atlases: Annotated[
        Path, typer.Argument(metavar="ATLASES", help="CSV table with columns image and labels.")
    ],
    output: Annotated[Path, option("-o --output", "IMAGE", "The labels of the scan.")],
    method: Annotated[
        Method, option("--method", "NAME", "How the atlases vote: joint or majority.", "joint")
    ] = Method.joint,
    preset_name: PresetOption = Preset.default,
    spacing: Spacing = None,
    affine: Affine = False,
) -> None:
    """Label SCAN by registering labelled atlases to it and letting them vote.

    With joint fusion an atlas counts where it looks like the scan, and two that look alike count
    less.
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

    config = _config(preset_name, spacing)
    fused = labels_from_atlases(scan, entries, config, method=str(method), affine=affine)
    save_image(output, fused.dataobj, Grid.of(fused), space_code(fused))
    note(f"{len(entries)} atlases, {method} vote; {output}")


def template(
    scans: Annotated[list[Path], typer.Argument(metavar="SCANS...", help="Two or more images.")],
    output: Output,
    rounds: Annotated[int, option("--rounds", "N", "Times each is registered.", min=1)] = 4,
    start: Annotated[
        Path | None, option("--start", "IMAGE", "First template.", "the mean of the scans")
    ] = None,
    preset_name: Annotated[Preset, option("--preset", "NAME", PRESET_HELP, "fast")] = Preset.fast,
    spacing: Spacing = None,
    affine: Affine = False,
    quiet: Quiet = False,
) -> None:
    """Build the template of a group: its mean image, in its mean shape."""
    inputs = {"start": start} | {f"scan {i}": scan for i, scan in enumerate(scans, start=1)}
    files = ("template.nii.gz", *(f"to_{i:02d}.safetensors" for i in range(len(scans))))
    checks.check_result_folder(output, inputs, files=files)
    config = _config(preset_name, spacing)
    write_template(scans, output, config, rounds, quiet, start=start, affine=affine)


def write_template(
    scans: Sequence, output: Path, config: Config, rounds: int = 4, quiet: bool = False, **options
) -> None:
    """Build a template and write it, with a note on each round. options: of `build_template`."""
    from nevf_lite.cohorts.template import build_template

    def show(entry: dict) -> None:
        note(
            f"round {entry['round']} of {rounds}: the mean shape was {entry['shape_mm']:.2f} mm "
            f"away, spread {entry['spread']:.3f}"
        )

    callback = None if quiet else show
    result = build_template(scans, config, rounds=rounds, callback=callback, **options)
    result.save(output)
    note(f"template of {len(scans)} scans; {output / 'template.nii.gz'}")


def change(
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
    as_json: Annotated[
        bool, option("--json", None, "Print the volumes of --labels as one JSON document.")
    ] = False,
) -> None:
    """Measure how volumes changed between two scans of one person.

    Both are brought half-way to each other, so that neither is treated otherwise. DIR holds
    log_jacobian.nii.gz, the logarithm of volume in the second over volume in the first.
    """
    checks.require(labels is not None, "--labels", json=as_json or None)

    from nevf_lite.cohorts.change import CONFIG, IMAGES, longitudinal
    from nevf_lite.scans.io import load_labels

    inputs = {"first scan": first, "second scan": second, "labels": labels}
    checks.check_result_folder(output, inputs, files=[f"{name}.nii.gz" for name in IMAGES])
    label_image = None if labels is None else load_labels(labels, "labels")
    result = longitudinal(first, second, _config(preset_name or CONFIG, spacing))
    result.save(output)
    note(f"log of volume change, second over first; {output / 'log_jacobian.nii.gz'}")
    if label_image is not None:
        unit = f"mm{result.to_first.fixed.ndim}"  # slices have areas
        header = ("label", f"first_{unit}", f"second_{unit}", "change_percent")
        rows = [
            (str(label), *values)
            for label, values in result.volumes(result.middle_labels(label_image)).items()
        ]
        if as_json:
            show_json({"volumes": [dict(zip(header, row, strict=True)) for row in rows]})
        else:
            show_table(header, rows)
