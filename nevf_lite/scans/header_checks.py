"""Checks of what an image's header states: shape, data type, spacing and affine."""

from __future__ import annotations

import numpy as np

#: torch's interpolation counts voxels in 32 bits, NIfTI-1 the voxels along an axis in 16.
MAX_VOXELS, MAX_AXIS_LENGTH = 2**31 - 1, 32767
#: Voxel sizes of real instruments, and how far the first voxel may lie from the origin.
SPACING_RANGE_MM, MAX_ORIGIN_MM = (1e-3, 1e2), 1e6
#: Writes a NIfTI file anew as nibabel reads it, whose spacing is always above 0.
REPAIR_SPACING = "python -c \"import nibabel as n; n.save(n.load('IN.nii.gz'), 'OUT.nii.gz')\""


def check_layout(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse a shape or type that is not one scalar image of two or three axes.

    Further axes must have length 1. Raises ValueError.
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
    if len(shape) > 3 and shape[0] == 1 < shape[3]:
        raise ValueError(
            f"{name}: the first axis of {shape} has length 1; if it counts channels, pass image[0]"
        )
    if any(n > 1 for n in shape[3:]):
        raise ValueError(
            f"{name}: shape {shape} holds several volumes; wanted one, "
            "for instance img.slicer[..., 0] in nibabel"
        )
    if sum(n > 1 for n in shape) < 2:
        raise ValueError(f"{name}: shape {shape} is not an image; wanted two or three axes")
    if max(shape) > MAX_AXIS_LENGTH or np.prod(shape, dtype=float) > MAX_VOXELS:
        raise ValueError(
            f"{name}: shape {shape} is too large (at most {MAX_AXIS_LENGTH} voxels along an axis, "
            f"{MAX_VOXELS} in all); crop or downsample it, or repair the header"
        )


def check_affine(affine: np.ndarray, name: str) -> None:
    """Refuse a (4, 4) affine that no scan can have. Raises ValueError."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(f"{name}: the affine holds NaN or infinity; repair the header")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    if spacing.min() < low or spacing.max() > high:
        raise ValueError(
            f"{name}: wanted voxels of {low:g} to {high:g} mm, got "
            f"{' x '.join(f'{s:.3g}' for s in spacing)} mm; repair the header's spacing or units"
        )
    volume = abs(np.linalg.det(affine[:3, :3] / spacing))
    if volume < 1e-3 or not (affine[3] == [0, 0, 0, 1]).all():
        raise ValueError(f"{name}: the affine is singular; repair the header (sform, qform)")
    if np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        raise ValueError(f"{name}: the first voxel lies over a kilometre away; repair the header")


def check_header(header, name: str, vectors: bool) -> None:
    """Refuse a nibabel header whose shape, type or spacing cannot be used.

    vectors: False for one scalar image; True for a displacement field, (X, Y, Z, 1, 3) or, of a
    slice, (X, Y, 1, 1, 2).
    Raises ValueError.
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if vectors:
        if len(shape) != 5 or (shape[3:] != (1, 3) and shape[2:] != (1, 1, 2)):
            raise ValueError(
                f"{name}: shape {shape} is not that of a displacement field; wanted (X, Y, Z, 1, "
                "3) or, of a slice, (X, Y, 1, 1, 2)"
            )
        shape = shape[:3]
    check_layout(shape, dtype, name)
    for axis, (length, zoom) in enumerate(zip(shape, header.get_zooms()[:3], strict=False)):
        if length > 1 and zoom < 0 and np.isfinite(zoom):
            raise ValueError(
                f"{name}: the spacing along axis {axis} is {zoom:g}: ITK mirrors such an axis, "
                "nibabel does not. If nibabel shows it the right way round, repair the header: "
                f"{REPAIR_SPACING}"
            )
        if length > 1 and not (zoom > 0 and np.isfinite(zoom)):
            raise ValueError(
                f"{name}: the spacing along axis {axis} is {zoom:g}; wanted millimetres above 0, "
                "so repair the header (pixdim)"
            )
