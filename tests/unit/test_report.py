"""The report: whole, self-contained, safe with any name, and never half written."""

from __future__ import annotations

import base64
import dataclasses
import errno
import html.parser
import io
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz import figures
from nevf_lite.viz.report.report import ReportData, render, write_report
from nevf_lite.viz.viewer.viewer import DeformationViewer

SECTIONS = [
    "numbers", "slices", "volume", "deformation", "checkerboard", "labels", "dice", "convergence",
    "reproduce",
]  # fmt: skip
HOSTILE = "<script>alert(1)</script> \"'&amp; ]]> {{ 7 * 7 }} Füße 脳 мозг \u202e"
VOID = {"meta", "link", "img", "source", "br"}


class Page(html.parser.HTMLParser):
    """A strict reading of a page: every tag closed in order; its elements, ids and text by id."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.said: list[str] = []
        self.inside_pre = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.said.append(data)
        if "pre" in self.open:
            self.inside_pre += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.said)


def ball(shape, seed=0, affine=None) -> nib.Nifti1Image:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(a**2 for a in axes) < 0.7
    noise = np.random.default_rng(seed).uniform(0.5, 1.0, shape)
    affine = np.eye(4) if affine is None else affine
    return nib.Nifti1Image((inside * noise).astype(np.float32), affine)


def sample(shape=(20, 24, 18), **changes) -> ReportData:
    fixed = ball(shape)
    labels = nib.Nifti1Image((np.asanyarray(fixed.dataobj) > 0).astype(np.int32), fixed.affine)
    report = ReportData(
        title="moving.nii.gz to fixed.nii.gz",
        fixed=fixed,
        moving_on_fixed=ball(shape, seed=1),
        warped=ball(shape, seed=2),
        fixed_labels=labels,
        moving_labels_on_fixed=labels,
        warped_labels=labels,
        label_names={1: "brain"},
        dice_before={1: 0.347, 2: 0.2},
        dice_after={1: 0.6, 2: float("nan")},
        jacobian=nib.Nifti1Image(np.ones(shape, np.float32), fixed.affine),
        displacement_mm=np.zeros((*shape, 3), np.float32),
        history=[
            {"level": i // 3, "iteration": i % 3, "loss": 1 - i / 10, "similarity": i / 10,
             "folds": 0.0, "seconds": i + 1.0}
            for i in range(6)
        ],
        summary={"dice_before": 0.347, "dice_after": 0.6, "folds_percent": 0.0, "seconds": 70.2},
        command="nevf register fixed.nii.gz moving.nii.gz -o result --labels 1-62",
        config={"preset": "default", "levels": [{"factor": 2, "lr": 1e-3}], "path": Path("/x")},
        versions={"nevf_lite": "0.1.0"},
    )  # fmt: skip
    return dataclasses.replace(report, **changes)


def plain(**changes) -> ReportData:
    """A page with the two pictures it always has, for tests of its words."""
    nothing = dict.fromkeys(
        ("fixed_labels", "moving_labels_on_fixed", "warped_labels", "jacobian", "displacement_mm")
    )
    return sample((12, 10), **{**nothing, "history": (), **changes})


@pytest.fixture(scope="module")
def whole() -> str:
    return render(sample())


@pytest.fixture(scope="module")
def page(whole) -> Page:
    return Page(whole)


def test_every_section_is_there_once(page):
    """Protects the promised contents, and the links at the top of the page."""
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert sorted(ids) == sorted(SECTIONS)
    linked = [a["href"] for a in page.all("a")]
    assert linked == [f"#{name}" for name in SECTIONS[1:]]
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1


def test_the_headline_says_what_happened(page):
    """Protects the one sentence that everybody reads."""
    assert "Dice 0.347 → 0.600, no folds, 70 s" in page.text


def test_four_numbers_first_and_the_rest_folded():
    """Protects the first screen: names, date, a verdict, four numbers; caveats after them."""
    summary = {
        "dice_before": 0.347, "dice_after": 0.6, "hd95_after_mm": 1.5, "folds_percent": 0.5,
        "inverse_consistency_mm": 0.01, "seconds": 70.2, "memory_mib": 300,
    }  # fmt: skip
    text = render(
        plain(
            summary=summary,
            files={"fixed": "/a/f.nii", "moving": "/b/m.nii"},
            date="1 May 2026",
            warnings=["Hm."],
        )
    )
    first, folded = text.split("<summary>More numbers</summary>")
    assert first.count("<dt>") == 4 and folded.count("<dt>") == 2
    assert (
        first.index("fixed: f.nii · moving: m.nii · 1 May 2026")
        < first.index("<dt>")
        < first.index("Hm.")
    )
    assert "The overlap of the labels improved and the map folds in 0.500\u00a0% of its" in first


def test_the_viewer_is_a_frame_of_its_own():
    """Protects the report with a viewer: one sandboxed frame, and scripts allowed for it alone."""
    report = sample((12, 10))
    still = Transform.identity(Grid.of(report.fixed))
    shown = DeformationViewer(still, report.moving_on_fixed, report.fixed, HOSTILE)
    page = Page(render(dataclasses.replace(report, viewer=shown)))
    (frame,) = page.all("iframe")
    assert frame["sandbox"] == "allow-scripts" and frame["title"] == HOSTILE
    assert not page.all("script")  # none outside the frame
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy and "script-src 'unsafe-inline'" in policy


def test_every_picture_is_inside_and_described(page):
    """Protects readers offline and readers who listen: data only, valid, with alt and size."""
    pictures = page.all("img")
    # slices, Jacobian, lattice, checkerboard, outlines, and convergence for light and dark
    assert [p["class"] for p in pictures] == ["brain"] * 5 + ["chart light", "chart dark"]
    for attributes in pictures:
        assert len(attributes["alt"]) > 20
        assert int(attributes["width"]) > 0 and int(attributes["height"]) > 0
    narrow = [attributes["srcset"] for attributes in page.all("source")]  # one each, for phones
    assert len(narrow) == len(pictures)
    for source in (*narrow, *(attributes["src"] for attributes in pictures)):
        kind, data = re.fullmatch(r"data:image/([a-z+]+);base64,([A-Za-z0-9+/=]+)", source).groups()
        data = base64.b64decode(data, validate=True)
        if kind == "svg+xml":
            ElementTree.fromstring(data)
        else:
            Image.open(io.BytesIO(data)).verify()


def test_nothing_is_asked_of_anybody(whole, page):
    """Protects the offline promise: no address, no script, and a policy that forbids both."""
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action", "background"):
                assert value.startswith(("data:", "#"))
    styles = whole[whole.index("<style>") : whole.index("</style>")]
    assert "url(" not in styles and "@import" not in styles
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy and "script" not in policy


def test_light_dark_phone_and_paper_are_all_styled(whole):
    """Protects the four ways the page is read."""
    for rule in ("prefers-color-scheme: dark", "max-width: 560px", "@media print", "viewport"):
        assert rule in whole


def test_hostile_names_are_text_and_nothing_else():
    """Protects the page from file names, labels and messages that look like HTML or a template."""
    report = plain(
        title=HOSTILE, label_names={1: HOSTILE}, command=f"nevf register '{HOSTILE}'",
        config={HOSTILE: HOSTILE, "b": [HOSTILE]}, versions={HOSTILE: HOSTILE},
        warnings=[HOSTILE], summary={HOSTILE: HOSTILE, "dice_after": 0.5},
    )  # fmt: skip
    page = Page(render(report))
    assert not page.all("script")
    # title twice (head and page), label, command, config key and value, versions both, warning,
    # metric value; inside JSON the quote is escaped, so that one is not counted
    assert page.text.count(HOSTILE) == 10
    assert "49" not in page.text.replace(HOSTILE, "")


def test_the_command_can_be_copied_exactly(page):
    """Protects reproduction: the text of the block is the command, character for character."""
    for command in ("nevf  register 'a  b' --x", "nevf \\\n  --seed 0 ", "nevf é"):
        assert Page(render(plain(command=command))).inside_pre == command
    assert page.inside_pre == sample().command


def test_a_name_that_is_no_text_can_be_written(tmp_path):
    """Protects file names with bytes outside UTF-8, which Python hands on as lone surrogates."""
    write_report(tmp_path / "r.html", plain(title="scan\udcff.nii"))
    assert "scan?.nii" in (tmp_path / "r.html").read_text("utf-8")


def test_the_bare_minimum_makes_a_whole_page():
    """Protects runs without labels, history, Jacobian or command: every section says so, and the
    contents lead to none that says nothing else."""
    full = sample()
    bare = ReportData("t", full.fixed, full.moving_on_fixed, full.warped)
    page = Page(render(bare))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert sorted(ids) == sorted(name for name in SECTIONS if name != "volume")
    led = {attributes["href"][1:] for tag, attributes in page.elements if tag == "a"}
    assert led.isdisjoint({"volume", "labels", "dice", "convergence"}) and "slices" in led
    assert len(page.all("img")) == 2 and "Registered" in page.text
    for said in ("No labels were given", "No iterations were recorded", "No command was recorded"):
        assert said in page.text


@pytest.mark.parametrize("shape", [(30, 26), (30, 26, 1)])
def test_two_dimensional_images_work(shape):
    """Protects reports of single slices."""
    report = sample(shape)
    page = Page(render(report))
    assert len(page.all("img")) == 7 and "planes pass" not in page.text


def test_dice_table_is_sorted_and_honest():
    """Protects the table: best first, absent structures last and blank, losses marked."""
    dice = {label: value for label, value in enumerate(np.linspace(0.3, 0.9, 29), start=1)}
    dice[30] = float("nan")
    before = {label: 0.5 for label in range(1, 30)}
    text = render(plain(dice_after=dice, dice_before=before, label_names={29: "best one"}))
    names = re.findall(r'<th scope="row">([^<]*)</th><td>[^<]', text)
    assert names[:2] == ["best one", "label 28"] and names[-2:] == ["label 1", "label 30"]
    assert text.count('<th scope="col">Structure</th>') == 2  # many rows: two columns
    worse = sum(value < 0.5 for value in dice.values())
    assert text.count('class="change worse"') == worse == 10
    assert (
        "\u22120.200" in text
        and "+0.400" in text
        and not re.search(r"\bnan\b", Page(text).text, re.IGNORECASE)
    )
    assert "Change" not in render(plain(dice_before=None))


def test_metrics_that_are_missing_are_worked_out():
    """Protects the headline of a caller who gives images and no summary."""
    folded = np.ones((12, 10), np.float32)
    folded[0, :3] = -1
    jacobian = nib.Nifti1Image(folded, np.eye(4))
    report = plain(summary={}, jacobian=jacobian, history=[{"loss": 1.0, "seconds": 6.0}])
    text = Page(render(report)).text
    assert "Dice 0.273 → 0.600, 3.03\u00a0% folds, 6.0 s" in text


def test_the_same_input_gives_the_same_bytes(whole):
    """Protects results that are compared by checksum."""
    assert render(sample()) == whole


@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_half_way_leaves_nothing_behind(tmp_path, monkeypatch, existed):
    """Protects the result folder: a broken picture or a full disk leaves what was there, alone."""
    path = tmp_path / "report.html"
    if existed:
        path.write_text("earlier")
    before = sorted(os.listdir(tmp_path))
    with monkeypatch.context() as patch:

        def broken(*_):
            raise RuntimeError("no picture")

        patch.setattr(figures, "jacobian_map", broken)
        with pytest.raises(RuntimeError, match="no picture"):
            write_report(path, sample((12, 10)))
    with monkeypatch.context() as patch:

        def full(self, text, **options):
            self.write_bytes(text[:1000].encode())
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="disk is full"):
            write_report(path, plain())
    assert sorted(os.listdir(tmp_path)) == before
    assert not existed or path.read_text() == "earlier"


def test_an_image_off_the_grid_is_refused(tmp_path):
    """Protects the reader: one line that names the image, and no file."""
    with pytest.raises(ValueError, match="^warped: its shape is"):
        write_report(tmp_path / "r.html", plain(warped=ball((5, 5))))
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_report(tmp_path / "missing" / "r.html", plain())
    assert not list(tmp_path.iterdir())


def test_a_real_brain_is_small(nevf_data, tmp_path):
    """Protects the budget: at most 1.5 MB at 160x192x160."""
    folder = nevf_data / "mindboggle"
    scans = [nib.load(folder / f"trt0{n}_t1.nii.gz") for n in (2, 1)]
    labels = [nib.load(folder / f"trt0{n}_seg.nii.gz") for n in (2, 1)]
    waves = [np.sin(np.arange(n) / 9).astype(np.float32) for n in scans[0].shape]
    bump = np.einsum("i,j,k->ijk", *waves)
    names = {label: f"structure {label}" for label in range(1, 63)}
    report = sample(
        fixed=scans[0], moving_on_fixed=scans[1], warped=scans[1], fixed_labels=labels[0],
        moving_labels_on_fixed=labels[1], warped_labels=labels[1], label_names=names,
        dice_before=dict.fromkeys(names, 0.3), dice_after=dict.fromkeys(names, 0.6),
        jacobian=nib.Nifti1Image(1 + 0.3 * bump, scans[0].affine),
        displacement_mm=np.stack([3 * bump] * 3, axis=-1), history=sample().history * 50,
    )  # fmt: skip
    write_report(tmp_path / "report.html", report)
    assert (tmp_path / "report.html").stat().st_size < 1.5e6
