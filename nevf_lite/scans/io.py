"""Reading and writing of images, labels and displacement fields.

Input is checked when it is read: each kind of unusable input raises an error of one line that says
what was wanted, what was read and what to do. Output files are written completely or not at all.
Coordinates are millimetres in RAS+; `itk.py` converts those of ITK's files, which are in LPS.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from nevf_lite.scans.files import atomic, existing_file, suffix_of
from nevf_lite.scans.header_checks import check_affine
from nevf_lite.scans.itk import LPS, sheared, to_itk
from nevf_lite.scans.origin import remember
from nevf_lite.scans.placement import HEADER_NOTE
from nevf_lite.scans.readers import (
    ITK_SUFFIXES,
    as_numpy,
    open_image,
    read_itk,
    read_nibabel,
    space_code,
)
from nevf_lite.scans.space import Grid
from nevf_lite.scans.vectors import checked, for_itk, in_space, to_displacement

#: The endings of the images that `save_image` writes.
OUTPUT_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")
FIELD_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def load_image(source, name: str = "image", registrable: bool = True) -> nib.Nifti1Image:
    """Load an image to register or to warp, with float32 data of two or three axes.

    source: a path (.nii, .nii.gz, .mgz, .img, .hdr, .nrrd, .nhdr, .mha, .mhd), a nibabel image, or
        an array or tensor (*shape), whose voxels are then taken to be millimetres. `dicom` reads
        folders of DICOM.
    name: what it is to the caller, for messages. registrable: False for an image that is warped and
        no more: it may be constant, and hold NaN and infinity.
    A fourth axis of length 1 is dropped. One slice of a volume is a 2-D image: the axis across it
    is dropped and its column of the affine becomes the third, so every voxel keeps its position.
    Raises FileNotFoundError, or ValueError for what cannot be registered: unreadable, truncated,
    several volumes, colour, complex, empty, constant, not finite, beyond float32, or without a
    usable affine.
    """
    data, affine, name = open_image(source, name)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(data, dtype=np.float32)
    nonfinite = ~np.isfinite(values)
    if np.isfinite(np.asarray(data)[nonfinite]).any():
        raise ValueError(
            f"{name}: values reach beyond float32 (3.4e38); check scl_slope and scl_inter in "
            "the header, or rescale the image"
        )
    if registrable and nonfinite.any():
        raise ValueError(
            f"{name}: {nonfinite.sum()} of {values.size} voxels are NaN or infinite; "
            "replace them first, for instance with numpy.nan_to_num"
        )
    if registrable and values.min() == values.max():
        raise ValueError(
            f"{name}: every voxel is {values.flat[0]:g}; a constant image cannot be registered"
        )
    return remember(make_image(values, affine, space_code(source)), source, name)


def load_labels(source, name: str = "labels") -> nib.Nifti1Image:
    """Load a label map, with int32 data; sources and shapes as for :func:`load_image`.

    Files that store whole numbers as floats are accepted. A map may hold a single value, and
    negative values. Raises ValueError also for fractions and for values that int32 cannot hold.
    """
    data, affine, name = open_image(source, name)
    data = np.asarray(data)
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise ValueError(f"{name}: some labels are NaN or infinite; wanted whole numbers")
        fractions = np.flatnonzero(data != np.rint(data))
        if len(fractions):
            raise ValueError(
                f"{name}: {data.flat[fractions[0]]:g} is not a whole number; wanted a label map "
                "(was it resampled with linear interpolation?)"
            )
    low, high = data.min(), data.max()
    if data.dtype.kind != "b" and (low < -(2**31) or high >= 2**31):
        raise ValueError(f"{name}: labels {low} to {high} do not fit in 32 bits; renumber them")
    return make_image(data.astype(np.int32), affine)


def save_image(path: str | os.PathLike, data, grid: Grid | np.ndarray, code: int = 1) -> None:
    """Write an image or a label map: .nii, .nii.gz, .mgz, .nrrd or .mha, by the path's ending.

    data: (*shape) array or tensor. Floating point is written as float32, whole numbers and booleans
        as int16 where they fit, else int32. Two axes are written as one slice, (X, Y, 1).
    grid: a Grid, or the (4, 4) affine from voxels to RAS mm. code: of the space, see `space_code`.
    NIfTI files carry the affine as sform and qform, both with that code, so that nibabel, ITK and
    FSL agree; an affine with shear, which a qform cannot hold, is written to the sform only.
    Raises ValueError for data that does not fit, OSError for a full disk. No partial file is left.
    """
    path = Path(path)
    suffix = suffix_of(path, OUTPUT_SUFFIXES, "output")
    data, affine = _storable(data), _affine_of(grid)
    if isinstance(grid, Grid) and data.shape not in (grid.shape, (*grid.shape, 1)):
        raise ValueError(f"data: wanted the grid's shape {grid.shape}, got {data.shape}")
    if data.ndim == 2:
        data = data[..., None]
    if suffix not in ITK_SUFFIXES:
        image = nib.MGHImage(data, affine) if suffix == ".mgz" else make_image(data, affine, code)
        _write(path, image, compressed=suffix != ".nii")
        return
    import SimpleITK as sitk

    image = to_itk(data, affine)
    with atomic(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(
                f"output: {path} could not be written; is the disk full? Nothing was kept"
            ) from error


def write_displacement(
    path: str | os.PathLike, displacement: np.ndarray, grid: Grid | np.ndarray, code: int = 1
) -> None:
    """Write an ITK displacement field, as antsApplyTransforms, SimpleITK and NiTransforms read it.

    displacement: (*shape, 3), RAS mm, pull-back: from a point of the fixed grid to the moving one.
    grid: the fixed Grid, or its (4, 4) affine. path: .nii or .nii.gz. code: of its space.
    The file is 5-D, (X, Y, Z, 1, 3), with intent "vector" (1007) and components in LPS mm. The
    field of a 2-D grid is written twice, (X, Y, 2, 1, 3): ITK reads a single slice as a 2-D image
    with three components, which fits no transform and has no position across the slice.
    ITK refuses grids with shear; then the field is resampled to the smallest grid at right angles
    that covers the given one. Raises ValueError for another shape and for vectors that are not
    finite, OSError for a full disk.
    """
    path = Path(path)
    suffix = suffix_of(path, (".nii", ".nii.gz"), "output")
    field, affine = as_numpy(displacement).astype(np.float32, copy=False), _affine_of(grid)
    if field.ndim not in (3, 4) or field.shape[-1] != 3:
        raise ValueError(f"displacement: wanted (X, Y, 3) or (X, Y, Z, 3), got {field.shape}")
    if isinstance(grid, Grid) and field.shape[:-1] != grid.shape:
        raise ValueError(f"displacement: wanted {(*grid.shape, 3)}, got {field.shape}")
    if not np.isfinite(field).all():
        raise ValueError("displacement: some vectors are NaN or infinite; nothing was written")
    field, affine = for_itk(field, Grid(field.shape[:-1], affine))
    image = make_image(field[:, :, :, None], affine, code)
    image.header.set_intent("vector")
    _write(path, image, compressed=suffix == ".nii.gz")


def read_displacement(
    path: str | os.PathLike, name: str = "displacement"
) -> tuple[np.ndarray, np.ndarray]:
    """Read a displacement field of this package or another tool: .nii, .nii.gz, .mha, .nrrd.

    Returns the displacement (*shape, 3), float32, in RAS mm, and the (4, 4) affine of its grid; a
    field of one slice, or of one slice written twice, is returned with two axes. `vectors.py` says
    which fields are understood: displacements and positions, of ITK, Slicer, SPM and NiftyReg.
    Raises FileNotFoundError or ValueError.
    """
    path = existing_file(path, name)
    suffix = suffix_of(path, FIELD_SUFFIXES, name)
    name = f"{name} ({path})"
    if suffix in ITK_SUFFIXES:
        field, affine = read_itk(path, name, vectors=True)
        check_affine(affine, name)
        field = in_space(field) * LPS[:3].astype(np.float32)
        field = checked(field, Grid(field.shape[:-1], affine), name)
    else:
        field, affine, header = read_nibabel(path, name, vectors=True)
        check_affine(affine, name)
        field = to_displacement(field[:, :, :, 0], affine, header, name)
    is_flat = field.ndim == 4 and field.shape[2] <= 2
    is_2d = is_flat and (field[:, :, 0] == field[:, :, -1]).all()
    return (field[:, :, 0] if is_2d else field), affine


def _storable(data) -> np.ndarray:
    """data as float32, int16 or int32. Raises ValueError if it does not fit."""
    data = as_numpy(data)
    if data.ndim not in (2, 3):
        raise ValueError(f"data: wanted two or three axes, got the shape {data.shape}")
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = data.astype(np.float32, copy=False)
        if (np.isinf(stored) & np.isfinite(data)).any():
            raise ValueError("data: values reach beyond float32 (3.4e38); rescale them")
        return stored
    if data.dtype.kind not in "biu":
        raise ValueError(f"data: wanted numbers, got {data.dtype}")
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return data.astype(dtype)
    raise ValueError(f"data: values from {low} to {high} do not fit in 32 bits")


def _affine_of(grid: Grid | np.ndarray) -> np.ndarray:
    """The (4, 4) affine of a grid, or the affine itself, checked by Grid."""
    return (grid if isinstance(grid, Grid) else Grid((2, 2, 2), grid)).affine


def make_image(data: np.ndarray, affine: np.ndarray, code: int = 1) -> nib.Nifti1Image:
    """A NIfTI image in mm with the same affine in sform and, unless it has shear, in qform.

    code: of the space, in both, see `readers.space_code`.
    """
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.extra[HEADER_NOTE] = None  # what there is to say was said of the file it came from
    image.set_sform(affine, code=code, update_affine=False)
    if not sheared(affine):
        image.set_qform(affine, code=code, update_affine=False)
    return image


def _write(path: Path, image, compressed: bool) -> None:
    """Write a nibabel image slab by slab; the same image always gives the same bytes.

    nibabel's own save leaves its file open when a disk is full, and Windows cannot remove an open
    file; and it copies the whole image.
    """
    with atomic(path) as temporary, temporary.open("wb") as stream:
        if not compressed:
            _write_slabs(image, stream)
            return
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as compressor:
            _write_slabs(image, compressor)


def _write_slabs(image, stream) -> None:
    if isinstance(image, nib.MGHImage):
        stream.write(image.to_bytes())
        return
    header = image.header.copy()
    header.set_slope_inter(1, 0)
    header.write_to(stream)
    # the first axis changes fastest in the file: sections across the last axes follow each other
    sections = np.asarray(image.dataobj).T
    for index in np.ndindex(sections.shape[:-2]):
        stream.write(np.ascontiguousarray(sections[index]).tobytes())
