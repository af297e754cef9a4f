"""`nevf apply`, `nevf invert` and `nevf compose`: use transforms that were saved."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.terminal import note, option

EXAMPLES = {
    "apply": """Examples:
  nevf apply result moving_t2.nii.gz -o t2_on_fixed.nii.gz --interpolation cubic
  nevf apply result moving_seg.nii.gz -o seg_on_fixed.nii.gz --kind labels
  nevf apply result atlas.nii.gz -o atlas_on_moving.nii.gz --inverse
  nevf apply result landmarks.csv -o landmarks_in_fixed.csv""",
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
  nevf compose from-T1w_to-MNI_xfm.h5 -o t1w_to_mni.nii.gz  # fMRIPrep's, as one field""",
}

Kind = StrEnum("Kind", ["image", "labels", "points"])
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
#: Fraction of equal neighbours from which whole numbers are taken for labels. Neighbouring voxels
#: of a label map are mostly equal; in a scan, noise makes them differ.
MIN_EQUAL = 0.5

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
        Path, typer.Argument(metavar="INPUT", help="An image, a label map or a CSV file of points.")
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
) -> None:
    """Warp an image, labels or points into the space of the fixed image.

    INPUT is in the moving image's space; with --inverse it is in the fixed image's space and is
    mapped to the moving image's. This holds for images, labels and points. Points are a CSV file
    with the columns x, y and z, RAS coordinates in millimetres; its other columns are kept.
    """
    checks.protect_result(output, transform)
    checks.protect_inputs(output, {"input": source, "--like image": like})

    from nevf_lite.transforms.transform import Transform

    loaded = Transform.load(transform, *_images(source, like, inverse))
    loaded = loaded.inverse if inverse else loaded
    kind = kind or _detect_kind(source)
    checks.require(kind == "image", "an image as input", interpolation=interpolation)
    checks.require(kind == "labels", "labels as input", label_mode=label_mode)
    if kind == "points":
        from nevf_lite.scans.files import suffix_of
        from nevf_lite.scans.points import read_points, write_points

        checks.require(False, "an image or labels as input", like=like)
        suffix_of(output, (".csv",), "output")
        write_points(output, loaded.points_to_fixed(read_points(source, "input")), like=source)
        return

    import numpy as np

    from nevf_lite.scans.io import load_image, load_labels, save_image

    grid = loaded.fixed if like is None else _load_grid(like)
    if kind == "labels":
        image = load_labels(source, "input")
        warped = loaded.warp_labels(image, str(label_mode or LabelMode.nearest), like=grid)
    else:
        image = load_image(source, "input")
        warped = loaded.warp_image(image, str(interpolation or Interpolation.linear), like=grid)
    data = np.asarray(warped.dataobj)
    if not data.any():
        note(f"{output} is zero everywhere: {source} is outside the region that the transform maps")
    save_image(output, data, grid)


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
    from nevf_lite.scans.readers import ITK_SUFFIXES, NIBABEL_SUFFIXES

    is_image = source.name.lower().endswith((*NIBABEL_SUFFIXES, *ITK_SUFFIXES))
    moving = source if is_image else None
    return (moving, like) if inverse else (like, moving)


def _load_grid(path: Path):
    from nevf_lite.scans.readers import open_image
    from nevf_lite.scans.space import Grid

    data, affine, _ = open_image(path, "like")
    return Grid(data.shape, affine)


def _detect_kind(path: Path) -> Kind:
    """What a file holds, by its suffix and its voxels; prints a note where this can be wrong."""
    if path.suffix.lower() == ".csv":
        return Kind.points

    from nevf_lite.scans.readers import open_image

    data, _, _ = open_image(path, "input")
    if data.dtype.kind == "f" and (data != data.round()).any():
        return Kind.image
    labels = looks_like_labels(data)
    if labels:
        note(f"{path} is treated as labels; if it is an image, use --kind image")
    else:
        note(f"{path} is treated as an image; if it holds labels, use --kind labels")
    return Kind.labels if labels else Kind.image


def looks_like_labels(data) -> bool:
    """True if most neighbouring voxels outside the background are equal.

    data: whole numbers, (*shape). The background is the most frequent value.
    """
    import numpy as np

    values, counts = np.unique(data, return_counts=True)
    foreground = data != values[counts.argmax()]
    pairs = equal = 0
    for axis in range(data.ndim):
        upper, lower = ([slice(None)] * data.ndim for _ in range(2))
        upper[axis], lower[axis] = slice(1, None), slice(None, -1)
        upper, lower = tuple(upper), tuple(lower)
        compared = foreground[upper] & foreground[lower]
        pairs += int(compared.sum())
        equal += int((compared & (data[upper] == data[lower])).sum())
    return equal >= MIN_EQUAL * pairs
