"""Pairs by name: where data is found, what is refused, and what the tables rely on."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nevf_lite import data
from nevf_lite.data import available, load_pair, split
from nevf_lite.data.catalogue import DATASETS, DKT31, cache_folder, find_weights
from nevf_lite.scans.space import Grid
from nevf_lite.scores.metrics import mean_dice

AFFINE = np.diag([-1.0, 1.0, 1.0, 1.0])
AFFINE[:3, 3] = 20, -30, 5


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """(NEVF_DATA, cache), both empty and in use."""
    mine, cache = tmp_path / "mine", tmp_path / "cache"
    mine.mkdir()
    monkeypatch.setenv("NEVF_DATA", str(mine))
    monkeypatch.setenv("NEVF_CACHE", str(cache))
    return mine, cache


def put(folder, *subjects, shape=(21, 31, 25), label=2):
    """A dataset of small brains: a bright box with one label in a dark volume."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, subject in enumerate(subjects):
        image = np.zeros(shape, np.uint8)
        image[4 + i : 15 + i, 6:20, 5:18] = 200
        image[8 + i : 10, 10:12, 8:12] = 100
        nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{subject}_t1.nii.gz")
        labels = nib.Nifti1Image((image > 0).astype(np.int16) * label, AFFINE)
        nib.save(labels, folder / f"{subject}_seg.nii.gz")
    return folder


def test_a_pair_and_what_is_known_about_it(folders):
    """Subjects by name; intensities in [0, 1]; labels, masks, names, protocol and terms with it."""
    put(folders[0] / "mindboggle", "trt01", "trt02")
    pair = load_pair("mindboggle", "trt01", "trt02")
    assert pair.fixed.get_data_dtype() == np.float32
    assert pair.fixed_labels.get_data_dtype() == np.int32
    values = pair.moving.get_fdata()
    assert (values.min(), values.max()) == (0, 1)
    assert np.array_equal(pair.fixed.affine, AFFINE)
    assert np.array_equal(pair.moving_mask.get_fdata() > 0, values > 0)
    assert pair.label_names[2] == "lh-caudalmiddlefrontal" and pair.protocol == tuple(range(1, 63))
    assert pair.truth is None and "CC BY-NC-SA" in pair.licence and "Klein" in pair.credit
    assert load_pair("mindboggle").name == "mindboggle trt02 <- trt01"  # the default pair


def test_spacing_keeps_the_box_and_the_labels_whole(folders):
    """Resampled to 2 mm: same corners in the world, smoothed image, labels never mixed."""
    put(folders[0] / "oasis", "1000", "1001", label=35)
    full, half = load_pair("oasis"), load_pair("oasis", spacing=2)
    grid, coarse = Grid.of(full.fixed), Grid.of(half.fixed)
    assert coarse == grid.at_spacing(2) == Grid.of(half.fixed_labels) == Grid.of(half.fixed_mask)
    far = np.array(grid.shape) - 1, np.array(coarse.shape) - 1
    assert np.allclose(grid.to_world(far[0]), coarse.to_world(far[1]))
    assert set(np.unique(half.fixed_labels.get_fdata())) == {0, 35}
    # a box of 11 x 14 x 13 voxels stays a box of that many cubic millimetres, within a layer
    volume = (half.fixed_labels.get_fdata() > 0).sum() * np.prod(coarse.spacing)
    assert abs(volume / (11 * 14 * 13) - 1) < 0.2
    brightness = half.fixed.get_fdata().sum() * np.prod(coarse.spacing)
    assert np.isclose(brightness, full.fixed.get_fdata().sum(), rtol=0.1)


def test_where_data_is_looked_for(folders):
    """NEVF_DATA first, then the cache; `sample` is served by neurite's pair as well."""
    mine, cache = folders
    put(cache / "data" / "neurite", "OAS1_0001", "OAS1_0002", "OAS1_0003")
    found = {f.dataset.name: f for f in available()}
    assert found["neurite"].folder == cache / "data" / "neurite" == found["sample"].folder
    assert found["simulated"].available and not found["mindboggle"].available
    put(mine / "neurite", "OAS1_0007", "OAS1_0009")
    assert load_pair("neurite").name == "neurite OAS1_0007 <- OAS1_0009"  # the default is not here
    assert list(found) == list(DATASETS)
    assert cache_folder() == cache


def test_numbers_of_freesurfer_and_tables_that_come_with_the_data(folders):
    """slices2d keeps FreeSurfer's numbers; a labels.tsv beside the images has the last word."""
    put(folders[0] / "slices2d", "trt01", "trt02", shape=(21, 31, 25), label=1008)
    names = load_pair("slices2d").label_names
    assert names[1008] == "lh-inferiorparietal" and names[4] == "Left-Lateral-Ventricle"
    assert len(DKT31) == 62 and all(i in names for i in DKT31)
    put(folders[0] / "neurite2d", "OAS1_0001", "OAS1_0002", label=1)
    (folders[0] / "neurite2d" / "labels.tsv").write_text("index\tname\n1\tThing\n7\tOther\n")
    pair = load_pair("neurite2d")
    assert pair.label_names == {1: "Thing", 7: "Other"} and pair.protocol == (1, 7)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"dataset": "brains"}, ValueError, "dataset: .*mindboggle.*simulated.*'brains'"),
        ({"dataset": "oasis", "fixed": "9"}, ValueError, "fixed: oasis has no subject '9'.*1000"),
        ({"dataset": "neurite"}, FileNotFoundError, "nevf data fetch neurite"),
        ({"dataset": "oasis", "spacing": 0}, ValueError, "spacing: .*millimetres"),
        ({"dataset": "oasis", "ndim": 2}, ValueError, "ndim: oasis has 3 axes"),
        ({"dataset": "simulated", "fixed": "me"}, ValueError, "seed"),
    ],
)
def test_requests_that_cannot_be_served(folders, call, error, words):
    """One line that says what there is, or what to run."""
    put(folders[0] / "oasis", "1000", "1001")
    with pytest.raises(error, match=words) as caught:
        load_pair(**call)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(folders, monkeypatch):
    """A misspelt NEVF_DATA is the likeliest reason that nothing is found."""
    monkeypatch.setenv("NEVF_DATA", "/no/such/folder")
    with pytest.raises(FileNotFoundError, match="NEVF_DATA is /no/such/folder, which is not a"):
        load_pair("oasis")


def test_labels_on_another_grid_are_refused(folders):
    """Dice of labels that lie elsewhere than their image would be a number without meaning."""
    folder = put(folders[0] / "oasis", "1000", "1001")
    moved = nib.load(folder / "1000_seg.nii.gz")
    nib.save(nib.Nifti1Image(moved.get_fdata(), np.eye(4)), folder / "1000_seg.nii.gz")
    with pytest.raises(ValueError, match="moving labels .*grid"):
        load_pair("oasis")


def test_weights_are_found_beside_the_data(folders):
    """Published weights lie in weights/ inside NEVF_DATA, beside it, or in the cache."""
    with pytest.raises(FileNotFoundError, match="nevf data fetch weights"):
        find_weights("net.pth")
    for folder in (folders[1] / "weights", folders[0].parent / "weights", folders[0] / "weights"):
        folder.mkdir(parents=True)
        (folder / "net.pth").write_bytes(b"x")
        assert find_weights("net.pth") == folder / "net.pth"


def test_nobody_is_in_both_splits():
    """trtNN and 10MM are one person: no person may be tuned on and tested on, under either name.

    The test people of the two datasets are twelve.
    """

    def person(subject: str) -> str:
        return f"{999 + int(subject[3:])}" if subject.startswith("trt") else subject

    train = {person(s) for people in data.TRAIN.values() for s in people}
    test = {
        person(s)
        for groups in (data.TEST_ATLASES, data.TEST_SCANS)
        for people in groups.values()
        for s in people
    }
    assert len(train) == 13 and len(test) == 12 and not train & test
    assert [split(s) for s in ("trt08", "1007", "1113", "trt09", "1013", "1128")] == [
        *["train"] * 3,
        *["test"] * 3,
    ]
    assert split("trt15") is None and split("OAS1_0001") is None


def test_the_test_split_has_nine_pairs_a_dataset():
    """Every atlas with every scan, and never a subject with itself."""
    for dataset in ("mindboggle", "oasis"):
        pairs = data.test_pairs(dataset)
        assert len(set(pairs)) == 9
        assert all(split(a) == split(b) == "test" and a != b for a, b in pairs)
    with pytest.raises(ValueError, match="dataset: "):
        data.test_pairs("neurite")


def test_the_simulated_pair(folders):
    """The embedded pair has everything a real one has, and the truth."""
    pair = load_pair("simulated", seed=3, ndim=2)
    assert pair.truth.shape == (*pair.fixed.shape, 3)
    assert Grid.of(pair.fixed) == Grid.of(pair.moving_labels) and len(pair.fixed.shape) == 2
    assert set(pair.protocol) < set(pair.label_names)


@pytest.mark.parametrize(
    ("dataset", "fixed", "moving", "expected"),
    [("mindboggle", "trt02", "trt01", 0.347), ("oasis", "1001", "1000", 0.545)],
)
def test_overlap_of_the_real_brains_before_registration(
    nevf_data, monkeypatch, dataset, fixed, moving, expected
):
    """Images, labels and protocol belong together: Dice after the affine alignment is as known."""
    monkeypatch.setenv("NEVF_DATA", str(nevf_data))
    pair = load_pair(dataset, fixed, moving)
    score = mean_dice(pair.fixed_labels, pair.moving_labels, pair.protocol)
    assert score == pytest.approx(expected, abs=0.001)
    assert pair.fixed.shape == (160, 192, 160)
    named = set(np.unique(np.asanyarray(pair.fixed_labels.dataobj))) - {0}
    assert named <= set(pair.label_names)
    assert np.asanyarray(pair.fixed_mask.dataobj)[pair.fixed_labels.get_fdata() > 0].mean() > 0.97


@pytest.mark.parametrize(
    ("dataset", "shape"), [("slices2d", (216, 291)), ("sample", (160, 192, 224))]
)
def test_the_other_real_pairs(nevf_data, monkeypatch, dataset, shape):
    """They load, with labels of the protocol in them, and every number has a name."""
    monkeypatch.setenv("NEVF_DATA", str(nevf_data))
    pair = load_pair(dataset)
    assert pair.fixed.shape == shape == pair.moving_labels.shape
    present = set(np.unique(np.asanyarray(pair.fixed_labels.dataobj))) - {0}
    assert len(present & set(pair.protocol)) > 15 and present <= set(pair.label_names)


def test_the_slices_lie_as_anatomy_says_whatever_their_headers_say(nevf_data, monkeypatch):
    """Frontal cortex is in front of occipital cortex, and left labels are on the left."""
    monkeypatch.setenv("NEVF_DATA", str(nevf_data))
    pair = load_pair("slices2d")
    for labels in (pair.fixed_labels, pair.moving_labels):
        values, grid = np.asarray(labels.dataobj), Grid.of(labels)

        def centre(*wanted, values=values, grid=grid):
            return grid.to_world(np.argwhere(np.isin(values, wanted))).mean(axis=0)

        front, back = centre(1028, 2028), centre(1005, 2005)  # superior frontal; cuneus
        assert front[1] > back[1] + 50
        cortex = values[(values >= 1000) & (values < 3000)]
        left, right = (np.unique(cortex[cortex // 1000 == side]) for side in (1, 2))
        assert centre(*left)[0] < centre(*right)[0] - 30
    assert Grid.of(pair.fixed) == Grid.of(pair.fixed_labels)
