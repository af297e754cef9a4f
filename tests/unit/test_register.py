"""`register()`: the same answer in mm however the scans are stored, and it finds the motion.

The images are functions of the world, so the truth is known in mm. Fits of 30 to 60 iterations.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from heads import CONFIG, FEW, LONG, error, in_head, map_bytes, pair, placed, run, turned
from synthetic import rotation

from nevf_lite import kernels
from nevf_lite.config import Level
from nevf_lite.registration import memory
from nevf_lite.registration.register import register, register_many
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import VelocityFlow
from nevf_lite.transforms.transform import Transform


@pytest.mark.parametrize(
    "geometry",
    [
        dict(),
        dict(spacing=(1, 1.4), shape=(46, 30)),
        dict(degrees=(20, -15, 30)),
        dict(moving=dict(shape=(38, 52), spacing=(1.1, 0.8), codes="ALS")),
        dict(shape=(30, 28, 26), spacing=(1.3, 1.3, 1.3)),
        dict(shape=(26, 28, 18), spacing=(1.5, 1.3, 2.2), degrees=(12, 8, -20)),
        dict(
            shape=(26, 28, 24),
            spacing=(1.5, 1.3, 1.4),
            moving=dict(shape=(20, 34, 30), spacing=(2, 1, 1.2), codes="SLA", degrees=(9, 0, 14)),
        ),
    ],
    ids=["2d", "2d-flat", "2d-oblique", "2d-other", "3d", "3d-oblique", "3d-other"],
)
def test_motion_is_found_in_millimetres(geometry):
    """Anisotropic, oblique, fixed and moving on different grids: the error falls to a fraction."""
    fixed, moving, axes = pair(**geometry)
    result = run(fixed, moving, LONG)
    before, after = error(result, axes, in_head(fixed))
    assert before > 1.4 and after < 0.3 * before
    unmoved = Transform.identity(Grid.of(fixed)).warp_image(moving)
    target = fixed.get_fdata().ravel()
    similar = [np.corrcoef(target, s.get_fdata().ravel())[0, 1] for s in (unmoved, result.warped)]
    assert 1 - similar[1] < 0.25 * (1 - similar[0])


@pytest.mark.parametrize("which", ["both", "fixed", "moving"])
@pytest.mark.parametrize(
    "codes, geometry",
    [
        ("LAS", dict()),
        ("PLS", dict()),
        ("RSA", dict()),
        ("ALI", dict(spacing=(1, 1.4), shape=(46, 30), degrees=(11.3, -7.1, 17.7))),
        ("LPS", dict(shape=(22, 20, 18), spacing=(1.5, 1.7, 1.9))),
        ("ASL", dict(shape=(22, 20, 14), spacing=(1.5, 1.7, 2.4), degrees=(11.3, -7.1, 17.7))),
        ("LIA", dict(shape=(22, 20, 14), spacing=(1.5, 1.7, 2.4))),
    ],
)
def test_flipped_and_permuted_scans_register_alike(codes, geometry, which):
    """RAS, LAS, LPS, ASL...: how a scan is stored does not change one bit of the map in mm."""
    fixed, moving, _ = pair(**geometry)
    points = in_head(fixed)
    expected = run(fixed, moving)
    result = run(
        turned(fixed, codes) if which != "moving" else fixed,
        turned(moving, codes) if which != "fixed" else moving,
    )
    assert map_bytes(result, points) == map_bytes(expected, points)


@pytest.mark.parametrize("geometry", [dict(), dict(shape=(22, 20, 18), spacing=(1.5, 1.7, 1.9))])
def test_turning_both_scans_turns_the_map(geometry):
    """One rotation and shift of both headers: the same map, rotated. The world has no axes."""
    fixed, moving, _ = pair(**geometry)
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation((14, -9, 21)), (30, -12, 7)
    points = in_head(fixed)
    expected = nib.affines.apply_affine(move, run(fixed, moving).transform.points_to_moving(points))
    both = [placed(s, move) for s in (fixed, moving)]
    found = run(*both).transform.points_to_moving(nib.affines.apply_affine(move, points))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(44, 40), (22, 20, 18)], ids=["2d", "3d"])
def test_arrays_tensors_paths_and_images_are_one(shape, tmp_path):
    """Whatever holds the numbers, the result is the same to the byte; arrays have 1 mm voxels."""
    scans = [
        nib.Nifti1Image(s.get_fdata(dtype=np.float32), np.eye(4))
        for s in pair(shape=shape, spacing=[1.0] * len(shape))[:2]
    ]
    points = Grid.of(scans[0]).points().reshape(-1, 3)
    for name, scan in zip(("fixed", "moving"), scans, strict=True):
        nib.save(scan, tmp_path / f"{name}.nii.gz")
    arrays = [s.get_fdata(dtype=np.float32).squeeze() for s in scans]
    expected = map_bytes(run(*scans, config=FEW), points)
    for inputs in (
        (str(tmp_path / "fixed.nii.gz"), tmp_path / "moving.nii.gz"),
        arrays,
        [torch.from_numpy(a) for a in arrays],
        (scans[0], arrays[1]),
    ):
        assert map_bytes(run(*inputs, config=FEW), points) == expected


def test_the_seed_decides_every_bit():
    """The same seed gives the same bytes; it may come from the call or from the config."""
    fixed, moving, _ = pair()
    points = in_head(fixed)
    first = run(fixed, moving, FEW)
    assert map_bytes(run(fixed, moving, FEW), points) == map_bytes(first, points)
    other = run(fixed, moving, FEW, seed=7)
    assert map_bytes(other, points) != map_bytes(first, points)
    assert map_bytes(run(fixed, moving, replace(FEW, seed=7)), points) == map_bytes(other, points)
    assert other.config.seed == 7 and first.config.spacing == 1.0


def test_the_fast_kernels_pay_nothing_in_accuracy():
    """The same seed with plain torch: the same map to a twentieth of a voxel, and it says whose."""
    fixed, moving, _ = pair()
    fast, plain = (run(fixed, moving, backend=name) for name in ("auto", "torch"))
    assert (fast.backend, plain.backend) == ("auto", "torch")
    points = in_head(fixed)
    apart = fast.transform.points_to_moving(points) - plain.transform.points_to_moving(points)
    assert np.abs(apart).max() < 0.05
    with kernels.backend("torch"):  # as the chapters choose
        assert run(fixed, moving, FEW).backend == "torch"


def test_the_result_tells_what_happened(capfd):
    """History, timings, config with the spacing filled in, device; and not a word when asked so."""
    fixed, moving, _ = pair()
    seen = []
    result = run(fixed, moving, FEW, callback=seen.append)
    assert result.history == seen and len(seen) == 3
    assert set(result.timings) >= {"prepare", "optimise"} and result.stopped == "finished"
    assert min(result.timings.values()) >= 0 and result.device == "cpu" and result.notes == []
    assert isinstance(result.transform.components[0], VelocityFlow)
    assert (result.transform.fixed, result.transform.moving) == (Grid.of(fixed), Grid.of(moving))
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    register(fixed, moving, FEW)
    out, err = capfd.readouterr()
    assert out == "" and "loss" in err and "lncc" in err and "folds" in err


def test_a_sparser_finest_level_is_in_the_config():
    """The config says how sparsely the finest level was sampled, the transform is made with it."""
    fixed, moving, _ = pair()
    watched = []
    config = replace(FEW, noise_ceiling=1e-3)
    result = run(fixed, moving, config, watch=lambda _, make: watched.append(make()))
    assert result.config.levels[-1].step == 1.5 * FEW.levels[-1].step
    assert result.notes == []  # it says nothing of how alike two people are, so nobody is told
    nodes = [t.components[0].nodes for t in (*watched[-1:], result.transform)]
    assert nodes[0] == nodes[1] != run(fixed, moving, FEW).transform.components[0].nodes


def test_inverse_and_inverse_points_agree_in_millimetres():
    """exp(-v): there and back within a tenth of a voxel, on the fixed image's own grid."""
    fixed, moving, _ = pair(spacing=(1, 1.4), shape=(46, 30), degrees=(10, 5, -20))
    transform = run(fixed, moving).transform
    points = in_head(fixed)
    there = transform.points_to_moving(points)
    back = np.linalg.norm(transform.points_to_fixed(there) - points, axis=1)
    assert np.linalg.norm(there - points, axis=1).max() > 1.5
    assert back.mean() < 0.03 and back.max() < 0.2


def test_going_on_from_a_result(tmp_path):
    """`resume` starts at the loss that was reached, from memory or a file, and improves on it."""
    fixed, moving, _ = pair()
    config = replace(CONFIG, levels=(Level(1, 12, lr=2e-3),))
    first = run(fixed, moving, config)
    first.transform.save(tmp_path / "velocity.safetensors")
    best = min(r["loss"] for r in first.history)
    field = first.transform.components[0].field
    before = [value.clone() for value in field.state_dict().values()]
    for earlier in (first.transform, tmp_path, str(tmp_path / "velocity.safetensors")):
        second = run(fixed, moving, config, resume=earlier)
        assert second.history[0]["loss"] == pytest.approx(best, abs=1e-5)
        assert min(r["loss"] for r in second.history) < best
    after = field.state_dict().values()  # going on leaves the earlier result as it was
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_cannot_be_resumed_says_so():
    """Another pair's field, or a transform without one."""
    fixed, moving, _ = pair()
    other = pair(shape=(30, 28), spacing=(1.5, 1.5))
    earlier = run(*other[:2], config=FEW).transform
    with pytest.raises(ValueError, match="resume: that result belongs to other images"):
        run(fixed, moving, FEW, resume=earlier)
    for nothing in (Transform.identity(Grid.of(fixed)), earlier.inverse):
        with pytest.raises(ValueError, match="resume: wanted the transform of a registration"):
            run(fixed, moving, FEW, resume=nothing)


def test_many_pairs_at_once_are_each_as_alone(capfd):
    """On grids of their own, 2-D and 3-D: the same bytes, in order, one bar for all."""
    both = [pair()[:2], pair(shape=(30, 28, 26), spacing=(1.3, 1.3, 1.3))[:2]]
    told = []
    found = register_many(both, FEW, callback=lambda i, record: told.append((i, record)))
    assert "loss" in capfd.readouterr().err
    for number, (images, one) in enumerate(zip(both, found, strict=True)):
        alone = run(*images, FEW)
        points = in_head(images[0])
        assert map_bytes(one, points) == map_bytes(alone, points)
        assert [record for i, record in told if i == number] == one.history
        assert len(one.history) == len(alone.history) and one.timings["optimise"] > 0
    with pytest.raises(ValueError, match="pairs: wanted one or more"):
        register_many([], FEW)


def test_more_pairs_than_fit_are_refused(monkeypatch):
    """Before anything starts, with how many would."""
    monkeypatch.setattr(memory, "predict_memory", lambda *_: 3 * 2**30)
    monkeypatch.setattr(memory, "available_memory", lambda _: 8 * 2**30)
    with pytest.raises(MemoryError, match="3 pairs at once .*8.0 GiB .*2 at a time would fit"):
        register_many([pair()[:2]] * 3, FEW, progress=False)


def test_ctrl_c_returns_what_there_is():
    """The interrupted result is a whole result: it warps, inverts and says how it ended."""
    fixed, moving, axes = pair()

    def interrupt(record):
        if (record["level"], record["iteration"]) == (1, 5):
            raise KeyboardInterrupt

    result = run(fixed, moving, callback=interrupt)
    assert result.stopped == "interrupted" and len(result.history) == 21
    before, after = error(result, axes, in_head(fixed))
    assert after < 0.8 * before and result.warped.shape == (44, 40)
