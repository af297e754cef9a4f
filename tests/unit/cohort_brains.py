"""Simulated people who are scanned twice, at 4 mm, and what can go wrong with a pair of scans."""

from __future__ import annotations

from functools import cache

import nibabel as nib
import numpy as np
from scipy import ndimage

from nevf_lite.data.simulate import simulate

SPACING = 4.0


@cache
def person(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A person's brain, a random deformation of the template, (*shape), and the affine."""
    simulation = simulate(seed, SPACING)
    return simulation.fixed, simulation.grid.affine


def scan(seed: int, session: int) -> nib.Nifti1Image:
    """A scan of a person: another contrast, noise, and a head that lies a little otherwise."""
    brain, affine = person(seed)
    rng = np.random.default_rng([seed, session])
    moved = ndimage.shift(brain, rng.uniform(-0.4, 0.4, 3), order=1)  # in voxels of 4 mm
    values = moved ** rng.uniform(0.8, 1.25)
    values += 0.01 * rng.standard_normal(values.shape) * (moved > 0.02)
    return nib.Nifti1Image(np.clip(values, 0, 1).astype(np.float32), affine)


def swapped_sides(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Left and right exchanged, about the middle of the world."""
    values = np.asarray(image.dataobj)
    middle = -2 * image.affine[0, 3] / image.affine[0, 0]  # first index + last, at x and -x
    index = np.round(middle - np.arange(len(values))).astype(int)
    inside = (index >= 0) & (index < len(values))
    out = np.zeros_like(values)
    out[inside] = values[index[inside]]
    return nib.Nifti1Image(out, image.affine)


def displaced(image: nib.Nifti1Image, millimetres: float, axis: int) -> nib.Nifti1Image:
    """The same scan at another place of the world."""
    affine = image.affine.copy()
    affine[axis, 3] += millimetres
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def half_a_head(image: nib.Nifti1Image, axis: int) -> nib.Nifti1Image:
    """The far half of the box is empty."""
    values = np.array(image.dataobj)
    half = [slice(None)] * 3
    half[axis] = slice(values.shape[axis] // 2, None)
    values[tuple(half)] = 0
    return nib.Nifti1Image(values, image.affine)
