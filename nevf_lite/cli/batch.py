"""`nevf batch`: register many pairs, and write an index of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.cohorts import (
    Affine,
    Output,
    PresetOption,
    Quiet,
    Settings,
    Spacing,
    cohort_config,
)
from nevf_lite.cli.settings import Preset
from nevf_lite.cli.terminal import note, note_failures, option, resumable

EXAMPLES = {
    "batch": """Examples:
  nevf batch pairs.csv -o results --workers 2
  nevf batch bids_folder -o results --fixed template.nii.gz --affine
  nevf batch pairs.csv -o results --scheduler tcp://host:8786

pairs.csv has the columns fixed and moving, and perhaps name, fixed_mask, moving_mask, fixed_labels
and moving_labels; its paths are relative to it."""
}


def batch(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="Table of pairs, or BIDS folder.")],
    output: Output,
    fixed: Annotated[
        Path | None,
        option("--fixed", "IMAGE", "Of a BIDS folder: register all to this, not to session 1."),
    ] = None,
    suffix: Annotated[str, option("--suffix", "NAME", "Of a BIDS folder: scans to take.")] = "T1w",
    preset_name: PresetOption = Preset.default,
    spacing: Spacing = None,
    settings: Settings = None,
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

    with resumable(output):
        records = register_batch(
            pairs,
            output,
            cohort_config(preset_name, spacing, settings),
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
    failed = [record for record in records if record["status"] == "failed"]
    note_failures([(record["name"], record["reason"]) for record in failed])
    note(f"{len(records) - len(failed)} of {len(records)} pairs done; {output / 'index.html'}")
    if failed:
        raise typer.Exit(1)
