"""Change between two scans: known volumes, no bias to either, and the affine part apart."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from test_cohorts_template import flow_of

from nevf_lite.cohorts.brightness import even_brightness
from nevf_lite.cohorts.change import CONFIG, Change, log_jacobian, longitudinal
from nevf_lite.config import preset
from nevf_lite.data.simulate import simulate
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.scans.readers import space_code
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine
from nevf_lite.transforms.transform import Transform
from nevf_lite.warp import warp


def test_log_jacobian_of_a_scale_is_known():
    """A map that enlarges by 1.1 along each axis: log 1.1^ndim with the affine part, 0 without."""
    for shape in ((20, 22), (12, 14, 13)):
        grid = Grid(shape, np.diag([2.0, 1.5, 1.0, 1.0]))
        still = flow_of(torch.zeros(1, len(shape), *shape), grid)
        scale = Affine(np.diag([1.1, 1.1, 1.1, 1.0]))
        transform = Transform((still, scale), grid, grid)
        whole, left = (log_jacobian(transform, affine=a).get_fdata() for a in (True, False))
        assert np.allclose(whole, len(shape) * np.log(1.1), atol=1e-4)
        assert np.allclose(left, 0, atol=1e-4)


def test_log_jacobian_is_that_of_the_millimetres():
    """A flow on anisotropic voxels: minus the log of its inverse's, where that takes the point."""
    grid = Grid((30, 28, 26), np.diag([1.0, 2.0, 1.5, 1.0]))
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    away = grid.points() - centre
    bump = np.exp(-(away**2).sum(-1) / (2 * 6.0**2))[..., None]
    velocity = np.moveaxis(0.15 * bump * away / grid.spacing, -1, 0)[None]
    flow = flow_of(torch.from_numpy(velocity.astype(np.float32)), grid)
    there = Transform((flow,), grid, grid)
    forward, backward = (log_jacobian(t) for t in (there, there.inverse))
    middle = tuple(n // 2 for n in grid.shape)
    # at the centre div v = 3 * 0.15 per unit of time, and the point stays where it is
    assert forward.get_fdata()[middle] == pytest.approx(0.45, abs=0.05)
    returned = there.warp_image(backward).get_fdata()
    inner = (slice(4, -4),) * 3
    assert np.abs(forward.get_fdata() + returned)[inner].max() < 0.05


def ageing_pair(
    millimetres: float, ndim: int = 2, spacing: float = 1.0
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, np.ndarray, float]:
    """A simulated slice, or a brain, before and after its ventricles have grown, and by how much.

    millimetres: greatest speed of the flow along the gradient of the smoothed fluid; below 0 the
    ventricles shrink. Both scans are sampled half-way from the same slice, so that they are equally
    sharp, and each has a noise of its own. Returns them, the ventricles in the first, and the true
    change of their area, or volume, in percent of the mean of both.
    """
    simulation = simulate(3, ndim=ndim, spacing=spacing)
    ventricles = np.isin(simulation.moving_labels, (1, 5))
    smooth = ndimage.gaussian_filter(ventricles.astype(float), 5.0 / spacing)
    gradient = np.stack(np.gradient(smooth))
    half = 0.5 * millimetres / spacing * gradient / np.linalg.norm(gradient, axis=0).max()
    half = torch.from_numpy(half.astype(np.float32))[None]
    rng, scans, areas = np.random.default_rng(0), [], []
    for velocity in (-half, half):
        displacement = scaling_and_squaring(velocity)
        values = warp(torch.from_numpy(simulation.moving)[None, None], displacement)[0, 0].numpy()
        noisy = values + 0.005 * rng.standard_normal(values.shape) * (values > 0)
        noisy = noisy[..., None] if ndim == 2 else noisy
        scans.append(nib.Nifti1Image(noisy.astype(np.float32), simulation.grid.affine))
        # the scan at x is the slice at x + u(x), so the slice's points are at those of -velocity
        ratio = jacobian_determinant(scaling_and_squaring(-velocity))[0].numpy()
        areas.append(np.pad(ratio, [(0, 1)] * ndim, mode="edge")[ventricles].sum())
    mask = torch.from_numpy(ventricles[None, None].astype(np.float32))
    in_first = warp(mask, scaling_and_squaring(-half), "nearest")[0, 0].numpy() > 0.5
    return *scans, in_first, 200 * (areas[1] - areas[0]) / (areas[1] + areas[0])


SETTINGS = preset(CONFIG, spacing=1.0)


@pytest.fixture(scope="module")
def grown() -> tuple[Change, nib.Nifti1Image, float]:
    first, second, ventricles, truth = ageing_pair(1.5)
    labels = nib.Nifti1Image(ventricles[..., None].astype(np.int32), first.affine)
    return longitudinal(first, second, SETTINGS, rigid=False), labels, truth


def found_and_true(millimetres: float, uneven: float = 0.0) -> tuple[float, float]:
    """The change of the ventricles, percent, that is found and that is true.

    uneven: how much brighter the second scan is on one side of the head, and darker on the other.
    """
    first, second, ventricles, truth = ageing_pair(millimetres)
    values, affine = second.get_fdata(), second.affine
    light = 1 + uneven * np.linspace(-1, 1, values.shape[0])[:, None, None]
    second = nib.Nifti1Image((values * light).astype(np.float32), affine)
    labels = nib.Nifti1Image(ventricles[..., None].astype(np.int32), affine)
    change = longitudinal(first, second, SETTINGS, rigid=False)
    ((_, _, percent),) = change.volumes(change.middle_labels(labels)).values()
    return percent, truth


def test_a_known_growth_is_found_within_five_percent(grown):
    change, labels, truth = grown
    ((_, _, percent),) = change.volumes(change.middle_labels(labels)).values()
    assert 25 < truth < 32
    assert percent == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("uneven", [0.0, 0.1])
@pytest.mark.parametrize("millimetres", [0.3, 0.6, -0.6])
def test_small_changes_are_found_within_five_percent_too(millimetres, uneven):
    """Also where one scan is a tenth brighter on one side, as another visit's coils make it."""
    found, truth = found_and_true(millimetres, uneven)
    assert 5 < abs(truth) < 12
    assert found == pytest.approx(truth, rel=0.05)


def test_where_nothing_changes_nothing_is_found():
    """Two noises over one slice; and one of them a tenth brighter on one side."""
    assert found_and_true(1e-6)[0] == pytest.approx(0, abs=0.1)
    assert found_and_true(1e-6, uneven=0.1)[0] == pytest.approx(0, abs=0.5)


@pytest.mark.slow
def test_a_known_atrophy_of_a_volume_is_found_within_five_percent():
    """With the motion of the head looked for, on the middle grid; swapped, the sign alone changes.

    There to rounding: the rigid motion is half of its own inverse's inverse.
    """
    first, second, ventricles, truth = ageing_pair(-1.0, ndim=3, spacing=2.0)
    config = preset(CONFIG, spacing=2.0)
    change = longitudinal(first, second, config)
    labels = nib.Nifti1Image(ventricles.astype(np.int32), first.affine)
    ((_, _, percent),) = change.volumes(change.middle_labels(labels)).values()
    assert -22 < truth < -16
    assert percent == pytest.approx(truth, rel=0.05)
    swapped = longitudinal(second, first, config)
    logs = change.log_jacobian.get_fdata()
    assert np.abs(swapped.log_jacobian.get_fdata() + logs).max() < 1e-6 < 0.3 < np.abs(logs).max()


def test_brightness_is_made_even_by_half_of_it_on_each_side():
    """The ratio of two evened scans is 1 where it was slowly different, and 0 stays 0."""
    first, _, _, _ = ageing_pair(1e-6)
    values = first.get_fdata()
    light = np.exp(0.1 * np.linspace(-1, 1, values.shape[1]))[None, :, None]
    lit = nib.Nifti1Image((values * light).astype(np.float32), first.affine)
    one, other = (scan.get_fdata() for scan in even_brightness(first, lit))
    head = values > 0
    assert np.abs(np.log(other[head] / one[head])).mean() < 0.2 * np.abs(np.log(light)).mean()
    assert np.allclose(one * other, values * lit.get_fdata(), rtol=1e-4)
    assert (one[~head] == 0).all()
    nothing = nib.Nifti1Image(np.zeros_like(values), first.affine)
    assert even_brightness(first, nothing) == (first, nothing)


def test_swapping_the_scans_changes_the_sign_alone(grown):
    """Bit for bit: neither scan is treated otherwise than the other."""
    change, _, _ = grown
    first, second, _, _ = ageing_pair(1.5)
    swapped = longitudinal(second, first, SETTINGS, rigid=False)
    assert (np.asarray(swapped.log_jacobian.dataobj) == -change.log_jacobian.get_fdata()).all()
    for a, b in ((swapped.to_first, change.to_second), (swapped.to_second, change.to_first)):
        assert (a.displacement() == b.displacement()).all()
    assert (swapped.first.get_fdata() == change.second.get_fdata()).all()


def test_half_and_half_is_the_way_between_the_scans(grown):
    """The middle is as far from each; `between` undoes what was done to the second scan."""
    change, _, _ = grown
    points = change.to_first.fixed.points()[40:120:9, 40:150:9].reshape(-1, 3)
    there, here = (t.points_to_moving(points) - points for t in (change.to_second, change.to_first))
    assert np.abs(there + here).max() < 0.1  # exp(v/2) and exp(-v/2), which are not quite opposite
    start = change.to_first.points_to_moving(points)
    off = change.between.points_to_moving(start) - change.to_second.points_to_moving(points)
    assert np.linalg.norm(off, axis=1).mean() < 0.01 and np.abs(off).max() < 0.2  # mm


def test_a_head_that_lies_otherwise_has_not_changed(tmp_path):
    """The same scan, turned by 8 degrees and moved: found, and no volume changes by it."""
    simulation = simulate(1, spacing=4.0)
    first = nib.Nifti1Image(simulation.fixed, simulation.grid.affine)
    turn = np.eye(4)
    c, s = np.cos(np.radians(8)), np.sin(np.radians(8))
    turn[:2, :2], turn[:3, 3] = [[c, -s], [s, c]], (3.0, -5.0, 2.0)
    second = nib.Nifti1Image(simulation.fixed, turn @ first.affine)
    for scan in (first, second):
        scan.set_sform(scan.affine, 4)  # MNI, which is said of the middle too
    change = longitudinal(first, second, preset("fast", spacing=4.0))
    change.save(tmp_path)
    assert space_code(tmp_path / "log_jacobian.nii.gz") == 4
    points = simulation.grid.to_world(np.argwhere(simulation.fixed_mask)[::50])
    moved = points @ turn[:3, :3].T + turn[:3, 3]
    assert np.linalg.norm(change.between.points_to_moving(points) - moved, axis=1).mean() < 0.6
    labels = nib.Nifti1Image(simulation.fixed_mask.astype(np.int32), first.affine)
    ((volume, _, percent),) = change.volumes(change.middle_labels(labels)).values()
    assert abs(percent) < 0.5
    assert volume == pytest.approx(64.0 * simulation.fixed_mask.sum(), rel=0.02)


def test_labels_of_another_grid_are_refused(grown):
    change, _, _ = grown
    with pytest.raises(ValueError, match="middle"):
        change.volumes(nib.Nifti1Image(np.zeros((9, 9, 1), np.int32), np.eye(4)))
    with pytest.raises(ValueError, match="first"):
        change.middle_labels(None, of="third")
