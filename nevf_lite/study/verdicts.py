"""The ledger: what the published rows say of each claim of the paper, by rules that are fixed.

One comparison on one data set, from three pairs on:

* holds: the 95 % interval lies on the claimed side of zero (of one for a ratio, of the limit for a
  limit); where the claim is one of size, it also reaches the paper's number.
* holds in part: the mean lies on the claimed side.
* does not hold: it does not.

A level holds within one standard deviation of the paper's mean and holds in part within two, both
as printed; on a coarser grid than the paper's 1 mm it holds in part or waits for rows. Where a
method worked on a finer grid than the one it is compared with, its Dice holds in part at most, and
its seconds or memory count where they hold; on a coarser one they are left out.

A claim is as good as the worst of its comparisons on a data set. It holds if it holds on every data
set, no comparison lacks rows, and each has six pairs in all; it does not hold if it holds on none
of those with rows; otherwise it holds in part.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.study.claims import Claim, Evidence, Name, evidence, published, read_claims
from nevf_lite.study.statistics import MIN_PAIRS, exact_p, holm, interval

if TYPE_CHECKING:
    import pandas as pd

HOLDS, IN_PART, FAILS = "holds", "holds in part", "does not hold"
UNTESTED, WAITING = "cannot be tested here", "rows not yet there"
VERDICTS = (HOLDS, IN_PART, FAILS, UNTESTED, WAITING)
#: Fewest pairs on which a comparison says anything.
FEWEST = 3


@dataclass(frozen=True)
class Finding:
    """One comparison on one data set.

    compared: names of the methods. pairs, seeds: how many. value, low, high: the statistic with its
    95 % interval, in the unit of the claim. p, p_holm: of the differences, before and after Holm's
    correction over the ledger. printed, sd: the paper's number, NaN if it prints none. spacings:
    mm, of each method. machines: models of processors. outcome: `HOLDS`, `IN_PART`, `FAILS` or
    `WAITING`.
    """

    dataset: str
    compared: tuple[str, ...]
    printed: float
    sd: float = np.nan
    outcome: str = WAITING
    pairs: int = 0
    seeds: int = 0
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan
    spacings: tuple[float, ...] = ()
    machines: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entry:
    """A claim with its findings and its verdict."""

    claim: Claim
    findings: tuple[Finding, ...]
    verdict: str


def ledger(book: str | os.PathLike) -> list[Entry]:
    """The claims of the paper with what the published rows say.

    book: the folder with `claims.yml` and `results/`, where `paper.csv` and the studies are.
    """
    import pandas as pd

    claims, names = read_claims(Path(book) / "claims.yml")
    results = Path(book) / "results"
    paper, rows = pd.read_csv(results / "paper.csv"), published(results)
    found = [find(claim, names, paper, rows) for claim in claims]
    p = iter(holm([finding.p for findings in found for finding in findings]))
    found = [[replace(f, p_holm=float(next(p))) for f in findings] for findings in found]
    return [Entry(c, tuple(f), verdict(c, f)) for c, f in zip(claims, found, strict=True)]


def count(entries: list[Entry]) -> dict[str, int]:
    """How many claims have each verdict, in the order of `VERDICTS`."""
    counted = Counter(entry.verdict for entry in entries)
    return {name: counted[name] for name in VERDICTS}


def find(
    claim: Claim, names: Mapping[str, Name], paper: pd.DataFrame, rows: pd.DataFrame
) -> list[Finding]:
    """Every comparison of a claim on each of its data sets."""
    findings = []
    for dataset in claim.datasets:
        for compared in claim.compare:
            printed = _printed(claim, [names[name].printed for name in compared], dataset, paper)
            candidates = [
                evidence(rows, dataset, names[name].rows, claim.measure, at)
                for name, at in zip(compared, claim.at, strict=False)
            ]
            waiting = Finding(dataset, compared, *printed)
            chosen = _choose(claim, candidates)
            findings.append(_measure(claim, waiting, chosen) if chosen else waiting)
    return findings


def verdict(claim: Claim, findings: list[Finding]) -> str:
    """The verdict on a claim, see the rules above."""
    if claim.untested:
        return UNTESTED
    worst = {}
    for finding in findings:
        if finding.outcome != WAITING:
            known = worst.get(finding.dataset, HOLDS)
            worst[finding.dataset] = max(known, finding.outcome, key=VERDICTS.index)
    if not worst:
        return WAITING
    pairs = Counter()
    for finding in findings:
        pairs[finding.compared] += finding.pairs
    complete = all(f.outcome != WAITING for f in findings) and min(pairs.values()) >= MIN_PAIRS
    if set(worst.values()) == {FAILS}:
        return FAILS
    return HOLDS if set(worst.values()) == {HOLDS} and complete else IN_PART


def outcome(claim: Claim, finding: Finding) -> str:
    """Whether one comparison holds, see the rules above."""
    if finding.pairs < FEWEST:
        return WAITING
    if claim.kind == "level":
        off = abs(finding.value - finding.printed) / finding.sd
        if finding.spacings[0] > 1:
            return IN_PART if off <= 2 else WAITING
        return HOLDS if off <= 1 else IN_PART if off <= 2 else FAILS
    sign = 1 if claim.wanted == "more" else -1
    mark = {"ratio": 1.0, "limit": claim.limit}.get(claim.kind, 0.0)
    value, *ends = (sign * (x - mark) for x in (finding.value, finding.low, finding.high))
    reached = not claim.size or max(ends) >= sign * (finding.printed - mark)
    if value <= 0:
        made = FAILS
    else:
        made = HOLDS if min(ends) > 0 and reached else IN_PART
    if len(set(finding.spacings)) > 1:  # ours is on the finer grid
        if claim.measure == "dice":
            return IN_PART if made == HOLDS else made
        return made if made == HOLDS else WAITING
    return made


def _choose(claim: Claim, candidates: list[list[Evidence]]) -> list[Evidence] | None:
    """The configurations to compare: three pairs in common, one grid, a fine grid, many pairs."""
    if len(candidates) == 1:
        sides = [[one] for one in candidates[0]]
    else:
        ours, others = candidates
        sides = [[one, two] for one in ours for two in others if one.spacing <= two.spacing]

    def merit(side: list[Evidence]) -> tuple:
        pairs = len(_common(side))
        alike = len({one.spacing for one in side}) == 1
        return pairs >= FEWEST, alike, -side[0].spacing, pairs

    sides = [side for side in sides if len(_common(side))]
    return max(sides, key=merit) if sides else None


def _common(side: list[Evidence]) -> pd.Index:
    first, last = side[0].values, side[-1].values
    return first.index.intersection(last.index)


def _measure(claim: Claim, finding: Finding, chosen: list[Evidence]) -> Finding:
    common = _common(chosen)
    ours, other = chosen[0].values[common], chosen[-1].values[common]
    if claim.kind in ("level", "limit"):
        value, (low, high), p = ours.mean(), interval(ours), np.nan
    elif claim.kind == "difference":
        value, (low, high), p = (ours - other).mean(), interval(ours - other), exact_p(ours - other)
    else:
        value, ends = ours.mean() / other.mean(), interval(ours, other)
        p = exact_p(ours - other)
        if claim.kind == "percent":
            value, ends = 100 * (value - 1), tuple(100 * (end - 1) for end in ends)
        low, high = ends
    measured = replace(
        finding,
        pairs=len(common),
        seeds=min(one.seeds for one in chosen),
        value=float(value),
        low=float(low),
        high=float(high),
        p=p,
        spacings=tuple(one.spacing for one in chosen),
        machines=frozenset().union(*(one.machines for one in chosen)),
    )
    return replace(measured, outcome=outcome(claim, measured))


def _printed(
    claim: Claim, labels: list[str], dataset: str, paper: pd.DataFrame
) -> tuple[float, float]:
    """The paper's number and its standard deviation: typed in the claim, or from its tables."""
    if claim.printed is not None:
        return float(claim.printed.get(dataset, np.nan)), np.nan
    column = {"dice": "dice", "cpu_seconds": "minutes", "peak_mib": "memory_mib"}
    if claim.kind == "limit" or claim.measure not in column or any(claim.at):
        return (claim.limit if claim.kind == "limit" else np.nan), np.nan
    of_dataset = paper[paper["dataset"] == dataset].drop_duplicates("label").set_index("label")
    values = of_dataset[column[claim.measure]].reindex(labels).to_numpy(float)
    if claim.kind == "level":
        return values[0], float(of_dataset["dice_sd"].get(labels[0], np.nan))
    if claim.kind == "difference":
        return values[0] - values[1], np.nan
    ratio = values[0] / values[1]
    return (100 * (ratio - 1) if claim.kind == "percent" else ratio), np.nan
