"""Studies for real: a process a job, interrupted in every way, and nothing lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from cli_inputs import nevf
from studies import ENDLESS, heard, made_row, start, wait_for, write_study

from nevf_lite.study import Study, read_rows, run
from nevf_lite.study.rows import KEY, open_rows

LIMIT = 60  # seconds that a process may take to end

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def jobs_of(pid: int, module: str = "nevf_lite.study.job") -> list[psutil.Process]:
    """The processes of jobs that a running study, or a batch, has started."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if module in process.cmdline():
                found.append(process)
    return found


def job_at_work(pid: int) -> psutil.Process | None:
    """A job that has got as far as its method: it has loaded torch and computes."""
    return next((p for p in jobs_of(pid) if p.memory_info().rss > 200 * 2**20), None)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def gone(processes) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_row_holds_the_scores_and_where_they_come_from(tmp_path):
    """NeVF on a simulated slice: Dice rises, the trajectory with it; provenance is complete."""
    method = {"method": "nevf", "levels": [{"iterations": 20}], "width": 32, "trajectory": 10}
    pairs, output = [{"dataset": "simulated", "ndim": 2}], tmp_path / "rows.csv"
    study = Study("s", pairs, [method], spacing=2)
    row = run(study, output, progress=False).iloc[0]
    assert row["status"] == "done" and row["dice"] > row["dice_before"] + 0.02, row["reason"]
    assert row["iterations"] == 20 and 0 < row["seconds_per_iteration"] < row["seconds"] / 20
    assert row["peak_mib"] > 100 and row["threads"] == 1 and row["device"] == "cpu"
    curve = json.loads(row["trajectory"])
    assert [len(point) for point in curve] == [2] * 4 and curve == sorted(curve, key=lambda p: p[0])
    assert max(dice for _, dice in curve) > row["dice_before"] + 0.02
    assert curve[0] == [0, round(row["dice_before"], 5)]
    assert curve[-1] == [pytest.approx(row["seconds"], abs=1e-3), round(row["dice"], 5)]
    by_label = json.loads(row["dice_by_label"])
    assert sum(by_label.values()) / len(by_label) == pytest.approx(row["dice"], abs=1e-4)
    assert {"python", "torch", "numpy", "nevf-lite", "numba"} <= set(json.loads(row["versions"]))
    assert "cores" in row["machine"] and row["started"].endswith("+00:00")
    assert json.loads(row["options"])["trajectory"] == 10
    before = output.read_bytes()
    run(study, output, progress=False)  # a finished job is never run again
    assert output.read_bytes() == before


@pytest.mark.slow
def test_a_killed_study_goes_on_and_neither_repeats_nor_loses_a_row(tmp_path):
    """SIGKILL in the middle, and a torn line: the job at work ends with it, the rest is resumed."""
    output = tmp_path / "rows.csv"
    words = ("study", "run", write_study(tmp_path, seeds=(0, 1, 2)), "-o", output, "--quiet")
    study = start(*words)
    wait_for(lambda: lines(output) == 1)
    at_work = wait_for(lambda: jobs_of(study.pid))
    study.kill()
    study.communicate(timeout=LIMIT)
    wait_for(lambda: gone(at_work))
    done = output.read_bytes()
    output.write_bytes(done + b"s,simulated 2-D,s1,s1,aff")
    again = nevf(*words)
    assert again.exit_code == 0 and "cut short and has been removed" in again.stderr
    assert "3 of 3 jobs done, 0 failed" in again.stderr
    assert output.read_bytes().startswith(done)
    rows = read_rows(output, every=True)
    assert len(rows) == 3 and not rows.duplicated(list(KEY)).any()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_the_jobs_and_says_how_to_go_on(tmp_path, workers):
    """Finished rows are there, exit status 130, one line, and nothing is left running."""
    output = tmp_path / "rows.csv"
    path = write_study(tmp_path, methods=({"method": "affine"}, ENDLESS))
    study = start("study", "run", path, "-o", output, "--workers", workers)
    said = heard(study.stderr, "Affine Dice 0.7")  # the bar, once the row is written
    wait_for(lambda: job_at_work(study.pid))
    at_work = jobs_of(study.pid)
    study.send_signal(signal.SIGINT)
    said += study.communicate(timeout=LIMIT)[1]
    assert study.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith("nevf: interrupted; what was finished is in")
    assert gone(at_work) and lines(output) == 1 and "1/2" in said


@pytest.mark.slow
def test_a_killed_job_is_a_failed_row_and_is_retried_only_when_asked(tmp_path):
    """As the kernel does when memory runs out; the others go on."""
    output = tmp_path / "rows.csv"
    path = write_study(tmp_path, methods=(ENDLESS, {"method": "affine"}))
    words = ("study", "run", path, "-o", output, "--quiet")
    study = start(*words)
    wait_for(lambda: job_at_work(study.pid)).kill()
    said = study.communicate(timeout=LIMIT)[1]
    assert study.returncode == 1
    assert "failed: simulated 2-D s0 <- s0, endless: killed by signal 9" in said
    rows = read_rows(output).set_index("label")
    assert rows["reason"]["endless"] == "killed by signal 9 (SIGKILL; out of memory?)"
    assert rows["status"]["Affine"] == "done" and rows["method"]["endless"] == "nevf"
    assert nevf(*words).exit_code == 1 and lines(output) == 2  # not tried again
    study = start(*words, "--retry-failed")
    wait_for(lambda: job_at_work(study.pid)).kill()
    study.communicate(timeout=LIMIT)
    assert lines(output) == 3 and len(read_rows(output)) == 2


@pytest.mark.slow
def test_failures_are_rows_with_their_reason(tmp_path, monkeypatch):
    """A tool that is missing, data that is absent, a method that refuses: each says what to do."""
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text("import sys\nsys.modules['ants'] = None\n")
    monkeypatch.setenv("PYTHONPATH", f"{hide}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for name in ("NEVF_DATA", "NEVF_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    pairs = [{"dataset": "simulated", "ndim": 2}, {"dataset": "mindboggle"}]
    study = Study("s", pairs, [{"method": "syn", "label": "SyN"}, {"method": "affine"}])
    rows = run(study, tmp_path / "rows.csv", workers=2, progress=False)
    reasons = rows.set_index(["dataset", "label"])["reason"]
    assert 'pip install "nevf-lite[baselines]"' in reasons["simulated 2-D", "SyN"]
    assert "nevf data fetch mindboggle" in reasons["mindboggle", "Affine"]
    assert reasons["simulated 2-D", "Affine"] == ""
    assert set(rows["status"]) == {"done", "failed"} and len(rows) == 4


# -------------------------------------------------------------------------------- command line


def test_run_refuses_bad_input_in_one_line(tmp_path):
    """Exit status 2, and nothing is written."""
    path = write_study(tmp_path)
    bad = write_study(tmp_path / "..", methods=[{"method": "sin"}])
    for words in (
        ("study", "run", tmp_path / "no.yml"),
        ("study", "run", bad),
        ("study", "run", path, "-o", tmp_path / "no" / "rows.csv"),
        ("study", "run", path, "-o", tmp_path),
        ("study", "run", path, "--workers", "0"),
        ("study", "run", path, "--batch", "0"),
        ("study", "report", path),
        ("study", "report", path, "--format", "pdf"),
    ):
        result = nevf(*words)
        assert result.exit_code == 2 and result.stdout == "", words
        assert result.stderr.splitlines()[-1].startswith("nevf: error: "), result.stderr
    assert os.listdir(tmp_path) == ["study.yml"]


def test_report_prints_every_format(tmp_path):
    """Text for people, Markdown for pages, csv and json for programs; notes on standard error."""
    path = tmp_path / "rows.csv"
    with open_rows(path) as rows:
        for seed, dice in enumerate((0.5, 0.6, 0.7)):
            rows.append(made_row(seed, "A", dice))
            rows.append(made_row(seed, "B", dice + 0.01 * (seed + 1)))
        rows.append(made_row(3, "A", 0.8))
    text = nevf("study", "report", path, "--against", "A")
    assert text.exit_code == 0 and "0.650 ± 0.129" in text.stdout and "+0.0200" in text.stdout
    assert "nevf: B: 3 of the 4 pairs of mindboggle" in text.stderr
    table = json.loads(nevf("study", "report", path, "--against", "A", "--format", "json").stdout)
    assert [row["pairs"] for row in table["rows"]] == [4, 3]
    assert table["rows"][1]["effect"] == 1 and table["rows"][0]["p"] is None
    assert nevf("study", "report", path, "--format", "csv").stdout.startswith("dataset,label,pairs")
    assert "| A | 0.650" in nevf("study", "report", path, "--format", "markdown").stdout
    wrong = nevf("study", "report", path, "--against", "C")
    assert wrong.exit_code == 2 and "against: wanted one of A, B, got 'C'" in wrong.stderr


def test_list_shows_every_method_and_what_it_needs():
    """What a study may name."""
    found = json.loads(nevf("study", "list", "--json").stdout)["methods"]
    assert {"affine", "nevf", "syn", "niftyreg", "voxelmorph"} <= {m["name"] for m in found}
    assert all(m["needs"] for m in found)
    assert "syn " in nevf("study", "list").stdout
