"""The affine start, on a real brain moved by a known matrix."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nevf_lite.scans.io import load_image, load_labels
from nevf_lite.scans.space import Grid
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.affine import affine_register


@pytest.fixture(scope="module")
def brain() -> nib.Nifti1Image:
    """The ICBM-152 template that nilearn carries, at 2 mm, skull-stripped."""
    datasets = pytest.importorskip("nilearn.datasets")
    return load_image(datasets.load_mni152_template(resolution=2))


@pytest.fixture(scope="module")
def small(brain) -> nib.Nifti1Image:
    """The same at 4 mm, for what does not ask for precision."""
    affine = brain.affine @ np.diag([2, 2, 2, 1])
    data = ndimage.gaussian_filter(np.asanyarray(brain.dataobj), 1)[::2, ::2, ::2]
    return nib.Nifti1Image(data, affine)


@pytest.fixture(scope="module")
def pair(small) -> tuple[nib.Nifti1Image, np.ndarray, np.ndarray]:
    """A moving image, its true matrix and the one that is found."""
    truth = matrix(10, 12, (1.05, 1, 0.95))
    moving = moved(small, truth, Grid.of(small))
    return moving, truth, affine_register(small, moving)


def matrix(degrees: float, shift: float, scale=(1.0, 1.0, 1.0), shear: float = 0.0) -> np.ndarray:
    """Fixed to moving: scaled and sheared, turned about a slanting axis, shifted along another."""
    axis = np.array([1, 2, -1.5]) / np.linalg.norm([1, 2, -1.5])
    skew = np.array([[1, shear, 0], [0, 1, 0], [0, -shear, 1]])
    result = np.eye(4)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    result[:3, :3] = turn @ np.diag(scale) @ skew
    result[:3, 3] = shift * np.array([1, -1, 1]) / np.sqrt(3)
    return result


def moved(image: nib.Nifti1Image, truth: np.ndarray, target: Grid) -> nib.Nifti1Image:
    """The image as it looks on another grid after its content went from x to truth(x)."""
    inverse = np.linalg.inv(truth)
    back = target.points() @ inverse[:3, :3].T + inverse[:3, 3]
    voxels = np.moveaxis(Grid.of(image).to_voxels(back), -1, 0)
    data = ndimage.map_coordinates(np.asanyarray(image.dataobj), voxels, order=1)
    return nib.Nifti1Image(data.astype(np.float32), target.affine)


def errors(found: np.ndarray, truth: np.ndarray, image: nib.Nifti1Image) -> np.ndarray:
    """How far the two matrices send each brain voxel apart, mm."""
    data = np.asanyarray(image.dataobj)
    points = Grid.of(image).points()[data > 0.2 * data.max()]
    difference = found - truth
    return np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)


def test_recovers_a_known_affine(brain):
    """15 degrees, scale 1.1, shear, 20 mm, on another grid, flipped and anisotropic: < 0.5 mm."""
    affine = np.diag([-1.5, 1.5, 2.5, 1])
    affine[:3, 3] = 110, -150, -110
    truth = matrix(15, 20, (1.1, 0.92, 1.1), 0.08)
    found = affine_register(brain, moved(brain, truth, Grid((150, 190, 95), affine)))
    assert errors(found, truth, brain).mean() < 0.5


def test_recovers_a_head_turned_far(small):
    """A nod of 50 degrees and 40 mm, in another contrast and with noise: past the nearest hill."""
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_rotvec([np.deg2rad(50), 0, 0]).as_matrix()
    truth[:3, 3] = 25, -25, 18
    affine = small.affine.copy()
    affine[:3, 3] = truth[:3, 3] - 150
    moving = moved(small, truth, Grid((75, 75, 75), affine))
    data = np.asanyarray(moving.dataobj)
    noise = np.random.default_rng(0).normal(size=data.shape) * 0.03
    other = nib.Nifti1Image((np.sqrt(data) + noise).astype(np.float32), moving.affine)
    assert errors(affine_register(small, other), truth, small).mean() < 0.6


def test_rigid_is_rigid(small):
    """Rigid finds a rotation and a shift, and only those."""
    truth = matrix(12, 15)
    found = affine_register(small, moved(small, truth, Grid.of(small)), kind="rigid")
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found) > 0
    assert errors(found, truth, small).mean() < 0.5


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
def test_orientation_of_the_header_does_not_matter(small, pair, axes):
    """The same scan stored in another orientation gives the same matrix in the world."""
    moving, truth, straight = pair
    change = ornt_transform(io_orientation(moving.affine), axcodes2ornt(axes))
    stored = moving.as_reoriented(change)
    assert nib.aff2axcodes(stored.affine) == tuple(axes)
    found = affine_register(small, stored)
    assert errors(found, truth, small).mean() < 0.5
    assert errors(found, straight, small).mean() < 0.1


def test_same_bytes_every_time(small, pair):
    """Twice the same, whatever number of threads SimpleITK would take; another seed, nearly so."""
    moving, _, first = pair
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
        assert affine_register(small, moving).tobytes() == first.tobytes()
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert errors(affine_register(small, moving, seed=1), first, small).mean() < 0.2


def test_masks_say_what_counts(small):
    """What lies outside the masks has no say at all: a frame that both scans share, ten times as
    bright, pulls them to where the head is not; with masks it does not change a byte."""
    truth = matrix(10, 12)
    plain, framed, masks = [], [], []
    frame = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 9, (50, 59, 12)), 1.5)
    for image in (small, moved(small, truth, Grid.of(small))):
        data = np.asanyarray(image.dataobj).copy()
        mask = ndimage.binary_dilation(data > 0.1, iterations=2)
        mask[:, :, :12] = False
        plain.append(nib.Nifti1Image(data.copy(), image.affine))
        data[:, :, :12] = frame
        framed.append(nib.Nifti1Image(data, image.affine))
        masks.append(nib.Nifti1Image(mask.astype(np.int16), image.affine))
    masks = {"fixed_mask": masks[0], "moving_mask": masks[1]}
    found = affine_register(*framed, **masks)
    assert errors(found, truth, small).mean() < 0.7
    assert found.tobytes() == affine_register(*plain, **masks).tobytes()
    assert errors(affine_register(*framed), truth, small).mean() > 5


@pytest.mark.parametrize("slices", [2, 12])
def test_a_few_thick_slices(brain, slices):
    """Too few slices for some filters: still aligned, within a few of the in-plane voxels."""
    affine = np.diag([2.0, 2, 40 / slices * 1.5, 1])
    affine[:3, 3] = -98, -134, -20
    truth = matrix(6, 5)
    fixed = moved(brain, np.eye(4), Grid((99, 117, slices), affine))
    moving = moved(brain, truth, Grid.of(brain))
    assert errors(affine_register(fixed, moving, kind="rigid"), truth, brain).mean() < 2


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_tilted_gantry(small, which):
    """Axes off right angles by 20 degrees, in either scan: ITK cannot hold them, and need not."""
    truth, affine = matrix(8, 10), small.affine.copy()
    affine[1, 2] = 4 * np.tan(np.deg2rad(20))
    affine[1, 3] -= 40
    tilted = Grid((50, 70, 48), affine)
    if which == "fixed":
        found = affine_register(
            moved(small, np.eye(4), tilted), moved(small, truth, Grid.of(small))
        )
    else:
        found = affine_register(small, moved(small, truth, tilted))
    assert errors(found, truth, small).mean() < 0.5


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_scan_that_ends_inside_the_head(small, which):
    """Fault 1: two fifths of a head are missing at its base, in either scan: nothing is pulled."""
    truth = matrix(8, 10)
    scans = {"fixed": small, "moving": moved(small, truth, Grid.of(small))}
    scans[which] = scans[which].slicer[:, :, int(0.4 * small.shape[2]) :]
    assert errors(affine_register(*scans.values()), truth, small).mean() < 1


# ------------------------------------------------------------------------------------------ 2-D


def slice_of(brain: nib.Nifti1Image, axis: int, at: int) -> nib.Nifti1Image:
    """One slice of the template, with its place in the world."""
    order = [i for i in range(3) if i != axis] + [axis]
    data = np.asanyarray(brain.dataobj).transpose(order)[..., at]
    affine = brain.affine[:, [*order, 3]].copy()
    affine[:3, 3] += affine[:3, 2] * at
    return nib.Nifti1Image(data, affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices(brain, axis):
    """In sagittal, coronal and axial planes: a turn, a scale and a shift in the plane come back."""
    fixed = slice_of(brain, axis, 45)
    normal = np.zeros(3)
    normal[axis] = 1
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_rotvec(np.deg2rad(15) * normal).as_matrix() @ np.diag(
        np.where(normal, 1, [1.1, 1.1, 1.1])
    )
    truth[:3, 3] = np.where(normal, 0, [14, -11, 8])
    target = fixed.affine.copy()
    target[:3, 3] -= target[:3, :2] @ [8, 10]
    grid = Grid((130, 140), target)
    found = affine_register(fixed, moved(fixed, truth, grid))
    assert errors(found, truth, fixed).mean() < 0.5
    skewed = Grid((170, 150), target @ np.array([[1, 0.2, 0, -14], *np.eye(4)[1:]]))
    again = affine_register(fixed, moved(fixed, truth, skewed))
    assert errors(again, truth, fixed).mean() < 0.5
    # nothing happens across the plane
    np.testing.assert_allclose(found[:3, :3] @ normal, normal, atol=1e-6)


def test_slices_flipped_and_in_other_planes(brain):
    """A mirrored header is no mirrored brain; slices at other heights, tilted, come together."""
    fixed = slice_of(brain, 2, 45)
    data = np.asanyarray(fixed.dataobj)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = len(data) - 1
    flipped = nib.Nifti1Image(data[::-1], fixed.affine @ flip)
    assert errors(affine_register(fixed, flipped), np.eye(4), fixed).max() < 0.2
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_rotvec([0.3, 0, 0]).as_matrix()
    tilt[:3, 3] = 0, 0, 25
    tilted = nib.Nifti1Image(data, tilt @ fixed.affine)
    assert errors(affine_register(fixed, tilted, kind="rigid"), tilt, fixed).max() < 0.5


# -------------------------------------------------------------------------------- real, refusals


@pytest.mark.slow
def test_real_people(nevf_data):
    """Another person's brain, turned by 25 degrees: labels overlap as they do without the turn."""
    folder = nevf_data / "mindboggle"
    fixed, moving = (load_image(folder / f"trt{i}_t1.nii.gz") for i in ("02", "01"))
    labels = [load_labels(folder / f"trt{i}_seg.nii.gz") for i in ("02", "01")]
    turn = matrix(25, 20)
    turned = nib.Nifti1Image(np.asanyarray(moving.dataobj), turn @ moving.affine)
    found = affine_register(fixed, turned)
    there = Grid.of(fixed).points() @ found[:3, :3].T + found[:3, 3]
    voxels = np.moveaxis(Grid.of(turned).to_voxels(there), -1, 0)
    warped = ndimage.map_coordinates(np.asanyarray(labels[1].dataobj), voxels, order=0)
    overlap = mean_dice(np.asanyarray(labels[0].dataobj), warped, range(1, 63))
    assert overlap > 0.33  # 0.347 where the two were aligned beforehand


def test_refusals(small):
    """Each with one line that says what came and what was wanted."""
    flat = slice_of(small, 2, 20)
    nothing = nib.Nifti1Image(np.zeros(small.shape, np.int16), small.affine)
    corner = np.zeros(small.shape, np.int16)
    corner[0, 0, 0] = 1
    corner = nib.Nifti1Image(corner, small.affine)
    for arguments, word in (
        (dict(moving_image=small, kind="nonlinear"), "kind"),
        (dict(moving_image=flat), "axes"),
        (dict(moving_image=small, fixed_mask=nothing), "fixed_mask"),
        (dict(moving_image=small, fixed_mask=corner), "too little"),
    ):
        with pytest.raises(ValueError, match=word) as caught:
            affine_register(small, **arguments)
        assert "\n" not in str(caught.value)
