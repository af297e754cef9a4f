"""`nevf register`: everything that can be checked is checked before the optimisation starts."""

from __future__ import annotations

import json
import logging
import math
import sys
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nevf_lite.cli import checks, outcome
from nevf_lite.cli.terminal import option
from nevf_lite.config import PRESETS, Config, preset

if TYPE_CHECKING:
    import nibabel as nib


EXAMPLES = {
    "register": """Examples:
  nevf register fixed.nii.gz moving.nii.gz -o result
  nevf register fixed.nii.gz moving.nii.gz -o result --affine --preset fast
  nevf register a.nii.gz b.nii.gz -o result --fixed-labels a_seg.nii.gz
                --moving-labels b_seg.nii.gz --labels 1-62 --label-names mindboggle

Images may be .nii, .nii.gz, .mgz, .nrrd or .mha, on different grids. DIR then holds
warped.nii.gz, warp.nii.gz and inverse_warp.nii.gz (for ANTs, SimpleITK and Slicer),
jacobian.nii.gz, velocity.safetensors, report.html and result.json. Files of an earlier
result in it are replaced; anything else in it is left alone. Ctrl-C ends the search
early: the best field so far is kept and written (exit status 130)."""
}

#: The presets by name, so that a shell can complete them.
Preset = StrEnum("Preset", {name: name for name in PRESETS})


_output = partial(option, panel="Output")
_method = partial(option, panel="Method")
_start = partial(option, panel="Where to start")
_score = partial(option, panel="Masks and labels")
_machine = partial(option, panel="Machine")


def register(
    ctx: typer.Context,
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="The image that stays.")],
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="The image brought to it.")],
    output: Annotated[Path, _output("-o --output", "DIR", "Folder for the result.")],
    as_json: Annotated[bool, _output("--json", None, "Print result.json, not a summary.")] = False,
    quiet: Annotated[bool, _output("-q --quiet", None, "No progress, notes or summary.")] = False,
    settings: Annotated[
        Preset | None,
        _method("--preset", None, "The best; quick; of coordinates; the paper's.", "default"),
    ] = None,
    spacing: Annotated[
        float | None, _method("--spacing", "MM", "Resolution to optimise at.", "1 for a head")
    ] = None,
    iterations: Annotated[
        str | None,
        _method("--iterations", "N,N", "At most N a level.", "the preset's"),
    ] = None,
    affine: Annotated[bool, _start("--affine", None, "Compute an affine alignment first.")] = False,
    init: Annotated[
        Path | None,
        _start("--init", "WARP", "A transform to start from: a result folder or an ITK warp."),
    ] = None,
    resume: Annotated[
        Path | None,
        _start("--resume", "DIR", "An earlier result of both images, to go on from as it was."),
    ] = None,
    fixed_mask: Annotated[
        Path | None, _score("--fixed-mask", "IMAGE", "Not zero where FIXED counts.")
    ] = None,
    moving_mask: Annotated[
        Path | None, _score("--moving-mask", "IMAGE", "Not zero where MOVING counts.")
    ] = None,
    fixed_labels: Annotated[
        Path | None, _score("--fixed-labels", "IMAGE", "Labels of FIXED, to score the result.")
    ] = None,
    moving_labels: Annotated[
        Path | None, _score("--moving-labels", "IMAGE", "Labels of MOVING.")
    ] = None,
    labels: Annotated[
        str | None, _score("--labels", "LIST", "Which to score, such as 1-62,70.", "all in both")
    ] = None,
    label_names: Annotated[
        str | None, _score("--label-names", "TABLE", checks.LABEL_NAMES_HELP)
    ] = None,
    device: Annotated[str, _machine("--device", "NAME", "auto, cpu, cuda, cuda:1, mps.")] = "auto",
    backend: Annotated[
        str, _machine("--backend", "NAME", "Fast kernels: auto, torch (none), numba, triton.")
    ] = "auto",
    seed: Annotated[
        int | None,
        _machine("--seed", "N", "Of the random start.", "0", min=0, max=2**32 - 1),
    ] = None,
    threads: Annotated[
        int | None, _machine("--threads", "N", "CPU threads to use.", "one a core", min=1)
    ] = None,
) -> None:
    """Register MOVING to FIXED and write the result to a folder.

    The result is one smooth, invertible map between the two images, in millimetres: as files that
    other tools read, in both directions, with the warped image, a report to look at and, where
    labels are given, how well they overlap before and after.
    """
    inputs = {
        "fixed image": fixed,
        "moving image": moving,
        "fixed mask": fixed_mask,
        "moving mask": moving_mask,
        "fixed labels": fixed_labels,
        "moving labels": moving_labels,
        "initial transform": init,
    }
    scored = checks.together(fixed_labels=fixed_labels, moving_labels=moving_labels)
    wanted = "--fixed-labels and --moving-labels"
    checks.needs(scored, wanted, labels=labels, label_names=label_names)
    if affine and init is not None:
        raise ValueError("--affine computes a transform to start from; leave --init out")
    if resume is not None and (affine or init is not None):
        raise ValueError(
            "--resume starts where the earlier result did; leave --affine and --init out"
        )
    names = checks.label_names(label_names)
    config = _config(settings, iterations, resume, spacing, seed)
    checks.result_folder(output, inputs)

    from nevf_lite.io import load_image
    from nevf_lite.kernels import check_backend
    from nevf_lite.registration import register as run
    from nevf_lite.transform import Transform

    check_backend(backend)
    logging.getLogger("nevf_lite").setLevel(logging.ERROR if quiet else logging.WARNING)
    if threads is not None:
        outcome.set_threads(threads)
    images = load_image(fixed, "fixed"), load_image(moving, "moving")
    extra = {}
    if scored:
        extra = _labels(images[0], fixed_labels, moving_labels, labels) | {"label_names": names}
    folder = checks.result_folder(output, inputs, _size(*images))
    start = None if init is None else Transform.load(init)
    earlier = None if resume is None else Transform.load(resume)
    if earlier is not None and earlier.parts[1:]:  # what it started from
        start = Transform(earlier.parts[1:], earlier.fixed, earlier.moving)

    bar = sys.stderr.isatty() and not quiet
    registration = run(
        *images,
        config,
        init=start,
        affine=affine,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        device=device,
        backend=backend,
        resume=earlier,
        progress=bar,
        callback=None if bar or quiet else outcome.log_levels(config),
    )
    outcome.write(
        registration,
        folder,
        title=f"{_stem(moving)} to {_stem(fixed)}",
        command=ctx.find_root().meta["nevf.command"],
        as_json=as_json,
        quiet=quiet,
        **extra,
    )


def _stem(path: Path) -> str:
    """The name of a file without its ending, .nii.gz included."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _config(
    name: Preset | None,
    iterations: str | None,
    resume: Path | None,
    spacing: float | None,
    seed: int | None,
) -> Config:
    """The preset, or the settings of the result to go on from, with what was asked for changed."""
    config = preset(str(name or Preset.default))
    if resume is not None and name is None:
        config = _earlier_config(resume) or config
    changes = {"spacing": spacing, "seed": seed}
    changes = {key: value for key, value in changes.items() if value is not None}
    if iterations is not None:
        try:
            counts = [int(count) for count in iterations.split(",")]
        except ValueError:
            counts = []
        if len(counts) != len(config.levels):
            usual = ",".join(str(level.iterations) for level in config.levels)
            raise ValueError(
                f"iterations: wanted {len(config.levels)} whole numbers with commas between, one "
                f"for each level, such as {usual}; got {iterations!r}"
            )
        levels = zip(config.levels, counts, strict=True)
        changes["levels"] = tuple(replace(level, iterations=count) for level, count in levels)
    return preset(config, **changes)


def _earlier_config(folder: Path) -> Config | None:
    file = folder.expanduser() / "result.json"
    if not file.is_file():
        return None
    try:
        return Config.from_dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"resume: {file} is damaged; name the velocity.safetensors beside it and the --preset"
        ) from error


def _labels(fixed: nib.Nifti1Image, fixed_labels: Path, moving_labels: Path, chosen: str | None):
    """Both label images and the labels to score, known to fit before the long work starts."""
    from nevf_lite.evaluation import load_label_pair
    from nevf_lite.metrics import parse_labels
    from nevf_lite.space import Grid

    wanted = None if chosen is None else parse_labels(chosen)
    ours, theirs, wanted = load_label_pair(Grid.of(fixed), fixed_labels, moving_labels, wanted)
    return {"fixed_labels": ours, "moving_labels": theirs, "labels": wanted}


def _size(fixed: nib.Nifti1Image, moving: nib.Nifti1Image) -> int:
    """Bytes of a result before compression, which saves little on displacements."""
    return 4 * (6 * math.prod(fixed.shape) + 3 * math.prod(moving.shape)) + 5_000_000
