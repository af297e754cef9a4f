"""The result folder: what other tools, and people, get of a registration."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from nevf_lite.scans.files import RESULT_FILES, written_together
from nevf_lite.scans.io import make_image, save_image, write_displacement
from nevf_lite.scans.origin import header_notes
from nevf_lite.scans.readers import space_code
from nevf_lite.scores.deformation import determinant_map
from nevf_lite.scores.evaluation import LabelScores, finite, score_deformation, score_labels
from nevf_lite.transforms.store import FILE_NAME
from nevf_lite.transforms.transform import Transform

#: What decides the numbers of a registration.
PACKAGES = ("nevf-lite", "torch", "numpy", "nibabel", "SimpleITK", "numba")


def write_result_folder(
    folder: str | os.PathLike,
    transform: Transform,
    images: tuple[nib.Nifti1Image, nib.Nifti1Image, nib.Nifti1Image],
    history: Sequence[Mapping],
    run: Mapping,
    *,
    fixed_labels=None,
    moving_labels=None,
    labels: Iterable[int] | None = None,
    label_names: Mapping[int, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    masks: tuple[nib.Nifti1Image | None, nib.Nifti1Image | None] = (None, None),
    fill: float | None = None,
    title: str = "Registration",
    command: str = "",
) -> dict:
    """Write the result folder of a registration, and return what result.json holds.

    transform: fixed to moving. images: the fixed one, the moving one, and the moving one warped
    onto the fixed grid. history: one record an iteration. run: how it was found, for result.json:
    timings, seconds, iterations, stopped, notes, config, seed, device and backend.

    warped.nii.gz: the moving image on the fixed grid. warp.nii.gz, inverse_warp.nii.gz: ITK
    displacement fields; the first is what antsApplyTransforms and SimpleITK need to warp the moving
    image, on the fixed grid; the other the same for the fixed image, on the moving grid.
    velocity.safetensors: the transform itself. jacobian.nii.gz: det of the map, on the fixed grid.
    report.html, result.json; and warped_labels.nii.gz where labels are given.

    fixed_labels, moving_labels, labels, label_names: see `evaluation.score_labels`. metrics: more
    numbers to record. masks: 1 where each image counted, or None, for the report. fill: what the
    warped image holds where the moving one does not reach, see `Transform.warp_image`. command:
    what repeats this, for the report. Everything is written to a hidden place in the folder first
    and moved when all of it is there; an earlier result is replaced, and whatever else the folder
    holds stays. Raises ValueError for labels that do not fit, OSError for a full disk.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {folder} is a file; name a folder")
    scores = None
    if fixed_labels is not None and moving_labels is not None:
        scores = score_labels(transform, fixed_labels, moving_labels, labels, label_names)
    document = _document(transform, history, run, scores, dict(metrics or {}), command)
    document["images"] = {
        name: image.get_filename() for name, image in zip(("fixed", "moving"), images, strict=False)
    }
    document["notes"] = [*header_notes(*images), *document["notes"]]
    with written_together(folder, RESULT_FILES) as staging:
        contents = transform, images, masks, history, scores, document, fill, title
        _write_files(staging, *contents)
    return document


def _document(
    transform: Transform,
    history: Sequence[Mapping],
    run: Mapping,
    scores: LabelScores | None,
    metrics: dict[str, float],
    command: str,
) -> dict:
    """result.json: all that is needed to repeat the run, and its scores."""
    metrics |= score_deformation(transform)
    metrics["similarity"] = history[-1]["similarity"] if history else None
    document = {"metrics": metrics, **run, **_surroundings(command)}
    if scores is not None:
        metrics.update(scores.summary())
        document["dice"] = scores.table()
    document["metrics"] = {name: finite(value) for name, value in metrics.items()}
    return document


def _write_files(
    folder: Path,
    transform: Transform,
    images: tuple[nib.Nifti1Image, nib.Nifti1Image, nib.Nifti1Image],
    masks: tuple[nib.Nifti1Image | None, nib.Nifti1Image | None],
    history: Sequence[Mapping],
    scores: LabelScores | None,
    document: dict,
    fill: float | None,
    title: str,
) -> None:
    from nevf_lite.viz.report.report import ReportData, write_report
    from nevf_lite.viz.viewer.viewer import DeformationViewer

    fixed, moving, warped = images
    displacement = transform.displacement()
    determinant = determinant_map(transform)
    identity = Transform.identity(transform.fixed, transform.moving)
    unregistered = identity.warp_image(moving, fill=fill)
    on_fixed = transform.fixed, space_code(fixed)
    save_image(folder / "warped.nii.gz", warped.get_fdata(dtype=np.float32), *on_fixed)
    write_displacement(folder / "warp.nii.gz", displacement, *on_fixed)
    inverse, on_moving = transform.inverse.displacement(), (transform.moving, space_code(moving))
    write_displacement(folder / "inverse_warp.nii.gz", inverse, *on_moving)
    save_image(folder / "jacobian.nii.gz", determinant, *on_fixed)
    transform.save(folder / FILE_NAME)
    still = Transform.identity(transform.fixed)
    counted = [
        None if mask is None else mapping.warp_labels(mask)
        for mapping, mask in zip((still, transform), masks, strict=True)
    ]
    labels = {}
    if scores is not None:
        warped_labels = np.asarray(scores.after.dataobj)
        save_image(folder / "warped_labels.nii.gz", warped_labels, *on_fixed)
        labels = {
            "fixed_labels": scores.fixed,
            "moving_labels_on_fixed": scores.before,
            "warped_labels": scores.after,
            "label_names": scores.names,
            "dice_before": scores.dice_before,
            "dice_after": scores.dice_after,
        }
    report = ReportData(
        title=title,
        fixed=fixed,
        moving_on_fixed=unregistered,
        warped=warped,
        jacobian=make_image(determinant, transform.fixed.affine),
        displacement_mm=displacement,
        history=history,
        summary={**document["metrics"], "seconds": document["seconds"]},
        command=document["command"],
        config=document["config"],
        versions=document["versions"],
        warnings=document["notes"],
        fixed_mask=counted[0],
        warped_mask=counted[1],
        files={role: name for role, name in document["images"].items() if name},
        date=f"{datetime.date.today():%d %B %Y}".removeprefix("0"),
        viewer=DeformationViewer(transform, moving, fixed, title),
        **labels,
    )
    write_report(folder / "report.html", report)
    _write_json(folder, document)


def write_run(folder: Path, run: Mapping, command: str) -> None:
    """Write the result.json of a result of several registrations. run: what is said of them."""
    _write_json(folder, {**run, **_surroundings(command)})


def _surroundings(command: str) -> dict:
    """What a result depends on besides its inputs and settings."""
    return {"threads": torch.get_num_threads(), "versions": versions(), "command": command}


def _write_json(folder: Path, document: Mapping) -> None:
    (folder / "result.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Version numbers of Python and of the packages that are installed.

    packages: distributions; by default those that decide the numbers of a registration.
    """
    numbers = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            numbers[name] = version(name)
    return numbers
