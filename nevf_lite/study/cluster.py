"""The jobs of a study on a Dask cluster, given the address of its scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nevf_lite.study.plan import Job
from nevf_lite.study.process import failed_row, run_jobs


def on_cluster(
    batches: Sequence[Sequence[Job]],
    scheduler: str,
    run: Callable[..., list[dict] | None] = run_jobs,
    failed: Callable[[Job, BaseException], dict] = failed_row,
) -> Iterator[tuple[Job, dict]]:
    """Run batches on the cluster; yields each job and its row, in the order in which they end.

    run, failed: what runs a batch and what the row of a lost job is, as `process.run_jobs` and
    `process.failed_row`, for jobs of another kind. A batch whose worker is lost goes to another
    worker. After three lost workers it has failed. When the iterator is closed, or its process ends
    in any way, running jobs are cancelled. Raises ValueError if no scheduler answers at that
    address, ConnectionError if it goes away.
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
        # priority: batches start in the order of the list; pure=False: a new key for every run
        futures = {
            client.submit(_on_worker, run, batch, pure=False, priority=-index): batch
            for index, batch in enumerate(batches)
        }
        try:
            for future in as_completed(futures, loop=client.loop):
                batch = futures[future]
                if future.status in ("cancelled", "lost"):
                    raise ConnectionError(
                        f"scheduler: the one at {scheduler} has gone; finished rows are there, and "
                        "the same command goes on from them"
                    )
                error = future.exception()
                rows = [failed(job, error) for job in batch] if error else future.result()
                yield from zip(batch, rows, strict=True)
                future.release()
        finally:
            client.cancel(list(futures), force=True)


def _on_worker(run: Callable, batch: Sequence[Job]) -> list[dict]:
    """Run a batch on a Dask worker until it is done or cancelled."""
    from distributed.worker import get_worker, thread_state

    worker, key = get_worker(), thread_state.key

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    rows = run(batch, cancelled)
    if rows is None:
        raise RuntimeError("cancelled")
    return rows
