"""The result folder: what other tools, and people, get of a registration."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from nevf_lite.evaluation import LabelScores, finite, score_deformation, score_labels
from nevf_lite.files import RESULT_FILES, disk_errors
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.io import make_image, save_image, write_displacement
from nevf_lite.registration import Registration
from nevf_lite.store import FILE_NAME
from nevf_lite.transform import Transform

_PACKAGES = ("nevf-lite", "torch", "numpy", "nibabel", "SimpleITK", "numba")


def save_result(
    registration: Registration,
    folder: str | os.PathLike,
    *,
    fixed_labels=None,
    moving_labels=None,
    labels: Iterable[int] | None = None,
    label_names: Mapping[int, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    title: str = "Registration",
    command: str = "",
) -> dict:
    """Write the result folder of a registration, and return what result.json holds.

    warped.nii.gz: the moving image on the fixed grid. warp.nii.gz, inverse_warp.nii.gz: ITK
    displacement fields; the first is what antsApplyTransforms and SimpleITK need to warp the moving
    image, on the fixed grid; the other the same for the fixed image, on the moving grid.
    velocity.safetensors: the transform itself. jacobian.nii.gz: det of the map, on the fixed grid.
    report.html, result.json; and warped_labels.nii.gz where labels are given.

    fixed_labels, moving_labels, labels, label_names: see `evaluation.score_labels`. metrics: more
    numbers to record. command: what repeats this, for the report. Everything is written to a hidden
    place in the folder first and moved when all of it is there; an earlier result is replaced, and
    whatever else the folder holds stays. Raises ValueError for labels that do not fit, OSError
    for a full disk.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {folder} is a file; name a folder")
    scores = None
    if fixed_labels is not None and moving_labels is not None:
        scores = score_labels(
            registration.transform, fixed_labels, moving_labels, labels, label_names
        )
    document = _document(registration, scores, dict(metrics or {}), command)
    is_new = not folder.exists()
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as staging:
                _write_files(Path(staging), registration, scores, document, title, command)
                for name in RESULT_FILES:
                    if (Path(staging) / name).exists():
                        os.replace(Path(staging) / name, folder / name)
                    else:  # of an earlier result, and no longer true
                        (folder / name).unlink(missing_ok=True)
    except BaseException:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    return document


def _document(
    registration: Registration,
    scores: LabelScores | None,
    metrics: dict[str, float],
    command: str,
) -> dict:
    """result.json: all that is needed to repeat the run, and what came of it."""
    metrics |= score_deformation(registration.transform)
    last = registration.history[-1] if registration.history else {}
    metrics["similarity"] = last.get("similarity")
    document = {
        "metrics": metrics,
        "timings": registration.timings,
        "seconds": sum(registration.timings.values()),
        "iterations": len(registration.history),
        "stopped": registration.stopped,
        "notes": registration.notes,
        "config": registration.config.to_dict(),
        "seed": registration.config.seed,
        "device": registration.device,
        "backend": registration.backend,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command,
    }
    if scores is not None:
        metrics.update(scores.summary())
        document["dice"] = scores.table()
    document["metrics"] = {name: finite(value) for name, value in metrics.items()}
    return document


def _write_files(
    folder: Path,
    registration: Registration,
    scores: LabelScores | None,
    document: dict,
    title: str,
    command: str,
) -> None:
    from nevf_lite.viz.report import ReportData, write_report

    transform = registration.transform
    forward = transform.displacement()
    determinant = jacobian_map(transform)
    before = Transform.identity(transform.fixed, transform.moving).warp_image(registration.moving)
    save_image(
        folder / "warped.nii.gz", registration.warped.get_fdata(dtype=np.float32), transform.fixed
    )
    write_displacement(folder / "warp.nii.gz", forward, transform.fixed)
    backward = transform.inverse.displacement()
    write_displacement(folder / "inverse_warp.nii.gz", backward, transform.moving)
    save_image(folder / "jacobian.nii.gz", determinant, transform.fixed)
    transform.save(folder / FILE_NAME)
    if scores is not None:
        save_image(
            folder / "warped_labels.nii.gz", np.asarray(scores.after.dataobj), transform.fixed
        )
    shown = (
        {}
        if scores is None
        else {
            "fixed_labels": scores.fixed,
            "moving_labels_on_fixed": scores.before,
            "warped_labels": scores.after,
            "label_names": scores.names,
            "dice_before": scores.dice_before,
            "dice_after": scores.dice_after,
        }
    )
    report = ReportData(
        title=title,
        fixed=registration.fixed,
        moving_on_fixed=before,
        warped=registration.warped,
        jacobian=make_image(determinant, transform.fixed.affine),
        displacement_mm=forward,
        history=registration.history,
        summary={**document["metrics"], "seconds": document["seconds"]},
        command=command,
        config=document["config"],
        versions=document["versions"],
        warnings=registration.notes,
        **shown,
    )
    write_report(folder / "report.html", report)
    (folder / "result.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def jacobian_map(transform: Transform) -> np.ndarray:
    """det of the map at each voxel of the fixed grid, (*shape), float32: 1 keeps volume.

    Forward differences, with the last value along each axis repeated.
    """
    determinant = jacobian_determinant(transform.voxel_displacement())[0].numpy()
    return np.pad(determinant, [(0, 1)] * determinant.ndim, mode="edge")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
