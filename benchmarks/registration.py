"""A whole registration against its peers at equal threads: Dice against seconds.

The pair is of the train split, trt02 <- trt01. Each peer has the settings of the book's own studies
(`book/results/*.yml`), each method a process of its own, and all one scorer, at 1 mm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nevf_lite.study import Study
from nevf_lite.study.methods import find_method
from nevf_lite.study.plan import Job, MethodSpec, PairSpec
from nevf_lite.study.process import run_jobs

RESULTS = Path(__file__).parents[1] / "book" / "results"
PAIR = PairSpec("mindboggle", "trt02", "trt01")
#: The study that has a method's settings, and its label there; the first is the reference.
PEERS = (
    ("tables", "SyN [40,20,0]"),
    ("tables", "greedy"),
    ("tables", "greedy at 1 mm"),
    ("tables", "NiftyReg [3,500]"),
    ("tables", "NiftyReg, 5 mm grid"),
    ("trajectories", "DIPY [100,100,25]"),
)
#: What takes most of an hour.
LONG = (("tables", "SyN [80,60,40]"), ("tables", "NiftyReg [5,1000]"))
#: NeVF is scored every so many iterations, with the clock stopped.
EVERY = 10


def methods(threads: int, long: bool = False) -> list[MethodSpec]:
    """The peers and NeVF's default, each with that many threads; ValueError for a lost label."""
    found = []
    for study, label in (*PEERS, *(LONG if long else ())):
        known = {m.label: m for m in Study.from_yaml(RESULTS / f"{study}.yml").methods}
        if label not in known:
            raise ValueError(f"{study}.yml: no method with the label {label!r}")
        found.append(replace(known[label], threads=threads))
    # 1 mm is what the preset takes by itself for a head
    found.insert(1, MethodSpec("nevf", "NeVF", 1, threads, 0, EVERY))
    return found


def missing() -> str:
    """Why there is no registration to time; empty where there is."""
    from nevf_lite.data import available

    if any(found.dataset.name == PAIR.dataset and found.here for found in available()):
        return ""
    return f"no {PAIR.dataset} here: set NEVF_DATA to time whole registrations"


def cases(threads: int = 1, long: bool = False) -> Iterator[dict]:
    """One case a method, as it comes; seconds are against SyN's."""
    reference = None
    for method in methods(threads, long):
        row = _run(method)
        if reference is None:
            reference = row
        yield _case(method, row, reference)


def _run(method: MethodSpec) -> dict:
    lacks = find_method(method.method).missing
    if lacks:
        return {"status": "failed", "reason": lacks}
    (row,) = run_jobs([Job("benchmarks", PAIR, method)])
    return row


def _case(method: MethodSpec, row: dict, reference: dict) -> dict:
    def ratio(key: str) -> float | None:
        if row.get(key) is None or reference.get(key) is None:
            return None
        return float(f"{reference[key] / row[key]:.4g}")

    return {
        "case": f"registration {method.label}",
        "kind": "registration",
        "backend": method.method,
        "spacing": row.get("spacing_mm"),
        "device": "cpu",
        "threads": method.threads,
        "reference": PEERS[0][1],
        "seconds": row.get("seconds"),
        "reference_seconds": reference.get("seconds"),
        "ratio": ratio("seconds"),
        "cpu_seconds": row.get("cpu_seconds"),
        "cpu_ratio": ratio("cpu_seconds"),
        "peak_mib": row.get("peak_mib"),
        "dice": row.get("dice"),
        "folds_percent": row.get("folds_percent"),
        "trajectory": json.loads(row.get("trajectory") or "[]"),
        "note": row.get("reason", ""),
    }
