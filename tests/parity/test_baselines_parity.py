"""Each baseline against its own tool: the same warped image, from the tool and from our transform.

A texture in the world, seen through a known motion, on small grids that are flipped, oblique and
anisotropic. Two things then catch any mistake of sign, direction, unit or axis: the tool's warped
image is ours, and the displacement found is the one that was put in.
"""

from __future__ import annotations

import importlib.util

import nibabel as nib
import numpy as np
import pytest

from nevf_lite.scans.space import Grid
from nevf_lite.study.baselines import BASELINES
from nevf_lite.study.baselines.niftyreg import programs
from nevf_lite.study.baselines.workspace import Workspace

#: Enough iterations to find the motion, few enough for seconds.
OPTIONS = {
    "syn": {"iterations": (40, 20, 0)},
    "niftyreg": {"iterations": 80},
    "dipy": {"iterations": (40, 20), "radius": 3},
    "demons": {"iterations": (60, 40, 20)},
    "greedy": {"iterations": (60, 40, 20)},
    "elastix": {"iterations": 150, "levels": 2, "samples": 2000},
    "fireants": {"iterations": (60, 40)},
    "convexadam": {"smoothness": 0.3, "search_spacing": 4, "adam_spacing": 1, "iterations": 40},
    "syntx": {"iterations": (20, 15)},
}
#: For half as many voxels a side: at three levels nothing would be left of them.
COARSE = {
    "syn": {"iterations": (60, 20), "radius": 2},
    "niftyreg": {"iterations": 80, "levels": 2},
    "dipy": {"iterations": (40, 20), "radius": 2},
    "demons": {"iterations": (60, 40)},
    "greedy": {"iterations": (60, 40)},
    "elastix": {"iterations": 150, "levels": 1, "samples": 1000},
    "fireants": {"iterations": (60, 40)},
    "convexadam": {"iterations": 60, "search_spacing": 3, "adam_spacing": 1},
    "syntx": {"iterations": (20, 15)},
}
MODULES = {
    "syn": "ants",
    "dipy": "dipy.align",
    "greedy": "picsl_greedy",
    "elastix": "itk",
    "fireants": "fireants",
    "convexadam": "convexAdam",
    "syntx": "syntx",
}
#: What is left of the motion's mean length, 1.5 mm. Demons stay behind where the texture is flat.
LEFT = {"syn": 0.25, "niftyreg": 0.15, "dipy": 0.25, "demons": 0.35, "greedy": 0.25}
LEFT |= {"elastix": 0.25, "fireants": 0.25, "convexadam": 0.25, "syntx": 0.25}


def rotation(*degrees: float) -> np.ndarray:
    """(3, 3): about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix


def grid(shape: tuple[int, ...], directions: np.ndarray) -> Grid:
    """Its middle at (4, -12, 9) mm: far enough from 0 for a forgotten origin to show."""
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = CENTRE - directions @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


CENTRE = np.array([4.0, -12.0, 9.0])
SHAPE = (32, 30, 34)
RAS = grid(SHAPE, np.eye(3))
#: Fixed and moving grid.
GRIDS = {
    "LAS <- RAS": (grid(SHAPE, np.diag([-1.0, 1, 1])), RAS),
    "oblique <- PIR": (
        grid(SHAPE, rotation(12, -20, 33)),
        grid((30, 34, 32), np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])),
    ),
    "anisotropic <- oblique LPI": (
        grid((36, 30, 20), np.diag([0.9, 1, 1.7])),
        grid((30, 32, 34), rotation(8, 5, -12) * [-1.1, -1, -0.95]),
    ),
}

_random = np.random.default_rng(5)
_WAVES = _random.normal(0, 0.5, (40, 3))
_PHASES = _random.uniform(0, 6, 40)


def texture(x: np.ndarray) -> np.ndarray:
    """A ball of radius 12 mm, full of detail, in [0, 1]."""
    x = x - CENTRE
    waves = np.cos(x @ _WAVES.T + _PHASES).sum(-1) / np.sqrt(len(_WAVES))
    return np.clip(0.5 + 0.3 * waves, 0, 1) / (1 + np.exp(np.linalg.norm(x, axis=-1) - 12))


def motion(x: np.ndarray) -> np.ndarray:
    """Up to 3 mm, RAS, with another sign and size along each axis."""
    x = x - CENTRE
    x0, x1, x2 = np.moveaxis(x, -1, 0)
    bump = np.exp(-(x**2).sum(-1) / (2 * 8**2))
    vectors = [2.5 * np.cos(x1 / 6), -1.8 * np.sin((x0 - 4) / 7), 1.2 * np.cos((x0 + x2) / 8)]
    return bump[..., None] * np.stack(vectors, -1)


def image(function, on: Grid) -> nib.Nifti1Image:
    return nib.Nifti1Image(function(on.points()).astype(np.float32), on.affine)


def pair(name: str) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """The fixed image at p shows the texture at p + motion(p), the moving one the texture."""
    fixed, moving = GRIDS[name]
    return image(lambda x: texture(x + motion(x)), fixed), image(texture, moving)


@pytest.fixture(
    # ANTs takes seconds to be imported, and minutes on a busy machine
    params=[
        pytest.param(t, marks=pytest.mark.slow if t in ("syn", "syntx") else ()) for t in BASELINES
    ]
)
def tool(request) -> str:
    """Each baseline that is installed here."""
    module = MODULES.get(request.param, "SimpleITK")
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    if request.param == "niftyreg":
        try:
            programs()
        except ValueError as missing:
            pytest.skip(str(missing))
    return request.param


@pytest.fixture
def own(monkeypatch) -> dict:
    """What the tool itself left in its folder: its warped image, and the grid it worked on."""
    seen = {}
    finish = Workspace.transform

    def look(workspace: Workspace, displacement):
        (path,) = workspace.folder.glob("warped.*")
        loaded = np.load(path) if path.suffix == ".npy" else nib.load(path).get_fdata()
        seen.update(warped=loaded, grid=workspace.grid, folder=workspace.folder)
        return finish(workspace, displacement)

    monkeypatch.setattr(Workspace, "transform", look)
    return seen


def mean_error(transform, radius: float = 8) -> tuple[float, float]:
    """Mean mm between the motion found and the true one, in the ball; and the true one's length."""
    points = RAS.points().reshape(-1, 3)
    points = points[np.linalg.norm(points - CENTRE, axis=1) < radius]
    truth = motion(points)
    found = transform.points_to_moving(points) - points
    return np.linalg.norm(found - truth, axis=1).mean(), np.linalg.norm(truth, axis=1).mean()


@pytest.mark.parametrize("name", list(GRIDS))
def test_the_known_motion_is_found_and_the_warped_image_is_the_tools_own(tool, name, own):
    """Any wrong sign, axis or unit between the tool's world and ours fails both halves.

    The tools interpolate linearly and so do we, NiftyReg by cubic convolution and we by splines.
    """
    fixed, moving = pair(name)
    transform = BASELINES[tool](fixed, moving, **OPTIONS[tool])
    assert transform.fixed == Grid.of(fixed) and transform.moving == Grid.of(moving)

    cubic = tool == "niftyreg"
    ours = transform.warp_image(moving, "cubic" if cubic else "linear", like=own["grid"])
    ball = np.linalg.norm(own["grid"].points() - CENTRE, axis=-1) < 12  # away from the boxes' rims
    difference = np.abs(ours.get_fdata() - own["warped"])[ball]
    left, length = mean_error(transform)
    print(tool, name, difference.max(), left, length)
    assert difference.max() < (0.02 if cubic else 1e-3)

    assert length > 1.3
    assert left < LEFT[tool] * length
    assert not own["folder"].exists()


def test_a_coarser_working_grid_gives_a_transform_between_the_images_as_given(tool, own):
    """At 2 mm the tool's own image is on that grid; the transform still speaks of the 1 mm one."""
    fixed, moving = pair("LAS <- RAS")
    transform = BASELINES[tool](fixed, moving, spacing=2, **COARSE[tool])
    assert np.allclose(own["grid"].spacing, 2, rtol=0.05)
    assert own["warped"].shape == own["grid"].shape
    assert transform.warp_image(moving).shape == fixed.shape
    left, length = mean_error(transform)
    print(tool, left, length)
    assert left < 0.7 * length


def test_one_thread_twice_is_the_same_bit_for_bit(tool):
    """A study's row can be run again and compared."""
    fixed, moving = pair("LAS <- RAS")
    per_level = isinstance(COARSE[tool]["iterations"], tuple)
    few = COARSE[tool] | {"iterations": (5, 2) if per_level else 10}
    one, two = (BASELINES[tool](fixed, moving, spacing=2, seed=3, **few) for _ in range(2))
    assert np.abs(one.displacement()).max() > 0.1
    assert np.array_equal(one.displacement(), two.displacement())
