"""What a chapter starts with: the profile, the pairs, the small pictures and the live panels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nevf_lite import Grid
from nevf_lite.chapters import begin, brains, people, scored, slices, tensor
from nevf_lite.data.splits import split
from nevf_lite.viz import live, sketch
from nevf_lite.viz.style import Picture, encode


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """A machine without data: what most readers have."""
    monkeypatch.setenv("NEVF_DATA", str(tmp_path))
    monkeypatch.setattr("nevf_lite.data.pairs.data_folders", lambda: [tmp_path])


def test_the_profile_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("NEVF_PROFILE", raising=False)
    assert begin().pick(fast=1, full=2) == 1
    monkeypatch.setenv("NEVF_PROFILE", "full")
    assert begin().pick(fast=1, full=2) == 2
    assert "full" in begin()._repr_html_()
    monkeypatch.setenv("NEVF_PROFILE", "quick")
    with pytest.raises(ValueError, match="NEVF_PROFILE: wanted one of fast, full, got 'quick'"):
        begin()


def test_begin_sets_the_seed():
    begin()
    first = torch.rand(3)
    begin()
    assert torch.equal(first, torch.rand(3))


def test_several_people_share_a_grid_and_are_not_the_same(nothing_here):
    """Simulated where no data are; the box holds every brain, with a margin."""
    group = people(3, spacing=4.0)
    assert group.name == "simulated" and set(group.protocol) <= set(group.label_names)
    grids = [Grid.of(image) for image in (*group.images, *group.labels)]
    assert all(grid == grids[0] for grid in grids)
    first, *others = (np.asarray(image.dataobj) for image in group.images)
    assert all(np.corrcoef(first.ravel(), o.ravel())[0, 1] < 0.98 for o in others)
    for labels in group.labels:
        rim = np.array(labels.dataobj)
        rim[1:-1, 1:-1] = 0
        assert not rim.any() and np.asarray(labels.dataobj).any()
    for count in (1, 9):
        with pytest.raises(ValueError, match="count: wanted 2 to 8"):
            people(count)


def test_slices_without_data_are_simulated_and_cut_to_the_brains(nothing_here):
    pair = slices()
    assert pair.name.startswith("simulated")
    assert Grid.of(pair.fixed) == Grid.of(pair.moving) == Grid.of(pair.fixed_labels)
    assert pair.truth.shape == (*pair.fixed.shape, 3)
    mask = np.asarray(pair.fixed_mask.dataobj) > 0
    rim = np.ones_like(mask)
    rim[4:-4, 4:-4] = False
    assert not (mask & rim).any()  # some background stays around the brain
    assert mask.mean() > 0.35  # but not much


def test_cutting_moves_no_anatomy(nothing_here):
    """A world point has the same intensity in the cut image and in the whole one."""
    from nevf_lite import load_pair

    whole, cut = load_pair("simulated", spacing=1.5, ndim=2).fixed, slices().fixed
    index = np.array([[20, 30], [40, 50], [60, 20]])
    there = Grid.of(whole).to_voxels(Grid.of(cut).to_world(index))
    assert np.allclose(there, np.rint(there), atol=1e-4)
    same = np.asarray(whole.dataobj)[tuple(np.rint(there).astype(int).T)]
    assert np.array_equal(same, np.asarray(cut.dataobj)[tuple(index.T)])


def test_brains_without_data_are_simulated(nothing_here):
    pair = brains(spacing=8)
    assert pair.name.startswith("simulated 3-D")
    assert tensor(pair.fixed).shape == (1, 1, *pair.fixed.shape)


def test_scored_rows_are_done_of_the_test_split_and_each_job_once():
    rows = scored("tables", "rerun", "a study without rows")
    assert set(rows.study) == {"tables", "rerun"} and set(rows.status) == {"done"}
    assert {split(subject) for subject in (*rows.fixed, *rows.moving)} == {"test"}
    assert not {"1008", "1011"} & {*rows.fixed, *rows.moving}  # Mindboggle's people, once more
    assert not rows.duplicated(["dataset", "fixed", "moving", "config_hash", "label"]).any()
    assert len(scored("tables", "rerun", "tables")) == len(rows)


def test_scored_rows_of_the_earlier_presets_say_so():
    labels = set(scored("tables").label)
    assert {"features, default, before", "VoxelMorph + features, default, before"} <= labels
    assert not labels & {"features, default", "features, fast", "NeVF"}


def test_nothing_scored_is_an_error():
    with pytest.raises(ValueError, match="studies: none of one, two has rows"):
        scored("one", "two")


def test_sketches_are_pictures_with_a_description():
    image = torch.rand(1, 1, 20, 24)
    fold = torch.zeros(1, 2, 20, 24)
    fold[:, 0, 8:12] = torch.tensor([0.0, 4, -4, 0]).view(1, 4, 1)
    for picture in (
        sketch.images({"a": image, "b": image[0, 0]}, alt="two images", unit="intensity"),
        sketch.lattices({"folded": fold}, alt="a fold", background=image),
        sketch.arrows({"jump": fold}, alt="arrows", background=image, outline=image, every=4),
        sketch.arrows({"wind": fold + 1}, alt="lines of a wind", streams=["wind"]),
        sketch.images({"|J|": image - 0.5}, alt="folds", folds=True, outline=image),
        sketch.curves({"a": ([1, 2], [3, 4])}, alt="a line", x="x (mm)", y="y (mm)", log="xy"),
    ):
        assert isinstance(picture, Picture)
        assert picture.alt and len(encode(picture, picture.kind)) > 500


def test_a_folded_lattice_shows_its_folds():
    """Yellow appears where the determinant is not positive, and only then."""

    def yellow(displacement) -> int:
        from io import BytesIO

        from PIL import Image

        picture = sketch.lattices({"": displacement}, alt="a lattice", every=4)
        pixels = np.asarray(Image.open(BytesIO(encode(picture, "png", 80))).convert("RGB"), int)
        return int(((pixels[..., 0] > 200) & (pixels[..., 1] > 230) & (pixels[..., 2] < 90)).sum())

    fold = torch.zeros(1, 2, 20, 24)
    fold[:, 0, 8:12] = torch.tensor([0.0, 4, -4, 0]).view(1, 4, 1)
    assert yellow(fold) > 10
    assert yellow(0 * fold) == 0


def test_explore_shows_a_picture_first_and_redraws_when_a_slider_moves(monkeypatch):
    shown, drawn = [], []

    def draw(amplitude, squarings):
        drawn.append((amplitude, squarings))
        return sketch.curves({"a": ([0, 1], [0, amplitude])}, alt="a line", x="x", y="y")

    monkeypatch.setattr(
        "IPython.display.display", lambda what, **kw: shown.append(what) or _Handle(shown)
    )
    live.explore(draw, start={"squarings": 7}, amplitude=[2, 4, 8], squarings=range(9))
    assert drawn == [(4, 7)]
    assert "<img alt=" in shown[0].data
    slider = shown[1].children[0]
    slider.value = 8
    assert drawn[-1] == (8, 7)
    assert "<img alt=" in shown[-1].data
    with pytest.raises(ValueError, match="squarings: wanted one of"):
        live.explore(draw, start={"squarings": 99}, amplitude=[2], squarings=range(9))


class _Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, what):
        self.shown.append(what)
