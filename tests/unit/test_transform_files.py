"""Transforms on disk: the same map comes back, and what cannot be read says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic import motion
from worlds import chain, grid_of, other_grid, points_within, turn, velocity

from nevf_lite.fields import FeatureField, VoxelField
from nevf_lite.scans.io import write_displacement
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import DisplacementField, VelocityFlow
from nevf_lite.transforms.transform import Transform


def parts_of_each_kind(grid: Grid) -> dict:
    dense = DisplacementField(motion(grid.shape, 1.5, seed=4), grid)
    voxel = VoxelField(grid.shape, (5,) * grid.ndim)
    torch.nn.init.normal_(voxel.values)
    voxel.requires_grad_(False)
    features = FeatureField(grid.shape, (6, 3)).requires_grad_(False)
    for lattice in features.lattices:
        torch.nn.init.normal_(lattice, std=0.1)
    nodes = (6,) * grid.ndim
    return {
        "nothing": (),
        "affine": (turn(grid),),
        "dense": (dense,),
        "siren": (velocity(grid),),
        "siren, other order": (velocity(grid, order="integrate-upsample"),),
        "features": (VelocityFlow(features, grid, nodes),),
        "voxel, by rk4": (VelocityFlow(voxel, grid, nodes, "rk4", 4),),
        "all": (velocity(grid), dense, turn(grid), VelocityFlow(voxel, grid, nodes).inverse),
    }


@pytest.mark.parametrize("name", ["2d-ASR-oblique", "3d-LPS-anisotropic"])
@pytest.mark.parametrize("kind", list(parts_of_each_kind(grid_of("2d"))))
def test_saved_and_loaded_is_the_same(name, kind, tmp_path):
    """To the byte of the displacement, grids included; the same transform makes the same file."""
    grid = grid_of(name)
    transform = Transform(parts_of_each_kind(grid)[kind], grid, other_grid(name))
    path = tmp_path / "velocity.safetensors"
    transform.save(path)
    for loaded in (Transform.load(path), Transform.load(str(tmp_path))):
        assert (loaded.fixed, loaded.moving) == (transform.fixed, transform.moving)
        assert loaded.displacement().tobytes() == transform.displacement().tobytes()
    first = path.read_bytes()
    Transform.load(path).save(path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["velocity.safetensors"]


@pytest.mark.parametrize("name", ["2d", "3d-LPS-anisotropic"])
def test_itk_displacement_fields_are_transforms(name, tmp_path):
    """`--init` takes another tool's warp: same motion, pull-back, mm."""
    transform = chain(name)
    write_displacement(tmp_path / "warp.nii.gz", transform.displacement(), transform.fixed)
    loaded = Transform.load(tmp_path / "warp.nii.gz")
    points = points_within(transform.fixed)
    np.testing.assert_allclose(
        loaded.points_to_moving(points), transform.points_to_moving(points), atol=0.05
    )


def test_what_cannot_be_loaded_says_so(tmp_path):
    """Missing, truncated, foreign and empty: one line with the file's name, no traceback."""
    good = tmp_path / "good.safetensors"
    chain("2d").save(good)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "junk.safetensors").write_bytes(b"not a transform at all" * 9)
    (tmp_path / "empty.safetensors").touch()
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no file .*missing"):
        Transform.load(tmp_path / "missing.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no velocity.safetensors in .*folder"):
        Transform.load(tmp_path / "folder")
    for name, reason in {
        "cut": "is damaged",
        "junk": "is damaged",
        "empty": "is empty",
        "foreign": "is not a transform written by nevf_lite",
    }.items():
        with pytest.raises(ValueError, match=f"{name}.safetensors.*{reason}") as caught:
            Transform.load(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(caught.value)
