"""Small images for the tests of figures and reports: no symmetry, any orientation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

AFFINE = np.array([[2.0, 0, 0, -20], [0, 3, 0, -30], [0, 0, 4, -10], [0, 0, 0, 1]])


def blob(shape=(24, 20, 12), seed=0, affine=AFFINE) -> nib.Nifti1Image:
    """An ellipsoid of positive noise on a zero background: no symmetry, a clear outline."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum((a / 0.75) ** 2 for a in axes) < 1
    noise = np.random.default_rng(seed).uniform(0.5, 1.0, shape)
    return nib.Nifti1Image((inside * noise).astype(np.float32), affine)


def cells(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Labels 1, 2, ... in blocks, 0 outside the blob."""
    parts = np.indices(image.shape).sum(axis=0) // 9 + 1
    values = np.where(np.asanyarray(image.dataobj) > 0, parts, 0)
    return nib.Nifti1Image(values.astype(np.int32), image.affine)


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same image stored in another orientation."""
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return image.as_reoriented(change)


def rotated(degrees: float) -> np.ndarray:
    """An affine tilted about the left-right axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    return turn @ AFFINE


def slice_axes(figure) -> list:
    """The panels with slices: those without ticks and frames."""
    return [axes for axes in figure.axes if not axes.axison]
