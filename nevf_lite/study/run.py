"""Run the jobs of a study that are not done yet, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

from nevf_lite.study.batches import in_batches
from nevf_lite.study.cluster import on_cluster
from nevf_lite.study.plan import Job, Study
from nevf_lite.study.process import run_jobs
from nevf_lite.study.rows import open_rows, read_rows

if TYPE_CHECKING:
    import pandas as pd


def run(
    study: Study,
    output: str | os.PathLike,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    batch: int = 1,
    retry_failed: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the jobs of a study that the file of rows does not hold yet, and return its rows.

    output: the CSV file, created or continued. workers: jobs at a time on this machine. scheduler:
    the address of a Dask scheduler, "tcp://host:8786", whose workers have this package and the
    data; the jobs run there instead. batch: pairs of NeVF that one process registers at the same
    time, to share a GPU; seconds and cpu_seconds of a row are then the batch's divided by its size,
    peak_mib is that of the process. retry_failed: run failed jobs again. progress: a bar on
    standard error.

    Only this process writes rows, each when its job has ended. Ctrl-C kills the running jobs, whose
    rows are not written. A job that fails is a row with status "failed" and a reason. Raises
    ValueError for wrong arguments, a file that is in use or of other columns, and a missing
    package.
    """
    if workers < 1:
        raise ValueError(f"workers: wanted 1 or more, got {workers}")
    if batch < 1:
        raise ValueError(f"batch: wanted 1 or more, got {batch}")
    jobs = study.jobs()
    with open_rows(output) as rows:
        for note in rows.notes:
            tqdm.write(f"nevf: {note}", file=sys.stderr)
        status = rows.status()
        finished = ("done",) if retry_failed else ("done", "failed")
        remaining = [job for job in jobs if status.get(job.key) not in finished]
        bar = tqdm(
            total=len(jobs),
            initial=len(jobs) - len(remaining),
            disable=not progress,
            unit="job",
            smoothing=0,
            dynamic_ncols=True,
        )
        with bar:
            batches = list(in_batches(remaining, batch))
            results = (
                on_cluster(batches, scheduler)
                if scheduler
                else on_this_machine(batches, workers, lambda job: bar.set_description(str(job)))
            )
            with contextlib.closing(results):
                for job, row in results:
                    rows.append(row)
                    bar.update()
                    score = f"Dice {row['dice']:.4f}" if row["status"] == "done" else "FAILED"
                    bar.set_postfix_str(f"{job.method.label} {score}")
    return read_rows(output)


def on_this_machine(
    batches: list[tuple[Job, ...]],
    workers: int,
    on_start: Callable[[Job], None],
    run: Callable[..., list[dict] | None] = run_jobs,
) -> Iterator[tuple[Job, dict]]:
    """Run batches in child processes; yields each job and its row, in the order in which they end.

    on_start: called with the first job of a batch before it starts. run: what runs a batch, as
    `process.run_jobs`, for jobs of another kind.
    """
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise ValueError('workers: pip install "nevf-lite[study]" first') from error
    stop, slots = threading.Event(), threading.Semaphore(workers)

    def run_batch(batch: tuple[Job, ...]) -> tuple[tuple[Job, ...], list[dict] | None]:
        with slots:
            if not stop.is_set():
                on_start(batch[0])
            return batch, run(batch, stop.is_set)

    parallel = Parallel(
        workers, backend="threading", pre_dispatch=workers, return_as="generator_unordered"
    )
    results = parallel(delayed(run_batch)(batch) for batch in batches)
    try:
        for batch, rows in results:
            if rows is not None:
                yield from zip(batch, rows, strict=True)
    finally:
        stop.set()
        results.close()
        for _ in range(workers):  # joblib does not join its threads; wait until their processes end
            slots.acquire()
