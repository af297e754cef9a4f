"""Readers of image files that may be damaged: the header is checked before the data are read.

The header states how much memory the data need. A damaged one may state petabytes, so the data are
read in chunks until they have the stated size or the file ends. Every failure is a ValueError with
a one-line message.
"""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialHeader, SpatialImage

from nevf_lite.scans.analyze import PAIR_SUFFIXES, load_pair
from nevf_lite.scans.files import existing_file, suffix_of
from nevf_lite.scans.header_checks import check_affine, check_header, check_layout
from nevf_lite.scans.itk import from_itk
from nevf_lite.scans.placement import affine_of
from nevf_lite.scans.space import Grid
from nevf_lite.scans.vectors import check_intent

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
#: The endings of all files that `open_image` reads.
IMAGE_SUFFIXES = (*NIBABEL_SUFFIXES, *PAIR_SUFFIXES, *ITK_SUFFIXES)

#: Deflate stores at best 258 bytes in two bits.
MAX_COMPRESSION_RATIO = 1032


def open_image(source, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """An image as an array of two or three axes, its affine, and its full name for messages.

    source: as for `load_image`. Raises FileNotFoundError or ValueError.
    """
    if isinstance(source, str | os.PathLike):
        path = existing_file(source, name)
        suffix = suffix_of(path, IMAGE_SUFFIXES, name)
        name = f"{name} ({path})"
        if suffix in PAIR_SUFFIXES:
            return open_image(load_pair(path, name), name)
        if suffix in NIBABEL_SUFFIXES:
            data, affine, _ = read_nibabel(path, name)
        else:
            data, affine = read_itk(path, name)
    elif isinstance(source, SpatialImage):
        check_layout(source.shape, source.get_data_dtype(), name)
        try:
            with np.errstate(all="ignore"):
                data = np.asanyarray(source.dataobj)
        except Exception as error:  # a lazy image reads its file at this point
            raise _read_error(error, name) from error
        affine = affine_of(source, name)
    elif hasattr(source, "shape") and hasattr(source, "dtype"):
        data, affine = as_numpy(source), np.eye(4)
        check_layout(data.shape, data.dtype, name)
    else:
        raise ValueError(
            f"{name}: wanted a path, a nibabel image, an array or a tensor, "
            f"got {type(source).__name__}"
        )
    data = data.reshape(data.shape[:3])  # by check_layout, further axes have length 1
    affine = np.array(affine, dtype=np.float64)
    if data.ndim == 3 and 1 in data.shape:
        slice_axis = data.shape.index(1)
        order = [axis for axis in range(3) if axis != slice_axis] + [slice_axis]
        data, affine = data.transpose(order)[:, :, 0], affine[:, [*order, 3]]
    if data.ndim == 2 and np.isfinite(affine).all() and not affine[:3, 2].any():
        # the header of a 2-D image may lack the direction across the slice
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(np.linalg.norm(normal), 1e-12)
    check_affine(affine, name)
    return data, affine, name


def space_code(source) -> int:
    """The NIfTI code of the space that an image's header names, 1 where it names none.

    1: of the scanner; 2: aligned; 3: Talairach; 4: MNI. source: as for `load_image`.
    """
    header = source.header if isinstance(source, SpatialImage) else None
    if isinstance(source, str | os.PathLike):
        path = existing_file(source, "image")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            with _open_decompressed(path) as stream:
                start = stream.read(544)
            image_class, size = _image_class(path, start, "image")
            header = image_class.header_class(start[:size], check=False)
    if not isinstance(header, nib.Nifti1Header):
        return 1
    codes = int(header["sform_code"]), int(header["qform_code"])
    return next((code for code in codes if 1 <= code <= 5), 1)


def as_numpy(data) -> np.ndarray:
    """An array, or a tensor on any device, as a NumPy array."""
    if hasattr(data, "detach"):
        data = data.detach().cpu()
        if str(data.dtype) == "torch.bfloat16":  # NumPy has no bfloat16
            data = data.float()
        return data.numpy()
    return np.asarray(data)


def open_grid(source, name: str) -> Grid:
    """The grid of an image of one volume or several, by its header.

    source: a Grid, a nibabel image, or the path of an image that `load_image` reads. Axes of length
    1 are dropped as there. Raises FileNotFoundError or ValueError.
    """
    if isinstance(source, Grid):
        return source
    if not isinstance(source, SpatialImage) and Path(source).name.lower().endswith(ITK_SUFFIXES):
        data, affine, _ = open_image(source, name)
        return Grid(data.shape, affine)
    try:
        if not isinstance(source, SpatialImage):
            path = existing_file(source, name)
            name = f"{name} ({path})"
            source = nib.load(path)
        blank = np.broadcast_to(np.uint8(0), source.shape[:3])
        data, affine, _ = open_image(nib.Nifti1Image(blank, affine_of(source, name)), name)
        return Grid(data.shape, affine)
    except Exception as error:
        raise _read_error(error, name) from error


def read_nibabel(
    path: Path, name: str, vectors: bool = False
) -> tuple[np.ndarray, np.ndarray, SpatialHeader]:
    """Read a NIfTI or MGH file, compressed or not: its data, its affine in RAS mm, its header.

    vectors: False for one scalar image; True for a displacement field, see `check_header`. Values
    and affine are not checked. Raises ValueError.
    """
    try:
        with _open_decompressed(path) as stream, nib.imageglobals.LoggingOutputSuppressor():
            start = stream.read(544)  # the longest header, of NIfTI-2, has 540
            image_class, header_size = _image_class(path, start, name)
            header = image_class.header_class(start[:header_size], check=False)
            check_header(header, name, vectors)
            if vectors:
                check_intent(header, name)
            expected_size = header.get_data_offset() + int(
                np.prod(header.get_data_shape(), dtype=object) * header.get_data_dtype().itemsize
            )
            raw = _read_up_to(expected_size, stream, start)
            if len(raw) < expected_size:
                raise ValueError(
                    f"{name}: the file is truncated or its header is wrong: it promises "
                    f"{expected_size} bytes, got {len(raw)}; copy or download it again"
                )
            with np.errstate(all="ignore"):  # the caller checks the values for overflow
                image = image_class.from_bytes(raw)
                data = np.asanyarray(image.dataobj)
                return data, affine_of(image, name), header
    except Exception as error:
        raise _read_error(error, name) from error


def read_itk(path: Path, name: str, vectors: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read an NRRD or MetaImage file: its data and its affine in RAS mm, unchecked.

    vectors: False for one scalar image, (*shape); True for a displacement field, which gives
    (*shape, ndim) in LPS mm. Raises ValueError.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        components = reader.GetNumberOfComponents()
        if not vectors and components != 1:
            raise ValueError(f"{name}: a colour or vector image; wanted one number a voxel")
        if vectors and (components != reader.GetDimension() or components > 3):
            raise ValueError(
                f"{name}: {reader.GetDimension()} axes with {components} numbers a voxel are not a "
                "displacement field; wanted a vector with one component for each axis"
            )
        pixel_type = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
        size = reader.GetSize()
        check_layout(size, np.dtype("complex64" if "complex" in pixel_type else "float32"), name)
        # .nhdr and .mhd files hold no data, so their length sets no limit
        if path.suffix.lower() in (".nrrd", ".mha"):
            max_voxels = path.stat().st_size * MAX_COMPRESSION_RATIO
            if components * np.prod(size, dtype=float) > max_voxels:
                raise ValueError(
                    f"{name}: the file is truncated or its header is wrong: it promises "
                    f"{np.prod(size, dtype=object)} voxels in {path.stat().st_size} bytes"
                )
        if len(size) > 3:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        return from_itk(reader.Execute())
    except Exception as error:
        raise _read_error(error, name) from error


def _image_class(path: Path, start: bytes, name: str) -> tuple[type, int]:
    """The nibabel class for a file's ending and its first bytes, and the size of its header."""
    if ".mg" in path.name[-4:].lower():
        if len(start) >= 284 and start[:4] == b"\0\0\0\1":
            return nib.MGHImage, 284
        raise ValueError(f"{name}: this is not an MGH file, whatever its name says")
    for image_class in (nib.Nifti1Image, nib.Nifti2Image):
        size = image_class.header_class.sizeof_hdr
        if len(start) >= size and size in (
            int.from_bytes(start[:4], "little"),
            int.from_bytes(start[:4], "big"),
        ):
            return image_class, size
    raise ValueError(f"{name}: this is not a NIfTI file, whatever its name says, or it is damaged")


def _open_decompressed(path: Path):
    """A stream of the file's contents; gzip is detected by the first bytes, not by the ending."""
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def _read_up_to(size: int, stream, start: bytes) -> bytes:
    """start and what follows it, up to `size` bytes and 4 kB for a footer, in chunks of 8 MiB."""
    buffer = io.BytesIO()
    buffer.write(start)
    while (missing := size + 4096 - buffer.tell()) > 0:
        chunk = stream.read(min(missing, 2**23))
        if not chunk:
            break
        buffer.write(chunk)
    return buffer.getvalue()


def _read_error(error: Exception, name: str) -> ValueError:
    """A library's error as a ValueError with a one-line message; our own errors pass unchanged."""
    if isinstance(error, ValueError) and str(error).startswith(name):
        return error
    if isinstance(error, EOFError):
        return ValueError(f"{name}: the compressed file is truncated; copy or download it again")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[-1] if lines else type(error).__name__)[:120]
    return ValueError(f"{name}: cannot be read, damaged or not what the name says ({reason})")
