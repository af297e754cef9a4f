"""The deformation viewer: what its page holds, that it is right, small, safe and the same twice."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import webbrowser
import zlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from cli_inputs import forbid_registration, good, nevf, refused, register_pair, write_inputs
from heads import FEW, pair, run
from nibabel.orientations import apply_orientation
from toy_images import blob, rotated, turned
from worlds import chain, grid_of, image_on, points_within, turn, velocity

from nevf_lite.integrate import jacobian_determinant
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.viewer import keyframes
from nevf_lite.viz.viewer.packing import MAX_FOLD_MARKS
from nevf_lite.viz.viewer.viewer import MAX_BYTES, DeformationViewer

HOSTILE = "</script><script>alert(1)</script> \"'&amp; {{ 7 * 7 }} 脳 \u202e \ud800"


def carried(page: str) -> dict:
    """What a page carries, read as the script reads it: meta, u (times, ndim, *lattice) mm, ..."""
    found = re.findall(r'<script id="(meta|data)"[^>]*>(.*?)</script>', page, re.S)
    (_, meta), (_, data) = found
    meta, raw = json.loads(meta), np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8)
    ndim, frames, nodes = meta["ndim"], meta["frames"], int(np.prod(meta["lattice"]))
    marks = [ndim * fold["shown"] for fold in meta["folds"]]
    count = frames * ndim * nodes + sum(marks)
    pairs = raw[:count].astype(np.int64) + 256 * raw[count : 2 * count].astype(np.int64)
    whole = np.where(pairs % 2, -(pairs + 1) // 2, pairs // 2)
    fields = whole[: frames * ndim * nodes].reshape(frames, ndim, nodes)
    last = np.cumsum(fields[0], axis=-1)
    bent = [np.floor(k * last / frames + 0.5) + fields[k] for k in range(1, frames)]
    u = meta["step"] * np.stack([*bent, last]).reshape(frames, ndim, *meta["lattice"][:ndim])
    at = 2 * count + -(-nodes // 8)
    size = int(np.prod(meta["scan"]))
    scans = raw[at:].reshape(-1, *meta["scan"])
    assert raw.size == at + size * (1 + meta["hasFixed"])
    scans = np.cumsum(np.cumsum(scans, axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
    return {"meta": meta, "u": u, "scans": scans}


def viewer(name: str = "3d", transform: Transform | None = None, **options) -> DeformationViewer:
    transform = chain(name) if transform is None else transform
    scan = blob(transform.fixed.shape) if transform.fixed.ndim == 3 else image_on(transform.fixed)
    fixed = nib.Nifti1Image(np.asarray(scan.dataobj), transform.fixed.affine)
    return DeformationViewer(transform, image_on(transform.moving), fixed, **options)


# -------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("name", ["2d", "2d-ASR-oblique", "3d-LPS-anisotropic", "3d-ASL-oblique"])
def test_the_page_holds_the_transform(name):
    """Decoded, each frame sends the lattice's nodes where exp(t v) does, within half a step."""
    transform = chain(name)
    flow, affine = transform.components
    shown = viewer(name)
    found = carried(shown.page)
    meta = found["meta"]
    before = Transform((affine,), transform.fixed, transform.moving)
    box = _box(transform.fixed, (shown.moving, before), (shown.fixed, None))
    lattice = box.with_shape(tuple(meta["lattice"][: box.ndim]))
    assert np.allclose(meta["extent"][: box.ndim], box.extent)
    nodes = lattice.points().reshape(-1, 3)
    unit = lattice.directions / np.array(lattice.spacing)
    for k, t in enumerate(keyframes.TIMES):
        wanted = replace(flow, sign=t).map(nodes)
        along = (wanted - nodes) @ np.linalg.pinv(unit).T
        u = np.moveaxis(found["u"][k], 0, -1).reshape(-1, box.ndim)
        assert np.abs(u - along).max() < 0.5 * meta["step"] + 1e-3
    there = nodes + u @ unit.T
    error = np.linalg.norm(affine.map(there) - transform.points_to_moving(nodes), axis=1)
    assert error.max() < 1.2 * meta["step"]
    assert np.abs(u).max() > 1  # there was something to see


def _box(grid: Grid, *sources) -> Grid:
    scans = [keyframes.resample_scan(image, transform, grid) for image, transform in sources]
    return keyframes.brain_box(grid, [apply_orientation(s, grid.canonical()[1]) for s in scans])[0]


def test_time_runs_the_flow():
    """At 0 only the affine is left, at 1 all of it is there; half the time twice is the whole."""
    transform = chain("3d")
    points = points_within(transform.fixed)
    flow, affine = transform.components
    start = keyframes.at_time(transform, 0.0).points_to_moving(points)
    assert np.allclose(start, affine.map(points))
    end = keyframes.at_time(transform, 1.0).points_to_moving(points)
    assert np.array_equal(end, transform.points_to_moving(points))
    half = keyframes.at_time(replace(transform, components=(flow,)), 0.5)
    twice = half.points_to_moving(half.points_to_moving(points))
    assert np.abs(twice - flow.map(points)).max() < 0.05


def test_time_of_what_has_no_velocity():
    """Displacement fields, and affines where there is nothing else, go along straight lines."""
    grid = grid_of("3d")
    points = points_within(grid)
    dense, affine = velocity(grid).integrated, turn(grid)
    for parts, moves in (((dense, affine), dense), ((affine,), affine)):
        moved = keyframes.at_time(Transform(parts, grid, grid), 0.25).components[0].map(points)
        assert np.allclose(moved - points, 0.25 * (moves.map(points) - points), atol=1e-4)
    nothing = Transform.identity(grid)
    assert keyframes.at_time(nothing, 0.5) is nothing
    assert not carried(viewer(transform=nothing).page)["u"].any()


def test_folds_are_counted_on_the_voxels_and_some_of_them_marked():
    """As many as the determinant has on the fixed grid in the box; at most so many marks."""
    grid = Grid((40, 40, 40), np.diag([2.0, 2, 2, 1]))
    u = torch.zeros(1, 3, *grid.shape)
    u[:, 0] = 6 * torch.sin(torch.arange(40) * 0.9).view(40, 1, 1)
    transform = Transform((DisplacementField(u, grid),), grid, grid)
    inside = nib.Nifti1Image(np.pad(np.ones((34, 34, 34), np.float32), 3), grid.affine)
    shown = DeformationViewer(transform, inside, inside)
    meta = carried(shown.page)["meta"]
    assert meta["voxels"] == 40**3  # the box is the whole grid
    wanted = int((jacobian_determinant(u) <= 0).sum())
    assert meta["folds"][-1] == {"total": wanted, "shown": MAX_FOLD_MARKS}
    assert f"{wanted:,} voxels fold" in shown.alt
    assert meta["folds"][0]["total"] < wanted


def test_the_scans_are_those_of_the_box():
    """The moving scan as it lies before the flow, and the fixed one, within one grey level."""
    grid = grid_of("3d")
    transform = Transform((velocity(grid),), grid, grid)
    image = blob(grid.shape, affine=grid.affine)
    found = carried(DeformationViewer(transform, image, image).page)
    assert np.array_equal(found["scans"][0], found["scans"][1])
    values = np.asarray(image.dataobj)
    kept = found["scans"][0].astype(float)
    assert kept.max() == found["meta"]["levels"] - 1
    assert abs((kept > 5).sum() / (values > 0.1).sum() - 1) < 0.25


# ------------------------------------------------------------------------------ orientations


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL", "PIR"])
def test_storage_order_makes_no_difference(codes):
    """However a scan is stored, it is shown with the patient's left on the left."""
    wanted = _shown(blob())
    found = _shown(turned(blob(), codes))
    assert found["meta"]["letters"] == [["L", "R"], ["P", "A"], ["I", "S"]]
    assert np.array_equal(found["scans"], wanted["scans"])
    assert found["meta"] == wanted["meta"]


def test_an_oblique_scan_says_so():
    """A tilt of 25 degrees: two letters, and no coordinate that would be true of a whole slice."""
    meta = _shown(nib.Nifti1Image(np.asarray(blob().dataobj), rotated(25)))["meta"]
    assert meta["letters"][0] == ["L", "R"]
    assert meta["letters"][1] == ["PI", "AS"]
    assert [axis["start"] is None for axis in meta["axes"]] == [False, True, True]


def test_what_is_no_scan_has_no_left_and_right():
    shown = viewer("2d", kind="picture")
    assert carried(shown.page)["meta"]["letters"] == [["", ""], ["", ""]]
    assert "Moving picture, warped" in shown.page and "Moving scan" not in shown.page
    assert "Moving scan, warped" in viewer("2d").page


def _shown(scan) -> dict:
    return carried(DeformationViewer(Transform.identity(Grid.of(scan)), scan, scan).page)


# ------------------------------------------------------------------------------------ the page


def test_small_even_where_nothing_compresses():
    """Noise of 1 mm, and a field of noise: still within the limit, with coarser scans."""
    grid = Grid((90, 100, 80), np.diag([1.0, 1, 1, 1]))
    random = np.random.default_rng(0)
    noise = nib.Nifti1Image(random.random(grid.shape, np.float32), grid.affine)
    u = torch.from_numpy(random.normal(0, 5, (1, 3, *grid.shape)).astype(np.float32))
    shown = DeformationViewer(Transform((DisplacementField(u, grid),), grid, grid), noise, noise)
    assert len(shown._repr_html_().encode()) <= MAX_BYTES
    assert carried(shown.page)["meta"]["step"] > 0.05


@pytest.mark.parametrize("name", ["2d", "3d"])
def test_the_same_bytes_twice(name):
    """No dates, no random ids: a notebook that is run again does not change."""
    assert viewer(name)._repr_html_() == viewer(name)._repr_html_()


@pytest.mark.parametrize("name", ["2d", "3d"])
def test_it_asks_nobody_for_anything(name):
    """No address, no eval, no WebGL, nothing but inline script and style."""
    page = viewer(name).page
    assert not re.search(r"https?://|//cdn|\beval\(|new Function|webgl|\bimport\b", page)
    assert "default-src 'none'" in page and "<noscript>" in page
    assert '<meta name="color-scheme" content="light dark">' in page


class _Frame(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_names_are_text_and_nothing_else():
    """A title full of markup stays a title, in the page and in the frame around it."""
    shown = viewer("2d", title=HOSTILE)
    frame = _Frame(shown._repr_html_())
    assert [tag for tag, _ in frame.tags] == ["iframe"]
    attributes = frame.tags[0][1]
    assert attributes["title"] == HOSTILE and attributes["srcdoc"] == shown.page
    assert attributes["sandbox"] == "allow-scripts"
    scripts = [a for tag, a in _Frame(shown.page).tags if tag == "script"]
    assert len(scripts) == 3 and "alert(1)</script>" not in shown.page
    assert "49" not in shown.page.partition("</title>")[0].partition("<title>")[2]


def test_it_can_be_told_without_being_seen():
    """The description names what is shown, in mm, and is in the page and in the notebook's text."""
    shown = viewer("3d")
    assert re.search(r"moved by up to \d+\.\d mm, and no voxel folds", shown.alt)
    assert shown.page.count(shown.alt) == 2  # for a screen reader, and where scripts are off
    assert shown.alt in repr(shown)


def test_a_page_is_written_whole(tmp_path):
    """`save` writes what the frame holds; a missing folder is refused."""
    shown = viewer("2d", title=HOSTILE)
    shown.save(tmp_path / "v.html")
    assert (tmp_path / "v.html").read_text("utf-8") == shown.page.replace("\ud800", "?")
    with pytest.raises(FileNotFoundError, match="no folder"):
        shown.save(tmp_path / "none" / "v.html")


def test_of_a_registration():
    """`result.view()` is a viewer of its images; a slice and a volume do not go together."""
    fixed, moving, _ = pair()
    result = run(fixed, moving, FEW)
    shown = result.view()
    assert isinstance(shown, DeformationViewer) and shown._repr_html_().startswith("<iframe")
    assert carried(shown.page)["meta"]["ndim"] == 2
    with pytest.raises(ValueError, match="2-D"):
        DeformationViewer(result.transform, blob()).page  # noqa: B018


# ------------------------------------------------------------------------------- `nevf view`


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> dict:
    return register_pair(tmp_path_factory.mktemp("pair"), 2)


def test_nevf_view_writes_and_opens(done, tmp_path, monkeypatch):
    """The page is in the result folder, or where one says, and the browser is given its address."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    folder = done["folder"]
    said = nevf("view", folder)
    page = folder / "view.html"
    assert said.exit_code == 0 and said.stdout.split() == [str(page)]
    assert opened == [page.resolve().as_uri()]
    assert carried(page.read_text("utf-8"))["meta"]["hasFixed"]  # both original scans
    record = folder / "result.json"
    kept = record.read_text("utf-8")
    record.write_text(kept.replace(str(done["moving"]), str(tmp_path / "gone.nii.gz")), "utf-8")
    assert "--moving" in nevf("view", folder, "--no-open").stderr  # the warped scan, taken back
    record.write_text(kept, "utf-8")

    other = tmp_path / "v.html"
    words = ["--fixed", done["fixed"], "--moving", done["moving"]]
    good("view", folder / "velocity.safetensors", *words, "-o", other, "--no-open")
    found = carried(other.read_text("utf-8"))
    assert found["meta"]["hasFixed"] and len(opened) == 1
    good("view", folder, "-o", page, "--no-open")  # again, in its place

    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    assert "no browser" in nevf("view", folder).stderr
    # another registration into the same folder: the view would no longer be true
    good(*done["words"][:3], "-o", folder, "--iterations", "1,0,0", "--quiet")
    assert not page.exists()


def test_nevf_view_refuses_in_one_line(tmp_path, monkeypatch):
    """No scan, an ending that is no page, an input that would be lost, no transform."""
    forbid_registration(monkeypatch)
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("opened"))
    files = write_inputs(tmp_path)
    out = tmp_path / "v.html"
    assert "--moving" in refused(tmp_path, "view", files["transform"], "-o", out)
    words = ["view", files["transform"], "--moving", files["moving"], "-o"]
    assert ".html" in refused(tmp_path, *words, tmp_path / "v.nii.gz")
    assert "moving image itself" in refused(tmp_path, *words, files["moving"])
    assert "no folder" in refused(tmp_path, *words, tmp_path / "none" / "v.html")
    assert "no file" in refused(tmp_path, "view", tmp_path / "gone.safetensors", "-o", out)
