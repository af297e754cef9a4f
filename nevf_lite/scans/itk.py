"""Conversion between RAS+, the world of this package and of nibabel, and LPS, the world of ITK.

In RAS+ x grows to the right, y to the front and z to the top. In LPS, which ITK, ANTs, Slicer and
SimpleITK use, x grows to the left and y to the back. Matrices and vectors that pass from one to the
other change the sign of x and y.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np

#: RAS to LPS and back: the sign of each homogeneous coordinate.
LPS = np.array([-1.0, -1.0, 1.0, 1.0])


def to_itk(data: np.ndarray, affine: np.ndarray, vectors: bool = False):
    """A SimpleITK image (3-D; two axes become one slice) of an array on an affine in RAS mm.

    vectors: the last axis of data holds the components, in the file's own LPS.
    Raises ValueError for an affine with shear, which ITK cannot hold.
    """
    import SimpleITK as sitk

    data = data[..., None] if data.ndim == 2 else data
    axes = [2, 1, 0, 3] if vectors else [2, 1, 0]
    lps = np.diag(LPS) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if sheared(affine):
        raise ValueError(
            "affine: the axes are not at right angles, which ITK cannot hold; resample the image"
        )
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(axes)), isVector=vectors)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_itk(image) -> tuple[np.ndarray, np.ndarray]:
    """The array (*shape) of a SimpleITK image, 2-D or 3-D, and its affine in RAS mm.

    Of an image of vectors the array is (*shape, components), in LPS.
    """
    import SimpleITK as sitk

    ndim = image.GetDimension()
    affine = np.eye(4)
    affine[:ndim, :ndim] = np.reshape(image.GetDirection(), (ndim, ndim)) * image.GetSpacing()
    affine[:ndim, 3] = image.GetOrigin()
    data = sitk.GetArrayFromImage(image)
    data = data.transpose([*range(ndim)[::-1], *range(ndim, data.ndim)])
    return data, np.diag(LPS) @ affine


def sheared(affine: np.ndarray) -> bool:
    """Whether the axes of a (4, 4) affine are not at right angles."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """What is printed to standard error inside the block, as the one entry of a list, afterwards.

    ITK and HDF5 print there, in many lines, what they cannot read.
    """
    said = [""]
    try:
        saved = os.dup(2)
    except OSError:  # it is closed, and nothing can be printed
        yield said
        return
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            stream.seek(0)
            said[0] = stream.read().decode("latin-1")
