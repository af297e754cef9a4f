"""Several pairs of NeVF in one job: the same rows as one by one."""

from __future__ import annotations

import os
import signal

import pytest
from cli_inputs import nevf
from studies import ENDLESS, start, wait_for, write_study
from test_study_run import LIMIT, gone, job_at_work, jobs_of, lines

from nevf_lite.data import load_pair
from nevf_lite.study import Study, read_rows, run
from nevf_lite.study.batches import in_batches
from nevf_lite.study.methods import nevf_many

QUICK = {"method": "nevf", "levels": [{"iterations": 3}], "width": 16}
PAIRS = [{"dataset": "simulated", "seed": [0, 1, 2], "ndim": 2}]


def test_who_shares_a_job():
    """Pairs of one setting of NeVF; not another tool, nor a start or a score on the way."""
    methods = [
        QUICK,
        {"method": "affine"},
        {**QUICK, "label": "watched", "trajectory": 2},
        {**QUICK, "label": "on top", "init": {"method": "affine"}},
        {**QUICK, "label": "wider", "width": 24},
    ]
    jobs = Study("s", PAIRS, methods, spacing=4).jobs()
    batches = list(in_batches(jobs, 2))
    assert sorted(map(str, jobs)) == sorted(str(job) for batch in batches for job in batch)
    assert all(len({job.method.hash for job in batch}) == 1 for batch in batches if len(batch) > 1)
    sizes: dict[str, list[int]] = {}
    for batch in batches:
        sizes.setdefault(batch[0].method.label, []).append(len(batch))
    alone = {"Affine", "watched", "on top"}
    assert {label: sorted(found) for label, found in sizes.items()} == {
        job.method.label: [1, 1, 1] if job.method.label in alone else [1, 2] for job in jobs
    }
    assert list(in_batches(jobs, 1)) == [(job,) for job in jobs]


def test_a_batch_has_the_rows_of_its_pairs_alone(tmp_path):
    """Dice to the last digit, iterations and hash; then there is nothing left to do."""
    study = Study("s", PAIRS, [QUICK], spacing=4)
    files = {size: tmp_path / f"{size}.csv" for size in (1, 3)}
    alone, together = (run(study, f, batch=n, progress=False) for n, f in files.items())
    same = ["fixed", "config_hash", "status", "dice", "dice_before", "folds_percent", "iterations"]
    alone, together = (rows.sort_values("fixed").reset_index() for rows in (alone, together))
    assert alone[same].equals(together[same]) and (alone.status == "done").all()
    assert together.seconds.nunique() == 1 and (together.seconds > 0).all()
    before = files[3].read_bytes()
    run(study, files[3], batch=3, progress=False)
    assert files[3].read_bytes() == before


def test_plain_torch_is_an_option_of_a_row(tmp_path):
    """One by one and together the backend is what the study says; the kernels' Dice to 0.001."""
    plain = {**QUICK, "backend": "torch", "label": "plain"}
    study = Study("s", PAIRS[:1], [QUICK, plain], spacing=4)
    dice = run(study, tmp_path / "r.csv", progress=False).pivot(
        index="fixed", columns="label", values="dice"
    )
    assert (dice["plain"] - dice.drop(columns="plain").iloc[:, 0]).abs().max() < 1e-3
    pair = load_pair("simulated", seed=0, ndim=2)
    together = nevf_many(
        [(pair.fixed, pair.moving)],
        spacing=4,
        **{k: plain[k] for k in ("levels", "width", "backend")},
    )
    assert [result.backend for result in together] == ["torch"]


@pytest.mark.slow
def test_what_cannot_share_runs_beside_what_can(tmp_path):
    """A tool, a start from it and a score on the way go alone; `init: null` is no start."""
    none = {**QUICK, "label": "none", "init": None}
    methods = [
        none,
        {"method": "affine"},
        {**QUICK, "label": "watched", "trajectory": 2},
        {**QUICK, "label": "on top", "init": {"method": "affine"}},
    ]
    study = Study("s", [{"dataset": "simulated", "seed": [0, 1], "ndim": 2}], methods, spacing=4)
    rows = run(study, tmp_path / "r.csv", batch=2, workers=2, progress=False)
    assert len(rows) == 8 and (rows.status == "done").all(), list(rows.reason)
    dice = rows.pivot(index="fixed", columns="label", values="dice")
    assert dice["none"].equals(dice["watched"].rename("none"))  # the same, batched and alone
    shared = rows[rows.label == "none"]
    assert shared.started.nunique() == shared.seconds.nunique() == 1
    assert (shared.seconds_per_iteration * shared.iterations <= shared.seconds + 1e-3).all()


def test_a_batch_has_no_start():
    """What `in_batches` keeps out is refused, not left out without a word."""
    with pytest.raises(ValueError, match="init: "):
        nevf_many([], init={"method": "affine"})


def test_a_batch_that_fails_fails_each_of_its_jobs(tmp_path):
    """A setting that cannot work: a row for every pair, with the reason."""
    method = {**QUICK, "device": "cuda:77"}
    rows = run(Study("s", PAIRS, [method], spacing=4), tmp_path / "r.csv", batch=2, progress=False)
    assert len(rows) == 3 and (rows.status == "failed").all()
    assert rows.reason.str.contains("cuda:77").all()
    assert len(read_rows(tmp_path / "r.csv")) == 3


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_batch_that_is_ended(tmp_path):
    """Killed, it is a failed row for each of its jobs, done again when asked; by Ctrl-C, none."""
    output = tmp_path / "rows.csv"
    path = write_study(tmp_path, seeds=(0, 1), methods=(ENDLESS,))
    words = ("study", "run", path, "-o", output, "--batch", 2, "--quiet")
    study = start(*words)
    wait_for(lambda: job_at_work(study.pid)).kill()
    said = study.communicate(timeout=LIMIT)[1]
    assert study.returncode == 1 and "0 of 2 jobs done, 2 failed" in said
    rows = read_rows(output)
    assert sorted(rows.fixed) == ["s0", "s1"] and rows.reason.str.startswith("killed by").all()
    assert nevf(*map(str, words)).exit_code == 1 and lines(output) == 2  # not tried again
    study = start(*words, "--retry-failed")
    wait_for(lambda: job_at_work(study.pid))
    at_work = jobs_of(study.pid)
    study.send_signal(signal.SIGINT)
    said = study.communicate(timeout=LIMIT)[1]
    assert study.returncode == 130 and "Traceback" not in said, said
    assert len(at_work) == 1 and gone(at_work) and lines(output) == 2


def test_a_batch_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch: wanted 1 or more, got 0"):
        run(Study("s", PAIRS, [QUICK], spacing=4), tmp_path / "r.csv", batch=0)
