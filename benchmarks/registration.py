"""A whole registration and those of other tools, with equal threads: Dice and seconds.

The pair is trt02 <- trt01 of the train split. Each tool has the settings of the book's studies
(`book/results/*.yml`) and runs in a process of its own. All are scored alike, at 1 mm.
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
#: The study with the settings of a method, and its label there. The first is the reference.
PEERS = (
    ("tables", "SyN [40,20,0]"),
    ("tables", "greedy"),
    ("tables", "greedy, untuned"),
    ("tables", "NiftyReg, 5 mm grid"),
    ("trajectories", "DIPY [100,100,25]"),
)
#: Settings that take most of an hour.
LONG = (("tables", "SyN [80,60,40]"), ("long", "NiftyReg [5,1000]"))
#: Iterations of the field between two scores, for which the clock is stopped.
TRAJECTORY = 10


def methods(threads: int, long: bool = False) -> list[MethodSpec]:
    """The other tools and the preset `default`; ValueError for a label that no study has."""
    specs = []
    for study, label in (*PEERS, *(LONG if long else ())):
        by_label = {m.label: m for m in Study.from_yaml(RESULTS / f"{study}.yml").methods}
        if label not in by_label:
            raise ValueError(f"{study}.yml: no method with the label {label!r}")
        specs.append(replace(by_label[label], threads=threads))
    # 1 mm is what the preset chooses for a head
    specs.insert(1, MethodSpec("nevf", "features, default", 1, threads, 0, TRAJECTORY))
    return specs


def missing_data() -> str:
    """The reason why the pair cannot be loaded; empty if it can."""
    from nevf_lite.data import available

    if any(d.dataset.name == PAIR.dataset and d.available for d in available()):
        return ""
    return f"no {PAIR.dataset} here: set NEVF_DATA to time whole registrations"


def measurements(threads: int = 1, long: bool = False) -> Iterator[dict]:
    """One measurement per method, each as soon as it is made; ratios are to the seconds of SyN."""
    reference = None
    for method in methods(threads, long):
        row = _run(method)
        if reference is None:
            reference = row
        yield _measurement(method, row, reference)


def _run(method: MethodSpec) -> dict:
    if missing := find_method(method.method).missing:
        return {"status": "failed", "reason": missing}
    (row,) = run_jobs([Job("benchmarks", PAIR, method)])
    return row


def _measurement(method: MethodSpec, row: dict, reference: dict) -> dict:
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
