"""Real files of other projects, tried: numbers of the book's page *Trust*.

    python -m benchmarks.real_files FOLDER [--output FILE] [--largest VOXELS]

FOLDER holds what was downloaded and unpacked, for instance wheels and source archives of nibabel,
nilearn, dipy and pydicom, which carry images to test themselves. Every file that is called like an
image goes through `nevf info --image`. What is read is registered to a copy of itself that was
moved by three voxels and turned by five degrees, and the result is applied to labels and points.
One line for each file goes to standard output and to FOLDER/tried.csv, from which a run that was
ended goes on; the counts go to the table of the page when all were tried.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from benchmarks.damage import deadline
from benchmarks.table import append, rows
from benchmarks.trust import TABLE
from nevf_lite.cli import app
from nevf_lite.cli.inputs import DICOM_SUFFIXES, image_source
from nevf_lite.scans.files import atomic
from nevf_lite.scans.io import load_image, save_image
from nevf_lite.scans.points import read_points, write_points
from nevf_lite.scans.readers import IMAGE_SUFFIXES
from nevf_lite.scans.space import Grid

#: Images that are not read, to see that they are refused.
OTHERS = ".mif .mnc .par .rec .head .brik .brik.gz .gipl .vtk .gii .nii.bz2 .hdr.gz .img.gz".split()
SUFFIXES = (*IMAGE_SUFFIXES, *DICOM_SUFFIXES, ".mif.gz", *OTHERS)
#: Why a file is refused, by what its message says.
REASONS = {
    "should end in": "another format",
    "not a NIfTI": "no image, or damaged",
    "not an MGH": "no image, or damaged",
    "cannot be read": "no image, or damaged",
    "truncated": "no image, or damaged",
    "is empty": "no image, or damaged",
    "no DICOM": "no image, or damaged",
    "is damaged, and none": "DICOM beside a damaged file",
    "is not an image; wanted": "values of a surface",
    "if it counts channels": "values of a surface",
    "not a DICOM": "no image, or damaged",
    "there is no file": "half of a pair of files",
    "several volumes": "several volumes",
    "every voxel": "one value everywhere",
    "NaN": "NaN",
    "colour": "colour, complex numbers, a mosaic",
    "complex": "colour, complex numbers, a mosaic",
    "mosaic": "colour, complex numbers, a mosaic",
}
HANG = 3600  # seconds, on a machine that does other work as well
SLICES = 7  # a volume of so few is a slab


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=TABLE)
    parser.add_argument("--largest", type=float, default=8e6, help="voxels that are registered")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = options.folder / "tried.csv"
    done = {row["content"] for row in rows(table)}
    for content, path in distinct(options.folder).items():
        if content in done:
            continue
        with tempfile.TemporaryDirectory(prefix="nevf-real-") as folder:
            found = try_file(path, Path(folder), options.largest)
        print(path, found, flush=True)
        append(table, COLUMNS, {"file": path, "content": content, **found})
    with atomic(options.output) as temporary:
        document = {}
        if options.output.exists():
            document = json.loads(options.output.read_text(encoding="utf-8"))
        document |= counted(rows(table))
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


#: What is counted of the files that are registered.
COUNTS = ("tried", "large", "refused", "failed", "finite", "closer", "labels", "points")
COLUMNS = ("file", "content", "read", "kind", *COUNTS, "machine", "commit")


def counted(tried: list[dict]) -> dict[str, list[dict]]:
    """The two tables of the page: what was read, and what became of what was registered."""
    last = {name: tried[-1][name] for name in ("machine", "commit")}
    last["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    read = Counter(row["read"] for row in tried)
    kinds = sorted({row["kind"] for row in tried} - {""})
    return {
        "files": [{"kind": kind, "files": number, **last} for kind, number in read.most_common()],
        "registered": [
            {
                "kind": kind,
                **{
                    name: sum(row["kind"] == kind and row[name] == "1" for row in tried)
                    for name in COUNTS
                },
                **last,
            }
            for kind in kinds
        ],
    }


def distinct(folder: Path) -> dict[str, Path]:
    """Files that are called like images, each content once, the smallest first."""
    found = {}
    paths = [path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES)]
    for path in sorted((p for p in paths if p.is_file()), key=lambda p: (p.stat().st_size, p)):
        found.setdefault(hashlib.sha1(path.read_bytes()).hexdigest() + path.suffix, path)
    return found


def nevf(*words: object) -> tuple[str, str]:
    """Run a command: "done", "refused" in one line, or "failed"; and its last line."""
    with deadline(HANG):
        done = CliRunner().invoke(app, [str(word) for word in words])
    last = (done.stderr.splitlines() or [""])[-1]
    if done.exit_code == 0:
        return "done", last
    clean = done.exit_code == 2 and last.startswith("nevf: error: ")
    return ("refused", last) if clean else ("failed", f"{done.exception!r} {last}")


def try_file(path: Path, folder: Path, largest: float) -> dict:
    """What became of one file; folder: an empty one to work in.

    Returns read: "read", why not, or "failed"; of an image also kind, and those of `COUNTS` that it
    counts for, as 1.
    """
    dicom = path.name.lower().endswith(DICOM_SUFFIXES)
    state, line = nevf("info", "--image", path, "--preset", "fast", *["--dicom"] * dicom)
    if state != "done":
        why = next((why for part, why in REASONS.items() if part in line), line)
        return {"read": "traceback or hang" if state == "failed" else why}
    fixed = load_image(image_source(path, "image", dicom))
    thin = min(fixed.shape)
    kind = "slice" if fixed.ndim == 2 else "slab" if thin <= SLICES else "volume"
    found = {"read": "read", "kind": kind, "tried": 1}
    if np.prod(fixed.shape) > largest:
        return {**found, "large": 1}
    pair = Moved.of(fixed)
    save_image(folder / "moving.nii.gz", pair.data, pair.grid)
    words = [path, folder / "moving.nii.gz", "--preset", "fast", "--affine", *["--dicom"] * dicom]
    state, line = nevf("register", *words, "-o", folder / "result", "-q")
    if state != "done":
        print(line)
        return {**found, state: 1}
    return found | {name: 1 for name, held in judge(pair, fixed, folder).items() if held}


@dataclass(frozen=True)
class Moved:
    """A copy of an image that lies elsewhere: data (*shape) on the image's own grid.

    motion: (4, 4) RAS mm, from a place in the copy to the same place in the image.
    """

    data: np.ndarray
    grid: Grid
    motion: np.ndarray

    @classmethod
    def of(cls, image: nib.Nifti1Image) -> Moved:
        """Moved by three voxels along the longest axis, turned by 5 degrees across the thinnest."""
        grid, data = Grid.of(image), np.asarray(image.dataobj)
        axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
        shape = np.array([*grid.shape, 1][:3])
        long, thin = shape.argmax(), 2 if shape.min() > SLICES else shape.argmin()
        normal = np.cross(*np.delete(axes, thin, axis=1).T)
        normal *= np.deg2rad(5) / np.linalg.norm(normal)
        motion, centre = np.eye(4), grid.affine @ [*(shape - 1) / 2, 1]
        motion[:3, :3] = Rotation.from_rotvec(normal).as_matrix()
        motion[:3, 3] = centre[:3] - motion[:3, :3] @ centre[:3] + 3 * grid.affine[:3, long]
        matrix = (np.linalg.inv(grid.affine) @ motion @ grid.affine)[:, [*range(grid.ndim), 3]]
        matrix = matrix[[*range(grid.ndim), 3]]
        moved = ndimage.affine_transform(data, matrix, order=1, cval=min(float(data.min()), 0))
        return cls(moved, grid, motion)


def judge(pair: Moved, fixed: nib.Nifti1Image, folder: Path) -> dict[str, bool]:
    """What holds of a result and of what `apply` makes of it."""
    result, target = folder / "result", np.asarray(fixed.dataobj)
    names = ("warped", "warp", "inverse_warp", "jacobian")
    images = [nib.load(result / f"{name}.nii.gz").get_fdata() for name in names]
    before, after = (
        np.corrcoef(target.ravel(), image.ravel())[0, 1] for image in (pair.data, images[0])
    )
    labels = np.digitize(pair.data, np.quantile(pair.data, [0.5, 0.8, 0.95])).astype(np.int16)
    save_image(folder / "labels.nii.gz", labels, pair.grid)
    words = ["apply", result, folder / "labels.nii.gz", "--kind", "labels"]
    state, _ = nevf(*words, "-o", folder / "warped.nii.gz")
    kept = state == "done"
    kept = kept and np.isin(nib.load(folder / "warped.nii.gz").dataobj, np.append(labels, 0)).all()
    share = np.random.default_rng(0).uniform(0.3, 0.7, (20, fixed.ndim))
    points = pair.grid.to_world(share * (np.array(fixed.shape) - 1))
    write_points(folder / "there.csv", points)
    first, _ = nevf("apply", result, folder / "there.csv", "-o", folder / "here.csv")
    words = ["apply", result, folder / "here.csv", "--inverse"]
    second, _ = nevf(*words, "-o", folder / "back.csv")
    returned = first == second == "done"
    if returned:
        apart = read_points(folder / "back.csv") - points
        returned = np.linalg.norm(apart, axis=1).max() < 0.5 * min(pair.grid.spacing)
    print(f"correlation {before:.3f} -> {after:.3f}")
    return {
        "finite": all(np.isfinite(image).all() for image in images),
        "closer": after > before,
        "labels": kept,
        "points": returned,
    }


if __name__ == "__main__":
    main()
