"""Jobs in a child process: `run_jobs` starts it, waits for it and returns its rows.

The peak memory of a job is that of its process. The thread pools of one tool do not affect the
next. A process that crashes or is killed becomes a row with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from nevf_lite.study.child import run_module
from nevf_lite.study.plan import Job
from nevf_lite.study.rows import canonical_json


def run_jobs(jobs: Sequence[Job], stopped: Callable[[], bool] = lambda: False) -> list[dict] | None:
    """Run jobs of one method in a new process and return their rows.

    jobs: usually one, see `batches`. A job that fails is a row and raises nothing. stopped: called
    four times a second; when it returns True, the process is killed and None returned.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    document = [asdict(job) for job in jobs]
    outcomes = run_module("nevf_lite.study.job", document, jobs[0].method.threads, stopped)
    if outcomes is None:
        return None
    if isinstance(outcomes, str):
        outcomes = [{"status": "failed", "reason": outcomes} for _ in jobs]
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
