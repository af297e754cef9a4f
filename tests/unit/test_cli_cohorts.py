"""The commands for many scans, on small slices: what they write, print and refuse."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import nevf
from heads import pair as head_pair

from nevf_lite.chapters import people
from nevf_lite.scores.metrics import mean_dice


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two slices of a head, labels of the second, and tables that name them."""
    folder = tmp_path_factory.mktemp("cohort")
    fixed, moving, _ = head_pair()
    labels = nib.Nifti1Image((moving.get_fdata() > 0.5).astype(np.int32), moving.affine)
    for name, image in (("a", fixed), ("b", moving), ("b_labels", labels)):
        nib.save(image, folder / f"{name}.nii.gz")
    (folder / "pairs.csv").write_text("name,fixed,moving\none,a.nii.gz,b.nii.gz\n")
    (folder / "atlases.csv").write_text("image, labels\nb.nii.gz, b_labels.nii.gz\n")
    (folder / "half.csv").write_text("image,labels\nb.nii.gz\n")
    return folder


def test_batch_labels_template_and_change(folder):
    """Each in turn, on the same two slices."""
    a, b = folder / "a.nii.gz", folder / "b.nii.gz"
    run = nevf("batch", folder / "pairs.csv", "-o", folder / "batch", "--preset", "fast", "-q")
    assert run.exit_code == 0, run.stderr
    assert (folder / "batch" / "one" / "warped.nii.gz").exists()
    assert (folder / "batch" / "index.html").exists() and "1 of 1 pairs" in run.stderr

    output = folder / "fused.nii.gz"
    run = nevf("labels", a, folder / "atlases.csv", "-o", output, "--preset", "fast")
    assert run.exit_code == 0, run.stderr
    truth = (nib.load(a).get_fdata() > 0.5).astype(np.int32)
    assert mean_dice(truth, np.asarray(nib.load(output).dataobj)) > 0.75

    words = ("template", a, b, "-o", folder / "template", "--rounds", "1", "--threads", "1")
    run = nevf(*words, "--set", "smooth=2")
    assert run.exit_code == 0, run.stderr
    assert "round 1 of 1" in run.stderr
    names = {path.name for path in (folder / "template").iterdir()}
    files = {"template.nii.gz", "result.json", "to_00.safetensors", "to_01.safetensors"}
    assert names == files
    record = json.loads((folder / "template" / "result.json").read_text())
    assert record["scans"] == [str(a), str(b)] and len(record["history"]) == 1
    assert record["config"]["smooth"] == 2 and record["threads"] == 1
    assert record["command"].startswith("nevf template") and "torch" in record["versions"]

    words = ("change", b, b, "-o", folder / "change", "--labels", folder / "b_labels.nii.gz")
    run = nevf(*words, "--json", "--preset", "fast")
    assert run.exit_code == 0, run.stderr
    (row,) = json.loads(run.stdout)["volumes"]
    assert abs(row["change_percent"]) < 0.1 and row["first_mm2"] > 100  # an area, of a slice
    names = {path.name for path in (folder / "change").iterdir()}
    scans = {f"to_{name}.safetensors" for name in ("first", "second")}
    images = {f"{name}.nii.gz" for name in ("first", "second", "log_jacobian")}
    assert names == scans | images | {"result.json"}
    record = json.loads((folder / "change" / "result.json").read_text())
    assert record["scans"] == [str(b), str(b)] and record["volumes"] == [row]


def test_the_demo_makes_a_template(tmp_path, monkeypatch):
    """Without any data: simulated slices, which are sharper together than as they lie."""
    monkeypatch.setenv("NEVF_DATA", str(tmp_path))
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path))
    monkeypatch.setattr("nevf_lite.cli.demo.SLICES", ("a", "b", "c"))
    run = nevf("demo", "--template", "-o", tmp_path / "t")
    assert run.exit_code == 0, run.stderr
    assert "3 of simulated" in run.stderr and "licence" in run.stderr
    assert len(list((tmp_path / "t").glob("to_*.safetensors"))) == 3
    scans = [np.asarray(image.dataobj) for image in people(3).images]
    made = nib.load(tmp_path / "t" / "template.nii.gz").get_fdata().squeeze()
    blur = np.mean(scans, axis=0)

    def detail(image):
        image = image / image[blur > 0.1].mean()
        return np.linalg.norm(np.gradient(image), axis=0)[blur > 0.1].mean()

    assert detail(made) > 1.05 * detail(blur)
    run = nevf("demo", "--template", "--data", "oasis", "-o", tmp_path / "u")
    assert run.exit_code == 2 and "--data" in run.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("batch", "none.csv", "-o", "x"), "none.csv"),
        (("batch", "pairs.csv", "-o", "x", "--fixed", "a.nii.gz"), "BIDS"),
        (("batch", "pairs.csv", "-o", "a.nii.gz"), "is a file"),
        (("labels", "a.nii.gz", "pairs.csv", "-o", "l.nii.gz"), "columns image and labels"),
        (("labels", "a.nii.gz", "atlases.csv", "-o", "b.nii.gz"), "is the atlas"),
        (("labels", "a.nii.gz", "half.csv", "-o", "l.nii.gz"), "line 2"),
        (("labels", "a.nii.gz", "atlases.csv", "-o", "l.txt"), "should end in"),
        (("labels", "a.nii.gz", "atlases.csv", "-o", "none/l.nii.gz"), "no folder none"),
        (("template", "a.nii.gz", "-o", "x"), "two or more"),
        (("template", "a.nii.gz", "b.nii.gz", "-o", "a.nii.gz"), "is a file"),
        (("template", "a.nii.gz", "template.nii.gz", "-o", "."), "is the scan 2"),
        (("template", "a.nii.gz", "b.nii.gz", "-o", "x", "--set", "smoth=1"), "mean smooth?"),
        (("labels", "a.nii.gz", "atlases.csv", "-o", "l.nii.gz", "--set", "lr"), "KEY=VALUE"),
        (("batch", "pairs.csv", "-o", "x", "--spacing", "2", "--set", "spacing=3"), "given twice"),
        (("change", "a.nii.gz", "none.nii.gz", "-o", "x"), "none.nii.gz"),
        (("change", "a.nii.gz", "b.nii.gz", "-o", "a.nii.gz"), "is a file"),
        (("change", "first.nii.gz", "b.nii.gz", "-o", "."), "is the first scan"),
        (("change", "a.nii.gz", "b.nii.gz", "-o", "x", "--json"), "without --labels"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, words, said, monkeypatch):
    """Before anything is registered, so that no hours are lost."""
    monkeypatch.chdir(folder)
    for module in ("atlases", "template", "change"):
        monkeypatch.setattr(f"nevf_lite.cohorts.{module}.register", None)
    run = nevf(*words)
    assert run.exit_code == 2 and said in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1 and not run.stdout
