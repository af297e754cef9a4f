"""Pairs of brains by name: simulated, downloaded, or the user's own collection.

    pair = load_pair("mindboggle", "trt02", "trt01", spacing=2)
    pair = load_pair("simulated", seed=0)          # needs no download

Real data is looked for in the folder that the environment variable NEVF_DATA names, then in the
user's cache, where `nevf data fetch` and `nevf data prepare` put it. Both are laid out alike:

    <dataset>/<subject>_t1.nii.gz   <dataset>/<subject>_seg.nii.gz   <dataset>/labels.tsv
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from nevf_lite.data.catalogue import DATASETS, Dataset, data_folders
from nevf_lite.grid import downsample
from nevf_lite.io import load_image, load_labels
from nevf_lite.space import Grid

_OASIS_TRAIN = (*map(str, range(1000, 1008)), "1101", "1104", "1107", "1110", "1113")
#: Subjects on which networks are trained and every hyper-parameter is chosen. trtNN and 10MM are
#: the same people (trt01-14 are 1000-1013), so they are split together.
TRAIN = {"mindboggle": tuple(f"trt{i:02d}" for i in range(1, 9)), "oasis": _OASIS_TRAIN}
#: The paper's atlas-based protocol: three atlases (fixed) times three scans (moving) a dataset.
TEST_ATLASES = {"mindboggle": ("trt09", "trt10", "trt11"), "oasis": ("1008", "1009", "1010")}
TEST_SCANS = {"mindboggle": ("trt12", "trt13", "trt14"), "oasis": ("1011", "1012", "1013")}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two brains to register, and what is known about them.

    fixed, moving: float32 images, each scaled to [0, 1]. fixed_labels, moving_labels: int32, or
    None. label_names: number to name. protocol: the labels whose Dice is averaged in the paper's
    tables. fixed_mask, moving_mask: uint8, the brain. truth: the true pull-back displacement,
    (*fixed.shape, 3), RAS mm, on the fixed grid; simulated pairs only. licence, credit: one line
    each, to be shown wherever the images are.
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
class Found:
    """One line of `nevf data list`: a dataset, where it lies (None: nowhere) and who is in it."""

    dataset: Dataset
    folder: Path | None
    subjects: tuple[str, ...]

    @property
    def here(self) -> bool:
        """Can it be loaded now? The simulated pair always can."""
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
    """A pair of brains by name.

    dataset: "mindboggle", "oasis", "neurite" (3-D), "slices2d", "neurite2d" (2-D), "sample" (a
        small real pair, 3-D) or "simulated". fixed, moving: subjects; each dataset has a default
        pair. spacing: mm, to resample images (smoothed against aliasing) and labels (nearest).
        seed and ndim (2 or 3): which simulated pair.
    Raises ValueError for an unknown dataset or subject, with what there is, and FileNotFoundError
    for data that is not here, with what to run.
    """
    described = _dataset(dataset)
    if ndim not in (None, *described.ndims):
        raise ValueError(f"ndim: {dataset} has {described.ndims[0]} axes, got {ndim}")
    if dataset == "simulated":
        return _simulated(described, fixed, moving, spacing, seed, ndim or 3)
    if spacing is not None and not 0.1 <= spacing <= 50:
        raise ValueError(f"spacing: wanted millimetres between 0.1 and 50, got {spacing}")
    found = _find(described)
    if found.folder is None:
        raise FileNotFoundError(_how_to_get(described))
    defaults = described.pair
    if not set(defaults) <= set(found.subjects):
        defaults = found.subjects[:2]
    fixed, moving = str(fixed or defaults[0]), str(moving or defaults[-1])
    names = _label_names(described, found.folder)
    one = _read(found, "fixed", fixed, spacing)
    other = _read(found, "moving", moving, spacing)
    return Pair(
        f"{dataset} {fixed} <- {moving}",
        *(image for both in zip(one, other, strict=True) for image in both),
        names,
        described.protocol or tuple(sorted(names)),
        described.licence,
        described.credit,
    )


def available() -> list[Found]:
    """Every dataset, with the folder and the subjects found on this machine."""
    return [_find(described) for described in DATASETS.values()]


def split(subject: str) -> str | None:
    """The split of a subject, "train" or "test"; None for anybody outside the fixed splits."""
    for name, *groups in (("train", TRAIN), ("test", TEST_ATLASES, TEST_SCANS)):
        if any(str(subject) in people for group in groups for people in group.values()):
            return name
    return None


def test_pairs(dataset: str) -> list[tuple[str, str]]:
    """The nine (atlas, scan) pairs of the paper's protocol: "mindboggle" or "oasis"."""
    if dataset not in TEST_ATLASES:
        raise ValueError(f"dataset: wanted one of {', '.join(TEST_ATLASES)}, got {dataset!r}")
    return [(atlas, scan) for atlas in TEST_ATLASES[dataset] for scan in TEST_SCANS[dataset]]


test_pairs.__test__ = False  # not a test, whatever pytest makes of the name


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise ValueError(f"dataset: wanted one of {', '.join(DATASETS)}, got {name!r}")
    return DATASETS[name]


def _find(described: Dataset) -> Found:
    for folder in (root / name for root in data_folders() for name in described.folders):
        files = folder.glob("*_t1.nii.gz")
        subjects = tuple(sorted(path.name.removesuffix("_t1.nii.gz") for path in files))
        if len(subjects) >= 2:
            return Found(described, folder, subjects)
    return Found(described, None, ())


def _how_to_get(described: Dataset) -> str:
    looked = ", ".join(str(folder / described.folders[0]) for folder in data_folders())
    chosen = os.environ.get("NEVF_DATA")
    why = f"looked for {looked}" if looked else "nothing has been downloaded"
    if chosen and not Path(chosen).expanduser().is_dir():
        why += f"; NEVF_DATA is {chosen}, which is not a folder"
    return f"{described.name}: this data is not here ({why}); {described.obtain}"


def _label_names(described: Dataset, folder: Path) -> dict[int, str]:
    """Number to name, from the table that came with the data or the package's own."""
    path = folder / "labels.tsv"
    if not path.is_file():
        path = Path(__file__).parent / "tables" / f"{described.table}.tsv"
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    if described.freesurfer_ids:  # labels kept FreeSurfer's numbers: one per row of that table
        return {int(row["original_ids"]): row["name"] for row in rows} | {
            72: "5th-Ventricle",
            74: "Right-Interior",
        }
    return {int(row["index"]): row["name"] for row in rows}


def _read(
    found: Found, role: str, subject: str, spacing: float | None
) -> tuple[nib.Nifti1Image, nib.Nifti1Image | None, nib.Nifti1Image]:
    """One subject at the spacing asked for: image scaled to [0, 1], labels, brain mask."""
    if subject not in found.subjects:
        some = ", ".join(found.subjects[:30]) + (" ..." if len(found.subjects) > 30 else "")
        raise ValueError(f"{role}: {found.dataset.name} has no subject {subject!r}; it has {some}")
    image = load_image(found.folder / f"{subject}_t1.nii.gz", role)
    image = _turned(image, found.dataset.directions)
    grid = Grid.of(image)
    target = grid if spacing is None else grid.at_spacing(spacing)
    values = np.asanyarray(image.dataobj)
    values = (values - values.min()) / (values.max() - values.min())
    mask = values > 0  # all these images are skull-stripped: what is not zero is brain
    path = found.folder / f"{subject}_seg.nii.gz"
    labels = None
    if path.exists():
        segmentation = _turned(load_labels(path, f"{role} labels"), found.dataset.directions)
        if Grid.of(segmentation) != grid:
            raise ValueError(f"{role} labels ({path}): they are not on the grid of their image")
        labels = np.asanyarray(segmentation.dataobj)
    if target.shape != grid.shape:
        values = downsample(torch.from_numpy(values)[None, None], target.shape)[0, 0].numpy()
        pairs = zip(grid.shape, target.shape, strict=True)
        nearest = np.ix_(*(np.rint(np.linspace(0, a - 1, b)).astype(int) for a, b in pairs))
        mask, labels = mask[nearest], None if labels is None else labels[nearest]
    return (
        nib.Nifti1Image(values, target.affine),
        None if labels is None else nib.Nifti1Image(labels, target.affine),
        nib.Nifti1Image(mask.astype(np.uint8), target.affine),
    )


def _turned(image: nib.Nifti1Image, directions: str) -> nib.Nifti1Image:
    """The image with the sign of an axis put right in its affine, where its header has it wrong."""
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    affine = image.affine.copy()
    for axis, (said, true) in enumerate(
        zip(nib.aff2axcodes(affine)[: len(directions)], directions, strict=True)
    ):
        if said == opposite[true]:
            affine[:3, axis] *= -1
    return nib.Nifti1Image(np.asanyarray(image.dataobj), affine)


def _simulated(
    described: Dataset, fixed, moving, spacing: float | None, seed: int, ndim: int
) -> Pair:
    from nevf_lite.data.simulate import LABEL_NAMES, PROTOCOL, simulate

    if fixed is not None or moving is not None:
        raise ValueError("fixed, moving: a simulated pair has no subjects; choose it by seed")
    made = simulate(seed, spacing, ndim)
    images = (
        made.fixed,
        made.moving,
        made.fixed_labels,
        made.moving_labels,
        made.fixed_mask.astype(np.uint8),
        made.moving_mask.astype(np.uint8),
    )
    return Pair(
        f"simulated {ndim}-D, seed {seed}",
        *(nib.Nifti1Image(data, made.grid.affine) for data in images),
        dict(LABEL_NAMES),
        PROTOCOL,
        described.licence,
        described.credit,
        made.truth,
    )
