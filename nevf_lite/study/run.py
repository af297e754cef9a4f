"""Run a study: what is not done yet, here or on a cluster, each row written when it is done."""

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
    """Do all jobs of a study that the file of rows does not hold yet, and return its rows.

    output: the CSV file, made or gone on with. workers: jobs at a time on this machine; or
    scheduler: the address of a Dask scheduler, "tcp://host:8786", whose workers have this package
    and the data. batch: pairs of NeVF that one process does at the same time, to share a card; the
    seconds and cpu_seconds of their rows are each one's share, peak_mib is that of the process.
    retry_failed: do those again that failed. progress: a bar on standard error.

    Only this process writes rows. Ctrl-C ends the jobs that are running; their rows are not
    written, all finished ones are. Raises ValueError for what cannot be run at all; a job that
    fails is a row with status "failed" and a reason.
    """
    if workers < 1:
        raise ValueError(f"workers: wanted 1 or more, got {workers}")
    if batch < 1:
        raise ValueError(f"batch: wanted 1 or more, got {batch}")
    jobs = study.jobs()
    with open_rows(output) as rows:
        for text in rows.notes:
            tqdm.write(f"nevf: {text}", file=sys.stderr)
        finished = rows.status()
        again = ("done",) if retry_failed else ("done", "failed")
        left = [job for job in jobs if finished.get(job.key) not in again]
        bar = tqdm(
            total=len(jobs),
            initial=len(jobs) - len(left),
            disable=not progress,
            unit="job",
            smoothing=0,
            dynamic_ncols=True,
        )
        with bar:
            batches = list(in_batches(left, batch))
            results = (
                on_cluster(batches, scheduler)
                if scheduler
                else _here(batches, workers, lambda job: bar.set_description(str(job)))
            )
            with contextlib.closing(results):
                for job, row in results:
                    rows.append(row)
                    bar.update()
                    last = f"Dice {row['dice']:.4f}" if row["status"] == "done" else "FAILED"
                    bar.set_postfix_str(f"{job.method.label} {last}")
    return read_rows(output)


def _here(
    batches: list[tuple[Job, ...]], workers: int, starting: Callable[[Job], None]
) -> Iterator[tuple[Job, dict]]:
    """Each job and its row, as they come; threads wait for the processes that do the work."""
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise ValueError('workers: pip install "nevf-lite[study]" first') from error
    stop, places = threading.Event(), threading.Semaphore(workers)

    def one(batch: tuple[Job, ...]) -> tuple[tuple[Job, ...], list[dict] | None]:
        with places:
            if not stop.is_set():
                starting(batch[0])
            return batch, run_jobs(batch, stop.is_set)

    parallel = Parallel(
        workers, backend="threading", pre_dispatch=workers, return_as="generator_unordered"
    )
    results = parallel(delayed(one)(batch) for batch in batches)
    try:
        for batch, rows in results:
            if rows is not None:
                yield from zip(batch, rows, strict=True)
    finally:
        stop.set()
        results.close()
        for _ in range(workers):  # joblib leaves its threads behind; their processes must be gone
            places.acquire()
