"""Register many pairs, on this machine or a cluster, and write an index of the results.

    batch("pairs.csv", "results", workers=2)

Every pair gets a result folder of its own, as `nevf register` writes it. What is there is not done
again, so that a batch which was interrupted goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from nevf_lite.cohorts.index import write_index
from nevf_lite.cohorts.methods import methods_paragraph
from nevf_lite.cohorts.pairs import ScanPair, checked, find_pairs
from nevf_lite.cohorts.quality import ranked
from nevf_lite.cohorts.work import RECORD, failed_record, read_record, write_record
from nevf_lite.config import Config, preset
from nevf_lite.scans.files import atomic
from nevf_lite.study.child import run_module
from nevf_lite.study.cluster import on_cluster
from nevf_lite.study.rows import canonical_json
from nevf_lite.study.run import on_this_machine
from nevf_lite.transforms.store import FILE_NAME

#: What a paper says of the settings, beside the index.
METHODS = "methods.txt"


def batch(
    pairs: str | os.PathLike | Sequence[ScanPair],
    output: str | os.PathLike,
    config: str | Config = "default",
    *,
    fixed: str | os.PathLike | None = None,
    suffix: str = "T1w",
    affine: bool = False,
    workers: int = 1,
    threads: int = 1,
    scheduler: str | None = None,
    size: int = 1,
    retry_failed: bool = False,
    progress: bool = True,
) -> list[dict]:
    """Register the pairs that the output folder does not hold yet, and write its index.

    pairs, fixed, suffix: a table or a BIDS folder as for `pairs.find_pairs`, or a list of
    `ScanPair`. output: a folder; each pair's results are in a folder of its name there. config,
    affine: as for `register`. workers: processes at a time on this machine, threads: of each.
    scheduler: the address of a Dask scheduler, "tcp://host:8786", whose workers see the same files;
    the pairs are registered there instead. size: pairs that one process registers, one after the
    other, which saves its start. retry_failed: try failed pairs again. progress: a bar on standard
    error.

    A pair is done again if its files or the settings have changed, or if its transform is gone from
    its folder. One that fails is recorded with the reason; a process that is killed fails the pair
    that it was at. Returns the records, worst first, as `quality.ranked` does; index.html and
    quality.csv in the output folder show the same, and methods.txt says the settings in the words
    of a paper.
    Raises ValueError for wrong arguments and for a folder that another batch is writing to.
    """
    from filelock import FileLock, Timeout

    for name, value in (("workers", workers), ("threads", threads), ("size", size)):
        if value < 1:
            raise ValueError(f"{name}: wanted 1 or more, got {value}")
    is_path = isinstance(pairs, str | os.PathLike)
    found = find_pairs(pairs, fixed, suffix) if is_path else checked(pairs)
    output = Path(output).expanduser().absolute()
    if output.exists() and not output.is_dir():
        raise ValueError(f"output: {output} is a file; name a folder")
    output.mkdir(parents=True, exist_ok=True)
    jobs = [_job(pair, output, preset(config), affine, threads) for pair in found]
    remaining = [job for job in jobs if not _is_finished(job, retry_failed)]
    batches = [remaining[i : i + size] for i in range(0, len(remaining), size)]
    try:
        with FileLock(output / ".batch.lock", timeout=0):
            for job in remaining:  # of other files or settings, or of a failure tried again
                (Path(job["folder"]) / RECORD).unlink(missing_ok=True)
            _run(batches, len(jobs), workers, scheduler, progress)
            records = ranked(record for job in jobs if (record := _record(job)))
            write_index(output, records, output.name)
            with atomic(output / METHODS) as temporary:
                text = methods_paragraph(config, affine=affine)
                temporary.write_text(text + "\n", encoding="utf-8")
    except Timeout as error:
        raise ValueError(f"output: another batch is writing to {output}") from error
    return records


def _job(pair: ScanPair, output: Path, config: Config, affine: bool, threads: int) -> dict:
    """What `work` is told. Its hash covers what decides the result: files and settings."""
    paths = {k: str(Path(v).absolute()) if v else "" for k, v in asdict(pair).items()}
    paths["name"] = pair.name
    job = {"pair": paths, "config": config.to_dict(), "affine": affine}
    stats = [Path(paths[role]).stat() for role in paths if role != "name" and paths[role]]
    files = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
    digest = hashlib.sha256(canonical_json({**job, "files": files}).encode()).hexdigest()[:12]
    return {**job, "hash": digest, "folder": str(output / pair.name), "threads": threads}


def _is_finished(job: dict, retry_failed: bool) -> bool:
    """Whether a pair has failed and may stay so, or is done and its transform is still there."""
    status = (_record(job) or {}).get("status")
    if status == "failed":
        return not retry_failed
    return status == "done" and (Path(job["folder"]) / FILE_NAME).is_file()


def _record(job: dict) -> dict | None:
    """The record of a job in its folder, or None if it is of other files or settings."""
    record = read_record(Path(job["folder"]))
    return record if record and record.get("hash") == job["hash"] else None


def _run(
    batches: list[list[dict]], total: int, workers: int, scheduler: str | None, progress: bool
) -> None:
    done = total - sum(map(len, batches))
    with tqdm(total=total, initial=done, disable=not progress, unit="pair", smoothing=0) as bar:
        results = (
            on_cluster(batches, scheduler, run_pairs, _lost)
            if scheduler
            else on_this_machine(batches, workers, _announce(bar), run_pairs)
        )
        with contextlib.closing(results):
            for _ in results:
                bar.update()


def _announce(bar: tqdm) -> Callable[[dict], None]:
    return lambda job: bar.set_description(job["pair"]["name"])


def run_pairs(
    jobs: Sequence[dict], stopped: Callable[[], bool] = lambda: False
) -> list[dict] | None:
    """Run jobs one after the other in a child process and return their records.

    If the process ends before its time, the pair that it was at has failed, and another process
    goes on behind it. Returns None if it was stopped.
    """
    jobs, records = list(jobs), []
    while jobs:
        outcome = run_module("nevf_lite.cohorts.work", jobs, jobs[0]["threads"], stopped)
        if outcome is None:
            return None
        if isinstance(outcome, str):
            reason, outcome = outcome, list(_written(jobs))
            if len(outcome) < len(jobs):
                outcome.append(_lost(jobs[len(outcome)], reason))
        records += outcome
        jobs = jobs[len(outcome) :]
    return records


def _written(jobs: Sequence[dict]) -> Iterator[dict]:
    """The records of the first jobs, up to one that has none."""
    for job in jobs:
        if (record := _record(job)) is None:
            return
        yield record


def _lost(job: dict, error: BaseException | str) -> dict:
    """Record that the process of a job was lost."""
    reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return write_record(Path(job["folder"]), failed_record(job, reason))
