"""Every command that takes a transform, with a file of every kind: the same map each time.

One affine between two grids is written by SimpleITK, nibabel and NiTransforms in each format, as a
matrix or as the displacement on the fixed grid, and goes through `apply`, `invert`, `compose` and
`register --init`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from cli_inputs import AFFINE, good

from nevf_lite.scans.io import load_image, save_image
from nevf_lite.scans.itk import LPS, to_itk
from nevf_lite.scans.points import read_points, write_points
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

FIXED = Grid((18, 19, 20), AFFINE)
MOVING = Grid((20, 18, 19), AFFINE @ np.diag([1.1, 0.9, 1, 1]))
#: Fixed to moving, RAS mm: a turn, a scale, a shift, about the middle of the grids.
MATRIX = np.eye(4)
MATRIX[:3, :3] = [[1.03, 0.08, 0], [-0.08, 0.98, 0.03], [0, -0.03, 1]]
MATRIX[:3, 3] = [3, -2, 4] + (np.eye(3) - MATRIX[:3, :3]) @ FIXED.to_world(np.array([9, 9, 10]))
POINTS = FIXED.to_world(np.random.default_rng(0).uniform(5, 12, (20, 3)))
THERE = POINTS @ MATRIX[:3, :3].T + MATRIX[:3, 3]

ITK = (".mat", ".txt", ".tfm", ".h5")
COMPOSITES = ("composite.h5", "composite.txt", "composite.tfm")
FIELDS = ("field.nii", "field.nii.gz", "field.mha", "field.nrrd", "slicer.nii.gz", "spm.nii")
NITRANSFORMS = {"fs.lta": "fs", "fsl.mat": "fsl", "afni.1D": "afni"}
KINDS = (*(f"affine{ending}" for ending in ITK), *COMPOSITES, *FIELDS, *NITRANSFORMS)


@dataclass
class Files:
    """A transform's file beside the two images, points of the moving image, and a second map."""

    transform: Path
    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(params=KINDS)
def files(request, tmp_path) -> Files:
    x = np.random.default_rng(0).normal(50, 9, FIXED.shape).astype(np.float32)
    save_image(tmp_path / "fixed.nii.gz", x, FIXED)
    save_image(tmp_path / "moving.nii.gz", np.resize(x, MOVING.shape), MOVING)
    write_points(tmp_path / "moving.csv", THERE)
    sitk.WriteTransform(sitk.TranslationTransform(3, (-5.0, 2, 1)), str(tmp_path / "shift.txt"))
    write(tmp_path / request.param)
    return Files(tmp_path / request.param, tmp_path)


def write(path: Path) -> None:
    """The map in one format."""
    name, displacement = path.name, FIXED.points() @ (MATRIX[:3, :3] - np.eye(3)).T + MATRIX[:3, 3]
    if name in NITRANSFORMS:
        io = pytest.importorskip("nitransforms").io
        images = [nib.Nifti1Image(np.zeros(g.shape, np.uint8), g.affine) for g in (FIXED, MOVING)]
        factory = io.get_linear_factory(NITRANSFORMS[name], is_array=False)
        factory.from_ras(MATRIX, reference=images[0], moving=images[1]).to_filename(path)
    elif name in ("slicer.nii.gz", "spm.nii"):
        vectors = displacement + (FIXED.points() if name == "spm.nii" else 0)
        image = nib.Nifti1Image(vectors[:, :, :, None].astype(np.float32), FIXED.affine)
        image.header["intent_code"] = 1006 if name == "slicer.nii.gz" else 1007
        image.header["intent_name"] = b"" if name == "slicer.nii.gz" else b"Mapping"
        nib.save(image, path)
    elif name in FIELDS:
        image = to_itk(displacement * LPS[:3], FIXED.affine, vectors=True)
        sitk.WriteImage(image, str(path))
    else:
        flip = np.diag(LPS)
        lps = flip @ MATRIX @ flip
        affine = sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())
        composite = sitk.CompositeTransform([affine, sitk.TranslationTransform(3, (0.0, 0, 0))])
        sitk.WriteTransform(composite if name in COMPOSITES else affine, str(path))


def images_of(files: Files) -> list:
    """What FSL's and AFNI's files have to be told, and does no harm to others."""
    return ["--fixed", files["fixed.nii.gz"], "--moving", files["moving.nii.gz"]]


def test_apply(files):
    """Points and an image, forth and back."""
    out, back = files["out.csv"], files["back.csv"]
    words = ["apply", files.transform, *images_of(files)]
    good(*words, files["moving.csv"], "-o", out)
    np.testing.assert_allclose(read_points(out), POINTS, atol=0.02)
    good(*words, out, "-o", back, "--inverse")
    np.testing.assert_allclose(read_points(back), THERE, atol=0.02)
    words = ["apply", files.transform, files["moving.nii.gz"], "--like", files["fixed.nii.gz"]]
    good(*words, "-o", files["o.nii.gz"])
    expected = Transform.from_affine(MATRIX, FIXED, MOVING).warp_image(files["moving.nii.gz"])
    found = load_image(files["o.nii.gz"]).get_fdata()
    np.testing.assert_allclose(found, expected.get_fdata(), atol=0.05)


def test_invert_and_compose(files):
    """Written anew as a composite of ITK, after a second map, and inverted."""
    good("compose", files.transform, "-o", files["again.h5"], *images_of(files))
    itk = sitk.ReadTransform(str(files["again.h5"]))
    flip = LPS[:3]
    there = [itk.TransformPoint(point) for point in (POINTS * flip).tolist()]
    np.testing.assert_allclose(there * flip, THERE, atol=0.02)
    good("compose", files["again.h5"], files["shift.txt"], "-o", files["both.h5"])
    shifted = Transform.load(files["both.h5"]).points_to_moving(POINTS - [5, -2, 1])
    np.testing.assert_allclose(shifted, THERE, atol=0.02)
    good("invert", files.transform, "-o", files["inverse.safetensors"], *images_of(files))
    inverse = Transform.load(files["inverse.safetensors"])
    np.testing.assert_allclose(inverse.points_to_moving(THERE), POINTS, atol=0.02)


def test_register_starts_there(files):
    """--init: a search that hardly moves ends where it began."""
    words = ["register", files["fixed.nii.gz"], files["moving.nii.gz"], "-o", files["r"], "-q"]
    good(*words, "--init", files.transform, "--iterations", "1,0,0", "--set", "lr=1e-9")
    found = Transform.load(files["r"]).points_to_moving(POINTS)
    np.testing.assert_allclose(found, THERE, atol=0.1)  # mm; the field's first weights are not 0
