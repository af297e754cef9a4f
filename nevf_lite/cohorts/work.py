"""The child process of `batch`: `python -m nevf_lite.cohorts.work RESULT.json`.

It reads a JSON list of jobs, registers one pair after the other, and writes each one's result
folder, with its thumbnail and its quality.json. It ends with the list of what they hold.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from nevf_lite.config import Config
from nevf_lite.scans.errors import EXPECTED, describe, out_of_memory
from nevf_lite.scans.files import atomic
from nevf_lite.study.child import receive_document

#: What a batch adds to a result folder.
RECORD, THUMBNAIL = "quality.json", "thumbnail.webp"


def write_record(folder: Path, record: dict) -> dict:
    """Write the record of a pair, whole or not at all, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def read_record(folder: Path) -> dict | None:
    """The record of a pair, or None if there is none that can be read."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def failed_record(job: dict, reason: str) -> dict:
    """What is recorded of a pair that could not be registered."""
    return {"name": job["pair"]["name"], "hash": job["hash"], "status": "failed", "reason": reason}


def work(job: dict) -> dict:
    """Register the pair of one job, write its folder, and return its record.

    job: pair (the fields of a `ScanPair`), hash, folder, config (of `Config.to_dict`), affine.
    """
    from nevf_lite.cohorts.quality import measure
    from nevf_lite.cohorts.thumbnail import write_thumbnail
    from nevf_lite.registration.register import register

    pair, folder = job["pair"], Path(job["folder"])
    started = time.perf_counter()
    try:
        result = register(
            pair["fixed"],
            pair["moving"],
            Config.from_dict(job["config"]),
            affine=job["affine"],
            fixed_mask=pair["fixed_mask"] or None,
            moving_mask=pair["moving_mask"] or None,
            progress=False,
        )
        scoring = {k: pair[k] for k in ("fixed_labels", "moving_labels") if pair[k]}
        document = result.save(folder, title=pair["name"], **scoring)
        measures, ncc_map = measure(result)
        write_thumbnail(folder / THUMBNAIL, result.fixed, result.warped, ncc_map)
    except (*EXPECTED, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        return write_record(folder, failed_record(job, describe(error)))
    record = {
        "name": pair["name"],
        "hash": job["hash"],
        "status": "done",
        "reason": "",
        "measures": measures,
        "dice": document["metrics"].get("dice_after"),
        "notes": result.notes,
        "seconds": round(time.perf_counter() - started, 2),
    }
    return write_record(folder, record)


def main() -> None:
    """Do the jobs that the parent sends."""
    records = [work(job) for job in receive_document()]
    Path(sys.argv[1]).write_text(json.dumps(records), encoding="utf-8")


if __name__ == "__main__":
    main()
