"""`nevf register`: check all inputs and outputs, register, and write the result."""

from __future__ import annotations

import logging
import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nevf_lite.cli import checks, outcome
from nevf_lite.cli.initial import InitMode, Network, check_initial, load_initial, load_start
from nevf_lite.cli.settings import PRESET_HELP, Preset, build_config
from nevf_lite.cli.terminal import option

if TYPE_CHECKING:
    import nibabel as nib


EXAMPLES = {
    "register": """Examples:
  nevf register fixed.nii.gz moving.nii.gz -o result
  nevf register fixed.nii.gz moving.nii.gz -o result --affine --preset fast
  nevf register fixed.nii.gz moving.nii.gz -o result --init-from symnet
  nevf register a.nii.gz b.nii.gz -o result --fixed-labels a_seg.nii.gz
                --moving-labels b_seg.nii.gz --labels 1-62 --label-names mindboggle

Images may be .nii, .nii.gz, .mgz, .nrrd or .mha, and may have different grids. DIR will
hold warped.nii.gz, warp.nii.gz and inverse_warp.nii.gz (displacement fields for ANTs,
SimpleITK and Slicer), jacobian.nii.gz, velocity.safetensors, report.html and result.json.
An earlier result in DIR is replaced; other files in it are kept. Ctrl-C stops the
optimisation: the best field so far is written, and the exit status is 130."""
}

_output_option = partial(option, panel="Output")
_method_option = partial(option, panel="Method")
_initial_option = partial(option, panel="Initial transform")
_mask_option = partial(option, panel="Masks and labels")
_machine_option = partial(option, panel="Machine")


def register(
    ctx: typer.Context,
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="The reference image.")],
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="The image to warp onto FIXED.")],
    output: Annotated[Path, _output_option("-o --output", "DIR", "Folder to write the result to.")],
    as_json: Annotated[
        bool, _output_option("--json", None, "Print result.json instead of a summary.")
    ] = False,
    quiet: Annotated[
        bool, _output_option("-q --quiet", None, "Print no progress, notes or summary.")
    ] = False,
    preset_name: Annotated[
        Preset | None, _method_option("--preset", None, PRESET_HELP, "default")
    ] = None,
    spacing: Annotated[
        float | None,
        _method_option("--spacing", "MM", "Voxel size of the grid to register on.", "the preset's"),
    ] = None,
    iterations: Annotated[
        str | None,
        _method_option(
            "--iterations",
            "N,N",
            "Most iterations of each level, coarse to fine.",
            "the preset's",
        ),
    ] = None,
    affine: Annotated[
        bool, _initial_option("--affine", None, "Compute an affine alignment first.")
    ] = False,
    init: Annotated[
        Path | None,
        _initial_option(
            "--init", "WARP", "Start from this transform, a result folder or an ITK field."
        ),
    ] = None,
    init_from: Annotated[
        Network | None,
        _initial_option(
            "--init-from",
            None,
            "Start from this network's deformation; predicted: from learned weights of the SIREN.",
            "none",
        ),
    ] = None,
    init_mode: Annotated[
        InitMode | None,
        _initial_option(
            "--init-mode",
            None,
            "compose keeps the start and its folds; warm fits the field to it.",
            "compose with --init, warm with --init-from",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        _initial_option(
            "--resume", "DIR", "Continue an earlier result of this pair, with its settings."
        ),
    ] = None,
    fixed_mask: Annotated[
        Path | None,
        _mask_option("--fixed-mask", "IMAGE", "Mask of FIXED: only nonzero voxels count."),
    ] = None,
    moving_mask: Annotated[
        Path | None,
        _mask_option("--moving-mask", "IMAGE", "Mask of MOVING: only nonzero voxels count."),
    ] = None,
    fixed_labels: Annotated[
        Path | None, _mask_option("--fixed-labels", "IMAGE", "Labels of FIXED, for the scores.")
    ] = None,
    moving_labels: Annotated[
        Path | None, _mask_option("--moving-labels", "IMAGE", "Labels of MOVING, for the scores.")
    ] = None,
    labels: Annotated[
        str | None,
        _mask_option("--labels", "LIST", checks.LABELS_HELP, checks.LABELS_DEFAULT),
    ] = None,
    label_names: Annotated[
        str | None, _mask_option("--label-names", "TABLE", checks.LABEL_NAMES_HELP)
    ] = None,
    device: Annotated[
        str, _machine_option("--device", "NAME", "Device: auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    backend: Annotated[
        str,
        _machine_option(
            "--backend", "NAME", "Kernels: auto, numba, triton, or torch for plain PyTorch."
        ),
    ] = "auto",
    seed: Annotated[
        int | None,
        _machine_option(
            "--seed", "N", "Seed of the field's initial weights.", "0", min=0, max=2**32 - 1
        ),
    ] = None,
    threads: Annotated[
        int | None,
        _machine_option("--threads", "N", "Number of CPU threads.", "one per core", min=1),
    ] = None,
) -> None:
    """Register MOVING to FIXED and write the result to a folder.

    The result is a smooth, invertible map between the two images, in millimetres. The folder holds
    it in both directions, in files that other tools read, with the warped image and a report. With
    labels, the report shows their overlap before and after.
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
    with_labels = checks.all_or_none(fixed_labels=fixed_labels, moving_labels=moving_labels)
    requirement = "--fixed-labels and --moving-labels"
    checks.require(with_labels, requirement, labels=labels, label_names=label_names)
    check_initial(affine, init, init_from, init_mode, resume)
    checks.require(init or init_from, "--init or --init-from", init_mode=init_mode)
    names = checks.label_names(label_names)
    config = build_config(preset_name, iterations, resume, spacing, seed)
    checks.check_result_folder(output, inputs)

    from nevf_lite.kernels import check_backend
    from nevf_lite.registration.register import register as register_images
    from nevf_lite.scans.io import load_image
    from nevf_lite.transforms.transform import Transform

    check_backend(backend)
    logging.getLogger("nevf_lite").setLevel(logging.ERROR if quiet else logging.WARNING)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)  # the numba kernels use torch's number
    images = load_image(fixed, "fixed"), load_image(moving, "moving")
    scoring = {}
    if with_labels:
        scoring = _load_labels(images[0], fixed_labels, moving_labels, labels)
        scoring["label_names"] = names
    folder = checks.check_result_folder(output, inputs, _result_size(*images))
    earlier = None if resume is None else Transform.load(resume)
    initial = load_initial(init, init_from, earlier, images, device)
    start = load_start(init_from)
    fitted = init_from is not None and start is None  # a field has nothing to be fitted to

    bar = sys.stderr.isatty() and not quiet
    registration = register_images(
        *images,
        config,
        init=initial,
        init_mode=str(init_mode or (InitMode.warm if fitted else InitMode.compose)),
        start=start,
        affine=affine,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        device=device,
        backend=backend,
        resume=earlier,
        progress=bar,
        callback=None if bar or quiet else outcome.log_levels(config),
    )
    outcome.write_outcome(
        registration,
        folder,
        title=f"{_stem(moving)} to {_stem(fixed)}",
        command=ctx.find_root().meta["nevf.command"],
        as_json=as_json,
        quiet=quiet,
        **scoring,
    )


def _stem(path: Path) -> str:
    """The name of a file without its suffix; .nii.gz is one suffix."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _load_labels(
    fixed: nib.Nifti1Image, fixed_labels: Path, moving_labels: Path, selection: str | None
) -> dict:
    """Both label images and the labels to score, checked before the optimisation starts."""
    from nevf_lite.scans.space import Grid
    from nevf_lite.scores.evaluation import load_label_pair
    from nevf_lite.scores.metrics import parse_labels

    labels = None if selection is None else parse_labels(selection)
    pair = load_label_pair(Grid.of(fixed), fixed_labels, moving_labels, labels)
    return dict(zip(("fixed_labels", "moving_labels", "labels"), pair, strict=True))


def _result_size(fixed: nib.Nifti1Image, moving: nib.Nifti1Image) -> int:
    """Bytes of a result before compression, which makes displacements hardly smaller."""
    return 4 * (6 * math.prod(fixed.shape) + 3 * math.prod(moving.shape)) + 5_000_000
