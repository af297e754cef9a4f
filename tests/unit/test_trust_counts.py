"""The counts of the page *Trust* can fail: what they are made to find is found."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
from cli_inputs import write_inputs

from benchmarks import real_files, trust
from benchmarks.damage import KINDS, outcome
from benchmarks.interruptions import FILES, readable, state
from nevf_lite.cli import volumes
from nevf_lite.scans.io import save_image


def test_outcomes_of_a_command(tmp_path, monkeypatch):
    """Used, refused in one line, and what is neither: a traceback, a leftover file."""
    files, work = write_inputs(tmp_path), tmp_path / "work"
    work.mkdir()
    words = ["apply", files["transform"]]
    (work / "bad.nii").write_text("no image")
    assert outcome([*words, files["moving"], "-o"], work, "good") == "used"
    assert outcome([*words, work / "bad.nii", "-o"], work, "bad") == "refused"
    left = work / ".writing-1-2-3"
    left.touch()
    assert outcome([*words, work / "bad.nii", "-o"], work, "bad") == "failed"
    left.unlink()
    monkeypatch.setattr(volumes, "save_image", lambda *_: {}["no such key"])
    assert outcome([*words, files["moving"], "-o"], work, "good") == "failed"


def test_states_of_a_result(tmp_path):
    """Nothing, some whole files, and one that ends too early, of every kind of file."""
    assert state(tmp_path) == "nothing"
    (tmp_path / "result.json").write_text(json.dumps({"metrics": {}}))
    save_image(tmp_path / "warped.nii.gz", np.ones((4, 5, 6), np.float32), np.eye(4))
    assert state(tmp_path) == "some" and len(FILES) == 7
    raw = gzip.decompress((tmp_path / "warped.nii.gz").read_bytes())
    for name, content in {
        "result.json": b'{"metrics": ',
        "warped.nii.gz": gzip.compress(raw)[:-30],
        "report.html": b"<!doctype html><html><body>",
        "velocity.safetensors": bytes(5),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not readable(tmp_path / name)
    assert state(tmp_path) == "halves"


def test_a_count_that_was_cut_off_goes_on(tmp_path, monkeypatch):
    """Rows with as many tries are kept; a row of fewer tries is counted again, in its place."""
    tries = []

    def count(kind, result, work, number):
        tries.append(kind)
        return {"kind": kind, "tried": number}

    monkeypatch.setattr(trust, "write_pair", lambda folder: ["register"])
    monkeypatch.setattr(trust, "run_alone", lambda words: None)
    monkeypatch.setattr(trust, "damage_inputs", count)
    monkeypatch.setattr(trust, "interrupt", lambda kind, *_: {"kind": kind, "tried": 0})
    monkeypatch.setattr(trust, "compare_threads", lambda *_: {"kind": "1 and 1"})
    output = tmp_path / "trust.json"
    words = ["--damaged", "10", "--interrupted", "0", "--output", str(output)]
    trust.main(words)
    document = json.loads(output.read_text())
    assert tries == [row["kind"] for row in document["damaged"]] == list(KINDS)
    document["damaged"][1]["tried"] = 1
    output.write_text(json.dumps(document))
    trust.main(words)
    assert tries[len(KINDS) :] == [document["damaged"][1]["kind"]]
    assert all(row["commit"] for row in json.loads(output.read_text())["damaged"])


def test_real_files_are_counted_by_what_became_of_them(tmp_path, monkeypatch):
    """Read, several volumes, no image, another format; a copy counts once; what is read is run."""
    files, folder = write_inputs(tmp_path), tmp_path / "unpacked" / "tests"
    folder.mkdir(parents=True)
    for name in ("a.nii.gz", "the_same.nii.gz"):
        (folder / name).write_bytes(files["moving"].read_bytes())
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 2)), np.eye(4)), folder / "b.nii")
    (folder / "c.nii.gz").write_text("a stub")
    (folder / "d.mnc").write_text("CDF")
    (folder / "e.txt").write_text("no image by its name")
    output = tmp_path / "trust.json"
    words = [str(folder.parent), "--output", str(output)]
    real_files.main(words)
    document = json.loads(output.read_text())
    counts = {row["kind"]: row["files"] for row in document["files"]}
    assert counts == {
        "read": 1,
        "several volumes": 1,
        "no image, or damaged": 1,
        "another format": 1,
    }
    (row,) = document["registered"]
    held = {name: row[name] for name in real_files.COUNTS}
    assert row["kind"] == "volume" and held == {
        **dict.fromkeys(("tried", "finite", "closer", "labels", "points"), 1),
        **dict.fromkeys(("large", "refused", "failed"), 0),
    }
    monkeypatch.setattr(real_files, "image_source", lambda *_: files["moving"])
    monkeypatch.setattr(real_files, "nevf", lambda verb, *_: STATES[verb], raising=True)
    found = real_files.try_file(folder / "a.nii.gz", tmp_path, 1e6)
    assert found["failed"] == 1 and "closer" not in found


#: A command that ends in a traceback.
STATES = {"info": ("done", ""), "register": ("failed", "KeyError")}
