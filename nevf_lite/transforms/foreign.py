"""Transform files of other programs, told apart by their names and first bytes.

Fields and ITK's transforms need nothing more; FreeSurfer's, FSL's and AFNI's affines are read by
NiTransforms, an optional extra. Matrices of FSL and AFNI count from their two images, so these must
be known. Every map goes from the fixed to the moving image, as images are pulled.
"""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np

from nevf_lite.scans.files import suffix_of
from nevf_lite.scans.io import FIELD_SUFFIXES, read_displacement
from nevf_lite.scans.readers import open_grid
from nevf_lite.scans.space import Grid, UnknownGrid
from nevf_lite.transforms.components import Affine, Component, DisplacementField
from nevf_lite.transforms.itk_files import ITK_TRANSFORM_SUFFIXES, read_itk_transform

#: FreeSurfer's, and AFNI's.
NITRANSFORMS_SUFFIXES = (".lta", ".1d")
#: All that `read_foreign` understands.
FOREIGN_SUFFIXES = (*FIELD_SUFFIXES, *ITK_TRANSFORM_SUFFIXES, *NITRANSFORMS_SUFFIXES)

Chain = tuple[tuple[Component, ...], Grid, Grid]


def read_foreign(path: Path, fixed=None, moving=None) -> Chain:
    """The components of a transform of another program, its fixed grid and its moving grid.

    path: an existing file. fixed, moving: the two images (Grid, nibabel image or path), of which
    the headers are read where the file does not say what it maps between; a grid that neither says
    is an `UnknownGrid`. A displacement field does not record its moving image, so its own grid is
    taken for both. Raises ValueError for what cannot be read, with the way out.
    """
    suffix = suffix_of(path, FOREIGN_SUFFIXES, "transform")
    if suffix in FIELD_SUFFIXES:
        displacement, affine = read_displacement(path, "transform")
        grid = Grid(displacement.shape[:-1], affine)
        return (DisplacementField.from_mm(displacement, grid),), grid, grid
    if suffix == ".lta":
        return _read_lta(path)
    grids = [
        UnknownGrid(str(path), role) if source is None else open_grid(source, role)
        for source, role in ((fixed, "fixed"), (moving, "moving"))
    ]
    if suffix == ".1d":
        return (_read_with_images("afni", path, *grids),), *grids
    if suffix in (".mat", ".txt") and _is_bare_matrix(path):
        if suffix == ".txt":
            raise ValueError(
                f"transform: {path} holds a bare matrix and does not say whose; name it .mat if it "
                "is FSL's, or turn it into an ITK file with c3d_affine_tool if it is in RAS mm"
            )
        logging.getLogger(__name__).warning(
            "%s is read as a matrix of FSL; those of greedy and NiftyReg look alike and are in RAS "
            "mm: turn one into an ITK file with c3d_affine_tool first",
            path,
        )
        return (_read_with_images("fsl", path, *grids),), *grids
    components, grid = read_itk_transform(path, grids[0])
    return tuple(components), grid, grids[1]


def _is_bare_matrix(path: Path) -> bool:
    """Whether a file holds sixteen numbers and no more, the last four 0 0 0 1."""
    try:
        numbers = [float(word) for word in path.read_bytes()[:4000].decode("ascii").split()]
    except ValueError:  # not text, or not numbers
        return False
    return len(numbers) == 16 and numbers[12:] == [0, 0, 0, 1]


def _nitransforms(path: Path):
    """NiTransforms' readers; ValueError with what to install where it is missing."""
    try:
        from nitransforms import io
    except ImportError as error:
        raise ValueError(
            f"transform: {path} is read by NiTransforms, which is missing; "
            'pip install "nevf-lite[transforms]"'
        ) from error
    return io


def _read_lta(path: Path) -> Chain:
    """FreeSurfer's, which holds both grids and maps points from the moving to the fixed image.

    NiTransforms writes the same matrix with the two grids exchanged.
    """
    io = _nitransforms(path)
    try:
        lta = io.lta.FSLinearTransform.from_filename(path)
        ends = ("src", "dst") if b"NiTransforms" in path.read_bytes()[:80] else ("dst", "src")
        grids = [
            Grid(tuple(lta[end].structarr["volume"]), lta[end].as_affine())
            if lta[end].structarr["valid"]
            else UnknownGrid(str(path), role)
            for end, role in zip(ends, ("fixed", "moving"), strict=True)
        ]
        return (Affine(lta.to_ras()),), *grids
    except Exception as error:  # assertions and whatever NumPy says of a damaged text
        raise _unreadable(path, "an LTA of FreeSurfer with one matrix") from error


def _read_with_images(kind: str, path: Path, fixed: Grid, moving: Grid) -> Affine:
    """A matrix of FSL or AFNI, whose coordinates depend on both images."""
    io = _nitransforms(path)
    images = [_blank_image(grid) for grid in (fixed, moving)]
    try:
        if kind == "afni" and _count_rows(path) not in (1, 3):
            raise ValueError("one matrix a volume")
        reader = io.get_linear_factory(kind, is_array=False)
        return Affine(reader.from_filename(path).to_ras(reference=images[0], moving=images[1]))
    except Exception as error:
        raise _unreadable(path, f"one matrix of {kind.upper()}") from error


def _count_rows(path: Path) -> int:
    lines = path.read_text(encoding="latin-1").splitlines()
    return sum(1 for line in lines if line.strip() and not line.startswith("#"))


def _blank_image(grid: Grid) -> nib.Nifti1Image:
    """An image of a grid that takes no memory; a slice gets its third axis back."""
    shape = (*grid.shape, 1)[:3]
    return nib.Nifti1Image(np.broadcast_to(np.uint8(0), shape), grid.affine)


def _unreadable(path: Path, what: str) -> ValueError:
    return ValueError(
        f"transform: {path} cannot be read as {what}; is it damaged, or of another program?"
    )
