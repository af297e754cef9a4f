"""Series of volumes, such as fMRI: read and written volume by volume, never whole in memory."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from nevf_lite.scans.files import atomic, existing_file, suffix_of
from nevf_lite.scans.header_checks import check_layout
from nevf_lite.scans.io import make_image
from nevf_lite.scans.placement import affine_of
from nevf_lite.scans.space import Grid

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")


@dataclass(frozen=True, eq=False)
class Series:
    """Volumes of one grid in one file, (X, Y, Z, T).

    image: the nibabel image, whose data stay on the disk. name: of the file, for messages.
    """

    image: nib.spatialimages.SpatialImage
    name: str

    @classmethod
    def open(cls, path: str | os.PathLike, name: str = "image") -> Series | None:
        """The series in a file; None where it holds one volume, or no volume that can be read.

        Raises FileNotFoundError, and ValueError for more than four axes.
        """
        path = Path(path).expanduser()
        if not path.name.lower().endswith(SUFFIXES):
            return None
        path = existing_file(path, name)
        name = f"{name} ({path})"
        try:
            with nib.imageglobals.LoggingOutputSuppressor():
                # one pass over a compressed file: each volume is read where the last one ended
                image = nib.load(path, keep_file_open=True)
        except Exception:  # the reader of single volumes says what is wrong with it
            return None
        shape = image.shape
        if len(shape) < 4 or max(shape[3:]) <= 1:
            return None
        if len(shape) > 4:
            raise ValueError(
                f"{name}: shape {shape} holds vectors or more than one series; wanted (X, Y, Z, T)"
            )
        check_layout(shape[:3], image.get_data_dtype(), name)
        return cls(image, name)

    def __len__(self) -> int:
        return self.image.shape[3]

    def __iter__(self) -> Iterator[nib.Nifti1Image]:
        """One volume after the other. Raises ValueError where the file ends too early."""
        affine = affine_of(self.image, self.name)
        for index in range(len(self)):
            try:
                with np.errstate(all="ignore"):
                    data = np.asanyarray(self.image.dataobj[..., index])
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise ValueError(
                    f"{self.name}: it is truncated or damaged, read up to volume {index} of "
                    f"{len(self)}; copy or download it again"
                ) from error
            yield make_image(data, affine)


@contextlib.contextmanager
def writer(
    path: str | os.PathLike, grid: Grid, dtype: type, like: Series, code: int = 1
) -> Iterator:
    """Write a series of volumes as they come: .nii or .nii.gz, whole or not at all.

    grid: of every volume. dtype: np.float32 or np.int32. like: the series whose number of volumes
    and whose time step are taken over. code: of the space, see `readers.space_code`. Yields a
    function that takes the next volume, (*grid.shape).
    Raises ValueError for another ending or number of volumes, OSError for a full disk.
    """
    path = Path(path)
    suffix = suffix_of(path, (".nii", ".nii.gz"), "output of a series")
    shape = grid.shape if grid.ndim == 3 else (*grid.shape, 1)
    # zeros of the whole shape, which take no memory: their header alone is written
    zeros = np.broadcast_to(np.zeros((), dtype), (*shape, len(like)))
    header = make_image(zeros, grid.affine, code).header
    header.set_zooms((*header.get_zooms()[:3], *like.image.header.get_zooms()[3:4]))
    header.set_xyzt_units("mm", _time_unit(like.image.header))
    if "toffset" in like.image.header:
        header["toffset"] = like.image.header["toffset"]
    header["vox_offset"] = 352
    written = 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(stack.enter_context(atomic(path)).open("wb"))
        if suffix == ".nii.gz":
            stream = stack.enter_context(gzip.GzipFile("", "wb", 1, stream, mtime=0))
        stream.write(header.binaryblock + bytes(4))

        def write(volume: np.ndarray) -> None:
            nonlocal written
            if volume.shape not in (grid.shape, shape):
                raise ValueError(f"volume: wanted {grid.shape}, got {volume.shape}")
            stream.write(np.asarray(volume, dtype=header.get_data_dtype()).tobytes("F"))
            written += 1

        yield write
        if written != len(like):
            raise ValueError(f"series: wanted {len(like)} volumes, got {written}")


def _time_unit(header) -> str:
    if isinstance(header, nib.freesurfer.mghformat.MGHHeader):
        return "msec"
    return header.get_xyzt_units()[1] if hasattr(header, "get_xyzt_units") else "unknown"
