"""Studies on paper: what a plan may say, how rows survive, and what the table says of them."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from heads import FEW, pair, run
from studies import made_row, write_study

from nevf_lite import optimise
from nevf_lite.registration import problem
from nevf_lite.registration import register as registration
from nevf_lite.scans.space import Grid
from nevf_lite.study import METHODS, Study, read_rows, register_with, report
from nevf_lite.study.rows import COLUMNS, open_rows
from nevf_lite.transforms.components import Affine
from nevf_lite.transforms.transform import Transform

SLICE = {"dataset": "simulated", "ndim": 2}
AFFINE = {"method": "affine"}


# -------------------------------------------------------------------------------------- plans


def test_jobs_come_pair_by_pair_with_what_each_method_overrides():
    """An interrupted study has complete pairs; lists mean all combinations; labels are unique."""
    study = Study(
        "s",
        pairs=[SLICE | {"seed": [0, 1]}],
        methods=[AFFINE, {"method": "nevf", "spacing": 1, "threads": 2, "omega": 15}],
        spacing=2,
    )
    jobs = study.jobs()
    assert [(j.pair.seed, j.method.method) for j in jobs] == [
        (0, "affine"),
        (0, "nevf"),
        (1, "affine"),
        (1, "nevf"),
    ]
    assert [(j.method.spacing, j.method.threads) for j in jobs[:2]] == [(2, 1), (1, 2)]
    assert jobs[1].method.label == "features, default omega 15"
    assert len({j.key for j in jobs}) == 4


def test_the_protocol_and_combinations_of_subjects():
    """`split: test` is the nine pairs of the paper; no brain is registered to itself."""
    nine = Study("s", [{"dataset": "mindboggle", "split": "test"}], [AFFINE])
    assert len(nine.pairs) == 9 and str(nine.pairs[0]) == "mindboggle trt09 <- trt12"
    some = Study("s", [{"dataset": "oasis", "fixed": [1008, 1009], "moving": ["1009"]}], [AFFINE])
    assert [str(p) for p in some.pairs] == ["oasis 1008 <- 1009"]


def test_the_hash_covers_what_decides_the_result_and_nothing_else():
    """A new label or another number of threads repeats nothing; a new option does."""

    def hash_of(**more):
        return Study("s", [SLICE], [{"method": "nevf", **more}]).methods[0].hash

    assert hash_of() == hash_of(label="other", threads=2) == hash_of(seed=0)
    assert hash_of(omega=10) == hash_of(omega=10.0)
    different = [{}, {"omega": 10}, {"seed": 1}, {"spacing": 2}, {"trajectory": 5}]
    assert len({hash_of(**d) for d in different}) == len(different)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"methods": [{"method": "sin"}]}, "methods[0].method: wanted one of affine, nevf"),
        ({"methods": [{"method": "nevf", "omga": 1}]}, "methods[0].omga: no option of nevf"),
        (
            {"methods": [{"method": "nevf", "omega": -1}]},
            "methods[0].omega: wanted a number above 0",
        ),
        ({"methods": [{"method": "nevf", "omega": "much"}]}, "omega: wanted a number above 0"),
        ({"methods": [{"method": "nevf", "betas": 1}]}, "wrong type"),
        ({"methods": [{"method": "nevf", "preset": "x"}]}, "wanted a Config or one of"),
        ({"methods": [{"method": "nevf", "backend": "x"}]}, "backend: wanted one of"),
        ({"methods": [{"method": "nevf", "init": {"method": "x"}}]}, "init: method: wanted one"),
        ({"methods": [{"method": "nevf", "levels": [{"step": 0}]}]}, "step: wanted 1 or more"),
        ({"methods": [{"method": "syn", "radios": 4}]}, "radios: no option of syn; it has iter"),
        ({"methods": [{"method": "affine", "trajectory": 5}]}, "affine cannot be watched"),
        ({"methods": [AFFINE, AFFINE]}, "methods: Affine occurs twice"),
        (
            {"methods": [AFFINE, {"method": "nevf", "label": "Affine"}]},
            "methods: label: Affine occurs twice",
        ),
        ({"methods": []}, "methods: wanted a list of one or more"),
        ({"pairs": ["trt01"]}, "pairs[0]: wanted {dataset: NAME, ...}"),
        ({"pairs": [{"dataset": "brains"}]}, "pairs[0].dataset: wanted one of mindboggle"),
        ({"pairs": [SLICE, SLICE]}, "pairs: simulated 2-D s0 <- s0 occurs twice"),
        ({"pairs": [SLICE | {"sead": 0}]}, "pairs[0].sead: no such key"),
        ({"pairs": [{"dataset": "oasis", "split": "train"}]}, "pairs[0].split: wanted 'test'"),
        (
            {"pairs": [{"dataset": "oasis", "fixed": "1000", "moving": 1000}]},
            "a brain with itself",
        ),
        ({"spacing": "fine"}, "spacing: wanted mm"),
        ({"threads": 0}, "threads: wanted 1 or more"),
        ({"wokers": 2}, "wokers: no such key; wanted name, pairs"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(tmp_path, change, said):
    """The message names the file, the key and what was wanted."""
    path = write_study(tmp_path, **change)
    with pytest.raises(ValueError) as caught:
        Study.from_yaml(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_a_subject_that_does_not_exist_is_refused_where_the_data_is_here(monkeypatch, tmp_path):
    """Elsewhere, as for a study that is sent to a cluster, only the jobs can tell."""
    folder = tmp_path / "oasis"
    folder.mkdir()
    for name in ("1000", "1001"):
        (folder / f"{name}_t1.nii.gz").touch()
    monkeypatch.setenv("NEVF_DATA", str(tmp_path))
    wrong = [{"dataset": "oasis", "fixed": "1000", "moving": "2000"}]
    with pytest.raises(ValueError, match="oasis has no subject '2000'; it has 1000, 1001"):
        Study("s", wrong, [AFFINE])
    monkeypatch.setenv("NEVF_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path / "nowhere"))
    assert len(Study("s", wrong, [AFFINE]).pairs) == 1


@pytest.mark.parametrize("text", ["pairs: [", "- a", "", "\x00"])
def test_what_is_no_study_is_refused_in_one_line(tmp_path, text):
    """Broken YAML, a list, nothing."""
    path = tmp_path / "s.yml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        Study.from_yaml(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------- methods


def test_every_method_of_the_table_takes_the_common_arguments():
    """Options are known from signatures, so a study can be checked without running anything."""
    for method in METHODS.values():
        method.check({})
        with pytest.raises(ValueError, match=f"nonsense: no option of {method.name}"):
            method.check({"nonsense": 1})


def test_one_call_for_all_methods():
    """Affine is where pairs start; NeVF on top of a method starts where that one ends."""
    fixed, moving, _ = pair()
    unmoved = register_with("affine", fixed, moving, spacing=2, threads=1)
    assert not unmoved.displacement().any() and unmoved.fixed == Grid.of(fixed)
    settings = {**FEW.to_dict(), "levels": [{"iterations": 3, "lr": 3e-3}]}
    settings = {k: v for k, v in settings.items() if k not in ("spacing", "seed")}
    plain = register_with("nevf", fixed, moving, **settings)
    on_top = register_with("nevf", fixed, moving, init={"method": "affine"}, **settings)
    assert np.array_equal(plain.displacement(), on_top.displacement())
    with pytest.raises(ValueError, match="method: wanted one of"):
        register_with("best", fixed, moving)


class Clock:
    """A clock that stands still unless it is told otherwise, in place of the module `time`."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_watching_a_registration_changes_nothing_and_sees_it_as_it_stands(monkeypatch):
    """The watcher's last transform is near the result, its time is not counted, bits are equal."""
    fixed, moving, _ = pair()
    plain, snapshots, clock = run(fixed, moving), [], Clock()
    for module in (optimise, problem, registration):
        monkeypatch.setattr(module, "time", clock)

    def watch(record, snapshot):
        clock.now += 100
        snapshots.append(snapshot())

    watched = run(fixed, moving, watch=watch)
    assert np.array_equal(plain.transform.displacement(), watched.transform.displacement())
    assert len(snapshots) == len(watched.history) == 30
    assert clock.now == 3000 and watched.timings == {"prepare": 0, "optimise": 0}
    assert {record["seconds"] for record in watched.history} == {0}
    end = watched.transform.displacement()
    first, last = (snapshots[i].displacement() for i in (0, -1))
    assert np.abs(first).max() < 0.2 * np.abs(last).max()  # a copy: the field went on
    assert np.abs(last - end).max() < 0.2 * np.abs(end).max()


# -------------------------------------------------------------------------------------- rows


def test_rows_are_read_as_they_were_written(tmp_path):
    """Numbers are numbers, words words, commas and quotes survive, line breaks do not."""
    path = tmp_path / "rows.csv"
    with open_rows(path) as rows:
        rows.append(made_row(label='SyN [1, 2], "x"', spacing_mm=None, dice=0.123456789012345))
        rows.append(made_row(1, status="failed", reason="two\nlines", dice=None))
    table = read_rows(path)
    assert table["label"][0] == 'SyN [1, 2], "x"' and table["dice"][0] == 0.123456789012345
    assert np.isnan(table["spacing_mm"][0]) and table["reason"][1] == "two lines"
    assert path.read_bytes().count(b"\n") == 3
    assert table["fixed"].tolist() == ["f0", "f1"]


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path):
    """Killed while writing: every whole row stays, the half one goes, and appending goes on."""
    path = tmp_path / "rows.csv"
    with open_rows(path) as rows:
        rows.append(made_row(0))
        rows.append(made_row(1))
    whole = path.read_bytes()
    second = whole.rindex(b"s,", 0, -1)
    for end in (len(whole) - 1, second + 5, whole.index(b"\n") - 3, 0):
        path.write_bytes(whole[:end])
        complete = whole[:end].count(b"\n")
        if complete:
            assert len(read_rows(path)) == complete - 1  # a reader is not troubled meanwhile
        with open_rows(path) as rows:
            assert len(rows.notes) == (1 if end else 0)
            assert len(rows.status()) == max(complete - 1, 0)
            rows.append(made_row(1))
        assert read_rows(path)["fixed"].tolist()[-1] == "f1"
        assert path.read_bytes().startswith(",".join(COLUMNS).encode())


def test_the_newest_row_of_a_job_counts(tmp_path):
    """A failed job done again: both rows are kept, one is reported."""
    path = tmp_path / "rows.csv"
    with open_rows(path) as rows:
        rows.append(made_row(status="failed", dice=None))
        rows.append(made_row(label="Other"))
        rows.append(made_row(dice=0.7))
        assert rows.status()[("mindboggle", "f0", "m", "hash of Affine")] == "done"
    assert len(read_rows(path)) == 2 and len(read_rows(path, every=True)) == 3
    assert read_rows(path).set_index("label")["dice"]["Affine"] == 0.7


def test_files_that_are_not_rows_of_this_version_are_left_alone(tmp_path):
    """Other columns, a line too short, a binary, another writer: one clear line each."""
    path = tmp_path / "rows.csv"
    for content, said in (
        (b"a,b\n1,2\n", "columns of .* are not those"),
        (",".join(COLUMNS).encode() + b"\n1,2\n", "line 2 of .* has 2 columns"),
        (b"\xff\xfe\n", "not text"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said), open_rows(path):
            pass
        assert path.read_bytes() == content
    path.unlink()
    with open_rows(path), pytest.raises(ValueError, match="being written by another"):
        with open_rows(path):
            pass
    with pytest.raises(ValueError, match="no such columns: extra"), open_rows(path) as rows:
        rows.append({"extra": 1})
    with pytest.raises(FileNotFoundError), open_rows(tmp_path / "no" / "rows.csv"):
        pass


def test_a_row_is_one_write(tmp_path, monkeypatch):
    """So that nothing another process does can come between its parts."""
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda f, data: written.append(data) or write(f, data))
    with open_rows(tmp_path / "rows.csv") as rows:
        rows.append(made_row(dice_by_label=json.dumps({str(i): 0.5 for i in range(5000)})))
    lines = [data for data in written if b"," in data]
    assert len(lines) == 2 and all(data.endswith(b"\n") for data in lines)


# -------------------------------------------------------------------------------------- report


def table_of(**dice) -> pd.DataFrame:
    """Rows of methods given by their Dice on pair 0, 1, 2, ...; None: that job failed."""
    return pd.DataFrame(
        made_row(i, label, np.nan if d is None else d, status="failed" if d is None else "done")
        | {"device_peak_mib": np.nan}
        for label, values in dice.items()
        for i, d in enumerate(values)
    )


def test_the_table_has_means_deviations_and_pairs():
    """Mean and sample standard deviation over pairs; a failed job is no pair, and is told."""
    made = report(table_of(A=[0.5, 0.6, 0.7], B=[0.5, None, 0.7]))
    rows = made.table.set_index("label")
    assert rows["dice_mean"].tolist() == pytest.approx([0.6, 0.6])
    assert rows["dice_sd"].tolist() == pytest.approx([0.1, 0.1 * 2**0.5])
    assert rows["pairs"].tolist() == [3, 2] and rows["failed"].tolist() == [0, 1]
    assert made.notes == ("B: 2 of the 3 pairs of mindboggle, 1 failed",)
    text = made.markdown()
    assert "| A | 0.600 ± 0.100 | 3 | 0.0000 | 0.0000 | 2.0 | 1.5 | 400 |" in text
    assert "- B: 2 of the 3 pairs" in text


def test_a_mean_over_fewer_pairs_does_not_stand_beside_another():
    """Its cell is the difference on the pairs in common, its number of pairs grey."""
    rows = table_of(A=[0.5, 0.6, 0.7], B=[0.52, None, 0.74], C=[None, 0.9, None])
    text = report(rows, against="A").markdown()
    assert '| B | +0.030 | <span class="nevf-few">2 of 3</span> |' in text
    assert '| C | +0.300 | <span class="nevf-few">1 of 3</span> |' in text
    assert "0.630" not in text and "0.900" not in text
    assert '| B | - | <span class="nevf-few">2 of 3</span> |' in report(rows).markdown()


def test_differences_are_of_the_pairs_in_common():
    """Better by a hair on every one of six pairs: exact p = 2 / 2^6, effect 1, on those six."""
    low = [0.50, 0.61, 0.72, 0.55, 0.66, 0.70, 0.1]
    high = [0.51, 0.63, 0.75, 0.59, 0.71, 0.76, None]
    made = report(table_of(low=low, high=high, few=high[:5]), against="low")
    rows = made.table.set_index("label")
    assert rows["p"]["high"] == rows["p_holm"]["high"] == pytest.approx(2 / 2**6)
    assert rows["effect"]["high"] == 1 and rows["pairs_in_common"]["high"] == 6
    assert rows["difference"]["high"] == pytest.approx(0.035)
    assert rows["low"]["high"] < 0.035 < rows["high"]["high"]
    assert np.isnan(rows["p"]["low"]) and rows["pairs_in_common"]["low"] == 0
    assert np.isnan(rows["p"]["few"]) and "n &lt; 6" in made.markdown()


def test_p_is_corrected_for_the_comparisons_of_the_table():
    """Three methods against a fourth, each better on all six: 3 times 2 / 2^6."""
    rising = {f"m{k}": [0.5 + 0.01 * k + 0.001 * k * i for i in range(6)] for k in range(4)}
    made = report(table_of(**rising), against="m0").table.set_index("label")
    assert made["p_holm"][1:].tolist() == pytest.approx([3 * 2 / 2**6] * 3)


def test_what_makes_a_table_misleading_is_said():
    """Two configurations under one label, two machines: told apart, or told."""
    rows = table_of(A=[0.5, 0.6])
    rows.loc[1, ["fixed", "config_hash", "machine"]] = ["f0", "another", "two"]
    made = report(rows)
    assert made.table["label"].tolist() == ["A [hash of A]", "A [another]"]
    assert any("2 machines" in note for note in made.notes)
    with pytest.raises(ValueError, match=r"against: wanted one of A \[hash"):
        report(rows, against="B")
    with pytest.raises(ValueError, match="none of the jobs is done"):
        report(table_of(A=[None]))


def test_scores_are_those_of_the_evaluation():
    """Dice, before and after, as `evaluation.score_labels` has it: one evaluation for all."""
    from nevf_lite.data import load_pair
    from nevf_lite.scores.evaluation import score_labels
    from nevf_lite.study.job import measure

    found = measure(Study("s", [SLICE], [AFFINE]).jobs()[0])
    two = load_pair("simulated", seed=0, ndim=2)
    grid = Grid.of(two.fixed)
    there = Transform((Affine(np.eye(4)),), grid, grid)
    scores = score_labels(there, two.fixed_labels, two.moving_labels, two.protocol).summary()
    assert found["dice"] == found["dice_before"] == pytest.approx(scores["dice_after"])
    assert found["folds_percent"] == 0 and found["peak_mib"] > 50
    assert isinstance(two.fixed, nib.Nifti1Image)
