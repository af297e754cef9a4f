"""The jobs of a study on a Dask cluster, given the address of its scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from nevf_lite.study.plan import Job
from nevf_lite.study.process import failed, run_job


def on_cluster(jobs: list[Job], scheduler: str) -> Iterator[tuple[Job, dict]]:
    """Each job and its row, as they come.

    A job whose worker is lost goes to another one; after three workers lost it counts as failed.
    When the iterator is closed, or its process ends in any way, the jobs that are running are
    ended too. Raises ValueError if there is no scheduler at that address.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ValueError('scheduler: pip install "nevf-lite[cluster]" first') from error
    try:
        client = Client(scheduler, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"scheduler: no Dask scheduler answers at {scheduler}") from error
    with client:
        # the order of the list is the order of the work; a name of its own for every run
        futures = {
            client.submit(_on_worker, job, pure=False, priority=-number): job
            for number, job in enumerate(jobs)
        }
        try:
            for future in as_completed(futures, loop=client.loop):
                job = futures[future]
                if future.status in ("cancelled", "lost"):
                    raise ConnectionError(
                        f"scheduler: the one at {scheduler} has gone; finished rows are there, and "
                        "the same command goes on from them"
                    )
                error = future.exception()
                yield job, future.result() if error is None else failed(job, error)
                future.release()
        finally:
            client.cancel(list(futures), force=True)


def _on_worker(job: Job) -> dict:
    """Run a job on a Dask worker, until somebody cancels it there."""
    from distributed.worker import get_worker, thread_state

    worker, key = get_worker(), thread_state.key

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    row = run_job(job, cancelled)
    if row is None:
        raise RuntimeError("cancelled")
    return row
