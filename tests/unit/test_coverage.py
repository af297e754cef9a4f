"""What a scan does not show must not count: partial coverage, padding, slabs, and what is said.

The heads are functions of the world (`heads`), so the true motion is known where a scan ends.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from heads import FEW, LONG, in_head, map_bytes, motion, pair, placed, run, shifted

from nevf_lite.config import CHOICES
from nevf_lite.losses import MIND
from nevf_lite.registration.coverage import Scan
from nevf_lite.registration.frames import EDGE, Frame
from nevf_lite.scans.io import load_image
from nevf_lite.scans.space import Grid
from nevf_lite.scores.evaluation import score_labels
from nevf_lite.transforms.transform import Transform

ROOM = (52, 52)


def cropped(scan: nib.Nifti1Image, axis: int, first: int, stop: int) -> nib.Nifti1Image:
    """A scan that ends at a plane: its voxels first to stop along an axis."""
    box = [slice(None)] * scan.ndim
    box[axis] = slice(first, stop)
    return scan.slicer[tuple(box)]


def padded(scan: nib.Nifti1Image, voxels: int) -> nib.Nifti1Image:
    """The scan on a larger grid, with background all round."""
    data = scan.get_fdata(dtype=np.float32).squeeze()
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, : data.ndim] @ np.full(data.ndim, voxels)
    return nib.Nifti1Image(np.pad(data, voxels, constant_values=data.min()), affine)


@pytest.mark.parametrize("similarity", CHOICES["similarity"])
@pytest.mark.parametrize("which", ["fixed", "moving"])
@pytest.mark.parametrize("crop", [(1, 20, 52), (0, 0, 32)], ids=["bottom", "side"])
def test_a_scan_that_ends_inside_the_head_stretches_nothing(which, crop, similarity):
    """Where both show the head the error is about that of whole scans; nowhere does more move.

    Read as black, what lies beyond the cut gave twice to three times the error, and moved up to 7
    mm where 2.7 is the most there is. Descriptors of MIND reach two voxels on, so a rim along the
    cut does not count and is less exact.
    """
    fixed, moving, axes = pair(shape=ROOM)
    config = replace(LONG, similarity=similarity)
    points = in_head(fixed, 13)
    truth = motion(points, axes)
    scans = {"fixed": fixed, "moving": moving}
    scans[which] = cropped(scans[which], *crop)
    reached = points if which == "fixed" else points + truth
    place = Grid.of(fixed).to_voxels(reached)[:, crop[0]]
    shown = (place >= crop[1]) & (place <= crop[2] - 1)

    def moves(scans: dict) -> np.ndarray:
        return run(**scans, config=config).transform.points_to_moving(points) - points

    part, whole = moves(scans), moves({"fixed": fixed, "moving": moving})
    errors = [np.linalg.norm(m - truth, axis=1)[shown].mean() for m in (part, whole)]
    assert errors[0] < errors[1] + (0.23 if similarity == "mind" else 0.15)
    assert np.linalg.norm(part, axis=1).max() < np.linalg.norm(whole, axis=1).max() + 0.3


@pytest.mark.parametrize("shape", [ROOM, (40, 38, 42)], ids=["2d", "3d"])
@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_background_around_either_scan_changes_nothing(which, shape):
    """Twenty voxels of it on all sides: the same lattice, the same images, the same map."""
    fixed, moving, _ = pair(shape=shape, spacing=[1.0] * len(shape))
    scans = {"fixed": fixed, "moving": moving}
    points = in_head(fixed)
    expected = run(**scans, config=FEW).transform.points_to_moving(points)
    scans[which] = padded(scans[which], 20)
    found = run(**scans, config=FEW).transform.points_to_moving(points)
    assert np.abs(found - expected).max() < 1e-3


def test_whole_heads_have_no_weights():
    """So they take the fast kernels; a brain that grazes a face of its box is whole as well."""
    box = dict(shape=(52, 50, 54), spacing=(1.0, 1.0, 1.0))
    fixed, moving = (load_image(scan) for scan in pair(**box)[:2])
    grazing = cropped(moving, 0, 9, 52)
    assert Scan.of(grazing).bright[0].sum() > 100 and not Scan.of(grazing).cut.any()
    frame = Frame.build(fixed, grazing, None, LONG)
    assert frame.tensors["fixed_mask"] is None and frame.tensors["moving_mask"] is None
    assert frame.coverage == 1 and frame.notes == []


def test_what_lies_at_a_cut_of_the_moving_scan_does_not_count():
    """There `accurate` took the next fold of the cortex for one beyond the cut, 16 mm away."""
    box = dict(shape=(52, 50, 54), spacing=(1.0, 1.0, 1.0))
    fixed, moving = (load_image(scan) for scan in pair(**box)[:2])
    frame = Frame.build(fixed, cropped(moving, 1, 20, 52), None, LONG)
    points = frame.working.points().reshape(-1, 3)
    depth = Grid.of(moving).to_voxels(points)[:, 1] - 20  # above the first row that is shown, in mm
    counts = frame.tensors["fixed_mask"].numpy().ravel() > 0
    inside = (points > -20).all(axis=1) & (points < 20).all(axis=1)
    assert counts[(depth > EDGE) & inside].all() and not counts[depth < EDGE - 1.01].any()
    assert (counts & inside).sum() > 100  # or nothing was tested


def test_a_cut_is_found_at_its_face():
    """Each face by itself, whatever the orientation; noise around the head is no head."""
    scan = pair(shape=(52, 50, 54), spacing=(1.0, 1.0, 1.0))[1]
    for axis in range(3):
        for side in (0, 1):
            part = cropped(scan, axis, *((24, scan.shape[axis]), (0, 30))[side])
            expected = np.zeros((3, 2), bool)
            expected[axis, side] = True
            assert (Scan.of(part).cut == expected).all()
    noise = np.random.default_rng(0).uniform(0, 0.08, scan.shape)
    noisy = nib.Nifti1Image((scan.get_fdata() + noise).astype(np.float32), scan.affine)
    assert not Scan.of(noisy).cut.any()


def test_the_lattice_reaches_beyond_a_cut_of_the_fixed_scan():
    """There the moving scan can be read, but nothing counts: the share that counts is known."""
    fixed, moving = (load_image(scan) for scan in pair(shape=ROOM)[:2])
    whole, part = (Frame.build(f, moving, None, LONG) for f in (fixed, cropped(fixed, 1, 20, 52)))
    weight = part.tensors["fixed_mask"]
    assert weight is not None and part.tensors["moving_mask"] is None
    rows = weight[0, 0].mean(0)
    assert (rows[:10] == 0).all() and (rows[10:] == 1).all()
    assert part.tensors["moving"][0, 0, :, :10].max() > 0.3
    assert part.coverage == pytest.approx(weight.mean().item())
    # the whole one begins five voxels below the head, which begins near voxel 6
    assert part.working.shape[1] == whole.working.shape[1] - 8


def test_descriptors_that_reach_the_unseen_do_not_count():
    """MIND at a voxel depends on those two away; a mask thinner than that stays as it is."""
    torch.manual_seed(0)
    fixed, warped = torch.rand(2, 1, 1, 12, 13)
    weight = torch.ones(1, 1, 12, 13)
    weight[..., :5] = 0
    expected = MIND(fixed)(warped, weight)
    altered = warped.clone()
    altered[..., :5] = 0
    assert MIND(fixed)(altered, weight) == pytest.approx(expected.item(), abs=1e-6)
    thin = torch.zeros_like(weight)
    thin[..., 6:8] = 1
    assert MIND(fixed)(warped, thin) > 0.01


def test_a_partial_scan_is_said_and_a_misaligned_one_too():
    """A cut is no sign of heads that lie apart; heads forty millimetres apart are."""
    fixed, moving, _ = pair(shape=ROOM)
    (note,) = run(fixed, cropped(moving, 1, 20, 52), FEW).notes
    assert "ends inside the head" in note and "%" in note
    assert run(cropped(fixed, 0, 0, 32), moving, FEW).notes == []
    (note,) = run(fixed, placed(moving, shifted((0, 9, 0))), FEW).notes
    assert "centres lie 9 mm apart" in note and "--affine" in note


@pytest.mark.parametrize("slices", [3, 7])
@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_slabs_of_few_slices(which, slices, tmp_path):
    """A few slices of one scan in the whole of the other, and all the files of the result."""
    fixed, moving, axes = pair(shape=(40, 38, 42), spacing=(1.0, 1.0, 1.0))
    scans = {"fixed": fixed, "moving": moving}
    scans[which] = cropped(scans[which], 2, 20, 20 + slices)
    result = run(**scans, config=FEW)
    document = result.save(tmp_path / "result")
    assert document["metrics"]["folds_percent"] == 0
    assert nib.load(tmp_path / "result" / "warp.nii.gz").shape[:3] == scans["fixed"].shape


@pytest.mark.parametrize("field", ["siren", "features", "voxel"])
def test_a_scan_and_its_copy_do_not_move(field):
    """Nor does one in other units, or stored in eight bits; a real motion is not thrown away."""
    fixed, moving, _ = pair()
    config = replace(LONG, field=field, lattices=(8, 4))
    points = in_head(fixed)
    bytes_of_it = np.rint(fixed.get_fdata() * 250).astype(np.uint8)
    for copy in (fixed, nib.Nifti1Image(bytes_of_it, fixed.affine)):
        still = run(fixed, copy, config).transform.points_to_moving(points)
        assert np.abs(still - points).max() == 0
    found = run(fixed, moving, config).transform.points_to_moving(points) - points
    assert np.linalg.norm(found, axis=1).max() > 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
@pytest.mark.parametrize("end", [144, 90], ids=["whole", "cut"])
def test_the_memory_forecast_is_the_peak_of_the_process(tmp_path, end):
    """Reading, registering and writing included, within a tenth; of a scan that ends early too."""
    size = 144
    x = np.linspace(-1, 1, size, dtype=np.float32)
    radius = sum(a * a for a in np.meshgrid(x, x, x, sparse=True))
    head = ((radius < 0.7) * (1000 + 300 * np.sin(20 * radius))).astype(np.int16)
    nib.save(nib.Nifti1Image(head, np.eye(4)), tmp_path / "fixed.nii")
    moving = np.roll(head, 2, 0)[..., :end]
    nib.save(nib.Nifti1Image(moving, np.eye(4)), tmp_path / "moving.nii")
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from nevf_lite import register; from nevf_lite.config import Level, preset\n"
        "from nevf_lite.registration.memory import predict_process\n"
        "from nevf_lite.study.provenance import process_peak_mib\n"
        "config = preset('fast', spacing=4.0, levels=(Level(2, 3), Level(1, 3)))\n"
        "result = register('fixed.nii', 'moving.nii', config, progress=False)\n"
        "result.save('result')\n"
        f"shapes = result.transform.components[0].field.shape, {head.shape}, {moving.shape}\n"
        f"forecast = predict_process(config, *shapes, weighted={end < size})\n"
        "print(forecast / 2**20 / process_peak_mib())\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.1


def test_what_was_not_seen_is_not_missed_in_the_scores():
    """Labels beyond the moving scan's end are left out, so a perfect map scores 1."""
    grid = Grid((20, 22), np.eye(4))
    values = np.zeros(grid.shape, np.int32)
    values[2:18, 2:10], values[2:18, 10:20] = 1, 2
    labels = nib.Nifti1Image(values[..., None], grid.affine)
    part = cropped(labels, 1, 0, 15)
    scores = score_labels(Transform.identity(grid, Grid.of(part)), labels, part)
    assert scores.dice_after == {1: 1.0, 2: 1.0}
    assert np.asarray(scores.after.dataobj)[5, 18] == 0  # the file says what is there: nothing


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_mask_of_everything_changes_nothing_at_a_cut(which):
    """Beyond the grid of a scan its mask is not set either, which the scan itself says already."""
    fixed, moving, _ = pair(shape=ROOM)
    scans = {"fixed": fixed, "moving": moving}
    scans[which] = cropped(scans[which], 1, 20, 52)
    points = in_head(fixed)
    ones = nib.Nifti1Image(np.ones(scans[which].shape, np.uint8), scans[which].affine)
    plain = run(**scans, config=FEW).transform.points_to_moving(points)
    masked = run(**scans, config=FEW, **{f"{which}_mask": ones}).transform.points_to_moving(points)
    assert np.abs(plain - masked).max() < 1e-3 < np.abs(plain - points).max()


def test_the_map_of_a_partial_scan_is_the_same_to_the_bit():
    """Weights or not: a seed decides every bit."""
    fixed, moving, _ = pair(shape=ROOM)
    part, points = cropped(moving, 1, 20, 52), in_head(fixed)
    first, second = (map_bytes(run(fixed, part, FEW), points) for _ in range(2))
    assert first == second
