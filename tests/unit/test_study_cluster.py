"""Studies and batches on a real Dask cluster: a scheduler and two workers, one of them killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import psutil
import pytest
from cli_inputs import nevf
from cohort_brains import displaced
from studies import ENDLESS, start, wait_for, write_study
from test_cohorts_batch import blob, write_pair
from test_study_run import LIMIT, gone, job_at_work, jobs_of, lines

from nevf_lite.study import read_rows
from nevf_lite.study.rows import KEY

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="POSIX signals"),
]


def words_of_the_chapter() -> list[str]:
    """What follows the address in the command with which the chapter starts a worker."""
    path = Path(__file__).parents[2] / "notebooks" / "23_a_study_on_a_cluster.ipynb"
    text = "\n".join("".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"])
    return re.search(r"dask worker \S+ (.*?)\n```", text, re.S)[1].replace("\\\n", " ").split()


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and its two workers, all in processes of their own."""
    told = tmp_path / "scheduler.json"

    def dask(what: str, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}"]
        command += ["--scheduler-file", str(told), "--no-dashboard", *words]
        log = (tmp_path / f"{what}.log").open("ab")
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)

    processes = [dask("scheduler", "--port", "0", "--host", "127.0.0.1")]
    try:
        address = wait_for(lambda: told.exists() and json.loads(told.read_text())["address"])
        for _ in range(2):
            processes.append(dask("worker", *words_of_the_chapter()))
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(tmp_path, cluster, batch):
    """SIGKILL to a worker at work: its job goes to the other one; every row is there, once."""
    address, workers = cluster
    output = tmp_path / "rows.csv"
    brief = {"method": "nevf", "levels": [{"iterations": 3}], "width": 16}
    path = write_study(tmp_path, seeds=range(4), methods=(brief,), spacing=4)
    words = ("-o", output, "--scheduler", address, "--batch", batch, "--quiet")
    study = start("study", "run", path, *words)
    victim = wait_for(lambda: next((w for w in workers if jobs_of(w.pid)), None))
    at_work = jobs_of(victim.pid)
    assert len(at_work) == 1
    victim.kill()
    wait_for(lambda: gone(at_work))  # nobody computes for a worker that is gone
    said = study.communicate(timeout=180)[1]
    assert study.returncode == 0, said
    rows = read_rows(output, every=True)
    assert len(rows) == 4 and set(rows["status"]) == {"done"}
    assert not rows.duplicated(list(KEY)).any()


def test_a_batch_of_scans_outlives_a_worker(tmp_path, cluster):
    """SIGKILL to a worker at work: its pair goes to the other one. What fails, fails alone."""
    address, workers = cluster
    pairs = [write_pair(tmp_path, f"p{n}", blob(0), blob(n)) for n in range(1, 5)]
    header = "name,fixed,moving\n"
    table = tmp_path / "pairs.csv"
    table.write_text(header + "".join(f"{p.name},{p.fixed},{p.moving}\n" for p in pairs))
    nib.save(displaced(blob(3), 500.0, axis=0), pairs[2].moving)
    words = ("batch", table, "-o", tmp_path / "out", "--preset", "fast", "--spacing", 4)
    study = start(*words, "--scheduler", address, "--quiet")
    module = "nevf_lite.cohorts.work"
    victim = wait_for(lambda: next((w for w in workers if jobs_of(w.pid, module)), None))
    at_work = jobs_of(victim.pid, module)
    victim.kill()
    wait_for(lambda: gone(at_work))  # nobody computes for a worker that is gone
    said = study.communicate(timeout=300)[1]
    assert study.returncode == 1 and "3 of 4 pairs done" in said, said
    with (tmp_path / "out" / "quality.csv").open(newline="") as stream:
        found = {row["name"]: row["status"] for row in csv.DictReader(stream)}
    assert found == {"p1": "done", "p2": "done", "p3": "failed", "p4": "done"}
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_jobs_on_the_cluster_end_with_the_study(tmp_path, cluster):
    """By Ctrl-C, and by SIGKILL of the study: no worker computes on for nobody."""
    address, workers = cluster
    output = tmp_path / "rows.csv"
    path = write_study(tmp_path, methods=(ENDLESS,))
    for ending, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        study = start("study", "run", path, "-o", output, "--scheduler", address)
        at_work = wait_for(lambda: [p for w in workers if (p := job_at_work(w.pid))])
        study.send_signal(ending)
        said = study.communicate(timeout=LIMIT)[1]
        assert study.returncode == status and "Traceback" not in said, said
        wait_for(lambda at_work=at_work: gone(at_work))
        assert lines(output) == 0


def test_a_scheduler_that_does_not_answer_is_one_clear_line(tmp_path, cluster):
    """At the start, and in the middle of a study."""
    words = ("study", "run", write_study(tmp_path), "-o", tmp_path / "r.csv", "--scheduler")
    nobody = nevf(*words, "tcp://127.0.0.1:9")
    assert nobody.exit_code == 2 and "no Dask scheduler answers at tcp" in nobody.stderr
    address, workers = cluster
    path = write_study(tmp_path, methods=(ENDLESS,))
    study = start("study", "run", path, "-o", tmp_path / "r.csv", "--scheduler", address)
    at_work = wait_for(lambda: [p for w in workers if (p := job_at_work(w.pid))])
    scheduler = next(
        p for p in psutil.Process().children() if "distributed.cli.dask_scheduler" in p.cmdline()
    )
    scheduler.kill()
    said = study.communicate(timeout=180)[1]
    assert study.returncode == 2 and "nevf: error: scheduler: the one at" in said, said
    for worker in workers:
        worker.kill()
    wait_for(lambda: gone(at_work))
