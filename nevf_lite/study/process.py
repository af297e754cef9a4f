"""Jobs in a process of their own: `run_jobs` starts it, waits, and says what became of it.

So its peak memory is its own, the thread pools of one tool do not reach the next, and whatever ends
it, a crash or the kernel, becomes a row with its reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from nevf_lite.study.plan import Job, canonical

#: Read once, when a library is loaded; so they are set before the process starts.
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def run_jobs(jobs: Sequence[Job], stopped: Callable[[], bool] = lambda: False) -> list[dict] | None:
    """Do jobs of one method in a fresh process and return their rows.

    Usually that is one job; see `batches`. Never raises for what a job does. stopped: asked a few
    times a second; once true, the process is ended and None returned.
    """
    if stopped():
        return None
    started = datetime.now(UTC).isoformat(timespec="seconds")
    environment = os.environ | {name: str(jobs[0].method.threads) for name in THREADS}
    with tempfile.TemporaryDirectory(prefix="nevf-study-") as folder:
        result, log = Path(folder, "result.json"), Path(folder, "log.txt")
        environment["TMPDIR"] = folder  # what a killed tool leaves behind goes with it
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "nevf_lite.study.job", str(result)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        try:
            with contextlib.suppress(BrokenPipeError):  # its log will tell why
                process.stdin.write(json.dumps([asdict(job) for job in jobs]).encode() + b"\n")
                process.stdin.flush()
            while not stopped():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.25)
                    break
            else:
                return None
        finally:
            _end(process)
        try:
            found = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            why = _why(process.returncode, log)
            found = [{"status": "failed", "reason": why} for _ in jobs]
    return [
        {**_described(job), "started": started, **row} for job, row in zip(jobs, found, strict=True)
    ]


def failed(job: Job, error: BaseException) -> dict:
    """The row of a job that no process could be started for, or that was lost."""
    reason = f"{type(error).__name__}: {error}"
    return {**_described(job), "status": "failed", "reason": reason}


def _described(job: Job) -> dict:
    """The columns that are known before a job runs."""
    spec = job.method
    options = {**spec.options, **({"trajectory": spec.trajectory} if spec.trajectory else {})}
    return {
        "study": job.study,
        **job.pair.names,
        "method": spec.method,
        "label": spec.label,
        "options": canonical(options),
        "config_hash": spec.hash,
        "spacing_mm": spec.spacing,
        "threads": spec.threads,
        "seed": spec.seed,
    }


def _end(process: subprocess.Popen) -> None:
    """End it and all that it has started, and do not leave before they are gone."""
    import psutil

    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid)
            for member in [family, *family.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _why(status: int, log: Path) -> str:
    """One line about a process that ended without a result."""
    if status >= 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"ended with exit status {status}: {last}"
    name = {s.value: s.name for s in signal.Signals}.get(-status, "unknown")
    hint = "; out of memory?" if -status == getattr(signal, "SIGKILL", 9) else ""
    return f"killed by signal {-status} ({name}{hint})"
