"""Batches: the jobs of a study that one process does at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nevf_lite.study.plan import Job, MethodSpec


def in_batches(jobs: Sequence[Job], size: int) -> Iterator[tuple[Job, ...]]:
    """Batches of up to `size` pairs of one setting of NeVF; jobs of other methods are alone.

    The pairs of a batch share a GPU, see `register_many`. A job of NeVF with an init or a
    trajectory is alone too.
    """
    incomplete: dict[str, list[Job]] = {}
    for job in jobs:
        if size == 1 or not _can_share(job.method):
            yield (job,)
            continue
        batch = incomplete.setdefault(job.method.hash, [])
        batch.append(job)
        if len(batch) == size:
            yield tuple(incomplete.pop(job.method.hash))
    yield from map(tuple, incomplete.values())


def _can_share(method: MethodSpec) -> bool:
    return method.method == "nevf" and not method.trajectory and not method.options.get("init")
