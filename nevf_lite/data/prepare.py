"""Convert the owners' archives to images for `load_pair`: `nevf data prepare`.

As in section 3.1 of the paper: 1 mm, affinely aligned to MNI152, cropped (here to 160x192x160
voxels), intensities scaled (here from minimum to maximum). Images are written as integers 0 to 255,
which `load_pair` scales to [0, 1].
"""

from __future__ import annotations

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
from nevf_lite.data.catalogue import TABLES, cache_folder, read_table
from nevf_lite.data.sources import SOURCES, folder_of
from nevf_lite.scans.files import atomic
from nevf_lite.scans.io import load_image, load_labels, save_image
from nevf_lite.scans.space import Grid

#: Members of the archives to unpack: their subject, and the kind of file.
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
    """Convert a fetched dataset for load_pair; subjects that are already converted are skipped.

    name: "mindboggle", "neurite" or "neurite2d". archive: the file, if it was not downloaded by
        `fetch.fetch`. own_affine: align Mindboggle's brains to the ICBM-152 template with
        affine_register, instead of using the affine alignment that Mindboggle publishes.
        progress: show a bar.
    Returns the folder's image files. Raises ValueError for an unknown name or a damaged archive,
    FileNotFoundError where nothing has been fetched.
    """
    converters = {
        "mindboggle": partial(_prepare_mindboggle, own_affine=own_affine),
        "neurite": _prepare_neurite3d,
        "neurite2d": _prepare_neurite2d,
    }
    if name not in converters:
        raise ValueError(f"name: wanted one of {', '.join(converters)}, got {name!r}")
    path = Path(archive).expanduser() if archive else folder_of(name) / SOURCES[name][0].file
    if not path.is_file():
        raise FileNotFoundError(f"archive: there is no {path}; run `nevf data fetch {name}` first")
    folder = cache_folder() / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as staging:
        return converters[name](path, Path(staging), folder, progress)


def _prepare_neurite3d(archive: Path, staging: Path, folder: Path, progress: bool) -> list[Path]:
    _unpack_subjects(archive, staging, NEURITE_3D, max_bytes=8_000_000_000)
    return prepare_neurite(staging, folder, "neurite", progress)


def _prepare_neurite2d(archive: Path, staging: Path, folder: Path, progress: bool) -> list[Path]:
    _unpack_subjects(archive, staging, NEURITE_2D, max_bytes=500_000_000)
    tables = unpack(
        archive,
        staging,
        lambda member: "seg24.txt" if member.endswith("seg24_labels.txt") else None,
        max_bytes=1_000_000,
    )
    if not tables:
        raise ValueError(f"archive: {archive} has no seg24_labels.txt; is it neurite-OASIS 2-D?")
    return prepare_neurite(staging, folder, staging / "seg24.txt", progress)


def prepare_neurite(
    staging: Path, folder: Path, table: str | Path, progress: bool = True
) -> list[Path]:
    """Convert unpacked neurite-OASIS subjects for load_pair.

    Their images are already aligned, cropped and skull-stripped; only names and numbers change.
    staging: one folder for each subject, with norm.nii.gz and seg*.nii.gz. table: the name of a
    table of the package, or a FreeSurfer colour table. Returns the image files in `folder`.
    """

    def convert(subject: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = load_image(subject / "norm.nii.gz", f"{subject.name} image")
        (segmentation,) = subject.glob("seg*.nii.gz")
        labels = load_labels(segmentation, f"{subject.name} labels")
        return image.get_fdata(dtype=np.float32), np.asanyarray(labels.dataobj), image.affine

    complete = [s for s in sorted(staging.iterdir()) if s.is_dir() and len(list(s.iterdir())) == 2]
    return _convert_all(complete, folder, lambda s: s.name, convert, table, progress)


def _prepare_mindboggle(
    archive: Path, staging: Path, folder: Path, progress: bool, own_affine: bool
) -> list[Path]:
    """Crop to `MNI_BOX`, with the published affine alignment to MNI152 or a new one."""
    from nevf_lite.data.simulate import MNI_BOX, template

    _unpack_subjects(archive, staging, MINDBOGGLE, max_bytes=4_000_000_000)
    rows = read_table(TABLES / "mindboggle.tsv")
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
            from nevf_lite.transforms.affine import affine_register

            grid, volumes = template()
            fixed = nib.Nifti1Image(volumes[0, 0].numpy(), grid.affine)
            to_moving = affine_register(fixed, image)
        clipped = np.clip(np.asanyarray(labels.dataobj), 0, len(lookup) - 1)
        return (
            _resample(MNI_BOX, image, image.get_fdata(dtype=np.float32), to_moving, order=1),
            lookup[_resample(MNI_BOX, labels, clipped, to_moving, order=0)],
            MNI_BOX.affine,
        )

    spaces = ("",) if own_affine else (".MNI152", "")
    complete = [s for s in staging.iterdir() if any(len(files(s, space)) == 2 for space in spaces)]
    complete.sort(key=lambda subject: int(subject.name))
    return _convert_all(
        complete, folder, lambda s: f"trt{int(s.name):02d}", convert, "mindboggle", progress
    )


def _resample(
    grid: Grid, image: nib.Nifti1Image, values: np.ndarray, to_moving: np.ndarray, order: int
) -> np.ndarray:
    """The values of an image on a grid.

    to_moving: (4, 4), from the grid's world to the image's, mm. order: of the spline; 0 is nearest.
    """
    matrix = np.linalg.inv(image.affine) @ to_moving @ grid.affine
    return ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=order, prefilter=False
    )


def _unpack_subjects(archive: Path, staging: Path, pattern: str, max_bytes: int) -> None:
    """Unpack the members that match a pattern to staging/<subject>/.

    archive: a tar archive, or the .zip of the complete Mindboggle release, which holds one.
    """

    def select(member: str) -> str | None:
        match = re.search(pattern, member)
        if not match:
            return None
        space = match.groupdict().get("space") or ""
        return f"{match['subject']}/{match['kind']}{space}.nii.gz"

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as release:
            volumes = [n for n in release.namelist() if n.endswith("/OASIS-TRT-20_volumes.tar.gz")]
            if len(volumes) != 1:
                raise ValueError(f"archive: {archive} has no OASIS-TRT-20_volumes.tar.gz in it")
            with release.open(volumes[0]) as stream:
                files = unpack(stream, staging, select, max_bytes=max_bytes)
    else:
        files = unpack(archive, staging, select, max_bytes=max_bytes)
    if not files:
        raise ValueError(f"archive: {archive} holds none of the files wanted; is it another one?")


def _convert_all(
    subjects: list[Path],
    folder: Path,
    name_of: Callable[[Path], str],
    convert: Callable[[Path], tuple[np.ndarray, np.ndarray, np.ndarray]],
    table: str | Path,
    progress: bool,
) -> list[Path]:
    """Convert the subjects and write their images, their labels and the table of label names.

    name_of: from a subject's folder to the name of its files. convert: from a subject's folder to
    (image, labels, affine). table: see :func:`prepare_neurite`. Returns the image files.
    """
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
            temporary.write_text(_label_table(table))
        else:
            shutil.copyfile(TABLES / f"{table}.tsv", temporary)
    return paths


def _label_table(path: Path) -> str:
    """A FreeSurfer colour table (number, name, colour on each line) as the text of labels.tsv."""
    lines = ["index\tname\toriginal_ids"]
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].isdigit() and words[0] != "0":
            lines.append(f"{words[0]}\t{words[1]}\t")
    return "\n".join(lines) + "\n"
