"""Transform files of other programs: what is missing, damaged or ambiguous is said in one line."""

from __future__ import annotations

import gzip
import json
import logging
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from cli_inputs import AFFINE, good, nevf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nevf_lite.cli.initial import load_initial
from nevf_lite.scans.io import load_image, save_image, write_displacement
from nevf_lite.scans.points import read_points, write_points
from nevf_lite.scans.space import Grid, UnknownGrid
from nevf_lite.transforms.components import Affine, DisplacementField
from nevf_lite.transforms.transform import Transform

GRID = Grid((12, 13, 14), AFFINE)
MATRIX = np.array([[1.1, 0.1, 0, 3], [-0.1, 0.95, 0, -2], [0, 0.05, 1, 4], [0, 0, 0, 1]])
FIELD = DisplacementField.from_mm(
    np.stack([2 * np.sin(GRID.points()[..., i - 1] / 9) for i in range(3)], -1), GRID
)
POINTS = GRID.to_world(np.random.default_rng(0).uniform(3, 9, (20, 3)))
FSL = "1 0 0 2\n0 1 0 3\n0 0 1 4\n0 0 0 1\n"


def refuses(path, *words: str, **grids) -> None:
    with pytest.raises(ValueError) as caught:
        Transform.load(path, **grids)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    for word in (path.name, *words):
        assert word in message, message


# -------------------------------------------------------------------------------- reading


def test_an_affine_knows_no_grid(tmp_path):
    """Points go through it; an image needs a grid, and the message says which option names one."""
    Transform((Affine(MATRIX),), GRID, GRID).save(tmp_path / "a.mat")
    affine = Transform.load(tmp_path / "a.mat")
    assert isinstance(affine.fixed, UnknownGrid) and isinstance(affine.moving, UnknownGrid)
    expected = POINTS @ MATRIX[:3, :3].T + MATRIX[:3, 3]
    np.testing.assert_allclose(affine.points_to_moving(POINTS), expected, atol=1e-9)
    for use, role in (
        (affine.displacement, "fixed"),
        (affine.inverse.displacement, "moving"),
        (lambda: affine.save(tmp_path / "b.safetensors"), "fixed"),
        (lambda: affine.save(tmp_path / "b.nii.gz"), "fixed"),
    ):
        with pytest.raises(ValueError, match=f"a.mat does not say the grid of its {role} image"):
            use()
    assert not (tmp_path / "b.nii.gz").exists()
    whole = Transform.load(tmp_path / "a.mat", GRID, GRID)
    assert whole.fixed == whole.moving == GRID
    assert whole.displacement().shape == (*GRID.shape, 3)


def test_what_is_ambiguous_is_refused(tmp_path):
    """Bare matrices, several transforms in a row, several volumes: what it is, and the way out."""
    (tmp_path / "a.txt").write_text(FSL)
    refuses(tmp_path / "a.txt", "bare matrix", ".mat", "c3d_affine_tool")
    sitk.WriteTransform(sitk.Euler3DTransform(), str(tmp_path / "one.tfm"))
    text = (tmp_path / "one.tfm").read_text()
    (tmp_path / "two.tfm").write_text(text + text.partition("\n")[2])
    refuses(tmp_path / "two.tfm", "several transforms", "compose")
    pytest.importorskip("nitransforms")
    (tmp_path / "run.aff12.1D").write_text("# 3dvolreg\n" + "1 0 0 2 0 1 0 3 0 0 1 4\n" * 5)
    refuses(tmp_path / "run.aff12.1D", "one matrix of AFNI", fixed=GRID, moving=GRID)
    for name, text in (("a.mat", FSL), ("a.1D", FSL[:24])):
        (tmp_path / name).write_text(text)
        refuses(tmp_path / name, "fixed image", "--like", "--fixed")


def test_a_matrix_of_fsl_says_how_it_is_read(tmp_path, caplog):
    """Greedy's and NiftyReg's look alike: the note says what was taken."""
    pytest.importorskip("nitransforms")
    (tmp_path / "a.mat").write_text(FSL)
    Transform.load(tmp_path / "a.mat", GRID, GRID)
    assert len(caplog.messages) == 1 and "a matrix of FSL" in caplog.messages[0]


@pytest.mark.parametrize("name", ["a.lta", "a.1D", "a.mat"])
def test_without_nitransforms_the_message_says_what_to_install(tmp_path, monkeypatch, name):
    """The extra is optional; ITK's files and fields need nothing."""
    monkeypatch.setitem(sys.modules, "nitransforms", None)
    (tmp_path / name).write_text(FSL)
    refuses(tmp_path / name, 'pip install "nevf-lite[transforms]"', fixed=GRID, moving=GRID)


def test_other_endings_are_listed(tmp_path):
    """A format that nobody here reads: its name, and all that are read."""
    (tmp_path / "talairach.xfm").write_text("MNI Transform File\n")
    refuses(tmp_path / "talairach.xfm", ".h5", ".lta", ".safetensors", ".nii.gz")


def test_fields_inside_composites_are_checked(tmp_path):
    """NaN, and positions in place of displacements, are refused there as in a field's own file."""
    for vectors, word in ((np.full((*GRID.shape, 3), np.nan), "NaN"), (GRID.points(), "positions")):
        image = sitk.GetImageFromArray(vectors.transpose(2, 1, 0, 3) * [-1, -1, 1], isVector=True)
        image.SetOrigin((AFFINE[:3, 3] * [-1, -1, 1]).tolist())
        image.SetSpacing(list(GRID.spacing))
        image.SetDirection((AFFINE[:3, :3] / GRID.spacing * [[-1], [-1], [1]]).ravel().tolist())
        field = sitk.DisplacementFieldTransform(image)
        sitk.WriteTransform(sitk.CompositeTransform([field]), str(tmp_path / "a.h5"))
        refuses(tmp_path / "a.h5", word)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, bytes]:
    """One good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    chain, affine = Transform((FIELD, Affine(MATRIX)), GRID, GRID), (Affine(MATRIX),)
    chain.save(folder / "a.h5")
    for ending in (".mat", ".txt", ".tfm"):
        Transform(affine, GRID, GRID).save(folder / f"a{ending}")
    (folder / "fsl.mat").write_text(FSL)
    (folder / "a.1D").write_text("1 0 0 2 0 1 0 3 0 0 1 4\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.h5", "a.mat", "a.txt", "fsl.mat", "a.1D"])
@settings(
    max_examples=40,
    deadline=20_000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 300) | st.integers(0, 60_000), st.integers(0, 255)), max_size=8
    ),
    cut=st.none() | st.integers(0, 9000),
)
def test_damaged_files(tmp_path, originals, capfd, name, damage, cut):
    """Bytes changed, files cut short: a finite map, or one line with the file's name.

    And that line is all: nothing of what the libraries print reaches the terminal.
    """
    logging.getLogger("nevf_lite").handlers.clear()  # a command prints what is logged
    raw = bytearray(originals[name])
    for where, value in damage:
        raw[where % len(raw)] = value
    path = tmp_path / name
    path.write_bytes(raw[:cut])
    try:
        loaded = Transform.load(path, GRID, GRID)
    except (ValueError, OSError) as error:
        message = str(error)
        assert name in message and "\n" not in message and len(message) < 500, message
    else:
        assert np.isfinite(loaded.points_to_moving(POINTS)).all()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_affine_asks_for_no_gigabytes(tmp_path, originals, monkeypatch):
    """ITK makes room for as many numbers as a `.mat` says it has: it must not see such a file."""
    monkeypatch.setattr(sitk, "ReadTransform", lambda path: pytest.fail("ITK was asked"))
    for place, number in ((4, 2**30), (8, 2**30), (16, 2**30), (4, -1)):
        raw = bytearray(originals["a.mat"])
        raw[place : place + 4] = number.to_bytes(4, "little", signed=True)
        (tmp_path / "a.mat").write_bytes(raw)
        refuses(tmp_path / "a.mat", "longer than it is")
    (tmp_path / "a.mat").write_bytes(originals["a.mat"][:-3])
    refuses(tmp_path / "a.mat", "longer than it is")


# -------------------------------------------------------------------------------- writing


def test_the_affine_part_alone(tmp_path, caplog):
    """At either end of a deformation, with a note; in the middle, or missing, it is refused."""
    affine, other = Affine(MATRIX), Affine(np.diag([1.1, 1, 1, 1.0]))
    product = other.matrix @ affine.matrix
    for parts in ((affine, other), (FIELD, affine, other), (affine, other, FIELD)):
        caplog.clear()
        Transform(parts, GRID, GRID).save(tmp_path / "a.txt")
        np.testing.assert_allclose(
            Transform.load(tmp_path / "a.txt").components[0].matrix, product, atol=1e-12
        )
        assert len(caplog.messages) == (FIELD in parts)
        assert all("left out" in message for message in caplog.messages)
    for parts, word in (((FIELD,), "has none"), ((affine, FIELD, other), "between")):
        with pytest.raises(ValueError, match=rf"b.mat .*{word}.*\.h5"):
            Transform(parts, GRID, GRID).save(tmp_path / "b.mat")
    assert not (tmp_path / "b.mat").exists()


def test_endings_that_cannot_be_written(tmp_path):
    """The list of those that can."""
    with pytest.raises(ValueError, match=r"a.lta should end in one of .*\.h5"):
        Transform((FIELD,), GRID, GRID).save(tmp_path / "a.lta")


def test_the_identity_is_a_composite_too(tmp_path):
    """No component at all, there and back."""
    Transform.identity(GRID).save(tmp_path / "a.h5")
    np.testing.assert_allclose(Transform.load(tmp_path / "a.h5").points_to_moving(POINTS), POINTS)


# ---------------------------------------------------------------------------- command line


@pytest.fixture
def files(tmp_path) -> dict:
    """A field, an affine of ITK and one of FSL between two images."""
    data = np.random.default_rng(0).normal(50, 9, GRID.shape).astype(np.float32)
    save_image(tmp_path / "fixed.nii.gz", data, GRID)
    moving = Grid((14, 12, 13), AFFINE @ np.diag([1.2, 0.9, 1, 1]))
    save_image(tmp_path / "moving.nii.gz", data.reshape(moving.shape), moving)
    write_displacement(
        tmp_path / "warp.nii.gz", Transform((FIELD,), GRID, GRID).displacement(), GRID
    )
    Transform((Affine(MATRIX),), GRID, moving).save(tmp_path / "affine.mat")
    (tmp_path / "flirt.mat").write_text(FSL)
    write_points(tmp_path / "p.csv", POINTS)
    return {path.name.split(".")[0]: path for path in tmp_path.iterdir()} | {"moving grid": moving}


def test_apply_takes_the_grid_of_like(files, tmp_path):
    """An affine warps an image with --like, and with --inverse the other way; not without it."""
    ours = Transform((Affine(MATRIX),), GRID, files["moving grid"])
    out = tmp_path / "out.nii.gz"
    good("apply", files["affine"], files["moving"], "-o", out, "--like", files["fixed"])
    expected = ours.warp_image(files["moving"]).get_fdata()
    np.testing.assert_allclose(load_image(out).get_fdata(), expected, atol=1e-3)
    good(
        "apply", files["affine"], files["fixed"], "-o", out, "--like", files["moving"], "--inverse"
    )
    expected = ours.inverse.warp_image(files["fixed"]).get_fdata()
    np.testing.assert_allclose(load_image(out).get_fdata(), expected, atol=1e-3)
    said = nevf("apply", files["affine"], files["moving"], "-o", out)
    assert said.exit_code == 2 and "--like" in said.stderr and "Traceback" not in said.stderr
    good("apply", files["affine"], files["p"], "-o", tmp_path / "q.csv")
    np.testing.assert_allclose(
        read_points(tmp_path / "q.csv"), ours.points_to_fixed(POINTS), atol=1e-5
    )


def test_compose_mixes_formats_and_converts(files, tmp_path):
    """A field after an affine in one composite; one transform alone in another format."""
    good("compose", files["affine"], files["warp"], "-o", tmp_path / "both.h5")
    both = Transform.load(tmp_path / "both.h5")
    expected = Transform((FIELD, Affine(MATRIX)), GRID, GRID).points_to_moving(POINTS)
    np.testing.assert_allclose(both.points_to_moving(POINTS), expected, atol=1e-3)
    good("compose", tmp_path / "both.h5", "-o", tmp_path / "one.nii.gz")
    one = Transform.load(tmp_path / "one.nii.gz")
    np.testing.assert_allclose(one.points_to_moving(POINTS), expected, atol=0.05)
    assert one.fixed == GRID
    said = nevf("compose", tmp_path / "both.h5", "-o", tmp_path / "affine_again.txt")
    assert said.exit_code == 0 and said.stderr.startswith("nevf: ") and "left out" in said.stderr


def test_the_images_of_flirt(files, tmp_path):
    """`--fixed` and `--moving` name them; `apply` knows them by itself."""
    pytest.importorskip("nitransforms")
    images = ["--fixed", files["fixed"], "--moving", files["moving"]]
    good("invert", files["flirt"], "-o", tmp_path / "inverse.txt", *images)
    inverse = Transform.load(tmp_path / "inverse.txt")
    ours = Transform.load(files["flirt"], files["fixed"], files["moving"])
    np.testing.assert_allclose(
        inverse.points_to_moving(POINTS), ours.points_to_fixed(POINTS), atol=1e-5
    )
    out = tmp_path / "out.nii.gz"
    good("apply", files["flirt"], files["moving"], "-o", out, "--like", files["fixed"])
    expected = ours.warp_image(files["moving"]).get_fdata()
    np.testing.assert_allclose(load_image(out).get_fdata(), expected, atol=1e-3)
    said = nevf("invert", files["flirt"], "-o", tmp_path / "b.txt")
    assert said.exit_code == 2 and "--fixed" in said.stderr


@pytest.fixture
def odd(files, tmp_path) -> Path:
    """The moving image with a qform that lies 5 mm from its sform."""
    image = nib.load(files["moving"])
    shifted = image.affine.copy()
    shifted[:3, 3] += [3, 0, 4]
    image.set_qform(shifted, 1)
    image.set_sform(image.affine, 4)
    (tmp_path / "odd.nii.gz").write_bytes(gzip.compress(image.to_bytes()))
    return tmp_path / "odd.nii.gz"


def test_a_header_at_odds_is_noted_once(files, odd, tmp_path):
    """On the terminal, as any other note, with the distance."""
    said = nevf("apply", files["warp"], odd, "-o", tmp_path / "o.nii.gz")
    notes = [line for line in said.stderr.splitlines() if "odd.nii.gz" in line and "qform" in line]
    assert len(notes) == 1 and notes[0].startswith("nevf: ") and "5.0 mm" in notes[0]


def test_a_sheared_grid_is_noted_once_for_each_file(files, tmp_path):
    """Image, labels and mask, however often the images that are made of them are read again."""
    image = nib.load(files["fixed"])
    sheared, labels = image.affine.copy(), (image.get_fdata() > 60).astype(np.int16)
    sheared[0, 1] += 0.3
    scans = {"scan": image.get_fdata(dtype=np.float32), "labels": labels, "mask": labels}
    for name, data in scans.items():
        nib.save(nib.Nifti1Image(data, sheared), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "other.nii.gz")
    words = ["register", tmp_path / "scan.nii.gz", files["moving"], "-o", tmp_path / "r"]
    words += [
        "--fixed-labels",
        tmp_path / "labels.nii.gz",
        "--fixed-mask",
        tmp_path / "mask.nii.gz",
    ]
    words += ["--moving-labels", tmp_path / "other.nii.gz", "--iterations", "1,0,0"]
    said = nevf(*words)
    assert said.exit_code == 0, said.stderr
    notes = [line for line in said.stderr.splitlines() if "right angles" in line]
    assert len(notes) == 3 and all(sum(f"{n}.nii.gz" in x for x in notes) == 1 for n in scans)
    again = nevf("apply", tmp_path / "r", tmp_path / "labels.nii.gz", "-o", tmp_path / "o.nii.gz")
    assert again.exit_code == 0 and again.stderr.count("right angles") == 1


def test_a_header_at_odds_is_noted_in_the_result(files, odd, tmp_path):
    """result.json keeps the line that the terminal showed, and the report shows it."""
    words = ["register", files["moving"], odd, "-o", tmp_path / "r", "--iterations", "1,0,0"]
    said = nevf(*words)
    assert said.exit_code == 0 and said.stderr.count("qform") == 1
    notes = json.loads((tmp_path / "r" / "result.json").read_text(encoding="utf-8"))["notes"]
    (note,) = (line for line in notes if "qform" in line)
    assert "moving" in note and "odd.nii.gz" in note and "5.0 mm" in note
    assert note.partition("qform")[2][:40] in (tmp_path / "r" / "report.html").read_text(
        encoding="utf-8"
    )


def test_a_registration_starts_from_any_of_them(files):
    """What `--init` hands on: the images tell FSL's matrix where it counts from."""
    pytest.importorskip("nitransforms")
    images = load_image(files["fixed"]), load_image(files["moving"])
    for name in ("flirt", "affine", "warp"):
        started = load_initial(files[name], None, None, images, "cpu")
        ours = Transform.load(files[name], files["fixed"], files["moving"])
        np.testing.assert_allclose(
            started.points_to_moving(POINTS), ours.points_to_moving(POINTS), atol=1e-6
        )
        assert started.fixed == GRID
