"""The counts of the page *Trust* can fail: what they are made to find is found."""

from __future__ import annotations

import gzip
import json

import numpy as np
from cli_inputs import write_inputs

from benchmarks import trust
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
