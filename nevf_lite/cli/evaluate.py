"""`nevf evaluate`: score a transform by labels, landmarks, folds and inverse consistency."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.apply import TRANSFORM
from nevf_lite.cli.inputs import point_space, read_point_file
from nevf_lite.cli.terminal import option, show_json, show_table

EXAMPLES = {
    "evaluate": """Examples:
  nevf evaluate result --fixed-labels a_seg.nii.gz --moving-labels b_seg.nii.gz --labels 1-62
  nevf evaluate ants1Warp.nii.gz --fixed-points a.csv --moving-points b.csv --json
  nevf evaluate --fixed-labels a_seg.nii.gz --moving-labels b_on_a_seg.nii.gz"""
}


def evaluate(
    transform: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help=TRANSFORM + " Without it, no transform is applied."),
    ] = None,
    fixed_labels: Annotated[
        Path | None, option("--fixed-labels", "IMAGE", "Labels of the fixed image, on its grid.")
    ] = None,
    moving_labels: Annotated[
        Path | None, option("--moving-labels", "IMAGE", "Labels of the moving image.")
    ] = None,
    labels: Annotated[
        str | None, option("--labels", "LIST", checks.LABELS_HELP, checks.LABELS_DEFAULT)
    ] = None,
    label_names: Annotated[
        str | None, option("--label-names", "TABLE", checks.LABEL_NAMES_HELP)
    ] = None,
    fixed_points: Annotated[
        Path | None,
        option("--fixed-points", "FILE", "Landmarks in the fixed image, see `nevf apply`."),
    ] = None,
    moving_points: Annotated[
        Path | None, option("--moving-points", "FILE", "The same landmarks in the moving image.")
    ] = None,
    lps: Annotated[bool, option("--lps", None, "Tables of points are in LPS mm.")] = False,
    ras: Annotated[bool, option("--ras", None, "Tables of points are in RAS mm.")] = False,
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Score a transform: Dice, HD95, landmarks, folds, inverse consistency.

    Labels give the Dice overlap and the 95th percentile Hausdorff distance (HD95) of each
    structure, before and after. Landmarks give the distance between the mapped landmarks of the
    fixed image and those of the moving image. Without DIR, both are compared without a transform.
    """
    with_labels = checks.all_or_none(fixed_labels=fixed_labels, moving_labels=moving_labels)
    with_points = checks.all_or_none(fixed_points=fixed_points, moving_points=moving_points)
    requirement = "--fixed-labels and --moving-labels"
    checks.require(with_labels, requirement, labels=labels, label_names=label_names)
    checks.require(
        with_points, "--fixed-points and --moving-points", lps=lps or None, ras=ras or None
    )
    space = point_space(lps, ras)
    if transform is None and not with_labels and not with_points:
        raise ValueError("evaluate: wanted a transform, labels or landmarks; see --help")
    names = checks.label_names(label_names)

    from nevf_lite.scores.evaluation import score_deformation
    from nevf_lite.transforms.transform import Transform

    loaded = None if transform is None else Transform.load(transform, fixed_labels, moving_labels)
    document: dict = {"metrics": {}}
    if with_labels:
        scores = _label_scores(loaded, fixed_labels, moving_labels, labels, names)
        document["metrics"] |= scores["metrics"]
        document["dice"] = scores["dice"]
    if with_points:
        document["metrics"] |= _landmark_errors(loaded, fixed_points, moving_points, space)
    if loaded is not None:
        document["metrics"] |= score_deformation(loaded)
    if as_json:
        show_json(document)
    else:
        _show(document)


def _label_scores(loaded, fixed_labels: Path, moving_labels: Path, labels, names) -> dict:
    from nevf_lite.scans.io import load_labels
    from nevf_lite.scans.space import Grid
    from nevf_lite.scores.evaluation import score_labels
    from nevf_lite.scores.metrics import parse_labels
    from nevf_lite.transforms.transform import Transform

    numbers = None if labels is None else parse_labels(labels)
    fixed = load_labels(fixed_labels, "fixed_labels")
    moving = load_labels(moving_labels, "moving_labels")
    applied = loaded or Transform.identity(Grid.of(fixed), Grid.of(moving))
    scores = score_labels(applied, fixed, moving, numbers, names)
    table = scores.table()
    if loaded is None:  # without a transform there are no scores after it
        table = {n: {k: v for k, v in row.items() if "after" not in k} for n, row in table.items()}
    summary = {
        key: value
        for key, value in scores.summary().items()
        if loaded is not None or "before" in key
    }
    return {"metrics": summary, "dice": table}


def _landmark_errors(
    loaded, fixed_points: Path, moving_points: Path, space: str | None
) -> dict[str, float]:
    from nevf_lite.scores.metrics import tre

    fixed = read_point_file(fixed_points, "fixed_points", space).points
    moving = read_point_file(moving_points, "moving_points", space).points
    if len(fixed) != len(moving):
        raise ValueError(
            f"points: {fixed_points} has {len(fixed)} and {moving_points} has {len(moving)}; "
            "wanted the same landmarks in the same order"
        )
    errors = {"before": tre(fixed, moving)}
    if loaded is not None:
        errors["after"] = tre(loaded.points_to_moving(fixed), moving)
    metrics = {f"tre_{when}_mm": float(error.mean()) for when, error in errors.items()}
    metrics |= {f"tre_{when}_max_mm": float(error.max()) for when, error in errors.items()}
    return {"landmarks": len(fixed), **metrics}


#: The lines below the table: measure, decimals, unit, key before, key after.
_LINES = (
    ("Dice, mean", 3, "", "dice_before", "dice_after"),
    ("HD95, mean", 2, "mm", "hd95_before_mm", "hd95_after_mm"),
    ("Landmarks, mean distance", 2, "mm", "tre_before_mm", "tre_after_mm"),
    ("Landmarks, largest distance", 2, "mm", "tre_before_max_mm", "tre_after_max_mm"),
    ("Folds, forward differences", 4, "% of voxels", None, "folds_percent"),
    ("Folds, any simplex", 4, "% of voxels", None, "folds_any_percent"),
    ("Non-diffeomorphic volume", 4, "%", None, "ndv_percent"),
    ("Inverse consistency, mean", 4, "mm", None, "inverse_consistency_mm"),
    ("Inverse consistency, largest", 4, "mm", None, "inverse_consistency_max_mm"),
)
_TITLES = {
    "name": "Structure",
    "before": "Dice before",
    "after": "Dice after",
    "hd95_before_mm": "HD95 before, mm",
    "hd95_after_mm": "HD95 after, mm",
}


def _show(document: dict) -> None:
    """Print the scores by structure and the means."""
    table, metrics = document.get("dice", {}), document["metrics"]
    if table:
        columns = list(next(iter(table.values())))
        titles = _TITLES if "after" in columns else _TITLES | {"before": "Dice"}
        rows = [(label, *row.values()) for label, row in table.items()]
        show_table(["Label", *(titles[key] for key in columns)], rows)
        typer.echo()
    for name, digits, unit, *keys in _LINES:
        values = [metrics[key] for key in keys if metrics.get(key) is not None]
        if values:
            text = " -> ".join(f"{value:.{digits}f}" for value in values)
            typer.echo(f"{name:<30}{text} {unit}".rstrip())
