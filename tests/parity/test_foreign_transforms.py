"""Transform files between ANTs, SimpleITK, NiTransforms, NiftyReg and this package, both ways.

A point of the fixed image must land within 1e-3 mm of where the other tool takes it, and a warped
image must be the other tool's, on grids of every kind.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from test_itk_fields import AXIAL, GRIDS, MOVING, motion, rotation, scene

from nevf_lite.scans.io import load_image, save_image
from nevf_lite.scans.itk import LPS
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, DisplacementField
from nevf_lite.transforms.transform import Transform

NAMES = ["RAS", "LAS", "oblique", "anisotropic", "2-D"]
FLIP = LPS[:3]


@dataclass
class Case:
    """A field, then an affine, from a fixed grid to a moving one; and the moving image on disk."""

    folder: Path
    fixed: Grid
    moving: Grid
    matrix: np.ndarray
    transform: Transform
    points: np.ndarray

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def lands(self, end: np.ndarray, transform: Transform | None = None) -> None:
        """The points land where another tool takes them, given in RAS mm."""
        ours = (transform or self.transform).points_to_moving(self.points)
        assert np.linalg.norm(ours - self.points, axis=1).max() > 3  # or little would be compared
        assert np.linalg.norm(ours - end, axis=1).max() < 1e-3

    def shows(self, image: np.ndarray, transform: Transform | None = None) -> None:
        """The moving image warped is another tool's, away from the moving image's edge."""
        ours = (transform or self.transform).warp_image(self.file("moving.nii.gz"), like=self.fixed)
        ours, image = ours.get_fdata(), np.asarray(image).reshape(self.fixed.shape)
        full = ndimage.binary_erosion((ours > 1) & (image > 1), iterations=2)
        assert full.mean() > 0.2
        assert np.abs(ours - image)[full].max() < 1e-3 * np.ptp(ours[full])


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    fixed = GRIDS[request.param]
    flat = fixed.ndim == 2
    moving = AXIAL if flat else MOVING
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(*((0, 0, 8) if flat else (4, -6, 8))) * ([1.05, 0.97, 1])
    matrix[:3, 3] = (2, -3, 0 if flat else 4)
    field = motion(fixed.points())
    if flat:
        field[..., 2] = 0
    parts = DisplacementField.from_mm(field, fixed), Affine(matrix)
    folder = tmp_path_factory.mktemp(request.param)
    voxels = np.random.default_rng(5).uniform(2, np.array(fixed.shape) - 3, (40, fixed.ndim))
    transform = Transform(parts, fixed, moving)
    case = Case(folder, fixed, moving, matrix, transform, fixed.to_world(voxels))
    save_image(case.file("moving.nii.gz"), scene(moving.points()).astype(np.float32), moving)
    save_image(case.file("fixed.nii.gz"), np.zeros(fixed.shape, np.float32), fixed)
    return case


def by_itk(transform, points: np.ndarray) -> np.ndarray:
    """Points through a SimpleITK transform, RAS mm."""
    ndim = transform.GetDimension()
    moved = points.copy()
    there = [transform.TransformPoint(p) for p in (points * FLIP)[:, :ndim].tolist()]
    moved[:, :ndim] = there * FLIP[:ndim]
    return moved


def by_ants(case: Case, files: list[str]) -> np.ndarray:
    """Points through antsApplyTransformsToPoints, RAS mm."""
    import ants
    import pandas

    table = pandas.DataFrame(case.points * FLIP, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, files)[["x", "y", "z"]]
    return moved.to_numpy() * FLIP


# ------------------------------------------------------------------------ ours, in their hands


def test_our_composite_in_their_hands(case):
    """`.h5`: field and affine in the right order; SimpleITK, ANTs and, at voxels, NiTransforms."""
    ants = pytest.importorskip("ants")
    path = case.file("ours.h5")
    case.transform.save(path)
    transform = sitk.ReadTransform(path)
    assert transform.GetName() == "CompositeTransform"
    case.lands(by_itk(transform, case.points))
    moving, fixed = (sitk.ReadImage(case.file(f"{n}.nii.gz")) for n in ("moving", "fixed"))
    case.shows(sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform)).T)
    case.lands(by_ants(case, [path]))
    moving, fixed = (ants.image_read(case.file(f"{n}.nii.gz")) for n in ("moving", "fixed"))
    case.shows(ants.apply_transforms(fixed, moving, [path], interpolator="linear").numpy())
    case.lands(Transform.load(path).points_to_moving(case.points))
    assert len(Transform.load(path).components) == 2
    manip = pytest.importorskip("nitransforms.manip")
    if case.fixed.ndim == 3:
        fixed = nib.load(case.file("fixed.nii.gz"))
        chain = manip.TransformChain.from_filename(path, fmt="itk", reference=fixed)
        voxels = case.fixed.points()[4:-4:6, 4:-4:6, 4:-4:6].reshape(-1, 3)
        ours = case.transform.points_to_moving(voxels)
        assert np.abs(chain.map(voxels) - ours).max() < 1e-3


@pytest.mark.parametrize("ending", [".mat", ".txt", ".tfm"])
def test_our_affine_in_their_hands(case, ending):
    """The affine part alone: SimpleITK, ANTs, and NiTransforms, which reads the text."""
    pytest.importorskip("ants")
    path = case.file(f"affine{ending}")
    case.transform.save(path)
    affine = Transform((Affine(case.matrix),), case.fixed, case.moving)
    case.lands(by_itk(sitk.ReadTransform(path), case.points), affine)
    if ending != ".tfm":  # ANTsPy knows no such name
        case.lands(by_ants(case, [path]), affine)
    if ending != ".mat":
        nitransforms = pytest.importorskip("nitransforms")
        theirs = nitransforms.linear.Affine.from_filename(path, fmt="itk")
        case.lands(theirs.map(case.points), affine)
    case.lands(Transform.load(path).points_to_moving(case.points), affine)


# ------------------------------------------------------------------------ theirs, in our hands


def kinds_of_linear(ndim: int) -> list:
    """One of each of ITK's linear transforms, with a centre away from the origin."""
    if ndim == 2:
        turned = sitk.Euler2DTransform((5.0, -7.0), 0.1, (3.0, 2.0))
        similar = sitk.Similarity2DTransform(1.1, -0.05, (3.0, 1.0), (4.0, 9.0))
        return [turned, similar, sitk.TranslationTransform(2, (4.0, -3.0))]
    turned = sitk.Euler3DTransform((5.0, -7.0, 2.0), 0.1, -0.05, 0.08, (3.0, 2.0, -4.0))
    similar = sitk.Similarity3DTransform(1.1, (0, 0, 1), 0.1, (1.0, 2.0, 3.0), (4.0, -8.0, 2.0))
    versor = sitk.VersorRigid3DTransform((0, 1, 0), 0.07, (4.0, 4.0, 1.0), (3.0, 3.0, 0.0))
    affine = sitk.AffineTransform((1.1, 0.1, 0, 0, 0.95, 0.05, -0.1, 0, 1), (3, 2, 1), (7, 8, 9))
    return [turned, similar, versor, affine, sitk.TranslationTransform(3, (4.0, -3.0, 1.0))]


@pytest.mark.parametrize("ending", [".mat", ".txt", ".tfm", ".h5"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_each_linear_transform_of_itk(tmp_path, ndim, ending):
    """Rigid, similar, affine, a shift, in every file that ITK writes."""
    points = np.random.default_rng(0).normal(size=(20, 3)) * 40
    for theirs in kinds_of_linear(ndim):
        sitk.WriteTransform(theirs, str(tmp_path / f"a{ending}"))
        ours = Transform.load(tmp_path / f"a{ending}")
        np.testing.assert_allclose(ours.points_to_moving(points), by_itk(theirs, points), atol=1e-6)


@pytest.mark.parametrize("ending", [".h5", ".txt", ".tfm"])
def test_composites_of_simpleitk(case, ending):
    """Shift, field, rigid in a row, in the order of ITK; a field in the middle says no grid."""
    ndim = case.fixed.ndim
    kinds = kinds_of_linear(3)
    case.transform.save(case.file("field.h5"))
    field = sitk.CompositeTransform(sitk.ReadTransform(case.file("field.h5"))).GetNthTransform(1)
    first, last = (kinds[0], kinds[4])
    if ndim == 2:  # within the plane
        first = sitk.Euler3DTransform((5.0, -7.0, 0.0), 0, 0, 0.1, (3.0, 2.0, 0.0))
        last = sitk.TranslationTransform(3, (4.0, -3.0, 0.0))
    composite = sitk.CompositeTransform([first, field, last])
    sitk.WriteTransform(composite, case.file(f"theirs{ending}"))
    ours = Transform.load(case.file(f"theirs{ending}"), case.fixed, case.moving)
    assert [type(part).__name__ for part in ours.components] == [
        "Affine",
        "DisplacementField",
        "Affine",
    ]
    assert ours.fixed == case.fixed and ours.moving == case.moving
    inside = ours.fixed.to_voxels(case.points + [-4, 3, 0 if ndim == 2 else 1])
    keep = ((inside > 0) & (inside < np.array(ours.fixed.shape) - 1)).all(axis=1)
    end = by_itk(composite, case.points)  # outside its grid a field of ITK moves nothing
    assert keep.sum() > 10
    with pytest.raises(ValueError, match="does not say the grid of its fixed image"):
        Transform.load(case.file(f"theirs{ending}")).displacement()  # the field comes second
    assert np.abs(ours.points_to_moving(case.points[keep]) - end[keep]).max() < 1e-3


def test_a_bspline_is_sampled_on_the_fixed_grid(tmp_path):
    """What is neither affine nor a field: right at each voxel of the grid that is named."""
    grid = GRIDS["oblique"]
    save_image(tmp_path / "fixed.nii", np.zeros(grid.shape, np.float32), grid)
    fixed = sitk.ReadImage(str(tmp_path / "fixed.nii"))
    spline = sitk.BSplineTransformInitializer(fixed, (4, 4, 4))
    random = np.random.default_rng(0)
    spline.SetParameters(random.normal(0, 4, len(spline.GetParameters())).tolist())
    sitk.WriteTransform(spline, str(tmp_path / "spline.h5"))
    ours = Transform.load(tmp_path / "spline.h5", tmp_path / "fixed.nii")
    points = grid.points()[3:-3:5, 3:-3:5, 3:-3:5].reshape(-1, 3)
    assert np.abs(ours.points_to_moving(points) - by_itk(spline, points)).max() < 1e-3
    with pytest.raises(ValueError, match="spline.h5 does not say the grid of its fixed image"):
        Transform.load(tmp_path / "spline.h5")


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_ants_registration_leaves(tmp_path, ndim):
    """0GenericAffine.mat, 1Warp.nii.gz and its inverse, one by one."""
    ants = pytest.importorskip("ants")
    shape = (40, 36) if ndim == 2 else (28, 26, 24)
    axes = np.meshgrid(*(np.linspace(-1.4, 1.4, n) for n in shape), indexing="ij")
    blob = np.exp(-sum(a**2 for a in axes)) + 0.3 * np.sin(4 * axes[0]) * np.cos(3 * axes[1])
    images = {}
    for name, shift in (("fixed", 0.0), ("moving", 2.5)):
        data = ndimage.shift(blob, shift, order=1, mode="nearest").astype(np.float32)
        images[name] = ants.from_numpy(
            data, origin=(5.0, -7, 3)[:ndim], spacing=(1.5, 2, 1.8)[:ndim]
        )
        ants.image_write(images[name], str(tmp_path / f"{name}.nii.gz"))
    options = dict(reg_iterations=(4, 0), aff_iterations=(20, 0), aff_shrink_factors=(2, 1))
    options |= dict(aff_smoothing_sigmas=(1, 0), random_seed=1)
    done = ants.registration(
        images["fixed"], images["moving"], "SyN", outprefix=str(tmp_path / "out"), **options
    )
    warp, affine = done["fwdtransforms"]
    assert warp.endswith("1Warp.nii.gz") and affine.endswith("0GenericAffine.mat")
    moving = load_image(tmp_path / "moving.nii.gz")
    ours = Transform.load(warp).compose(Transform.load(affine, moving=moving))
    theirs = done["warpedmovout"].numpy()
    found = ours.warp_image(moving).get_fdata()
    inside = ndimage.binary_erosion(np.ones(shape, bool), iterations=5)
    assert np.abs(found - theirs)[inside].max() < 1e-3 * np.ptp(theirs)
    assert np.abs(found - ndimage.shift(blob, 2.5, order=1, mode="nearest"))[inside].max() > 0.02
    inverse = Transform.load(affine).inverse.compose(
        Transform.load(tmp_path / "out1InverseWarp.nii.gz")
    )
    if ndim == 3:
        back = ants.apply_transforms(
            images["moving"], images["fixed"], done["invtransforms"], whichtoinvert=[True, False]
        )
        found = inverse.warp_image(tmp_path / "fixed.nii.gz", like=moving).get_fdata()
        assert np.abs(found - back.numpy())[inside].max() < 1e-3 * np.ptp(theirs)


def test_the_composite_that_ants_registration_writes(tmp_path):
    """Composite.h5 and InverseComposite.h5, as fMRIPrep has them made: affine and field in one."""
    ants = pytest.importorskip("ants")
    axes = np.meshgrid(*(np.linspace(-1.4, 1.4, n) for n in (28, 26, 24)), indexing="ij")
    blob = np.exp(-sum(a**2 for a in axes)) + 0.3 * np.sin(4 * axes[0]) * np.cos(3 * axes[1])
    place = dict(origin=(5.0, -7, 3), spacing=(1.5, 2, 1.8))
    fixed, moving = (
        ants.from_numpy(ndimage.shift(blob, by, order=1, mode="nearest").astype("f4"), **place)
        for by in (0.0, 2.5)
    )
    options = dict(reg_iterations=(4, 0), aff_iterations=(20, 0), aff_shrink_factors=(2, 1))
    options |= dict(aff_smoothing_sigmas=(1, 0), random_seed=1, write_composite_transform=True)
    done = ants.registration(fixed, moving, "SyN", outprefix=str(tmp_path / "out"), **options)
    ends = {"fwdtransforms": "Composite.h5", "invtransforms": "InverseComposite.h5"}
    points = np.random.default_rng(0).uniform(-12, 12, (40, 3)) + [-25, -18, 24]
    for kind, ending in ends.items():
        path = done[kind] if isinstance(done[kind], str) else done[kind][0]
        assert path.endswith(ending)
        found = Transform.load(path).points_to_moving(points)
        assert np.abs(found - by_itk(sitk.ReadTransform(path), points)).max() < 1e-3
        assert np.linalg.norm(found - points, axis=1).max() > 2
    for image, name in ((fixed, "fixed"), (moving, "moving")):
        ants.image_write(image, str(tmp_path / f"{name}.nii.gz"))
    ours = Transform.load(tmp_path / "outComposite.h5", tmp_path / "fixed.nii.gz")
    ours = ours.warp_image(tmp_path / "moving.nii.gz").get_fdata()
    inside = (slice(5, -5),) * 3
    theirs = done["warpedmovout"].numpy()
    assert np.abs(ours - theirs)[inside].max() < 1e-3 * np.ptp(theirs)


# ----------------------------------------------------------------- FreeSurfer, FSL, AFNI


def as_image(grid: Grid) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.zeros((*grid.shape, 1)[:3], np.uint8), grid.affine)


@pytest.mark.parametrize("fmt", ["fs", "fsl", "afni"])
def test_affines_that_nitransforms_writes(case, fmt):
    """An affine between two grids, through each program's file; FreeSurfer's knows its grids."""
    nitransforms = pytest.importorskip("nitransforms")
    if case.fixed.ndim == 2 and fmt == "afni":
        pytest.skip("AFNI has no slices")
    fixed, moving = as_image(case.fixed), as_image(case.moving)
    path = case.file({"fs": "a.lta", "fsl": "a.mat", "afni": "a.aff12.1D"}[fmt])
    theirs = nitransforms.linear.Affine(case.matrix, reference=fixed)
    factory = nitransforms.io.get_linear_factory(fmt, is_array=False)
    factory.from_ras(case.matrix, reference=fixed, moving=moving).to_filename(path)
    ours = Transform.load(path, case.fixed, case.moving)
    assert np.abs(ours.points_to_moving(case.points) - theirs.map(case.points)).max() < 1e-3
    if fmt == "fs" and case.fixed.ndim == 3:
        ours = Transform.load(path)
        assert ours.fixed == case.fixed and ours.moving == case.moving
    elif fmt != "fs":
        with pytest.raises(ValueError, match="does not say the grid of its fixed image"):
            Transform.load(path)


def test_fsl_by_its_own_definition(case):
    """FLIRT's matrix maps scaled voxels of the input, the first axis turned where det > 0."""
    pytest.importorskip("nitransforms")

    def scaled(grid: Grid) -> np.ndarray:
        spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
        frame = np.diag([*spacing, 1.0])
        if np.linalg.det(grid.affine) > 0:
            turn = np.diag([-1.0, 1, 1, 1])
            turn[0, 3] = grid.shape[0] - 1
            frame = frame @ turn
        return frame

    to_moving = np.linalg.inv(case.moving.affine) @ case.matrix @ case.fixed.affine
    flirt = scaled(case.moving) @ to_moving @ np.linalg.inv(scaled(case.fixed))
    np.savetxt(case.file("flirt.mat"), np.linalg.inv(flirt), fmt="%.10f")
    ours = Transform.load(case.file("flirt.mat"), case.file("fixed.nii.gz"), case.moving)
    case.lands(case.points @ case.matrix[:3, :3].T + case.matrix[:3, 3], ours)
    case.shows(ours.warp_image(case.file("moving.nii.gz"), like=case.fixed).get_fdata(), ours)


def test_an_lta_from_voxel_to_voxel(tmp_path):
    """Type 0, as mri_robust_register writes it, with FreeSurfer's comments and trailing lines."""
    pytest.importorskip("nitransforms")
    fixed, moving = GRIDS["LAS"], MOVING
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(4, -6, 8), (2, -3, 4)
    voxels = np.linalg.inv(fixed.affine) @ np.linalg.inv(matrix) @ moving.affine  # moving to fixed

    def geometry(grid: Grid, name: str) -> list[str]:
        axes = grid.affine[:3, :3] / grid.spacing
        centre = grid.to_world(np.array(grid.shape) / 2)
        rows = [("xras", axes[:, 0]), ("yras", axes[:, 1]), ("zras", axes[:, 2]), ("cras", centre)]
        words = ["valid = 1  # volume info valid", f"filename = {name}"]
        words += ["volume = {} {} {}".format(*grid.shape)]
        words += ["voxelsize = {:.15e} {:.15e} {:.15e}".format(*grid.spacing)]
        return words + [f"{key}   = " + " ".join(f"{v:.15e}" for v in row) for key, row in rows]

    lines = ["# transform file a.lta", "# created by mri_robust_register", ""]
    lines += ["type      = 0 # LINEAR_VOX_TO_VOX", "nxforms   = 1"]
    lines += ["mean      = 0.0000 0.0000 0.0000", "sigma     = 10000.0000", "1 4 4"]
    lines += [" ".join(f"{v:.15e}" for v in row) for row in voxels]
    lines += ["src volume info", *geometry(moving, "moving.mgz")]
    lines += ["dst volume info", *geometry(fixed, "fixed.mgz"), "subject bert", "fscale 0.15"]
    (tmp_path / "a.lta").write_text("\n".join(lines) + "\n")
    ours = Transform.load(tmp_path / "a.lta")
    assert ours.fixed == fixed and ours.moving == moving
    np.testing.assert_allclose(ours.components[0].matrix, matrix, atol=1e-4)


# --------------------------------------------------------------------------------- NiftyReg


@pytest.mark.parametrize("option", ["-def", "-disp"])
def test_fields_of_niftyreg(case, option):
    """`reg_transform` turns an affine into positions or displacements, on RAS and oblique grids."""
    from nevf_lite.study.baselines.niftyreg import programs

    if case.fixed.ndim == 2:
        pytest.skip("of volumes here")
    try:
        tool = programs()[1]
    except ValueError as error:
        pytest.skip(str(error))
    np.savetxt(case.file("affine_ras.txt"), case.matrix)
    command = [str(tool), "-ref", case.file("fixed.nii.gz"), option]
    out = case.file(f"niftyreg{option}.nii")
    tool.chmod(0o755)
    subprocess.run([*command, case.file("affine_ras.txt"), out], check=True, capture_output=True)
    assert nib.load(out).header["intent_name"].item() == b"NREG_TRANS"
    case.lands(
        case.points @ case.matrix[:3, :3].T + case.matrix[:3, 3],
        Transform.load(out),
    )


# ------------------------------------------------------------- headers that say two things


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (0, 0), (2, 4)])
def test_itk_warps_the_very_same_files_alike(tmp_path, codes):
    """Forms that disagree by centimetres, in both images: SimpleITK makes our warped image."""
    fixed, moving = GRIDS["LAS"], GRIDS["RAS"]
    turned = fixed.affine.copy()
    turned[:3, :3] = rotation(0, 0, 12) @ turned[:3, :3]
    turned[:3, 3] += [6, -4, 2]
    for name, grid in (("fixed", fixed), ("moving", moving)):
        image = nib.Nifti1Image(scene(moving.points()).astype(np.float32), None)
        image.header.set_zooms(grid.spacing)
        image.header.set_qform(grid.affine, 1)
        image.header.set_sform(turned if name == "fixed" else grid.affine, 1)
        image.header["qform_code"], image.header["sform_code"] = codes
        (tmp_path / f"{name}.nii").write_bytes(image.to_bytes())
    images = {name: load_image(tmp_path / f"{name}.nii", name) for name in ("fixed", "moving")}
    grids = [Grid.of(image) for image in images.values()]
    shift = np.eye(4)
    shift[:3, 3] = grids[1].to_world(np.array([14, 16, 13])) - grids[0].to_world([14, 16, 13])
    field = DisplacementField.from_mm(0.5 * motion(grids[0].points()), grids[0])
    ours = Transform((field, Affine(shift)), *grids)
    ours.save(tmp_path / "warp.nii.gz")
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64)
    )
    pair = [sitk.ReadImage(str(tmp_path / f"{name}.nii")) for name in ("moving", "fixed")]
    theirs = sitk.GetArrayFromImage(sitk.Resample(*pair, transform, sitk.sitkLinear)).T
    found = ours.warp_image(images["moving"]).get_fdata()
    inside = ndimage.binary_erosion((found > 1) & (theirs > 1), iterations=2)
    assert inside.mean() > 0.2
    assert np.abs(found - theirs)[inside].max() < 1e-3 * np.ptp(theirs)
