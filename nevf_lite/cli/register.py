"""`nevf register`: check all inputs and outputs, register, and write the result."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nevf_lite.cli import checks, options, outcome
from nevf_lite.cli.bids import BidsNames
from nevf_lite.cli.initial import InitMode, check_initial, load_initial, load_start
from nevf_lite.cli.inputs import fill_of, image_source, parse_fill, stem
from nevf_lite.cli.settings import build_config, use_threads
from nevf_lite.cli.terminal import print_log
from nevf_lite.scans.files import RESULT_FILES

if TYPE_CHECKING:
    import nibabel as nib


EXAMPLES = {
    "register": """Examples:
  nevf register fixed.nii.gz moving.nii.gz -o result
  nevf register fixed.nii.gz moving.nii.gz -o result --affine --preset fast
  nevf register fixed.nii.gz moving.nii.gz -o result --init-from symnet
  nevf register t1.nii.gz t2.nii.gz -o result --similarity mind
  nevf register a_t1.nii.gz b_t1.nii.gz -o result --fixed-channel a_t2.nii.gz
                --moving-channel b_t2.nii.gz --moving-lesion b_lesion.nii.gz
  nevf register tpl-MNI152NLin2009cAsym_T1w.nii.gz sub-01_T1w.nii.gz -o derivatives --bids
  nevf register a.nii.gz b.nii.gz -o result --fixed-labels a_seg.nii.gz
                --moving-labels b_seg.nii.gz --labels 1-62 --label-names mindboggle

Images may be .nii, .nii.gz, .img and .hdr, .mgz, .nrrd, .mha or folders of DICOM (--dicom),
and may have different grids. Channels are compared one with the other and averaged. DIR
will hold warped.nii.gz, warp.nii.gz and inverse_warp.nii.gz (displacement fields for ANTs,
SimpleITK and Slicer), jacobian.nii.gz, velocity.safetensors, report.html and result.json.
An earlier result in DIR is replaced; other files in it are kept. Ctrl-C stops the
optimisation: the best field so far is written, and the exit status is 130."""
}


def register(
    ctx: typer.Context,
    fixed: options.Fixed,
    moving: options.Moving,
    output: options.Output,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    bids: options.Bids = False,
    space: options.Space = None,
    fill: options.Fill = None,
    dicom: options.Dicom = False,
    fixed_channel: options.FixedChannels = None,
    moving_channel: options.MovingChannels = None,
    preset_name: options.PresetName = None,
    similarity: options.SimilarityName = None,
    spacing: options.Spacing = None,
    iterations: options.Iterations = None,
    settings: options.Settings = None,
    affine: options.AffineStart = False,
    init: options.Init = None,
    init_from: options.InitFrom = None,
    init_mode: options.InitModeName = None,
    resume: options.Resume = None,
    fixed_mask: options.FixedMask = None,
    moving_mask: options.MovingMask = None,
    fixed_lesion: options.FixedLesion = None,
    moving_lesion: options.MovingLesion = None,
    fixed_labels: options.FixedLabels = None,
    moving_labels: options.MovingLabels = None,
    labels: options.Labels = None,
    label_names: options.LabelNames = None,
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
) -> None:
    """Register MOVING to FIXED and write the result to a folder.

    The result is a smooth, invertible map between the two images, in millimetres. The folder holds
    it in both directions, in files that other tools read, with the warped image and a report. With
    labels, the report shows their overlap before and after.
    """
    pairs = [(fixed, moving), *checks.channels(fixed_channel, moving_channel)]
    inputs = {
        "fixed image": fixed,
        "moving image": moving,
        "fixed mask": fixed_mask,
        "moving mask": moving_mask,
        "fixed lesion": fixed_lesion,
        "moving lesion": moving_lesion,
        "fixed labels": fixed_labels,
        "moving labels": moving_labels,
        "initial transform": init,
        **{f"channel {path}": path for pair in pairs[1:] for path in pair},
    }
    with_labels = checks.all_or_none(fixed_labels=fixed_labels, moving_labels=moving_labels)
    requirement = "--fixed-labels and --moving-labels"
    checks.require(with_labels, requirement, labels=labels, label_names=label_names)
    check_initial(affine, init, init_from, init_mode, resume)
    checks.require(init or init_from, "--init or --init-from", init_mode=init_mode)
    checks.require(bids, "--bids", space=space)
    names = checks.label_names(label_names)
    outside = parse_fill(fill)
    config = build_config(
        preset_name, iterations, resume, spacing, seed, similarity, settings or ()
    )
    bids_names = BidsNames.of(fixed, moving, space) if bids else None
    outputs = RESULT_FILES if bids_names is None else tuple(bids_names.names.values())
    checks.check_result_folder(output, inputs, files=outputs)

    from nevf_lite.kernels import check_backend
    from nevf_lite.registration.register import register as register_images
    from nevf_lite.scans.io import load_image
    from nevf_lite.transforms.transform import Transform

    check_backend(backend)
    print_log(quiet)
    use_threads(threads)
    channels = [
        tuple(
            load_image(image_source(path, role, dicom), role)
            for path, role in zip(pair, ("fixed", "moving"), strict=True)
        )
        for pair in pairs
    ]
    images = channels[0]
    scoring = {}
    if with_labels:
        scoring = _load_labels(images[0], fixed_labels, moving_labels, labels)
        scoring["label_names"] = names
    folder = checks.check_result_folder(output, inputs, _result_size(*images), outputs)
    earlier = None if resume is None else Transform.load(resume)
    initial = load_initial(init, init_from, earlier, images, device)
    start = load_start(init_from)
    warm = init_from is not None and start is None  # a field has nothing to be fitted to

    bar = sys.stderr.isatty() and not quiet
    fixed_images, moving_images = zip(*channels, strict=True)
    registration = register_images(
        fixed_images if len(channels) > 1 else images[0],
        moving_images if len(channels) > 1 else images[1],
        config,
        init=initial,
        init_mode=str(init_mode or (InitMode.warm if warm else InitMode.compose)),
        start=start,
        affine=affine,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        fixed_lesion=fixed_lesion,
        moving_lesion=moving_lesion,
        device=device,
        backend=backend,
        resume=earlier,
        progress=bar,
        callback=None if bar or quiet else outcome.log_levels(config),
    )
    outcome.write_outcome(
        registration,
        folder,
        title=f"{stem(moving)} to {stem(fixed)}",
        command=ctx.find_root().meta["nevf.command"],
        as_json=as_json,
        quiet=quiet,
        bids=bids_names,
        fill=fill_of(outside, images[1].dataobj),
        **scoring,
    )


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
