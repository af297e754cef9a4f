"""From the owners' archives to images that can be registered: `nevf data prepare`.

As in the paper: 1 mm, affinely aligned to MNI152, cropped, intensities normalised. Images are
written as whole numbers 0 to 255, which load_pair reads as [0, 1].
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from nevf_lite.data.archives import unpack
from nevf_lite.data.catalogue import cache_folder
from nevf_lite.data.fetch import SOURCES, folder_of
from nevf_lite.files import atomic
from nevf_lite.io import load_image, load_labels, save_image
from nevf_lite.space import Grid

TABLES = Path(__file__).parent / "tables"
#: Members of the archives that are wanted: the subject, and what the file is.
NEURITE_3D = r"OASIS_(?P<subject>OAS1_\d{4})_MR1/aligned_(?P<kind>norm|seg35)\.nii\.gz$"
NEURITE_2D = r"OASIS_(?P<subject>OAS1_\d{4})_MR1/slice_(?P<kind>norm|seg24)\.nii\.gz$"
MINDBOGGLE = (
    r"OASIS-TRT-20-(?P<subject>\d{1,2})/"
    r"(?P<kind>t1weighted_brain|labels\.DKT31\.manual)(?P<space>\.MNI152)?\.nii\.gz$"
)


def prepare(
    name: str,
    *,
    archive: str | Path | None = None,
    own_affine: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Make a fetched dataset ready for load_pair; subjects that are ready are left alone.

    name: "mindboggle", "neurite" or "neurite2d". archive: the file, if it was not fetched with
        `fetch.fetch`. own_affine: align Mindboggle's brains to the ICBM-152
        template here, instead of using the affine alignment that Mindboggle publishes.
    Returns the folder's image files. Raises ValueError for an unknown name or a damaged archive,
    FileNotFoundError where nothing has been fetched.
    """
    makers = {
        "mindboggle": partial(_mindboggle, own_affine=own_affine),
        "neurite": _neurite,
        "neurite2d": _neurite2d,
    }
    if name not in makers:
        raise ValueError(f"name: wanted one of {', '.join(makers)}, got {name!r}")
    path = Path(archive).expanduser() if archive else folder_of(name) / SOURCES[name][0].file
    if not path.is_file():
        raise FileNotFoundError(f"archive: there is no {path}; run `nevf data fetch {name}` first")
    folder = cache_folder() / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as staged:
        return makers[name](path, Path(staged), folder, progress)


def _neurite(archive: Path, staged: Path, folder: Path, progress: bool) -> list[Path]:
    _unpack_subjects(archive, staged, NEURITE_3D, most_bytes=8_000_000_000)
    return prepare_neurite(staged, folder, "neurite", progress)


def _neurite2d(archive: Path, staged: Path, folder: Path, progress: bool) -> list[Path]:
    _unpack_subjects(archive, staged, NEURITE_2D, most_bytes=500_000_000)
    tables = unpack(
        archive,
        staged,
        lambda member: "seg24.txt" if member.endswith("seg24_labels.txt") else None,
        most_bytes=1_000_000,
    )
    if not tables:
        raise ValueError(f"archive: {archive} has no seg24_labels.txt; is it neurite-OASIS 2-D?")
    return prepare_neurite(staged, folder, staged / "seg24.txt", progress)


def prepare_neurite(
    staged: Path, folder: Path, table: str | Path, progress: bool = True
) -> list[Path]:
    """neurite-OASIS is aligned, cropped and skull-stripped already: only names and numbers change.

    staged: a folder for each subject with norm.nii.gz and seg*.nii.gz. table: the name of a table
    of the package, or a FreeSurfer colour table. Returns the image files in `folder`.
    """

    def convert(subject: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = load_image(subject / "norm.nii.gz", f"{subject.name} image")
        (segmentation,) = subject.glob("seg*.nii.gz")
        labels = load_labels(segmentation, f"{subject.name} labels")
        return image.get_fdata(dtype=np.float32), np.asanyarray(labels.dataobj), image.affine

    complete = [s for s in sorted(staged.iterdir()) if s.is_dir() and len(list(s.iterdir())) == 2]
    return _write_all(complete, folder, lambda s: s.name, convert, table, progress)


def _mindboggle(
    archive: Path, staged: Path, folder: Path, progress: bool, own_affine: bool
) -> list[Path]:
    """Crop to the paper's box, on the owners' affine alignment to MNI152 or on our own."""
    from nevf_lite.data.simulate import MNI_BOX, template

    _unpack_subjects(archive, staged, MINDBOGGLE, most_bytes=4_000_000_000)
    rows = _rows(TABLES / "mindboggle.tsv")
    numbers = {int(row["original_ids"]): int(row["index"]) for row in rows}
    lookup = np.zeros(max(numbers) + 1, np.int16)
    lookup[list(numbers)] = list(numbers.values())

    def files(subject: Path, space: str) -> list[Path]:
        names = (f"t1weighted_brain{space}.nii.gz", f"labels.DKT31.manual{space}.nii.gz")
        return [subject / name for name in names if (subject / name).exists()]

    def convert(subject: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        aligned = not own_affine and len(files(subject, ".MNI152")) == 2
        image_file, label_file = files(subject, ".MNI152" if aligned else "")
        image = load_image(image_file, f"{subject.name} image")
        labels = load_labels(label_file, f"{subject.name} labels")
        to_moving = np.eye(4)
        if not aligned:
            from nevf_lite.affine import affine_register

            grid, volumes = template()
            fixed = nib.Nifti1Image(volumes[0, 0].numpy(), grid.affine)
            to_moving = affine_register(fixed, image)
        known = np.clip(np.asanyarray(labels.dataobj), 0, len(lookup) - 1)
        return (
            _onto(MNI_BOX, image, image.get_fdata(dtype=np.float32), to_moving, order=1),
            lookup[_onto(MNI_BOX, labels, known, to_moving, order=0)],
            MNI_BOX.affine,
        )

    spaces = ("",) if own_affine else (".MNI152", "")
    people = [s for s in staged.iterdir() if any(len(files(s, space)) == 2 for space in spaces)]
    people.sort(key=lambda subject: int(subject.name))
    return _write_all(
        people, folder, lambda s: f"trt{int(s.name):02d}", convert, "mindboggle", progress
    )


def _onto(grid: Grid, image, data: np.ndarray, to_moving: np.ndarray, order: int) -> np.ndarray:
    """An image's data on a grid; to_moving: (4, 4), from the grid's world to the image's, mm."""
    matrix = np.linalg.inv(image.affine) @ to_moving @ grid.affine
    return ndimage.affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=order, prefilter=False
    )


def _unpack_subjects(archive: Path, staged: Path, pattern: str, most_bytes: int) -> None:
    """Unpack the members that a pattern names into staged/<subject>/."""

    def wanted(member: str) -> str | None:
        found = re.search(pattern, member)
        if not found:
            return None
        space = found.groupdict().get("space") or ""
        return f"{found['subject']}/{found['kind']}{space}.nii.gz"

    if zipfile.is_zipfile(archive):  # the whole release, as a browser downloads it
        with zipfile.ZipFile(archive) as release:
            inner = [n for n in release.namelist() if n.endswith("/OASIS-TRT-20_volumes.tar.gz")]
            if len(inner) != 1:
                raise ValueError(f"archive: {archive} has no OASIS-TRT-20_volumes.tar.gz in it")
            with release.open(inner[0]) as stream:
                files = unpack(stream, staged, wanted, most_bytes=most_bytes)
    else:
        files = unpack(archive, staged, wanted, most_bytes=most_bytes)
    if not files:
        raise ValueError(f"archive: {archive} holds none of the files wanted; is it another one?")


def _write_all(
    subjects: list[Path],
    folder: Path,
    name_of: Callable[[Path], str],
    convert: Callable[[Path], tuple[np.ndarray, np.ndarray, np.ndarray]],
    table: str | Path,
    progress: bool,
) -> list[Path]:
    """Convert each subject and write it with its labels, and the table of their names."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    if not subjects:
        raise ValueError("archive: it holds no subject with both an image and labels")
    paths = []
    for subject in tqdm(subjects, desc=f"preparing {folder.name}", disable=not progress):
        paths.append(folder / f"{name_of(subject)}_t1.nii.gz")
        segmentation = folder / f"{name_of(subject)}_seg.nii.gz"
        if paths[-1].exists() and segmentation.exists():
            continue
        image, labels, affine = convert(subject)
        if image.shape != labels.shape:
            raise ValueError(f"{subject.name}: image {image.shape} but labels {labels.shape}")
        low, high = image.min(), image.max()
        save_image(segmentation, labels, affine)
        save_image(paths[-1], np.rint(255 * (image - low) / (high - low)).astype(np.int16), affine)
    with atomic(folder / "labels.tsv") as temporary:
        if isinstance(table, Path):
            temporary.write_text(_from_colour_table(table))
        else:
            shutil.copyfile(TABLES / f"{table}.tsv", temporary)
    return paths


def _from_colour_table(path: Path) -> str:
    """A FreeSurfer colour table (number, name, colour in each line) as our table of labels."""
    lines = ["index\tname\toriginal_ids"]
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].isdigit() and words[0] != "0":
            lines.append(f"{words[0]}\t{words[1]}\t")
    return "\n".join(lines) + "\n"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))
