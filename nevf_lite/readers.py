"""Reading image files that may be damaged: look at the header first, then read what it promises.

A header is a hundred bytes that decide how much memory is asked for, so nothing is allocated on its
word alone: a compressed file is unpacked piece by piece until the promise is kept or the file ends.
Every failure is a ValueError of one line.
"""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from nevf_lite.files import existing_file, suffix_of
from nevf_lite.itk import from_itk

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

#: torch's interpolation counts voxels in 32 bits, and NIfTI-1 the voxels along an axis in 16.
MOST_VOXELS, LONGEST_AXIS = 2**31 - 1, 32767
#: Millimetres per voxel that some instrument could have made; the world ends a kilometre away.
SPACINGS, FARTHEST = (1e-3, 1e2), 1e6
#: Deflate cannot pack better than this: 258 bytes in two bits.
BEST_COMPRESSION = 1032
#: xyzt_units of NIfTI to millimetres; files that do not say are taken to be in mm.
MILLIMETRES = {1: 1e3, 3: 1e-3}


def open_image(source, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Array of two or three axes, affine and full name for messages, whatever the source is."""
    if isinstance(source, str | os.PathLike):
        path = existing_file(source, name)
        name = f"{name} ({path})"
        if suffix_of(path, (*NIBABEL_SUFFIXES, *ITK_SUFFIXES), name) in NIBABEL_SUFFIXES:
            data, affine = read_nibabel(path, name)
        else:
            data, affine = read_itk(path, name)
    elif isinstance(source, SpatialImage):
        check_layout(source.shape, source.get_data_dtype(), name)
        try:
            with np.errstate(all="ignore"):
                data = np.asanyarray(source.dataobj)
        except Exception as error:  # whatever lies behind it: a lazy image reads its file only now
            raise _plain(error, name) from error
        affine = np.eye(4) if source.affine is None else source.affine
    elif hasattr(source, "shape") and hasattr(source, "dtype"):
        data, affine = as_numpy(source), np.eye(4)
        check_layout(data.shape, data.dtype, name)
    else:
        raise ValueError(
            f"{name}: wanted a path, a nibabel image, an array or a tensor, "
            f"got {type(source).__name__}"
        )
    data = data.reshape(data.shape[:3])  # check_layout: any further axis has length 1
    affine = np.array(affine, dtype=np.float64)
    if data.ndim == 3 and 1 in data.shape:
        across = data.shape.index(1)
        order = [axis for axis in range(3) if axis != across] + [across]
        data, affine = data.transpose(order)[:, :, 0], affine[:, [*order, 3]]
    if data.ndim == 2 and np.isfinite(affine).all() and not affine[:3, 2].any():
        # a header of a flat image may say nothing about the direction across it
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(np.linalg.norm(normal), 1e-12)
    check_affine(affine, name)
    return data, affine, name


def as_numpy(data) -> np.ndarray:
    """A NumPy array of an array or a tensor on any device."""
    if hasattr(data, "detach"):
        data = data.detach().cpu()
        if str(data.dtype) == "torch.bfloat16":  # NumPy has none
            data = data.float()
        return data.numpy()
    return np.asarray(data)


def check_layout(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse what is not one scalar image of two or three axes, before any of it is read.

    Further axes may follow if they have length 1. Raises ValueError.
    """
    dtype = np.dtype(dtype)
    if dtype.fields:
        raise ValueError(f"{name}: a colour image; convert it to one grey channel first")
    if dtype.kind == "c":
        raise ValueError(f"{name}: complex values; save the magnitude (numpy.abs) first")
    if dtype.kind not in "biuf":
        raise ValueError(f"{name}: wanted numbers, got data of type {dtype}")
    shape = tuple(int(n) for n in shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"{name}: the image is empty, its shape is {shape}")
    if any(n > 1 for n in shape[3:]):
        raise ValueError(
            f"{name}: shape {shape} holds several volumes; wanted one, "
            "for instance img.slicer[..., 0] in nibabel"
        )
    if sum(n > 1 for n in shape) < 2:
        raise ValueError(f"{name}: shape {shape} is not an image; wanted two or three axes")
    if max(shape) > LONGEST_AXIS or np.prod(shape, dtype=float) > MOST_VOXELS:
        raise ValueError(
            f"{name}: shape {shape} is too large (at most {LONGEST_AXIS} voxels along an axis, "
            f"{MOST_VOXELS} in all); crop or downsample it, or repair the header"
        )


def check_affine(affine: np.ndarray, name: str) -> None:
    """Refuse a (4, 4) affine that cannot be the place of a scan. Raises ValueError."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(f"{name}: the affine holds NaN or infinity; repair the header")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < SPACINGS[0] or spacing.max() > SPACINGS[1]:
        raise ValueError(
            f"{name}: voxels of {' x '.join(f'{s:.3g}' for s in spacing)} mm are absurd; "
            "repair the header's spacing or its units"
        )
    volume = abs(np.linalg.det(affine[:3, :3] / spacing))
    if volume < 1e-3 or not (affine[3] == [0, 0, 0, 1]).all():
        raise ValueError(f"{name}: the affine is singular; repair the header (sform, qform)")
    if np.abs(affine[:3, 3]).max() > FARTHEST:
        raise ValueError(f"{name}: the first voxel lies over a kilometre away; repair the header")


def read_nibabel(path: Path, name: str, vectors: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The data of a NIfTI or MGH file, compressed or not, and its affine in RAS mm, unchecked.

    vectors: False for one scalar image; True for a displacement field, (X, Y, Z, 1, 3).
    """
    try:
        with _unpacked(path) as stream, nib.imageglobals.LoggingOutputSuppressor():
            head = stream.read(544)
            kind, length = _kind(path, head, name)
            header = kind.header_class(head[:length], check=False)
            _check_header(header, name, vectors)
            promised = header.get_data_offset() + int(
                np.prod(header.get_data_shape(), dtype=object) * header.get_data_dtype().itemsize
            )
            raw = _read(stream, head, promised)
            if len(raw) < promised:
                raise ValueError(
                    f"{name}: the file is truncated or its header is wrong: it promises {promised} "
                    f"bytes and {len(raw)} are there; copy or download it again"
                )
            with np.errstate(all="ignore"):  # overflow shows in the values, which are checked later
                image = kind.from_bytes(raw)
                data = np.asanyarray(image.dataobj)
                units = MILLIMETRES.get(int(image.header.get("xyzt_units", 0)) & 7, 1.0)
                return data, np.diag([units, units, units, 1.0]) @ image.affine
    except Exception as error:
        raise _plain(error, name) from error


def read_itk(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The data of a scalar NRRD or MetaImage file and its affine in RAS mm, unchecked."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            raise ValueError(f"{name}: a colour or vector image; wanted one number a voxel")
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
        size = reader.GetSize()
        check_layout(size, np.dtype("complex64" if "complex" in kind else "float32"), name)
        # a header with its data in another file says nothing about that file's length
        if path.suffix.lower() in (".nrrd", ".mha"):
            most = path.stat().st_size * BEST_COMPRESSION
            if np.prod(size, dtype=float) > most:
                raise ValueError(
                    f"{name}: the file is truncated or its header is wrong: it promises "
                    f"{np.prod(size, dtype=object)} voxels in {path.stat().st_size} bytes"
                )
        if len(size) > 3:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        return from_itk(reader.Execute())
    except Exception as error:
        raise _plain(error, name) from error


def _kind(path: Path, head: bytes, name: str) -> tuple[type, int]:
    """The nibabel class for a file with this ending and these first bytes; its header's length."""
    if ".mg" in path.name[-4:].lower():
        if len(head) >= 284 and head[:4] == b"\0\0\0\1":
            return nib.MGHImage, 284
        raise ValueError(f"{name}: this is not an MGH file, whatever its name says")
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        size = kind.header_class.sizeof_hdr
        if len(head) >= size and size in (
            int.from_bytes(head[:4], "little"),
            int.from_bytes(head[:4], "big"),
        ):
            return kind, size
    raise ValueError(f"{name}: this is not a NIfTI file, whatever its name says, or it is damaged")


def _check_header(header, name: str, vectors: bool) -> None:
    """Shape, type and spacing that a header promises."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if vectors:
        if len(shape) != 5 or shape[3:] != (1, 3):
            raise ValueError(
                f"{name}: shape {shape} is not an ITK displacement field; wanted (X, Y, Z, 1, 3)"
            )
        shape = shape[:3]
    check_layout(shape, dtype, name)
    for axis, (length, zoom) in enumerate(zip(shape, header.get_zooms()[:3], strict=False)):
        if length > 1 and not (zoom > 0 and np.isfinite(zoom)):
            raise ValueError(
                f"{name}: the spacing along axis {axis} is {zoom:g}; wanted millimetres above 0, "
                "so repair the header (pixdim)"
            )


def _unpacked(path: Path):
    """A stream of the file's contents; gzip is known by its first bytes, not by the file's name."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _read(stream, head: bytes, promised: int) -> bytes:
    """head and what follows it, up to the promised length and a footer, in pieces of 8 MiB."""
    buffer = io.BytesIO()
    buffer.write(head)
    while (missing := promised + 4096 - buffer.tell()) > 0:
        piece = stream.read(min(missing, 2**23))
        if not piece:
            break
        buffer.write(piece)
    return buffer.getvalue()


def _plain(error: Exception, name: str) -> ValueError:
    """One line for whatever a library threw at us; what we raised ourselves passes."""
    if isinstance(error, ValueError) and str(error).startswith(name):
        return error
    if isinstance(error, EOFError):
        return ValueError(f"{name}: the compressed file is truncated; copy or download it again")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[-1] if lines else type(error).__name__)[:120]
    return ValueError(f"{name}: cannot be read, damaged or not what the name says ({reason})")
