"""Which jobs of a study are done at the same time, by one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nevf_lite.study.plan import Job, MethodSpec


def in_batches(jobs: Sequence[Job], size: int) -> Iterator[tuple[Job, ...]]:
    """Jobs of NeVF, up to `size` pairs of one method together; all others one by one.

    A batch shares a card, see `register_many`. One that starts from another method or is scored on
    its way goes alone.
    """
    waiting: dict[str, list[Job]] = {}
    for job in jobs:
        if size == 1 or not _shares(job.method):
            yield (job,)
            continue
        batch = waiting.setdefault(job.method.hash, [])
        batch.append(job)
        if len(batch) == size:
            yield tuple(waiting.pop(job.method.hash))
    yield from map(tuple, waiting.values())


def _shares(method: MethodSpec) -> bool:
    return method.method == "nevf" and not method.trajectory and not method.options.get("init")
