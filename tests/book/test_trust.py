"""The page *Trust* shows what was counted, and names tests that exist."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest

from benchmarks import forecast
from benchmarks.coverage import CUTS
from nevf_lite.config import PRESETS

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("sphinx")
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import nevf_trust  # noqa: E402

SCANS = ("fixed", "moving")
PAGE = (ROOT / "book" / "trust.md").read_text(encoding="utf-8")
counted = pytest.mark.skipif(not nevf_trust.COUNTED.exists(), reason="not counted yet")


def test_every_test_that_the_page_names_exists():
    """A fault whose test was renamed or removed is no longer held."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    files = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/*.py")}
    assert len(named) > 30
    assert [pair for pair in named if f"\ndef {pair[1]}(" not in files.get(pair[0], "")] == []
    faults = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert faults == list(range(1, 16))


@counted
def test_the_counts_add_up():
    """Each input is used, refused or failed; each run left a whole result, a part or nothing."""
    found = nevf_trust.counted()
    for row in found["damaged"]:
        assert row["tried"] == row["used"] + row["refused"] + row["failed"]
    for row in found["interrupted"]:
        left = sum(row[name] for name in ("finished", "nothing", "some", "halves"))
        assert row["tried"] == left
    assert sum(row["tried"] for row in found["damaged"]) >= 1000
    assert sum(row["tried"] for row in found["interrupted"]) >= 50


@counted
def test_what_the_page_promises():
    """No traceback, nothing half-written, the same command finishes; one seed, one result."""
    found = nevf_trust.counted()
    assert not any(row["failed"] for row in found["damaged"])
    for row in found["interrupted"]:
        assert row["halves"] == 0 and row["resumed"] == row["tried"]
    assert found["threads"][0]["same_bytes"]


def test_a_cut_costs_no_accuracy_and_stretches_nothing():
    """Every preset, either scan, four sides: Dice to 0.01, and no voxel 2 mm further than whole."""
    means = nevf_trust.cases(nevf_trust.table(nevf_trust.CUT))
    assert sorted(means) == sorted(itertools.product(PRESETS, SCANS, CUTS))
    for case, mean in means.items():
        assert abs(mean["gain"]) <= 0.01, (case, mean)
        assert mean["furthest"] <= 2, (case, mean)  # with each of the seeds


def test_the_forecast_of_memory_is_a_tenth_off_at_most():
    """Of every preset, whole and cut; other settings of the paper's network are shown beside."""
    rows = nevf_trust.table(nevf_trust.MEMORY)
    found = sorted((row["label"], row["moving"]) for row in rows)
    assert found == sorted((case.label, moving) for case, moving in forecast.cases())
    for row in rows:
        if row["label"] in PRESETS:
            assert 0.9 < float(row["forecast_mib"]) / float(row["peak_mib"]) < 1.1, row


def test_a_table_ends_with_its_sums(monkeypatch):
    """Two kinds and their sum; a part that is missing says so."""
    one = {"kind": "header", "tried": 3, "used": 1, "refused": 2, "failed": 0}
    document = {"damaged": [one, {**one, "kind": "data", "used": 2, "refused": 1}]}
    monkeypatch.setattr(nevf_trust, "counted", lambda: document)
    *_, last = nevf_trust.trust_table("damaged").split("\n")
    assert last == "| **all** | **6** | **3** | **3** | **0** |"
    assert nevf_trust.trust_table("threads").startswith("Not counted yet")


def test_a_table_says_where_each_row_is_from(monkeypatch):
    """Rows of two commits, since a count that was cut off goes on from the rows that ended."""
    rows = [
        {"kind": kind, "ended": "2026-01-02T03:04:05", "commit": commit, "machine": "m"}
        for kind, commit in (("header", "1234567890"), ("data", "abcdef0123"))
    ]
    monkeypatch.setattr(nevf_trust, "counted", lambda: {"damaged": rows})
    told = nevf_trust.trust_table("provenance")
    assert told.endswith("2026-01-02, commit `1234567`, `abcdef0`, m.")
