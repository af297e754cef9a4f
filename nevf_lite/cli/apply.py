"""`nevf apply`, `nevf invert` and `nevf compose`: what transforms are for."""

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
  nevf invert result -o backwards.safetensors""",
    "compose": """Examples:
  nevf compose scan_to_atlas atlas_to_mni -o scan_to_mni.nii.gz

What `nevf apply scan_to_mni.nii.gz` then does is what scan_to_atlas and, after it,
atlas_to_mni would do, with one interpolation instead of two.""",
}

Kind = StrEnum("Kind", ["image", "labels", "points"])
Interpolation = StrEnum("Interpolation", ["linear", "cubic", "nearest"])
LabelMode = StrEnum("LabelMode", ["nearest", "onehot"])

TRANSFORM = "A result folder, a .safetensors file or an ITK displacement field (.nii.gz)."
WRITES = "Where to: .nii.gz, an ITK displacement field, or .safetensors, the transform itself."
#: Neighbours in a label map are alike; in a scan, noise makes them differ.
ALIKE = 0.5

Source = Annotated[Path, typer.Argument(metavar="DIR", help=TRANSFORM)]
Target = Annotated[Path, option("-o --output", "FILE", WRITES)]


def apply(
    transform: Source,
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, a label map or a CSV of points.")
    ],
    output: Annotated[Path, option("-o --output", "FILE", "Where to write what comes out.")],
    kind: Annotated[
        Kind | None, option("--kind", None, "What INPUT is.", "guessed, and said")
    ] = None,
    inverse: Annotated[
        bool, option("--inverse", None, "From the fixed image's space to the moving one's.")
    ] = False,
    like: Annotated[
        Path | None,
        option("--like", "IMAGE", "Grid to write on.", "that of the image whose space it is"),
    ] = None,
    interpolation: Annotated[
        Interpolation | None, option("--interpolation", None, "Of images.", "linear")
    ] = None,
    label_mode: Annotated[
        LabelMode | None,
        option("--label-mode", None, "Of labels; onehot is smoother.", "nearest"),
    ] = None,
) -> None:
    """Bring an image, labels or points into the space of the fixed image.

    All three go the same way: from the moving image's space to the fixed one's, and with --inverse
    from the fixed one's to the moving one's. Points are a CSV file with the columns x, y and z, in
    millimetres, RAS; its other columns are kept.
    """
    checks.keep_result(output, transform)
    checks.keep_inputs(output, {"input": source, "grid to write on": like})

    from nevf_lite.transform import Transform

    loaded = Transform.load(transform)
    loaded = loaded.inverse if inverse else loaded
    kind = kind or _guess(source)
    checks.needs(kind == "image", "an image as input", interpolation=interpolation)
    checks.needs(kind == "labels", "labels as input", label_mode=label_mode)
    if kind == "points":
        from nevf_lite.files import suffix_of
        from nevf_lite.points import read_points, write_points

        checks.needs(False, "an image as input", like=like)
        suffix_of(output, (".csv",), "output")
        write_points(output, loaded.points_to_fixed(read_points(source, "input")), like=source)
        return

    import numpy as np

    from nevf_lite.io import load_image, load_labels, save_image

    grid = loaded.fixed if like is None else _grid(like)
    if kind == "labels":
        image = load_labels(source, "input")
        warped = loaded.warp_labels(image, str(label_mode or LabelMode.nearest), like=grid)
    else:
        image = load_image(source, "input")
        warped = loaded.warp_image(image, str(interpolation or Interpolation.linear), like=grid)
    data = np.asarray(warped.dataobj)
    if not data.any():
        note(f"{output} is zero everywhere: {source} does not lie where the transform reads it")
    save_image(output, data, grid)


def invert(transform: Source, output: Target) -> None:
    """Write the inverse of a transform.

    It brings what is in the fixed image's space into the moving one's. The inverse of a
    registration is exact: its velocity runs backwards. That of a displacement field from elsewhere
    is found by iteration.
    """
    checks.keep_result(output, transform)

    from nevf_lite.transform import Transform

    _save(Transform.load(transform).inverse, output)


def compose(
    transforms: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help=TRANSFORM + " Two or more of them."),
    ],
    output: Target,
) -> None:
    """Chain several transforms into one.

    They are named in the order in which `nevf apply` would be called with them, one after the
    other: the fixed space of the first is the moving space of the second.
    """
    if len(transforms) < 2:
        raise ValueError("compose: wanted two transforms or more, got one")
    for path in transforms:
        checks.keep_result(output, path)

    from nevf_lite.transform import Transform

    loaded = [Transform.load(path) for path in transforms]
    for i in range(len(loaded) - 1):
        first, second = loaded[i : i + 2]
        if first.fixed != second.moving and first.moving == second.fixed:
            note(
                f"{transforms[i]} and {transforms[i + 1]} look as if they were meant the other way "
                "round: the first one's moving grid is the second one's fixed grid"
            )
    # maps of points run against the images: the last one leads from the final grid
    whole = loaded.pop()
    while loaded:
        whole = whole.compose(loaded.pop())
    _save(whole, output)


def _save(transform, output: Path) -> None:
    from nevf_lite.files import suffix_of
    from nevf_lite.io import write_displacement

    if suffix_of(output, (".safetensors", ".nii", ".nii.gz"), "output") == ".safetensors":
        transform.save(output)
    else:
        write_displacement(output, transform.displacement(), transform.fixed)


def _grid(path: Path):
    from nevf_lite.readers import open_image
    from nevf_lite.space import Grid

    data, affine, _ = open_image(path, "like")
    return Grid(data.shape, affine)


def _guess(path: Path) -> Kind:
    """What a file is, by its ending and its voxels; says so where it could be mistaken."""
    if path.suffix.lower() == ".csv":
        return Kind.points

    from nevf_lite.readers import open_image

    data, _, _ = open_image(path, "input")
    if data.dtype.kind == "f" and (data != data.round()).any():
        return Kind.image
    labels = looks_like_labels(data)
    if labels:
        note(f"{path} is taken for labels, which it looks like; if it is not, say --kind image")
    else:
        note(f"{path} is taken for an image, not labels; if it holds labels, say --kind labels")
    return Kind.labels if labels else Kind.image


def looks_like_labels(data) -> bool:
    """Of whole numbers (*shape): are most neighbouring voxels, the background aside, alike?"""
    import numpy as np

    values, counts = np.unique(data, return_counts=True)
    inside = data != values[counts.argmax()]
    pairs = alike = 0
    for axis in range(data.ndim):
        ahead, behind = ([slice(None)] * data.ndim for _ in range(2))
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        both = inside[tuple(ahead)] & inside[tuple(behind)]
        pairs += int(both.sum())
        alike += int((both & (data[tuple(ahead)] == data[tuple(behind)])).sum())
    return alike >= ALIKE * pairs
