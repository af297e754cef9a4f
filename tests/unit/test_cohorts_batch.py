"""A batch finds pairs that went wrong without labels, and goes on where it stopped."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from cohort_brains import displaced, half_a_head, scan, swapped_sides
from synthetic import blobs

from nevf_lite.cohorts.batch import batch, run_pairs
from nevf_lite.cohorts.pairs import ScanPair, find_pairs
from nevf_lite.cohorts.quality import MEASURES, distances, ranked
from nevf_lite.cohorts.work import read_record, write_record
from nevf_lite.config import Config, Level, preset

QUICK = preset("fast", spacing=4.0)
TINY = Config(levels=(Level(1, 3),), width=8, spacing=2.0)


def blob(seed: int) -> nib.Nifti1Image:
    """A small image, cheap to register."""
    return nib.Nifti1Image(blobs((20, 24, 18), seed)[0, 0].numpy(), np.diag([2.0, 2, 2, 1]))


def write_pair(folder, name: str, fixed, moving) -> ScanPair:
    paths = [folder / f"{name}_{role}.nii.gz" for role in ("fixed", "moving")]
    for path, image in zip(paths, (fixed, moving), strict=True):
        nib.save(image, path)
    return ScanPair(name, *map(str, paths))


@pytest.mark.slow
def test_six_failures_among_forty_pairs_are_in_the_first_eight(tmp_path):
    """Ten people scanned five times: sides swapped, 40 mm off, another person, half a head."""
    wrong = {
        (1, 2): swapped_sides(scan(1, 2)),
        (2, 4): displaced(scan(2, 4), 40.0, axis=1),
        (4, 1): scan(5, 1),
        (5, 3): half_a_head(scan(5, 3), axis=2),
        (7, 2): scan(0, 2),
        (9, 4): half_a_head(scan(9, 4), axis=0),
    }
    pairs = [
        write_pair(tmp_path, f"p{s}-{n}", scan(s, 0), wrong.get((s, n)) or scan(s, n))
        for s in range(10)
        for n in range(1, 5)
    ]
    records = batch(pairs, tmp_path / "out", QUICK, size=40, progress=False)
    assert {f"p{s}-{n}" for s, n in wrong} <= {record["name"] for record in records[:8]}
    page = (tmp_path / "out" / "index.html").read_text()
    shown = re.findall(r'<a href="(p\d-\d)/report.html">', page)
    assert shown == [record["name"] for record in records if record["status"] == "done"]
    assert page.count("data:image/webp;base64,") == len(shown)


def test_a_batch_goes_on_where_it_stopped(tmp_path):
    """What is done is not done again; other settings are; what failed is tried when asked to."""
    good = write_pair(tmp_path, "good", blob(0), blob(1))
    bad = write_pair(tmp_path, "bad", blob(0), displaced(blob(1), 500.0, axis=0))
    options = {"size": 2, "progress": False}
    first = batch([good, bad], tmp_path / "out", TINY, **options)
    assert [(r["name"], r["status"]) for r in first] == [("bad", "failed"), ("good", "done")]
    assert "overlap" in first[0]["reason"]
    record, folder = tmp_path / "out" / "good" / "quality.json", tmp_path / "out" / "good"
    before = record.stat().st_mtime_ns
    assert {"report.html", "thumbnail.webp", "warp.nii.gz"} <= {p.name for p in folder.iterdir()}
    again = batch([good, bad], tmp_path / "out", TINY, **options)
    assert again == first and record.stat().st_mtime_ns == before
    assert "at most 3 iterations" in (tmp_path / "out" / "methods.txt").read_text()
    nib.save(blob(1), bad.moving)
    mended = batch([good, bad], tmp_path / "out", TINY, retry_failed=True, **options)
    assert {r["status"] for r in mended} == {"done"} and record.stat().st_mtime_ns == before
    batch([good], tmp_path / "out", preset(TINY, seed=1), **options)
    assert record.stat().st_mtime_ns > before


def test_what_has_changed_or_is_gone_is_done_again(tmp_path):
    """A scan of the same name with other voxels, and a pair whose transform was deleted."""
    pair = write_pair(tmp_path, "pair", blob(0), blob(1))
    output, options = tmp_path / "out", {"progress": False}
    batch([pair], output, TINY, **options)
    transform = output / "pair" / "velocity.safetensors"
    transform.unlink()
    (first,) = batch([pair], output, TINY, **options)
    assert transform.is_file()
    nib.save(blob(2), pair.moving)
    (second,) = batch([pair], output, TINY, **options)
    assert first["hash"] != second["hash"] and first["measures"] != second["measures"]


def test_a_killed_process_fails_its_pair_alone(tmp_path, monkeypatch):
    """The pair it was at is recorded as failed, the ones behind it are done by another process."""
    folders = {name: tmp_path / name for name in "abc"}
    jobs = [
        {"pair": {"name": n}, "hash": "0", "folder": str(f), "threads": 1}
        for n, f in folders.items()
    ]
    calls = []

    def run_module(module, sent, threads, stopped):
        calls.append([job["pair"]["name"] for job in sent])
        if len(calls) == 1:  # it dies at the second of three
            write_record(folders["a"], {"name": "a", "hash": "0", "status": "done"})
            return "killed by signal 9 (SIGKILL; out of memory?)"
        return [write_record(folders["c"], {"name": "c", "hash": "0", "status": "done"})]

    monkeypatch.setattr("nevf_lite.cohorts.batch.run_module", run_module)
    records = run_pairs(jobs)
    assert calls == [["a", "b", "c"], ["c"]]
    assert [r["status"] for r in records] == ["done", "failed", "done"]
    assert "SIGKILL" in read_record(folders["b"])["reason"]


def test_distance_counts_the_bad_side_alone():
    """A measure that is better than the others' raises no alarm; equals have no outliers."""
    usual = {name: 0.5 for name in MEASURES}
    batch_of = [dict(usual) for _ in range(9)]
    assert all(value == 0 for away in distances(batch_of) for value in away.values())
    for name, kind in MEASURES.items():
        for sign in (-1, 1):
            odd = {**usual, name: 0.5 + sign * 10 * kind.spread}
            away = distances([*batch_of, odd])[-1]
            assert away[name] == pytest.approx(10.0 if sign == kind.bad else 0.0)
            assert sum(away.values()) == away[name]
    records = [{"name": "x", "status": "failed", "reason": "no overlap"}]
    records += [{"name": str(i), "status": "done", "measures": m} for i, m in enumerate(batch_of)]
    assert ranked(records)[0]["name"] == "x" and ranked([]) == []


def test_pairs_come_from_a_table_or_a_bids_folder(tmp_path):
    """Paths are relative to the table; sessions go to the first one, or all to a given scan."""
    write_pair(tmp_path, "a", blob(0), blob(1))
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving\na_fixed.nii.gz,a_moving.nii.gz\n")
    (pair,) = find_pairs(table)
    assert pair.name == "a_moving_to_a_fixed" and pair.fixed == str(tmp_path / "a_fixed.nii.gz")
    table.write_text("moving;fixed\na_moving.nii.gz;a_fixed.nii.gz\n")  # a European spreadsheet
    assert find_pairs(table) == [pair]
    for session in ("01", "02"):
        folder = tmp_path / "bids" / "sub-7" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        nib.save(blob(0), folder / f"sub-7_ses-{session}_T1w.nii.gz")
    (pair,) = find_pairs(tmp_path / "bids")
    assert pair.name == "sub-7_ses-02_T1w_to_sub-7_ses-01_T1w"
    to_one = find_pairs(tmp_path / "bids", fixed=tmp_path / "a_fixed.nii.gz")
    assert [p.name[:12] for p in to_one] == ["sub-7_ses-01", "sub-7_ses-02"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fixed\na.nii\n", "wanted fixed and moving"),
        ("fixed,moving,colour\na.nii,b.nii,red\n", "wanted fixed and moving"),
        ("fixed,moving\na.nii\n", "line 2"),
        ("fixed,moving\na.nii,b.nii,c.nii\n", "line 2"),
        ("fixed,moving\nno.nii,nor.nii\n", "no.nii"),
        ("fixed,moving\n", "none"),
        ("name,fixed,moving\n../x,a.nii,b.nii\n", "name"),
        ("fixed,moving,fixed_labels\na.nii,b.nii,c.nii\n", "moving_labels"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, said):
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        find_pairs(table)
    assert "\n" not in str(caught.value)
