"""Jobs in a child process: `run_jobs` starts it, waits for it and returns its rows.

The peak memory of a job is that of its process. The thread pools of one tool do not affect the
next. A process that crashes or is killed becomes a row with the reason.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from nevf_lite.study.environment import with_threads
from nevf_lite.study.plan import Job
from nevf_lite.study.rows import canonical_json


def run_jobs(jobs: Sequence[Job], stopped: Callable[[], bool] = lambda: False) -> list[dict] | None:
    """Run jobs of one method in a new process and return their rows.

    jobs: usually one, see `batches`. A job that fails is a row and raises nothing. stopped: called
    four times a second; when it returns True, the process is killed and None returned.
    """
    if stopped():
        return None
    started = datetime.now(UTC).isoformat(timespec="seconds")
    environment = with_threads(jobs[0].method.threads)
    with tempfile.TemporaryDirectory(prefix="nevf-study-") as folder:
        result, log = Path(folder, "result.json"), Path(folder, "log.txt")
        environment["TMPDIR"] = folder  # removed with what a killed tool leaves in it
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "nevf_lite.study.job", str(result)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which kills the process
            )
        try:
            with contextlib.suppress(BrokenPipeError):  # the reason is in its log
                process.stdin.write(json.dumps([asdict(job) for job in jobs]).encode() + b"\n")
                process.stdin.flush()
            while not stopped():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.25)
                    break
            else:
                return None
        finally:
            _kill(process)
        try:
            outcomes = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            reason = _exit_reason(process.returncode, log)
            outcomes = [{"status": "failed", "reason": reason} for _ in jobs]
    return [
        {**_job_columns(job), "started": started, **outcome}
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]


def failed_row(job: Job, error: BaseException) -> dict:
    """The row of a job whose process could not be started or was lost."""
    reason = f"{type(error).__name__}: {error}"
    return {**_job_columns(job), "status": "failed", "reason": reason}


def _job_columns(job: Job) -> dict:
    """The columns that are known before a job runs."""
    spec = job.method
    options = dict(spec.options)
    if spec.trajectory:
        options["trajectory"] = spec.trajectory
    return {
        "study": job.study,
        **job.pair.names,
        "method": spec.method,
        "label": spec.label,
        "options": canonical_json(options),
        "config_hash": spec.hash,
        "spacing_mm": spec.spacing,
        "threads": spec.threads,
        "seed": spec.seed,
    }


def _kill(process: subprocess.Popen) -> None:
    """Kill a process and its descendants, if it runs, and wait for its end."""
    import psutil

    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for member in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _exit_reason(status: int, log: Path) -> str:
    """One line about a process that ended without a result."""
    if status >= 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"ended with exit status {status}: {last}"
    name = {s.value: s.name for s in signal.Signals}.get(-status, "unknown")
    hint = "; out of memory?" if -status == getattr(signal, "SIGKILL", 9) else ""
    return f"killed by signal {-status} ({name}{hint})"
