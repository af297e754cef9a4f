"""`nevf evaluate`: how good a transform is, by labels, by landmarks and by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.apply import TRANSFORM
from nevf_lite.cli.terminal import option, show_json, show_table

EXAMPLES = {
    "evaluate": """Examples:
  nevf evaluate result --fixed-labels a_seg.nii.gz --moving-labels b_seg.nii.gz --labels 1-62
  nevf evaluate ants1Warp.nii.gz --fixed-points a.csv --moving-points b.csv --json
  nevf evaluate --fixed-labels a_seg.nii.gz --moving-labels b_on_a_seg.nii.gz"""
}


def evaluate(
    transform: Annotated[
        Path | None, typer.Argument(metavar="DIR", help=TRANSFORM + " Left out: no transform.")
    ] = None,
    fixed_labels: Annotated[
        Path | None, option("--fixed-labels", "IMAGE", "Labels on the fixed image's grid.")
    ] = None,
    moving_labels: Annotated[
        Path | None, option("--moving-labels", "IMAGE", "Labels of the moving image.")
    ] = None,
    labels: Annotated[
        str | None, option("--labels", "LIST", "Which to score, such as 1-62,70.", "all in both")
    ] = None,
    label_names: Annotated[
        str | None, option("--label-names", "TABLE", checks.LABEL_NAMES_HELP)
    ] = None,
    fixed_points: Annotated[
        Path | None, option("--fixed-points", "CSV", "Landmarks in the fixed image: x,y,z, RAS mm.")
    ] = None,
    moving_points: Annotated[
        Path | None, option("--moving-points", "CSV", "The same landmarks in the moving image.")
    ] = None,
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Score a transform: Dice, HD95, landmarks, folds, inverse.

    For each structure the Dice overlap and the 95th percentile Hausdorff distance (HD95), before
    and after; for landmarks the distance between where the transform takes those of the fixed image
    and those of the moving one. Without DIR, labels and landmarks are compared as they lie.
    """
    by_labels = checks.together(fixed_labels=fixed_labels, moving_labels=moving_labels)
    by_points = checks.together(fixed_points=fixed_points, moving_points=moving_points)
    wanted = "--fixed-labels and --moving-labels"
    checks.needs(by_labels, wanted, labels=labels, label_names=label_names)
    if transform is None and not by_labels and not by_points:
        raise ValueError("evaluate: wanted a transform, labels or landmarks; see --help")
    names = checks.label_names(label_names)

    from nevf_lite.evaluation import score_deformation
    from nevf_lite.transform import Transform

    loaded = None if transform is None else Transform.load(transform)
    document: dict = {"metrics": {}}
    if by_labels:
        scores = _label_scores(loaded, fixed_labels, moving_labels, labels, names)
        document["metrics"] |= scores["metrics"]
        document["dice"] = scores["dice"]
    if by_points:
        document["metrics"] |= _landmark_errors(loaded, fixed_points, moving_points)
    if loaded is not None:
        document["metrics"] |= score_deformation(loaded)
    if as_json:
        show_json(document)
    else:
        _show(document)


def _label_scores(loaded, fixed_labels: Path, moving_labels: Path, labels, names) -> dict:
    from nevf_lite.evaluation import score_labels
    from nevf_lite.io import load_labels
    from nevf_lite.metrics import parse_labels
    from nevf_lite.space import Grid
    from nevf_lite.transform import Transform

    chosen = None if labels is None else parse_labels(labels)
    fixed = load_labels(fixed_labels, "fixed_labels")
    moving = load_labels(moving_labels, "moving_labels")
    used = loaded or Transform.identity(Grid.of(fixed), Grid.of(moving))
    scores = score_labels(used, fixed, moving, chosen, names)
    table = scores.table()
    if loaded is None:  # nothing was moved, so there is no after
        table = {n: {k: v for k, v in row.items() if "after" not in k} for n, row in table.items()}
    summary = {
        key: value
        for key, value in scores.summary().items()
        if loaded is not None or "before" in key
    }
    return {"metrics": summary, "dice": table}


def _landmark_errors(loaded, fixed_points: Path, moving_points: Path) -> dict[str, float]:
    from nevf_lite.metrics import tre
    from nevf_lite.points import read_points

    ours = read_points(fixed_points, "fixed_points")
    theirs = read_points(moving_points, "moving_points")
    if len(ours) != len(theirs):
        raise ValueError(
            f"points: {fixed_points} has {len(ours)} and {moving_points} has {len(theirs)}; wanted "
            "the same landmarks in the same order"
        )
    errors = {"before": tre(ours, theirs)}
    if loaded is not None:
        errors["after"] = tre(loaded.points_to_moving(ours), theirs)
    found = {f"tre_{when}_mm": float(error.mean()) for when, error in errors.items()}
    found |= {f"tre_{when}_max_mm": float(error.max()) for when, error in errors.items()}
    return {"landmarks": len(ours), **found}


#: What stands below the table: the measure, its decimals, its unit, the key before, the key after.
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
    table, found = document.get("dice", {}), document["metrics"]
    if table:
        columns = list(next(iter(table.values())))
        titles = _TITLES if "after" in columns else _TITLES | {"before": "Dice"}
        rows = [(label, *row.values()) for label, row in table.items()]
        show_table(["Label", *(titles[key] for key in columns)], rows)
        typer.echo()
    for name, digits, unit, *keys in _LINES:
        values = [found[key] for key in keys if found.get(key) is not None]
        if values:
            text = " -> ".join(f"{value:.{digits}f}" for value in values)
            typer.echo(f"{name:<30}{text} {unit}".rstrip())
