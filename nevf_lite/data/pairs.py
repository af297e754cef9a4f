"""Pairs of brain images by name: simulated, downloaded, or the user's own collection.

    pair = load_pair("mindboggle", "trt02", "trt01", spacing=2)
    pair = load_pair("simulated", seed=0)          # needs no download

Datasets are searched for in the folder of the environment variable NEVF_DATA, then in the user's
cache, where `nevf data fetch` and `nevf data prepare` write them. Both have the same layout:

    <dataset>/<subject>_t1.nii.gz   <dataset>/<subject>_seg.nii.gz   <dataset>/labels.tsv
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from nevf_lite.data.catalogue import DATASETS, TABLES, Dataset, data_folders, read_table
from nevf_lite.grid import downsample
from nevf_lite.scans.io import load_image, load_labels
from nevf_lite.scans.space import Grid, check_spacing


@dataclass(frozen=True, eq=False)
class Pair:
    """Two brain images to register, with labels, masks and terms of use.

    fixed, moving: float32 images, each scaled to [0, 1]. fixed_labels, moving_labels: int32, or
    None. fixed_mask, moving_mask: uint8, 1 in the brain. label_names: number to name. protocol: the
    labels whose Dice is averaged in the paper's tables. licence, credit: one line each, shown
    wherever the images are. truth: the true pull-back displacement, (*fixed.shape, 3), RAS mm, on
    the fixed grid; simulated pairs only.
    """

    name: str
    fixed: nib.Nifti1Image
    moving: nib.Nifti1Image
    fixed_labels: nib.Nifti1Image | None
    moving_labels: nib.Nifti1Image | None
    fixed_mask: nib.Nifti1Image | None
    moving_mask: nib.Nifti1Image | None
    label_names: dict[int, str]
    protocol: tuple[int, ...]
    licence: str
    credit: str
    truth: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class LocalDataset:
    """One dataset, with its folder and its subjects on this machine.

    dataset: the entry in the catalogue. folder: None if no data folder holds the dataset. subjects:
    their names, sorted.
    """

    dataset: Dataset
    folder: Path | None
    subjects: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Can it be loaded? The simulated pair always can."""
        return self.folder is not None or not self.dataset.folders


def load_pair(
    dataset: str,
    fixed: str | None = None,
    moving: str | None = None,
    *,
    spacing: float | None = None,
    seed: int = 0,
    ndim: int | None = None,
) -> Pair:
    """Load or simulate a pair of brain images by name.

    dataset: "mindboggle", "oasis", "neurite" (3-D), "slices2d", "neurite2d" (2-D), "sample" (a
        small real pair, 3-D) or "simulated". fixed, moving: subjects; each dataset has a default
        pair. spacing: mm, to resample images (smoothed against aliasing) and labels (nearest).
        seed: of the simulated pair. ndim: 2 or 3, of the simulated pair.
    Raises ValueError for an unknown dataset or subject, with the known ones, and FileNotFoundError
    for a dataset that is not on this machine, with what to run.
    """
    entry = _catalogue_entry(dataset)
    if ndim not in (None, *entry.ndims):
        raise ValueError(f"ndim: {dataset} has {entry.ndims[0]} axes, got {ndim}")
    if dataset == "simulated":
        return _simulated_pair(entry, fixed, moving, spacing, seed, ndim or 3)
    check_spacing(spacing)
    local = _locate(entry)
    if local.folder is None:
        raise FileNotFoundError(_missing_message(entry))
    defaults = entry.pair
    if not set(defaults) <= set(local.subjects):
        defaults = local.subjects[:2]
    fixed, moving = str(fixed or defaults[0]), str(moving or defaults[-1])
    label_names = _label_names(entry, local.folder)
    fixed_image, fixed_labels, fixed_mask = _load_subject(local, "fixed", fixed, spacing)
    moving_image, moving_labels, moving_mask = _load_subject(local, "moving", moving, spacing)
    return Pair(
        name=f"{dataset} {fixed} <- {moving}",
        fixed=fixed_image,
        moving=moving_image,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        label_names=label_names,
        protocol=entry.protocol or tuple(sorted(label_names)),
        licence=entry.licence,
        credit=entry.credit,
    )


def available() -> list[LocalDataset]:
    """Every dataset of the catalogue, with its folder and subjects on this machine."""
    return [_locate(entry) for entry in DATASETS.values()]


def _catalogue_entry(name: str) -> Dataset:
    if name not in DATASETS:
        raise ValueError(f"dataset: wanted one of {', '.join(DATASETS)}, got {name!r}")
    return DATASETS[name]


def _locate(entry: Dataset) -> LocalDataset:
    """The first folder with at least two subjects of a dataset."""
    for folder in (root / name for root in data_folders() for name in entry.folders):
        files = folder.glob("*_t1.nii.gz")
        subjects = tuple(sorted(path.name.removesuffix("_t1.nii.gz") for path in files))
        if len(subjects) >= 2:
            return LocalDataset(entry, folder, subjects)
    return LocalDataset(entry, None, ())


def _missing_message(entry: Dataset) -> str:
    """Where a dataset was searched for, and how to obtain it."""
    searched = ", ".join(str(folder / entry.folders[0]) for folder in data_folders())
    reason = f"looked for {searched}" if searched else "nothing has been downloaded"
    setting = os.environ.get("NEVF_DATA")
    if setting and not Path(setting).expanduser().is_dir():
        reason += f"; NEVF_DATA is {setting}, which is not a folder"
    return f"{entry.name}: this data is not here ({reason}); {entry.obtain}"


def _label_names(entry: Dataset, folder: Path) -> dict[int, str]:
    """Number to name, from labels.tsv in the dataset's folder, else from the package's table."""
    path = folder / "labels.tsv"
    rows = read_table(path if path.is_file() else TABLES / f"{entry.table}.tsv")
    if entry.freesurfer_ids:  # each row of that table has a single original id
        return {int(row["original_ids"]): row["name"] for row in rows} | {
            72: "5th-Ventricle",
            74: "Right-Interior",
        }
    return {int(row["index"]): row["name"] for row in rows}


def _load_subject(
    local: LocalDataset, role: str, subject: str, spacing: float | None
) -> tuple[nib.Nifti1Image, nib.Nifti1Image | None, nib.Nifti1Image]:
    """One subject: the image scaled to [0, 1], the labels and the brain mask.

    role: "fixed" or "moving", for error messages. spacing: mm, None for the image's own.
    """
    if subject not in local.subjects:
        listed = ", ".join(local.subjects[:30]) + (" ..." if len(local.subjects) > 30 else "")
        raise ValueError(
            f"{role}: {local.dataset.name} has no subject {subject!r}; it has {listed}"
        )
    image = load_image(local.folder / f"{subject}_t1.nii.gz", role)
    image = _correct_directions(image, local.dataset.directions)
    grid = Grid.of(image)
    target = grid if spacing is None else grid.at_spacing(spacing)
    values = np.asanyarray(image.dataobj)
    values = (values - values.min()) / (values.max() - values.min())
    mask = values > 0  # the images of every dataset are skull-stripped
    path = local.folder / f"{subject}_seg.nii.gz"
    labels = None
    if path.exists():
        segmentation = load_labels(path, f"{role} labels")
        segmentation = _correct_directions(segmentation, local.dataset.directions)
        if Grid.of(segmentation) != grid:
            raise ValueError(f"{role} labels ({path}): they are not on the grid of their image")
        labels = np.asanyarray(segmentation.dataobj)
    if target.shape != grid.shape:
        values = downsample(torch.from_numpy(values)[None, None], target.shape)[0, 0].numpy()
        sizes = zip(grid.shape, target.shape, strict=True)
        nearest = np.ix_(*(np.rint(np.linspace(0, a - 1, b)).astype(int) for a, b in sizes))
        mask, labels = mask[nearest], None if labels is None else labels[nearest]
    return (
        nib.Nifti1Image(values, target.affine),
        None if labels is None else nib.Nifti1Image(labels, target.affine),
        nib.Nifti1Image(mask.astype(np.uint8), target.affine),
    )


def _correct_directions(image: nib.Nifti1Image, directions: str) -> nib.Nifti1Image:
    """The image with the sign of an axis corrected in its affine, where the header has it wrong.

    directions: the true directions of the first axes, such as "LA"; "" changes nothing.
    """
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    affine = image.affine.copy()
    for axis, (stated, true) in enumerate(
        zip(nib.aff2axcodes(affine)[: len(directions)], directions, strict=True)
    ):
        if stated == opposite[true]:
            affine[:3, axis] *= -1
    return nib.Nifti1Image(np.asanyarray(image.dataobj), affine)


def _simulated_pair(
    entry: Dataset,
    fixed: str | None,
    moving: str | None,
    spacing: float | None,
    seed: int,
    ndim: int,
) -> Pair:
    from nevf_lite.data.simulate import LABEL_NAMES, PROTOCOL, simulate

    if fixed is not None or moving is not None:
        raise ValueError("fixed, moving: a simulated pair has no subjects; choose it by seed")
    simulation = simulate(seed, spacing, ndim)

    def image(values: np.ndarray) -> nib.Nifti1Image:
        return nib.Nifti1Image(values, simulation.grid.affine)

    return Pair(
        name=f"simulated {ndim}-D, seed {seed}",
        fixed=image(simulation.fixed),
        moving=image(simulation.moving),
        fixed_labels=image(simulation.fixed_labels),
        moving_labels=image(simulation.moving_labels),
        fixed_mask=image(simulation.fixed_mask.astype(np.uint8)),
        moving_mask=image(simulation.moving_mask.astype(np.uint8)),
        label_names=dict(LABEL_NAMES),
        protocol=PROTOCOL,
        licence=entry.licence,
        credit=entry.credit,
        truth=simulation.truth,
    )
