"""Our displacement files in the hands of ANTs, SimpleITK and NiTransforms.

A known smooth displacement and a smooth image; the truth is a pull-back of our own, in float64, by
SciPy in world coordinates. Each tool reads the files that `scans.io` wrote and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nevf_lite.scans.io import save_image, write_displacement
from nevf_lite.scans.itk import LPS
from nevf_lite.scans.space import Grid


def rotation(*degrees: float) -> np.ndarray:
    """About x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i] = np.sin(angle)
        turn[i, j] = -turn[j, i]
        matrix = turn @ matrix
    return matrix


def grid(shape: tuple[int, ...], directions: np.ndarray) -> Grid:
    """A grid with these directions (3, 3), its middle at (4, -12, 9) mm."""
    affine = np.eye(4)
    affine[:3, :3] = directions
    middle = np.zeros(3)
    middle[: len(shape)] = (np.array(shape) - 1) / 2
    affine[:3, 3] = np.array([4, -12, 9]) - directions @ middle
    return Grid(shape, affine)


GRIDS = {
    "RAS": grid((30, 34, 28), np.diag([2.0, 2, 2])),
    "LAS": grid((30, 34, 28), np.diag([-2.0, 2, 2])),
    "LPS": grid((30, 34, 28), np.diag([-2.0, -2, 2])),
    "PIR": grid((34, 28, 30), np.array([[0, 0, 2.0], [-2, 0, 0], [0, -2, 0]])),
    "oblique": grid((30, 34, 28), rotation(12, -20, 33) * 2.0),
    "anisotropic": grid((50, 34, 15), np.diag([-1.2, 2, 4])),
    "oblique-anisotropic": grid((50, 34, 15), rotation(-15, 8, 25) * [1.2, -2, 4]),
    "2-D": grid((40, 44), np.diag([1.5, 1.5, 1])),
    "2-D-LPS-anisotropic": grid((40, 30), np.diag([-1.5, -2, 1.0])),
    "2-D-coronal": grid((40, 30), np.array([[1.5, 0, 0], [0, 0, 2], [0, 2, 0]])),
}
MOVING = grid((44, 40, 42), rotation(5, -10, 40) * [1.8, 2.1, -1.9])
#: In the planes of the 2-D grids above: an axial and a coronal slice, turned within the plane.
AXIAL = grid((52, 50), rotation(0, 0, 20) * [1.4, -1.6, 1])
CORONAL = grid((52, 50), rotation(0, 15, 0)[:, [0, 2, 1]] * [1.4, 1.6, 1])


def scene(x: np.ndarray) -> np.ndarray:
    """A smooth image of range about 100, as a function of the position in mm."""
    return (
        50
        + 20 * np.sin(x[..., 0] / 19 + 0.4)
        + 20 * np.cos(x[..., 1] / 23)
        + 10 * np.sin((x[..., 0] + x[..., 1] - x[..., 2]) / 31)
    )


def motion(x: np.ndarray) -> np.ndarray:
    """A smooth displacement of up to 6 mm, RAS, with a different sign and size along each axis."""
    x0, x1, x2 = np.moveaxis(x, -1, 0)
    return np.stack(
        [3 + 2 * np.sin(x1 / 17), -4 + 2 * np.cos(x0 / 21), 1 + 2 * np.sin((x0 - x2) / 25)], -1
    )


@dataclass
class Case:
    """Files on disk, and what a tool should make of them."""

    folder: Path
    fixed: Grid
    moving: Grid
    field: np.ndarray
    image: np.ndarray
    labels: np.ndarray
    interior: np.ndarray

    def path(self, name: str) -> str:
        return str(self.folder / f"{name}.nii.gz")

    def check(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Within a thousandth of the range, and 99.9 % of labels, in the interior."""
        inside = self.interior
        assert inside.mean() > 0.3  # or the comparison would say little
        image, labels = (np.asarray(a).reshape(self.image.shape) for a in (image, labels))
        worst = np.abs(image - self.image)[inside].max() / np.ptp(self.image[inside])
        assert worst <= 1e-3, worst
        assert (labels == self.labels)[inside].mean() > 0.999

    def points(self, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
        """Points between voxels of the fixed grid (N, 3), RAS mm, and where they belong."""
        random = np.random.default_rng(5)
        edge = np.array(self.fixed.shape) - 3
        voxels = random.uniform(2, edge, (count, self.fixed.ndim))
        start = self.fixed.to_world(voxels)
        step = [
            ndimage.map_coordinates(self.field[..., i], voxels.T, order=1, mode="nearest")
            for i in range(3)
        ]
        return start, start + np.stack(step, -1)


@pytest.fixture(scope="module", params=GRIDS)
def case(request, tmp_path_factory) -> Case:
    fixed = GRIDS[request.param]
    moving = MOVING
    field = motion(fixed.points())
    if fixed.ndim == 2:
        moving = CORONAL if "coronal" in request.param else AXIAL
        field[..., 1 if "coronal" in request.param else 2] = 0
    source = scene(moving.points()).astype(np.float32)
    regions = (np.floor(source / 9) + 1).astype(np.int32)
    at = moving.to_voxels(fixed.points() + field.astype(np.float32))
    edge = np.array(moving.shape) - 1
    interior = ((at > 1) & (at < edge - 1)).all(-1)
    interior &= ndimage.binary_erosion(np.ones(fixed.shape, bool), iterations=2)
    positions = np.moveaxis(at, -1, 0)
    folder = tmp_path_factory.mktemp(request.param)
    found = Case(
        folder,
        fixed,
        moving,
        field,
        ndimage.map_coordinates(source, positions, np.float64, order=1),
        ndimage.map_coordinates(regions, positions, order=0),
        interior,
    )
    save_image(found.path("fixed"), np.zeros(fixed.shape, np.float32), fixed)
    save_image(found.path("moving"), source, moving)
    save_image(found.path("labels"), regions, moving)
    write_displacement(found.path("warp"), field, fixed)
    return found


def test_simpleitk(case):
    """sitk.DisplacementFieldTransform: image, labels and points."""
    import SimpleITK as sitk

    field = sitk.ReadImage(case.path("warp"), sitk.sitkVectorFloat64)
    assert field.GetNumberOfComponentsPerPixel() == 3 and field.GetDimension() == 3
    transform = sitk.DisplacementFieldTransform(field)
    fixed = sitk.ReadImage(case.path("fixed"))
    moving, labels = sitk.ReadImage(case.path("moving")), sitk.ReadImage(case.path("labels"))
    image = sitk.Resample(moving, fixed, transform, sitk.sitkLinear)
    warped = sitk.Resample(labels, fixed, transform, sitk.sitkNearestNeighbor)
    case.check(sitk.GetArrayFromImage(image).T, sitk.GetArrayFromImage(warped).T)
    start, end = case.points()
    found = [transform.TransformPoint(p) for p in (start * LPS[:3]).tolist()]
    assert np.linalg.norm(found * LPS[:3] - end, axis=1).max() < 0.01


def test_ants(case):
    """antsApplyTransforms, through antspyx: image, labels and points."""
    ants = pytest.importorskip("ants")
    import pandas

    fixed, moving = ants.image_read(case.path("fixed")), ants.image_read(case.path("moving"))
    labels = ants.image_read(case.path("labels"))
    warp = [case.path("warp")]
    image = ants.apply_transforms(fixed, moving, warp, interpolator="linear")
    warped = ants.apply_transforms(fixed, labels, warp, interpolator="nearestNeighbor")
    case.check(image.numpy(), warped.numpy())
    start, end = case.points()
    table = pandas.DataFrame(start * LPS[:3], columns=["x", "y", "z"])
    found = ants.apply_transforms_to_points(3, table, warp)[["x", "y", "z"]].to_numpy()
    assert np.linalg.norm(found * LPS[:3] - end, axis=1).max() < 0.01


def test_nitransforms(case):
    """NiTransforms: image, labels and, at voxel centres, where it does not interpolate, points."""
    pytest.importorskip("nitransforms")
    import nibabel as nib
    from nitransforms.nonlinear import DenseFieldTransform
    from nitransforms.resampling import apply

    transform = DenseFieldTransform.from_filename(case.path("warp"), fmt="itk")
    fixed = nib.load(case.path("fixed"))
    image = apply(transform, nib.load(case.path("moving")), reference=fixed, order=1)
    warped = apply(transform, nib.load(case.path("labels")), reference=fixed, order=0)
    case.check(image.get_fdata(), warped.get_fdata())
    index = (..., 7, 5) if case.fixed.ndim == 2 else (..., 7, 5, 3)
    start = case.fixed.points()[index[1:]].reshape(1, 3)
    found = transform.map(start)
    assert np.linalg.norm(found - start - case.field[index[1:]]) < 0.01
