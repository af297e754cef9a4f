"""The result folder of a registration in the hands of ANTs, SimpleITK and NiTransforms.

One registration of the embedded pair for each way in which scans lie in the world; each tool gets
the files of the result folder and must arrive at our warped image, labels and points.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.processing import resample_to_output
from scipy import ndimage

from nevf_lite.config import preset
from nevf_lite.data import load_pair
from nevf_lite.registration.register import register
from nevf_lite.scans.io import save_image
from nevf_lite.scans.itk import LPS
from nevf_lite.scans.space import Grid


def turned(image, codes: str):
    """The same scan, its array in another orientation."""
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return image.as_reoriented(change)


def oblique(image):
    """The same array, the head turned in the scanner by 20 degrees about an oblique axis."""
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.deg2rad(20) * np.array([0.6, 0.0, 0.8])).as_matrix()
    return nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine)


def thick(image):
    """Slices 6 mm apart."""
    order = 0 if np.issubdtype(image.get_data_dtype(), np.integer) else 1
    return resample_to_output(image, (4, 4, 6), order=order)


WAYS = {
    "RAS": lambda image: turned(image, "RAS"),
    "LAS": lambda image: turned(image, "LAS"),
    "LPS": lambda image: turned(image, "LPS"),
    "oblique": oblique,
    "anisotropic": thick,
}


@pytest.fixture(scope="module", params=WAYS)
def result(request, tmp_path_factory):
    """A registration in one orientation, saved, with its inputs as files beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    pair = load_pair("simulated", seed=1, spacing=4)
    way = WAYS[request.param]
    fixed, labels = way(pair.fixed), way(pair.fixed_labels)
    # the moving scan lies otherwise: turned with the fixed one's head, its array in yet another way
    other = oblique if request.param == "oblique" else (lambda image: image)
    moving = turned(other(pair.moving), "PIR")
    moving_labels = turned(other(pair.moving_labels), "PIR")
    config = preset("fast")
    levels = tuple(replace(level, iterations=12) for level in config.levels)
    found = register(fixed, moving, replace(config, levels=levels, spacing=4.0), progress=False)
    found.save(folder / "result", fixed_labels=labels, moving_labels=moving_labels)
    for name, image in {"fixed": fixed, "moving": moving, "labels": moving_labels}.items():
        save_image(folder / f"{name}.nii.gz", np.asarray(image.dataobj), Grid.of(image))
    return found, folder


def agrees(found, folder, image: np.ndarray, labels: np.ndarray) -> None:
    """Our warped image to a thousandth of its range, our labels in 99.9 % of the voxels."""
    ours = nib.load(folder / "result" / "warped.nii.gz").get_fdata()
    our_labels = np.asarray(nib.load(folder / "result" / "warped_labels.nii.gz").dataobj)
    fixed, moving = found.transform.fixed, found.transform.moving
    at = moving.to_voxels(found.transform.points_to_moving(fixed.points().reshape(-1, 3)))
    inside = ((at > 1) & (at < np.array(moving.shape) - 2)).all(-1).reshape(fixed.shape)
    inside &= ndimage.binary_erosion(np.ones(fixed.shape, bool))
    assert inside.mean() > 0.3
    assert np.abs(image - ours)[inside].max() <= 1e-3 * np.ptp(ours)
    assert (labels == our_labels)[inside].mean() > 0.999
    assert (our_labels > 0).mean() > 0.1


def some_points(found) -> tuple[np.ndarray, np.ndarray]:
    """Points between voxels well inside the fixed image, and where the transform sends them."""
    random = np.random.default_rng(2)
    fixed = found.transform.fixed
    start = fixed.to_world(random.uniform(0.3, 0.7, (40, 3)) * (np.array(fixed.shape) - 1))
    return start, found.transform.points_to_moving(start)


def test_simpleitk(result):
    """SimpleITK resamples with warp.nii.gz as we do, and moves points where we do."""
    import SimpleITK as sitk

    found, folder = result
    path = str(folder / "result" / "warp.nii.gz")
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))
    fixed, moving, labels = (
        sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving", "labels")
    )
    image = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear)).T
    warped = sitk.Resample(labels, fixed, transform, sitk.sitkNearestNeighbor)
    agrees(found, folder, image, sitk.GetArrayFromImage(warped).T)
    start, _ = some_points(found)
    there = [transform.TransformPoint(p) for p in (start * LPS[:3]).tolist()]
    # between voxels both read the stored field linearly
    ours = start + read_linearly(found, start)
    assert np.linalg.norm(there * LPS[:3] - ours, axis=1).max() < 0.01


def read_linearly(found, points: np.ndarray) -> np.ndarray:
    """The displacement that warp.nii.gz holds, between its voxels, in mm."""
    field, at = found.transform.displacement(), found.transform.fixed.to_voxels(points).T
    return np.stack([ndimage.map_coordinates(field[..., i], at, order=1) for i in range(3)], -1)


def test_ants(result):
    """antsApplyTransforms with warp.nii.gz, and with inverse_warp.nii.gz the other way."""
    ants = pytest.importorskip("ants")
    found, folder = result
    fixed, moving, labels = (
        ants.image_read(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving", "labels")
    )
    warp = [str(folder / "result" / "warp.nii.gz")]
    image = ants.apply_transforms(fixed, moving, warp, interpolator="linear").numpy()
    warped = ants.apply_transforms(fixed, labels, warp, interpolator="nearestNeighbor").numpy()
    agrees(found, folder, image, warped)
    back = [str(folder / "result" / "inverse_warp.nii.gz")]
    theirs = ants.apply_transforms(moving, fixed, back, interpolator="linear").numpy()
    ours = found.transform.inverse.warp_image(found.fixed).get_fdata()
    inner = ndimage.binary_erosion(ours > 0, iterations=3)
    assert np.abs(theirs - ours)[inner].max() <= 1e-3 * np.ptp(ours)


def test_nitransforms(result):
    """NiTransforms' resampling with warp.nii.gz."""
    pytest.importorskip("nitransforms")
    from nitransforms.nonlinear import DenseFieldTransform
    from nitransforms.resampling import apply

    found, folder = result
    warp = DenseFieldTransform.from_filename(folder / "result" / "warp.nii.gz", fmt="itk")
    fixed, moving, labels = (
        nib.load(folder / f"{name}.nii.gz") for name in ("fixed", "moving", "labels")
    )
    image = apply(warp, moving, reference=fixed, order=1).get_fdata()
    warped = apply(warp, labels, reference=fixed, order=0).get_fdata()
    agrees(found, folder, image, warped)


def test_points_agree_with_the_stored_warp(result):
    """At voxels, points_to_moving and what warp.nii.gz holds differ by less than 0.01 mm."""
    found, folder = result
    fixed = found.transform.fixed
    voxels = np.random.default_rng(3).integers(2, np.array(fixed.shape) - 2, (200, 3))
    start = fixed.to_world(voxels)
    field = np.asarray(nib.load(folder / "result" / "warp.nii.gz").dataobj)[:, :, :, 0]
    stored = field[tuple(voxels.T)] * LPS[:3]
    assert np.abs(found.transform.points_to_moving(start) - start - stored).max() < 0.01


def test_image_reads_back_whole(result):
    """The files are complete: every one opens, on the right grid."""
    found, folder = result
    for name, grid in {
        "warped": found.transform.fixed,
        "jacobian": found.transform.fixed,
        "inverse_warp": found.transform.moving,
    }.items():
        image = nib.load(folder / "result" / f"{name}.nii.gz")
        assert image.shape[:3] == grid.shape
        assert np.isfinite(image.get_fdata()).all()
