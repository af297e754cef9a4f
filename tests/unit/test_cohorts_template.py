"""A template lies in the middle: of two shapes, of their intensities, whatever their order."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from fits import PINNED
from synthetic import blobs, motion

from nevf_lite.cohorts.template import build_template, mean_shape
from nevf_lite.cohorts.velocities import mean_velocity, velocity_on
from nevf_lite.config import Config, Level
from nevf_lite.fields import VoxelField
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, VelocityFlow
from nevf_lite.transforms.transform import Transform
from nevf_lite.warp import warp

SHAPE = (48, 44)
CONFIG = Config(levels=(Level(2, 20, lr=3e-3, window=7), Level(1, 15, lr=3e-3)), width=32, **PINNED)


def flow_of(velocity: torch.Tensor, grid: Grid, sign: int = 1) -> VelocityFlow:
    """The flow of a velocity (1, ndim, *grid.shape) in voxels of the grid."""
    field = VoxelField(grid.shape)
    field.values.data = velocity
    field.requires_grad_(False)
    return VelocityFlow(field, grid, grid.shape, "squaring", 7, "upsample-integrate", sign)


def moved(image: torch.Tensor, velocity: torch.Tensor) -> nib.Nifti1Image:
    values = warp(image, scaling_and_squaring(velocity))[0, 0].numpy()
    return nib.Nifti1Image(values[..., None], np.eye(4))


def test_the_mean_of_opposite_velocities_is_none():
    """Of a velocity and its negative, and of a flow and its inverse, on a grid of another kind."""
    grid = Grid(SHAPE, np.diag([1.0, 2.0, 1.0, 1.0]))
    velocity = motion(SHAPE, 2.0)
    pair = [flow_of(velocity, grid), flow_of(-velocity, grid)]
    for flows in (pair, [pair[0], pair[0].inverse]):
        assert velocity_on(mean_velocity(flows, grid), grid).abs().max() < 1e-5
    same = mean_velocity([pair[0]] * 3, grid)
    points = grid.points().reshape(-1, 3)
    assert np.allclose(same.map(points), pair[0].map(points), atol=1e-4)
    turned = Grid(SHAPE[::-1], grid.affine[:, [1, 0, 2, 3]])
    assert np.allclose(mean_velocity(pair[:1], turned).map(points), pair[0].map(points), atol=1e-3)


def test_a_mean_of_flows_made_in_different_ways_is_refused():
    grid = Grid(SHAPE, np.eye(4))
    one = flow_of(motion(SHAPE, 1.0), grid)
    other = VelocityFlow(one.field, grid, SHAPE, "euler", 8)
    with pytest.raises(ValueError, match="same way"):
        mean_velocity([one, other], grid)


def test_the_mean_shape_counts_affine_parts():
    """Scales of 1.2 and 1 / 1.2 have no mean; equal ones have themselves, or half of it."""
    grid = Grid(SHAPE, np.eye(4))
    still = flow_of(torch.zeros(1, 2, *SHAPE), grid)
    larger, smaller = (Affine(np.diag([s, s, 1.0, 1.0])) for s in (1.2, 1 / 1.2))
    points = grid.points().reshape(-1, 3)
    both = mean_shape([Transform((still, a), grid, grid) for a in (larger, smaller)], grid)
    assert np.allclose(both.points_to_moving(points), points, atol=1e-5)
    half = mean_shape([Transform((still, larger), grid, grid)] * 2, grid, step=0.5)
    assert np.allclose(half.points_to_moving(points)[:, 0], 1.2**0.5 * points[:, 0], atol=1e-4)


def test_the_template_of_two_opposite_shapes_is_the_shape_between():
    """exp(v) and exp(-v) of an image: the template looks like the image, and its shape settles."""
    image, velocity = blobs(SHAPE, seed=3, sigma=2.0), motion(SHAPE, 2.5, seed=2, sigma=8.0)
    scans = [moved(image, velocity), moved(image, -velocity)]
    seen = []
    result = build_template(scans, CONFIG, rounds=3, start=scans[0], callback=seen.append)
    assert [entry["round"] for entry in seen] == [1, 2, 3] and tuple(seen) == result.history
    assert seen[-1]["shape_mm"] < 0.35 * seen[0]["shape_mm"]
    truth = image[0, 0].numpy()

    def likeness(scan) -> float:
        return np.corrcoef(np.asarray(scan.dataobj).ravel(), truth.ravel())[0, 1]

    assert likeness(result.image) > 0.97 > max(map(likeness, scans))


def test_a_template_is_in_the_space_of_its_start_and_the_only_one_in_its_folder(tmp_path):
    """Fault 15 again: MNI (4) stays MNI. Transforms of an earlier template of more scans go."""
    scan, start = (moved(blobs(SHAPE, seed=s), torch.zeros(1, 2, *SHAPE)) for s in (3, 4))
    start.set_sform(np.eye(4), 4)
    names = ("to_01.safetensors", "to_02.safetensors", "to_do.txt")
    for name in names:
        (tmp_path / name).write_bytes(b"earlier")
    build_template([scan, scan], CONFIG, rounds=1, start=start).save(tmp_path)
    header = nib.load(tmp_path / "template.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
    made = {"template.nii.gz", "result.json", "to_00.safetensors", "to_01.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == made | {"to_do.txt"}
    assert (tmp_path / "to_01.safetensors").read_bytes() != b"earlier"


def test_what_makes_no_template_is_refused():
    scan = moved(blobs(SHAPE), torch.zeros(1, 2, *SHAPE))
    with pytest.raises(ValueError, match="two or more"):
        build_template([scan])
    for wrong in ({"rounds": 0}, {"step": 0.0}, {"step": 1.5}, {"sharpen": -1.0}):
        with pytest.raises(ValueError, match="wanted"):
            build_template([scan, scan], CONFIG, **wrong)
