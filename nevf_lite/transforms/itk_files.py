"""ITK's transform files, read and written through SimpleITK: `.mat`, `.txt`, `.tfm`, `.h5`.

ANTs, fMRIPrep and Slicer keep their transforms in them: affines of any kind, displacement fields,
and composites of both in a row. ITK lists a composite in the order in which it was put together and
applies the last one first; here components are in the order in which a point meets them.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nevf_lite.scans.files import atomic
from nevf_lite.scans.itk import LPS, captured_stderr, from_itk, to_itk
from nevf_lite.scans.space import Grid, UnknownGrid
from nevf_lite.scans.vectors import checked, for_itk, in_space
from nevf_lite.transforms.components import Affine, Component, DisplacementField
from nevf_lite.transforms.resample import displacement_of

AFFINE_SUFFIXES = (".mat", ".txt", ".tfm")
ITK_TRANSFORM_SUFFIXES = (*AFFINE_SUFFIXES, ".h5")
FIRST_LINE = b"#Insight Transform File"
#: A matrix and a centre in Matlab's format have 200 bytes.
MAX_MAT_BYTES = 100_000


def read_itk_transform(path: Path, fixed: Grid | UnknownGrid) -> tuple[list[Component], Grid]:
    """The components of an ITK transform file, first to last, and its fixed grid.

    The fixed grid is that of a displacement field that comes first, otherwise the one given; behind
    an affine a field lies on some other grid, as in fMRIPrep's files from a template. Whatever is
    neither linear nor a displacement field, such as a B-spline, is sampled on that grid. Raises
    ValueError for a file that cannot be read.
    """
    import SimpleITK as sitk

    if path.suffix.lower() == ".mat":
        _check_matlab(path)
    _check_one_transform(path)
    try:
        with captured_stderr() as said:
            parts = list(_flattened(sitk.ReadTransform(str(path))))
        components = [_component(part) for part in parts]
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"transform: {path} cannot be read as a transform of ITK; is it damaged, or of another "
            f"program? ({_reason(error)})"
        ) from error
    if "more than one transform" in said[0]:
        raise _several(path)
    grid = components[0].grid if isinstance(components[0], DisplacementField) else fixed
    if None in components:
        return [_sampled(sitk.CompositeTransform(parts[::-1]), grid)], grid
    return components, grid


def write_itk_composite(path: str | os.PathLike, components: Sequence[Component]) -> None:
    """Write a chain of components as one composite, `.h5`, which antsApplyTransforms takes.

    A flow is written as the displacement on its grid. Outside that grid ITK moves nothing, while a
    component here goes on with the edge's displacement. Fields of slices are written twice, as
    `write_displacement` does. Raises OSError for a full disk.
    """
    import SimpleITK as sitk

    composite = sitk.CompositeTransform(3)
    for component in reversed(components or [Affine(np.eye(4))]):
        composite.AddTransform(_to_itk(component))
    _write(path, composite)


def write_affine(path: str | os.PathLike, components: Sequence[Component]) -> None:
    """Write the affine part of a chain alone: `.mat`, `.txt` or `.tfm`, as ANTs' GenericAffine.

    The chain may have a deformation at one end, which is left out with a note. Raises ValueError
    for a chain without an affine or with affines on both sides of a deformation.
    """
    linear = [isinstance(component, Affine) for component in components]
    if not any(linear):
        raise ValueError(
            f"output: {path} would hold an affine alone, and the transform has none; "
            "name a file .h5 or .nii.gz"
        )
    first, last = linear.index(True), len(linear) - linear[::-1].index(True)
    if not all(linear[first:last]) or (first > 0 and last < len(linear)):
        raise ValueError(
            f"output: {path} would hold an affine alone, and this one has a deformation between "
            "affines; name a file .h5 or .nii.gz"
        )
    if not all(linear):
        logging.getLogger(__name__).warning(
            "%s holds the affine part alone; the deformation is left out", path
        )
    matrix = np.eye(4)
    for component in components[first:last]:
        matrix = component.matrix @ matrix
    _write(path, _to_itk(Affine(matrix)))


def _check_matlab(path: Path) -> None:
    """ValueError for a file of Matlab's format (4) that holds less than it says.

    ITK would first make room for all that it says, and a damaged one may say gigabytes. The file is
    a row of matrices: type, rows, columns, whether complex, length of the name; name; numbers.
    """
    if path.stat().st_size > MAX_MAT_BYTES:
        raise ValueError(f"transform: {path} is too large for an affine of ITK; is it a .mat file?")
    raw, place = path.read_bytes(), 0
    if raw.startswith(FIRST_LINE):
        return
    while place < len(raw):
        kind, *sizes = struct.unpack_from("<5i", raw + bytes(20), place)
        rows, columns, _, name = sizes
        place += 20 + name + rows * columns * (4 if kind // 10 % 10 == 1 else 8)
        if min(sizes) < 0 or place > len(raw):
            raise ValueError(
                f"transform: {path} cannot be read as a transform of ITK: its numbers would make "
                "it longer than it is; is it damaged?"
            )


def _check_one_transform(path: Path) -> None:
    """ValueError for a text file with several transforms of which ITK would read the first."""
    with path.open("rb") as stream:
        if stream.read(len(FIRST_LINE)) != FIRST_LINE:
            return
    lines = path.read_text(encoding="latin-1").splitlines()
    kinds = [line.partition(":")[2].strip() for line in lines if line.startswith("Transform:")]
    if len(kinds) > 1 and not kinds[0].startswith("Composite"):
        raise _several(path)


def _several(path: Path) -> ValueError:
    return ValueError(
        f"transform: {path} holds several transforms and does not say in which order they follow "
        "each other; put each in a file of its own and compose them"
    )


def _flattened(transform) -> Iterator:
    """The parts of a SimpleITK transform in the order in which a point meets them."""
    import SimpleITK as sitk

    if transform.GetTransformEnum() != sitk.sitkComposite:
        yield transform
        return
    composite = sitk.CompositeTransform(transform)
    for i in reversed(range(composite.GetNumberOfTransforms())):
        yield from _flattened(composite.GetNthTransform(i))


def _component(transform) -> Component | None:
    """A part of a composite as a component; None for what is neither linear nor a field."""
    import SimpleITK as sitk

    if transform.GetDimension() not in (2, 3):
        raise ValueError(f"it has {transform.GetDimension()} axes")
    if transform.GetTransformEnum() == sitk.sitkDisplacementField:
        return _from_itk_field(sitk.DisplacementFieldTransform(transform).GetDisplacementField())
    return _affine(transform) if transform.IsLinear() else None


def _affine(transform) -> Affine:
    """The matrix of a linear transform of any kind, by where it takes the origin and the axes."""
    ndim = transform.GetDimension()
    origin = np.array(transform.TransformPoint([0.0] * ndim))
    moved = [transform.TransformPoint(axis) for axis in np.eye(ndim).tolist()]
    matrix = np.eye(4)
    matrix[:ndim, :ndim] = np.transpose(moved) - origin[:, None]
    matrix[:ndim, 3] = origin
    return Affine(np.diag(LPS) @ matrix @ np.diag(LPS))


def _from_itk_field(image) -> DisplacementField:
    data, affine = from_itk(image)
    if data.ndim == 4 and data.shape[2] == 2 and (data[:, :, 0] == data[:, :, 1]).all():
        data = data[:, :, 0]  # a slice, written twice
    grid = Grid(data.shape[:-1], affine)
    displacement = in_space(data) * LPS[:3].astype(np.float32)
    return DisplacementField.from_mm(checked(displacement, grid, "its field"), grid)


def _reason(error: Exception) -> str:
    """The last line of an error of ITK, or the message of one of ours, not too long."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:120] if lines else type(error).__name__


def _sampled(transform, grid: Grid | UnknownGrid) -> DisplacementField:
    """Any transform, by the displacement of each voxel of a grid."""
    import SimpleITK as sitk

    reference = to_itk(np.zeros(grid.shape, np.uint8), grid.affine)
    if transform.GetDimension() == 2:
        reference = reference[:, :, 0]
    sampler = sitk.TransformToDisplacementFieldFilter()
    sampler.SetReferenceImage(reference)
    return _from_itk_field(sampler.Execute(transform))


def _to_itk(component: Component):
    """A component as a three-dimensional SimpleITK transform."""
    import SimpleITK as sitk

    if isinstance(component, Affine):
        matrix = np.diag(LPS) @ component.matrix @ np.diag(LPS)
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(matrix[:3, :3].ravel().tolist())
        affine.SetTranslation(matrix[:3, 3].tolist())
        return affine
    vectors, affine = for_itk(displacement_of(component.map, component.grid), component.grid)
    return sitk.DisplacementFieldTransform(to_itk(vectors.astype(np.float64), affine, vectors=True))


def _write(path: str | os.PathLike, transform) -> None:
    import SimpleITK as sitk

    with atomic(path) as temporary:
        try:
            sitk.WriteTransform(transform, str(temporary))
        except RuntimeError as error:
            raise OSError(
                f"output: {path} could not be written; is the disk full? Nothing was kept"
            ) from error
