"""`nevf apply`, `invert`, `compose` and `evaluate`: what a transform does, told by files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import AFFINE, good, label_options, nevf, register_pair

from nevf_lite.scans.io import (
    load_image,
    load_labels,
    write_displacement,
)
from nevf_lite.scans.points import read_points, write_points
from nevf_lite.scans.space import Grid
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.transform import Transform


@pytest.fixture(scope="module", params=[2, 3])
def done(request, tmp_path_factory) -> dict:
    """A pair registered once, in 2-D and in 3-D."""
    return register_pair(tmp_path_factory.mktemp("pair"), request.param)


def test_apply_does_what_the_transform_does(done, tmp_path):
    """Images, cubic ones and labels, found out by looking; the inverse; another grid."""
    transform = Transform.load(done["folder"])
    where = tmp_path / "out.nii.gz"

    assert nevf("apply", done["folder"], done["moving"], "-o", where).stderr == ""
    wanted = transform.warp_image(done["moving"]).get_fdata()
    assert np.allclose(load_image(where).get_fdata(), wanted, atol=1e-4)

    words = ["apply", done["folder"], done["moving"], "-o", where, "--interpolation", "cubic"]
    good(*words)
    wanted = transform.warp_image(done["moving"], "cubic").get_fdata()
    assert np.allclose(load_image(where).get_fdata(), wanted, atol=1e-3)

    said = nevf("apply", done["folder"], done["moving_labels"], "-o", where).stderr
    assert "labels" in said and "--kind image" in said
    warped = load_labels(where)
    assert set(np.unique(warped.dataobj)) == {0, 1, 2}
    assert mean_dice(load_labels(done["fixed_labels"]), warped) > 0.8

    words = ["apply", done["folder"], done["fixed"], "-o", where, "--inverse"]
    good(*words, "--like", done["fixed_labels"])
    wanted = transform.inverse.warp_image(done["fixed"]).get_fdata()
    assert np.allclose(load_image(where).get_fdata(), wanted, atol=1e-4)


def test_apply_takes_whole_numbers_of_a_scan_for_an_image(done, tmp_path):
    """A scan stored as integers is not a label map, and a note says how to say otherwise."""
    scan = tmp_path / "scan.nii.gz"
    image = load_image(done["moving"])
    texture = np.random.default_rng(0).normal(0, 10, image.shape) * (image.get_fdata() > 0)
    nib.save(nib.Nifti1Image((image.get_fdata() + texture).astype(np.int16), image.affine), scan)
    said = nevf("apply", done["folder"], scan, "-o", tmp_path / "out.nii.gz").stderr
    assert "an image" in said and "--kind labels" in said
    values = load_image(tmp_path / "out.nii.gz").get_fdata()
    assert (values != np.rint(values)).any()


def test_apply_notes_an_empty_output(done, tmp_path):
    """An image that lies elsewhere gives zeros; that is said, for it is hardly what was meant."""
    far = AFFINE.copy()
    far[:3, 3] += 1000
    nib.save(nib.Nifti1Image(load_image(done["moving"]).get_fdata(), far), tmp_path / "far.nii.gz")
    result = nevf("apply", done["folder"], tmp_path / "far.nii.gz", "-o", tmp_path / "o.nii.gz")
    assert result.exit_code == 0 and "zero everywhere" in result.stderr


@pytest.mark.parametrize("source", ["folder", "velocity.safetensors", "warp.nii.gz"])
def test_points_go_the_way_of_the_image(done, tmp_path, source):
    """A bright spot in the moving image lands, warped, where `nevf apply` puts its coordinates."""
    moving = load_image(done["moving"])
    grid = Grid.of(moving)
    voxel = np.array([0.45, 0.55, 0.5][: grid.ndim]) * grid.shape
    point = grid.to_world(voxel)
    spot = np.exp(-((grid.points() - point) ** 2).sum(-1) / (2 * 5.0**2)).astype(np.float32)
    spot = spot if grid.ndim == 3 else spot[..., None]
    nib.save(nib.Nifti1Image(spot, grid.affine), tmp_path / "spot.nii.gz")
    write_points(tmp_path / "spot.csv", point[None])

    transform = done["folder"] if source == "folder" else done["folder"] / source
    good("apply", transform, tmp_path / "spot.nii.gz", "-o", tmp_path / "warped.nii.gz")
    good("apply", transform, tmp_path / "spot.csv", "-o", tmp_path / "warped.csv")
    warped = load_image(tmp_path / "warped.nii.gz")
    weights = warped.get_fdata()
    centre = (weights[..., None] * Grid.of(warped).points()).sum(tuple(range(grid.ndim)))
    landed = read_points(tmp_path / "warped.csv")[0]
    assert np.linalg.norm(landed - point) > 4  # it did move, and by more than the tolerance
    assert np.linalg.norm(landed - centre / weights.sum()) < 1.5

    good("apply", transform, tmp_path / "warped.csv", "-o", tmp_path / "back.csv", "--inverse")
    assert np.allclose(read_points(tmp_path / "back.csv")[0], point, atol=0.2)


def test_points_keep_their_other_columns(done, tmp_path):
    """Names and labels in the CSV file are carried over."""
    (tmp_path / "in.csv").write_text("name,x,y,z\nAC,0,-12,2\n")
    good("apply", done["folder"], tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "name,x,y,z" and row.startswith("AC,")


@pytest.mark.parametrize("ending", [".safetensors", ".nii.gz"])
def test_invert_and_compose_cancel(done, tmp_path, ending):
    """A transform after its inverse leaves points where they are, in both kinds of file."""
    inverse, both = tmp_path / f"inverse{ending}", tmp_path / f"both{ending}"
    good("invert", done["folder"], "-o", inverse)
    good("compose", done["folder"], inverse, "-o", both)
    points = np.array([[0.0, -12, 0], [8, 0, 0]])
    assert np.allclose(Transform.load(both).points_to_moving(points), points, atol=0.2)
    moved = Transform.load(done["folder"]).points_to_fixed(points)
    assert np.allclose(Transform.load(inverse).points_to_moving(points), moved, atol=0.1)


def test_compose_takes_the_order_of_apply(tmp_path):
    """compose A B is apply A, then apply B, for points as for images; they do not commute here."""
    grid = Grid((20, 22, 18), AFFINE)
    write_displacement(tmp_path / "shift.nii.gz", np.full((*grid.shape, 3), [6.0, 0, 0]), grid)
    write_displacement(tmp_path / "scale.nii.gz", 0.2 * grid.points(), grid)
    good("compose", tmp_path / "shift.nii.gz", tmp_path / "scale.nii.gz", "-o", tmp_path / "c.nii")
    write_points(tmp_path / "p.csv", np.array([[5.0, -8, 3]]))
    good("apply", tmp_path / "shift.nii.gz", tmp_path / "p.csv", "-o", tmp_path / "p1.csv")
    good("apply", tmp_path / "scale.nii.gz", tmp_path / "p1.csv", "-o", tmp_path / "p2.csv")
    good("apply", tmp_path / "c.nii", tmp_path / "p.csv", "-o", tmp_path / "all.csv")
    step = read_points(tmp_path / "p2.csv")
    assert np.allclose(read_points(tmp_path / "all.csv"), step, atol=0.05)
    assert np.allclose(step, [[(5 - 6) / 1.2, -8 / 1.2, 3 / 1.2]], atol=0.05)


def test_compose_notices_a_swapped_order(tmp_path):
    """Where the grids tell that two transforms were meant the other way round, a note says so."""
    grids = [Grid((10, 10, 10), AFFINE), Grid((12, 10, 10), AFFINE), Grid((14, 10, 10), AFFINE)]
    Transform.identity(grids[1], grids[0]).save(tmp_path / "a_to_b.safetensors")
    Transform.identity(grids[2], grids[1]).save(tmp_path / "b_to_c.safetensors")
    names = [tmp_path / "a_to_b.safetensors", tmp_path / "b_to_c.safetensors"]
    assert nevf("compose", *names, "-o", tmp_path / "c.safetensors").stderr == ""
    whole = Transform.load(tmp_path / "c.safetensors")
    assert (whole.moving, whole.fixed) == (grids[0], grids[2])
    said = nevf("compose", *reversed(names), "-o", tmp_path / "c.safetensors").stderr
    assert "the other way round" in said


# ---------------------------------------------------------------------------------- evaluate


def test_evaluate_agrees_with_the_registration(done):
    """The scores of a result folder are those that `nevf register` wrote into it."""
    words = ["evaluate", done["folder"], *label_options(done)]
    document, first = json.loads(good(*words, "--json")), json.loads(done["said"].stdout)
    assert document["dice"] == first["dice"]
    for key, value in document["metrics"].items():
        assert value == pytest.approx(first["metrics"][key], rel=1e-6, abs=1e-9), key
    table = good(*words, "--label-names", "oasis")
    assert "Left-Cerebral-Cortex" in table
    change = [f"{document['metrics'][f'dice_{when}']:.3f}" for when in ("before", "after")]
    assert " -> ".join(change) in table


def test_evaluate_landmarks(done, tmp_path):
    """Landmarks: the distance in the moving image; 3 mm off is 3 mm, and nothing is the shift."""
    fixed = np.array([[0.0, -12, 0], [8, 0, 0]])
    fixed[:, 2] = AFFINE[2, 3] if done["ndim"] == 2 else 4
    moving = Transform.load(done["folder"]).points_to_moving(fixed)
    write_points(tmp_path / "f.csv", fixed)
    write_points(tmp_path / "m.csv", moving + [3.0, 0, 0])
    words = ["--fixed-points", tmp_path / "f.csv", "--moving-points", tmp_path / "m.csv", "--json"]
    found = json.loads(good("evaluate", done["folder"], *words))["metrics"]
    assert found["tre_after_mm"] == pytest.approx(3, abs=1e-3) and found["landmarks"] == 2
    before = json.loads(good("evaluate", *words))["metrics"]
    assert before["tre_before_mm"] == pytest.approx(found["tre_before_mm"])
    assert "tre_after_mm" not in before and "folds_percent" not in before


def test_evaluate_two_label_maps_as_they_lie(done):
    """Without a transform the labels are compared as they are."""
    words = ["evaluate", *label_options(done), "--labels", "2", "--json"]
    document = json.loads(good(*words))
    labels = [load_labels(done[key]) for key in ("fixed_labels", "moving_labels")]
    assert document["metrics"]["dice_before"] == pytest.approx(mean_dice(*labels, [2]))
    assert list(document["dice"]) == ["2"]
