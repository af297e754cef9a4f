"""`nevf register`: any setting, any similarity, several channels, lesions, and names of BIDS."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import SHAPES, forbid_registration, good, label_options, nevf, refused, write_pair

from nevf_lite.cli.assignments import assign
from nevf_lite.cli.bids import BidsNames
from nevf_lite.config import Config, Level, preset
from nevf_lite.registration import register as registration
from nevf_lite.scans.io import load_image
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform


@pytest.fixture
def files(tmp_path) -> dict:
    return write_pair(tmp_path / "pair", 2)


# --------------------------------------------------------------------------- --set, --similarity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smooth=1", {"smooth": 1.0}),
        ("width = 64", {"width": 64}),
        ("bfloat16=yes", {"bfloat16": True}),
        ("chunk=none", {"chunk": None}),
        ("chunk=4096", {"chunk": 4096}),
        ("spacing=auto", {"spacing": "auto"}),
        ("spacing=1.5", {"spacing": 1.5}),
        ("lattices=8,4", {"lattices": (8.0, 4.0)}),
        ("betas=0.8, 0.9", {"betas": (0.8, 0.9)}),
        ("similarity=nmi", {"similarity": "nmi"}),
        ('levels=[{"factor": 2}, {"lr": 0.01}]', {"levels": (Level(2.0), Level(lr=0.01))}),
    ],
)
def test_a_setting_has_the_type_of_its_field(text, expected):
    """Each type of field of `Config`: numbers, words, none, tuples, and the levels as JSON."""
    config = assign(Config(), [text])
    for name, value in expected.items():
        assert getattr(config, name) == value and type(getattr(config, name)) is type(value)


def test_every_setting_can_be_set():
    """What `to_dict` shows of a preset can be given back, setting by setting."""
    config = preset("paper")
    values = config.to_dict()
    levels = values.pop("levels")
    words = [
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]
    assert assign(Config(), [*words, f"levels={json.dumps(levels)}"]) == config


def test_settings_of_the_levels():
    """One value for all levels, or one for each, coarse to fine."""
    config = assign(preset("default"), ["window=9", "lr=1e-3,2e-3,3e-3"])
    assert [level.window for level in config.levels] == [9, 9, 9]
    assert [level.lr for level in config.levels] == [1e-3, 2e-3, 3e-3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "smoth=1"], "did you mean smooth?"),
        (["--set", "Window=9"], "did you mean window?"),
        (["--set", "qqq=1"], "wanted one of adjoint, betas"),
        (["--set", "smooth"], "wanted KEY=VALUE"),
        (["--set", "smooth=much"], "smooth wants a number, got 'much'"),
        (["--set", "smooth=inf"], "smooth wants a number"),
        (["--set", "smooth=-1"], "smooth: wanted a number, 0 or more"),
        (["--set", "width=3.5"], "width wants a whole number"),
        (["--set", "bfloat16=perhaps"], "true or false"),
        (["--set", "chunk=x"], "a whole number or none"),
        (["--set", "similarity=lcc"], "similarity: wanted one of"),
        (["--set", "lr=1,2"], "3 with commas between, one for each level, such as 0.007,0.007"),
        (["--set", "window=4"], "window: wanted an odd number"),
        (["--set", "levels=3"], "JSON list"),
        (["--set", 'levels=[{"factr": 2}]'], "did you mean factor?"),
        (["--set", "smooth=1", "--set", "smooth=2"], "given twice"),
        (["--set", "similarity=nmi", "--similarity", "mind"], "--similarity; keep one"),
        (["--set", "iterations=5", "--iterations", "1,1,1"], "--iterations; keep one"),
        (["--fixed-channel", "a.nii"], "wanted the same channels of both"),
        (["--space", "X"], "--space was given without --bids"),
        (["--bids"], "not named as in BIDS"),
        (["--dicom"], "there is no file"),
    ],
)
def test_what_cannot_be_set(tmp_path, monkeypatch, words, said):
    """One line each, before anything is read: the nearest name, the type, the range."""
    forbid_registration(monkeypatch)
    base = ["register", "a.nii.gz", "b.nii.gz", "-o", tmp_path / "r"]
    assert said in refused(tmp_path, *base, *words)


def test_another_contrast(tmp_path, files):
    """Fault 6: lncc on an inverted image is noted, and --similarity mind registers it."""
    image = nib.load(files["moving"])
    data = image.get_fdata(dtype=np.float32)
    inverted = np.where(data > 1, 250 - data, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(inverted, image.affine), tmp_path / "t2.nii.gz")
    words = ["register", files["fixed"], tmp_path / "t2.nii.gz", "-o", tmp_path / "r"]
    noted = nevf(*words, "--iterations", "1,0,0")
    assert "different contrasts" in noted.stderr and "--similarity" in noted.stderr
    said = nevf(*words, "--similarity", "mind", *label_options(files), "--json")
    assert said.exit_code == 0 and "contrasts" not in said.stderr
    document = json.loads(said.stdout)
    assert document["config"]["similarity"] == "mind"
    assert document["metrics"]["dice_after"] > document["metrics"]["dice_before"] + 0.1
    same = nevf(
        "register",
        files["fixed"],
        files["moving"],
        "-o",
        tmp_path / "s",
        *words[5:],
        "--iterations",
        "1,0,0",
    )
    assert same.exit_code == 0 and "contrasts" not in same.stderr


@pytest.mark.parametrize(("fill", "outside"), [([], 0), (["-1000"], -1000), (["min"], -700)])
def test_what_the_warped_image_holds_where_nothing_was_seen(tmp_path, files, fill, outside):
    """Fault 11, in `register`: a CT that ends early, and not water beyond its end."""
    names = {}
    for side, last in (("fixed", None), ("moving", 25)):
        image = nib.load(files[side])
        data = np.where(image.get_fdata() > 1, image.get_fdata(), -700).astype(np.float32)
        names[side] = tmp_path / f"ct_{side}.nii.gz"
        nib.save(nib.Nifti1Image(data[:last], image.affine), names[side])
    words = ["register", *names.values(), "-o", tmp_path / "r", "--iterations", "1,0,0"]
    good(*words, *(f"--fill={value}" for value in fill))
    assert (load_image(tmp_path / "r" / "warped.nii.gz").get_fdata()[30:] == outside).all()
    assert "wanted a number, min or nan" in nevf(*words, "--fill", "air").stderr


# ----------------------------------------------------------------------------- channels, lesions


@pytest.mark.parametrize("similarity", ["lncc", "ncc", "nmi"])
def test_a_second_channel_decides_where_the_first_is_blank(tmp_path, files, similarity):
    """The first channel shows a ball alone; the second, on a finer grid, what moves inside it."""
    grid = Grid.of(load_image(files["fixed"]))
    blank, names = {}, {}
    for side in ("fixed", "moving"):
        image = nib.load(files[f"{side}_labels"])
        ball = (np.asarray(image.dataobj) > 0).astype(np.float32)
        blank[side] = tmp_path / f"blank_{side}.nii.gz"
        nib.save(nib.Nifti1Image(ball, image.affine), blank[side])
        fine = grid.with_shape(tuple(2 * n - 1 for n in grid.shape))
        volume = Transform.identity(fine, grid).warp_image(files[side])
        names[side] = tmp_path / f"second_{side}.nii.gz"
        data = volume.get_fdata(dtype=np.float32)[..., None]
        nib.save(nib.Nifti1Image(data, fine.affine), names[side])
    words = ["register", blank["fixed"], blank["moving"], "-o", tmp_path / "r", "--json"]
    words += [*label_options(files), "--labels", "1", "--similarity", similarity]
    alone = json.loads(good(*words))["metrics"]
    second = ["--fixed-channel", names["fixed"], "--moving-channel", names["moving"]]
    both = json.loads(good(*words, *second))["metrics"]
    assert both["dice_after"] > max(alone["dice_after"], 0.85)
    assert load_image(tmp_path / "r" / "warped.nii.gz").get_fdata().max() <= 1.01  # the first's


def test_the_same_channel_twice_is_the_channel(files):
    """Two equal channels give the map of one: the average of a similarity with itself."""
    fixed, moving = load_image(files["fixed"]), load_image(files["moving"])
    config = preset("fast", spacing=4.0)
    one = registration.register(fixed, moving, config, progress=False)
    two = registration.register([fixed, fixed], [moving, moving], config, progress=False)
    apart = np.abs(one.transform.displacement() - two.transform.displacement())
    assert apart.max() < 0.2 and np.abs(one.transform.displacement()).max() > 3


def test_channels_that_do_not_fit(files):
    """Another number, other axes: said before the search."""
    fixed, moving = load_image(files["fixed"]), load_image(files["moving"])
    volume = np.random.default_rng(0).random(SHAPES[3])
    for pair, words in (
        (([fixed, fixed], moving), "2"),
        (([], []), "empty"),
        (([fixed, volume], [moving, volume]), "axes"),
    ):
        with pytest.raises(ValueError, match=words):
            registration.register(*pair, "fast", progress=False)


def test_a_lesion_does_not_count(tmp_path, files):
    """Cost-function masking: what is in the lesion does not move the map; the report shows it."""
    image = nib.load(files["moving"])
    lesion = np.zeros(image.shape, np.uint8)
    lesion[22:28, 12:20] = 1
    nib.save(nib.Nifti1Image(lesion, image.affine), tmp_path / "lesion.nii.gz")
    maps = {}
    for value in (20, 180):  # within the range of the image, so that its scale stays
        data = np.where(lesion, value, image.get_fdata()).astype(np.float32)
        nib.save(nib.Nifti1Image(data, image.affine), tmp_path / f"ill{value}.nii.gz")
        words = ["register", files["fixed"], tmp_path / f"ill{value}.nii.gz", "--preset", "fast"]
        for name, more in (
            ("plain", []),
            ("masked", ["--moving-lesion", tmp_path / "lesion.nii.gz"]),
        ):
            folder = tmp_path / f"{name}{value}"
            said = nevf(*words, "-o", folder, *more)
            assert said.exit_code == 0
            assert ("are lesion and do not count" in said.stderr) == bool(more)
            assert ("What was compared" in (folder / "report.html").read_text("utf-8")) == bool(
                more
            )
            maps[name, value] = Transform.load(folder).displacement()
    apart = {n: np.abs(maps[n, 20] - maps[n, 180]).max() for n in ("plain", "masked")}
    assert apart["masked"] < 0.2 * apart["plain"] and apart["plain"] > 1, apart


# ------------------------------------------------------------------------------------------ BIDS


def test_names_of_bids(tmp_path):
    """Entities, folder and space from the files' names; sources of every pattern."""
    for fixed, moving, space, folder, image in (
        (
            "tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz",
            "sub-01_ses-2_run-1_T1w.nii.gz",
            "MNI152NLin2009cAsym",
            "sub-01/ses-2/anat",
            "sub-01_ses-2_run-1_space-MNI152NLin2009cAsym_desc-nevf_T1w.nii.gz",
        ),
        (
            "sub-01_space-fsLR_desc-preproc_T1w.nii.gz",
            "sub-01_task-rest_space-T1w_desc-mean_boldref.nii",
            "fsLR",
            "sub-01/func",
            "sub-01_task-rest_space-fsLR_desc-nevf_boldref.nii.gz",
        ),
        (
            "my_atlas.2.nii.gz",
            "sub-x1_T2w.nii.gz",
            "myatlas2",
            "sub-x1/anat",
            "sub-x1_space-myatlas2_desc-nevf_T2w.nii.gz",
        ),
    ):
        found = BidsNames.of(tmp_path / fixed, tmp_path / moving, None)
        assert (found.space, str(found.folder)) == (space, folder)
        assert found.names["warped.nii.gz"].name == image
    with pytest.raises(ValueError, match="letters and digits"):
        BidsNames.of(tmp_path / "a.nii", tmp_path / "sub-1_T1w.nii", "a_b")


def test_bids_outputs(tmp_path, files):
    """--bids: images, transforms both ways, report and sidecars where fMRIPrep's users look."""
    fixed, moving = tmp_path / "tpl-Ball_T1w.nii.gz", tmp_path / "sub-01_T1w.nii.gz"
    shutil.copy(files["fixed"], fixed)
    shutil.copy(files["moving"], moving)
    root = tmp_path / "derivatives"
    words = ["register", fixed, moving, "-o", root, "--bids", "--iterations", "5,5,5"]
    said = good(*words, *label_options(files))
    folder = root / "sub-01" / "anat"
    to, back = "sub-01_from-T1w_to-Ball_mode-image_xfm", "sub-01_from-Ball_to-T1w_mode-image_xfm"
    image = "sub-01_space-Ball_desc-"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{image}nevf_T1w{end}" for end in (".nii.gz", ".json", ".html")),
        *(f"{image}jacobian_T1w{end}" for end in (".nii.gz", ".json")),
        *(f"{image}nevf_dseg{end}" for end in (".nii.gz", ".json")),
        *(f"{to}{end}" for end in (".nii.gz", ".json", ".safetensors")),
        *(f"{back}{end}" for end in (".nii.gz", ".json")),
    }
    assert {path.name for path in root.iterdir()} == {"sub-01", "dataset_description.json"}
    assert f"{image}nevf_T1w.html" in said
    sidecars = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert sidecars[f"{image}nevf_T1w.json"]["SpatialReference"] == str(fixed)
    assert sidecars[f"{to}.json"]["From"] == "T1w" and sidecars[f"{to}.json"]["To"] == "Ball"
    assert sidecars[f"{to}.json"]["metrics"]["dice_after"] > 0  # all that result.json holds
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    good("apply", folder / f"{to}.nii.gz", moving, "-o", tmp_path / "o.nii.gz")
    by_field = load_image(tmp_path / "o.nii.gz").get_fdata()
    warped = load_image(folder / f"{image}nevf_T1w.nii.gz").get_fdata()
    np.testing.assert_allclose(by_field, warped, atol=0.5)
    good(*words, "--quiet")  # without labels: those of the earlier result are gone
    assert not list(folder.glob("*dseg*")) and len(list(folder.iterdir())) == 10
