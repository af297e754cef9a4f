"""What else `register()` takes: a start, masks; and one clear line for what it cannot use."""

from __future__ import annotations

import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from heads import CONFIG, FEW, in_head, map_bytes, motion, pair, placed, run, shifted

from nevf_lite.config import PRESETS, Level
from nevf_lite.kernels import backend
from nevf_lite.registration import memory
from nevf_lite.registration import register as registration
from nevf_lite.registration.memory import check_memory, predict_memory
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, DisplacementField, VelocityFlow
from nevf_lite.transforms.transform import Transform

#: As the paper's own code, which stores what our kernels recompute.
plain_torch = backend("torch")


@pytest.mark.parametrize("shape", [(44, 40), (24, 22, 20)], ids=["2d", "3d"])
def test_an_initial_affine_is_folded_in(shape, tmp_path):
    """Scans a hand's breadth apart: the affine in `init` and the field make one transform."""
    fixed, moving, axes = pair(shape=shape, spacing=[1.2] * len(shape))
    matrix = shifted((100, -60, 0), 25)
    away = placed(moving, matrix)
    init = Transform.from_affine(matrix, Grid.of(fixed), Grid.of(away))
    init.save(tmp_path / "init.safetensors")
    points = in_head(fixed)
    truth = nib.affines.apply_affine(matrix, points + motion(points, axes))
    results = [run(fixed, away, init=i) for i in (init, tmp_path / "init.safetensors")]
    for result in results:
        found = result.transform.points_to_moving(points)
        assert np.linalg.norm(found - truth, axis=1).mean() < 0.5 * motion(points, axes).max()
        np.testing.assert_allclose(result.transform.points_to_fixed(found), points, atol=0.3)
    assert [type(p) for p in results[0].transform.components] == [VelocityFlow, Affine]
    assert map_bytes(results[0], points) == map_bytes(results[1], points)


def test_an_initial_warp_is_kept_and_completed():
    """With the truth in `init` the field has nothing to add; an affine may follow the warp."""
    fixed, moving, axes = pair()
    grid = Grid.of(fixed)
    bend = DisplacementField.from_mm(motion(grid.points(), axes), grid)
    matrix = shifted((40, 0, 0))
    away = placed(moving, matrix)
    init = Transform((bend, Affine(matrix)), grid, Grid.of(away))
    result = run(fixed, away, init=init)
    assert [type(p) for p in result.transform.components] == [
        VelocityFlow,
        DisplacementField,
        Affine,
    ]
    points = in_head(fixed)
    added = result.transform.components[0].map(points) - points
    assert np.linalg.norm(added, axis=1).mean() < 0.2
    truth = nib.affines.apply_affine(matrix, points + motion(points, axes))
    found = result.transform.points_to_moving(points)
    assert np.linalg.norm(found - truth, axis=1).mean() < 0.25


def test_affine_start_is_computed_when_asked(monkeypatch):
    """`affine=True` hands the scans and masks on, folds the matrix in, and times it."""
    fixed, moving, _ = pair()
    matrix = shifted((60, 0, 0))
    away = placed(moving, matrix)
    asked = {}

    def affine_register(fixed, moving, **options):
        asked.update(options)
        return matrix

    monkeypatch.setattr("nevf_lite.transforms.affine.affine_register", affine_register)
    result = run(fixed, away, FEW, affine=True, seed=3)
    assert isinstance(result.transform.components[-1], Affine) and "affine" in result.timings
    assert asked == {"fixed_mask": None, "moving_mask": None, "seed": 3}
    with pytest.raises(ValueError, match="either an initial transform or affine=True, not both"):
        run(fixed, away, FEW, affine=True, init=result.transform)


@pytest.mark.parametrize("which", ["fixed", "moving"])
@pytest.mark.parametrize(
    "geometry", [dict(), dict(shape=(24, 22, 20), spacing=(1.5, 1.5, 1.5))], ids=["2d", "3d"]
)
def test_masks_keep_a_lesion_from_pulling(which, geometry):
    """A dark lesion in one scan bends the map around it; masked, it hardly shows."""
    fixed, moving, _ = pair(**geometry)
    scans = {"fixed": fixed, "moving": moving}
    grid = Grid.of(scans[which])
    lesion = np.linalg.norm(grid.points() - [3.0, -2.0, 0.0], axis=-1) < 5
    data = scans[which].get_fdata(dtype=np.float32).copy()
    lesion = lesion.reshape(data.shape)
    data[lesion] = 0.05
    painted = {**scans, which: nib.Nifti1Image(data, grid.affine)}
    mask = nib.Nifti1Image((~lesion).astype(np.uint8), grid.affine)
    points = in_head(fixed)

    def moved(scans, **options):
        return run(**scans, config=CONFIG, **options).transform.points_to_moving(points)

    masked = {f"{which}_mask": mask}
    clean = moved(scans, **masked)
    # means: under the mask little decides, and one seed in five turns the last bit of the images'
    # scale into a quarter of a voxel at some point there
    pulled = np.linalg.norm(moved(painted) - clean, axis=1).mean()
    kept = np.linalg.norm(moved(painted, **masked) - clean, axis=1).mean()
    assert pulled > 0.1 and kept < 0.25 * pulled


def test_empty_masks_say_so():
    """A mask that is on another grid of another world leaves nothing to compare."""
    fixed, moving, _ = pair()
    grid = Grid.of(fixed)
    nowhere = nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine)
    for name in ("fixed_mask", "moving_mask"):
        with pytest.raises(ValueError, match=f"{name}: it is empty where the images are"):
            run(fixed, moving, FEW, **{name: nowhere})


def test_input_that_cannot_be_registered_says_why(tmp_path):
    """One line each, with what came and what to do; nothing of it starts the optimisation."""
    flat, moving, _ = pair()
    solid = pair(shape=(20, 20, 20), spacing=(1.5, 1.5, 1.5))[0]
    with pytest.raises(ValueError, match="moving: wanted 2-D like the fixed image, got 3-D"):
        run(flat, solid, FEW)
    with pytest.raises(ValueError, match="moving: wanted 3-D like the fixed image, got 2-D"):
        run(solid, flat, FEW)
    away = placed(moving, shifted((500, 0, 0)))
    with pytest.raises(ValueError, match="does not overlap the fixed image.*--affine"):
        run(flat, away, FEW)
    with pytest.raises(ValueError, match="fixed: wanted at least 8 voxels along two axes"):
        run(np.random.default_rng(0).random((20, 6)), moving, FEW)
    with pytest.raises(ValueError, match="spacing: at 30 mm the box .* choose a smaller spacing"):
        run(flat, moving, FEW, spacing=30)
    with pytest.raises(ValueError, match="config: wanted a Config or one of"):
        run(flat, moving, "quick")
    with pytest.raises(FileNotFoundError, match="moving.*there is no file"):
        run(flat, tmp_path / "missing.nii.gz", FEW)
    with pytest.raises(ValueError, match="fixed: every voxel is 1"):
        run(np.ones((20, 20)), moving, FEW)


def test_little_overlap_is_noted():
    """Two heads side by side: it runs, and suggests an affine start."""
    fixed, moving, _ = pair()
    away = placed(moving, shifted((18, 0, 0)))
    (note,) = run(fixed, away, FEW).notes
    assert "overlap little" in note and "--affine" in note


def test_unknown_backends_are_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="backend: wanted one of .* got 'cuda'"):
        run("no such file", "nor this", FEW, backend="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps:3", "tpu"])
def test_unknown_devices_are_refused(device):
    """Before anything is read twice: which device, and what would do."""
    fixed, moving, _ = pair()
    with pytest.raises(ValueError, match=f"device: '{device}' cannot be used here; try 'cpu'"):
        run(fixed, moving, FEW, device=device)


@pytest.mark.parametrize("hint", ["step L = ", "times coarser"])
def test_too_little_memory_stops_before_anything_runs(monkeypatch, hint):
    """The line names the L, or the spacing, that would fit; and they would."""
    fixed, moving, _ = pair()
    config = replace(CONFIG, levels=(Level(1, 5, step=1),), width=256)
    shape = (44, 40)
    free = predict_memory(replace(config, levels=(Level(1, 5, step=3),)), shape)
    if hint == "times coarser":
        free = predict_memory(config, tuple(n // 2 for n in shape))
    monkeypatch.setattr(memory, "available_memory", lambda device: free)
    monkeypatch.setattr(registration, "fit", lambda *a, **k: pytest.fail("it started"))
    with pytest.raises(MemoryError, match=f"need about .* GiB and cpu has .*{hint}") as caught:
        run(fixed, moving, config)
    text = str(caught.value)
    assert "\n" not in text
    if found := re.search(r"step L = (\d)", text):
        levels = (Level(1, 5, step=int(found[1])),)
        monkeypatch.undo()
        monkeypatch.setattr(memory, "available_memory", lambda device: free)
        check_memory(replace(config, levels=levels), shape, torch.device("cpu"))


@plain_torch
def test_memory_prediction_follows_what_costs():
    """More voxels and a wider net need more; a larger L and chunks need less; half a head fits."""
    shape, config = (160, 192, 160), PRESETS["paper"]
    needed = predict_memory(config, shape)
    # the paper's table has 8.9 GB at L = 3 and 160x192x160, for the network and the rest
    assert 4 * 2**30 < needed < 16 * 2**30
    wider = replace(config, width=1024)
    coarser = replace(config, levels=(Level(1, 300, step=5),))
    assert predict_memory(wider, shape) > needed > predict_memory(coarser, shape)
    assert predict_memory(replace(config, chunk=10_000), shape) < needed
    assert predict_memory(config, tuple(n // 2 for n in shape)) < needed / 7
    with backend("auto"):  # weights have arrays of their own
        quick = PRESETS["default"]
        more = predict_memory(quick, shape, weighted=True) / predict_memory(quick, shape)
        assert 1.1 < more < 1.3
    with pytest.raises(MemoryError, match="a much smaller image would fit"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "available_memory", lambda device: 1)
            check_memory(config, shape, torch.device("cpu"))
