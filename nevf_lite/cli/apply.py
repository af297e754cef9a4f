"""`nevf apply`, `nevf invert` and `nevf compose`: use transforms that were saved."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.inputs import DICOM_HELP, Kind, detect_kind, is_points, point_space
from nevf_lite.cli.terminal import note, option

EXAMPLES = {
    "apply": """Examples:
  nevf apply result moving_t2.nii.gz -o t2_on_fixed.nii.gz --interpolation cubic
  nevf apply result moving_seg.nii.gz -o seg_on_fixed.nii.gz --kind labels
  nevf apply result atlas.nii.gz -o atlas_on_moving.nii.gz --inverse
  nevf apply result ct.nii.gz -o ct_on_fixed.nii.gz --fill -1000
  nevf apply result bold.nii.gz -o bold_on_fixed.nii.gz --like template_2mm.nii.gz
  nevf apply result landmarks.csv -o landmarks_in_fixed.csv
  nevf apply result markups.mrk.json -o markups_in_fixed.fcsv

Points are tables with the columns x, y and z (.csv, .tsv, .txt; commas, semicolons, tabs or
spaces), in RAS mm, or in LPS under the header of ANTs, x,y,z,t; or Slicer's .fcsv and
.mrk.json, which say themselves what they are in.""",
    "invert": """Examples:
  nevf invert result -o fixed_to_moving.nii.gz
  nevf invert result -o backwards.safetensors
  nevf invert flirt.mat -o backwards.txt --fixed reference.nii.gz --moving input.nii.gz""",
    "compose": """Examples:
  nevf compose scan_to_atlas atlas_to_mni -o scan_to_mni.nii.gz

`nevf apply scan_to_mni.nii.gz` then has the effect of applying scan_to_atlas first and
atlas_to_mni second, with one interpolation instead of two.

  nevf compose result -o for_ants.h5                        # a composite, for antsApplyTransforms
  nevf compose result -o 0GenericAffine.mat                 # of `register --affine`: its affine
  nevf compose from-T1w_to-MNI_xfm.h5 -o t1w_to_mni.nii.gz  # fMRIPrep's, as one field

A matrix of FSL or AFNI counts from its two images, so it becomes one of ITK before it is composed:

  nevf compose flirt.mat -o bold_to_t1.txt --fixed t1.nii.gz --moving bold.nii.gz
  nevf compose bold_to_t1.txt t1_to_mni -o bold_to_mni.h5""",
}

Interpolation = StrEnum("Interpolation", ["linear", "cubic", "nearest"])
LabelMode = StrEnum("LabelMode", ["nearest", "onehot"])

TRANSFORM = (
    "A result folder, a .safetensors file, a displacement field (.nii.gz, .mha, .nrrd), or a "
    "transform of ITK, ANTs (.h5, .mat, .txt, .tfm), FreeSurfer (.lta), FSL (.mat), AFNI (.1D)."
)
OUTPUT = (
    "File to write: .safetensors for the transform, .nii.gz for an ITK displacement field, .h5 for "
    "an ITK composite, .mat, .txt or .tfm for its affine part alone."
)
TransformArgument = Annotated[Path, typer.Argument(metavar="DIR", help=TRANSFORM)]
OutputOption = Annotated[Path, option("-o --output", "FILE", OUTPUT)]
FixedOption = Annotated[
    Path | None, option("--fixed", "IMAGE", "Fixed image, for a file that does not say its grid.")
]
MovingOption = Annotated[
    Path | None,
    option("--moving", "IMAGE", "Moving image, for a file that does not say its grid."),
]


def apply(
    transform: TransformArgument,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="An image of one volume or several (4-D), a label map, or a file of points.",
        ),
    ],
    output: Annotated[Path, option("-o --output", "FILE", "File to write.")],
    kind: Annotated[
        Kind | None, option("--kind", None, "What INPUT holds.", "detected and reported")
    ] = None,
    inverse: Annotated[
        bool, option("--inverse", None, "Map from the fixed image's space to the moving image's.")
    ] = False,
    like: Annotated[
        Path | None,
        option(
            "--like",
            "IMAGE",
            "Image whose grid the output gets.",
            "the fixed image, or with --inverse the moving one",
        ),
    ] = None,
    interpolation: Annotated[
        Interpolation | None, option("--interpolation", None, "Interpolation of images.", "linear")
    ] = None,
    label_mode: Annotated[
        LabelMode | None,
        option("--label-mode", None, "Interpolation of labels; onehot is smoother.", "nearest"),
    ] = None,
    fill: Annotated[
        str | None,
        option(
            "--fill",
            "VALUE",
            "Value where INPUT does not reach: a number (air in CT is -1000), min or nan.",
            "0, or nan where INPUT holds NaN",
        ),
    ] = None,
    fixed: FixedOption = None,
    moving: MovingOption = None,
    dicom: Annotated[bool, option("--dicom", None, f"INPUT and IMAGE {DICOM_HELP}")] = False,
    lps: Annotated[bool, option("--lps", None, "Tables of points are in LPS mm.")] = False,
    ras: Annotated[bool, option("--ras", None, "Tables of points are in RAS mm.")] = False,
) -> None:
    """Warp an image, labels or points into the space of the fixed image.

    INPUT is in the moving image's space; with --inverse it is in the fixed image's space and is
    mapped to the moving image's. This holds for images, labels and points. A 4-D image is warped
    volume by volume and never held whole. NaN, as outside the brain in statistical maps, stays NaN.
    Points keep their other columns.
    """
    checks.protect_result(output, transform)
    checks.protect_inputs(output, {"input": source, "--like image": like})

    from nevf_lite.cli.volumes import (
        Volumes,
        apply_to_points,
        code_of,
        grid_of,
        image_warp,
        label_warp,
    )
    from nevf_lite.transforms.transform import Transform

    ends = _images(source, None if dicom else like, inverse)
    loaded = Transform.load(transform, fixed or ends[0], moving or ends[1])
    loaded = loaded.inverse if inverse else loaded
    space = point_space(lps, ras)
    if is_points(source, kind):
        options = {"interpolation": interpolation, "label_mode": label_mode, "fill": fill}
        checks.require(False, "an image or labels as input", like=like, **options)
        apply_to_points(loaded, source, output, space)
        return
    checks.require(space is None, "points as input", lps=lps or None, ras=ras or None)
    volumes = Volumes.open(source, dicom)
    kind = kind or detect_kind(source, volumes.first)
    checks.require(kind == "image", "an image as input", interpolation=interpolation, fill=fill)
    checks.require(kind == "labels", "labels as input", label_mode=label_mode)
    if kind == "labels":
        warp = label_warp(loaded, str(label_mode or LabelMode.nearest))
    else:
        warp = image_warp(loaded, str(interpolation or Interpolation.linear), fill)
    grid = loaded.fixed if like is None else grid_of(like, dicom)
    volumes.warp(warp, output, grid, code_of(transform, like, inverse))


def invert(
    transform: TransformArgument,
    output: OutputOption,
    fixed: FixedOption = None,
    moving: MovingOption = None,
) -> None:
    """Write the inverse of a transform.

    The inverse maps from the fixed image's space to the moving image's. For a registration it is
    exact: the velocity field is integrated backwards. For a displacement field of another tool it
    is computed by iteration.
    """
    checks.protect_result(output, transform)

    from nevf_lite.transforms.transform import Transform

    Transform.load(transform, fixed, moving).inverse.save(output)


def compose(
    transforms: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help=TRANSFORM + " One is written in another format."),
    ],
    output: OutputOption,
    fixed: FixedOption = None,
    moving: MovingOption = None,
) -> None:
    """Compose several transforms into one, or write one in another format.

    Give them in the order in which `nevf apply` would apply them: the fixed space of the first is
    the moving space of the second. --fixed belongs to the last, --moving to the first.
    """
    for path in transforms:
        checks.protect_result(output, path)

    from nevf_lite.transforms.transform import Transform

    images = [[None, None] for _ in transforms]
    images[-1][0], images[0][1] = fixed, moving
    loaded = [Transform.load(path, *pair) for path, pair in zip(transforms, images, strict=True)]
    for i in range(len(loaded) - 1):
        first, second = loaded[i : i + 2]
        if first.fixed != second.moving and first.moving == second.fixed:
            note(
                f"{transforms[i]} and {transforms[i + 1]} seem to be the other way round: the "
                "moving grid of the first is the fixed grid of the second"
            )
    # Points are mapped from fixed to moving, so the last transform is applied to them first.
    composed = loaded.pop()
    while loaded:
        composed = composed.compose(loaded.pop())
    composed.save(output)


def _images(source: Path, like: Path | None, inverse: bool) -> tuple[Path | None, Path | None]:
    """The fixed and the moving image of `apply`, as far as the command names them."""
    from nevf_lite.scans.readers import IMAGE_SUFFIXES

    moving = source if source.name.lower().endswith(IMAGE_SUFFIXES) else None
    return (moving, like) if inverse else (like, moving)
