"""The ledger: what the published rows say of each claim of the paper, by rules that are fixed.

One comparison on one data set, from three pairs on:

* holds: the 95 % interval lies on the claimed side of zero (of one for a ratio, of the limit for a
  limit); where the claim is one of size, it also reaches the paper's number.
* holds in part: on the claimed side, short of the paper's number.
* does not hold: it lies on the other side.
* open: neither.

A level holds within one standard deviation of the paper's mean and holds in part within two, both
as printed. What does not depend on the people (a claim with a `study`) needs one pair, and holds in
part at most without an interval.

A claim is as good as the worst of its comparisons on a data set. It holds if it holds on every data
set, no comparison lacks rows, and each has six pairs in all. It does not hold if on every data set
a comparison with six pairs in all does not, whatever rows the others lack. Otherwise it holds in
part if it does so, or holds, on a data set; and if not, it is open.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.study.claims import Claim, Side, admitted, published, read_claims
from nevf_lite.study.statistics import MIN_PAIRS, exact_p, holm, interval

if TYPE_CHECKING:
    import pandas as pd

HOLDS, IN_PART, OPEN, FAILS = "holds", "holds in part", "open", "does not hold"
UNTESTED, WAITING = "cannot be tested here", "not tested yet"
VERDICTS = (HOLDS, IN_PART, OPEN, FAILS, UNTESTED, WAITING)  # the first four from good to bad
#: Fewest pairs on which a comparison says anything.
FEWEST = 3
#: What the paper's tables give for a column of the rows.
_PRINTED = {"dice": "dice", "dice_before": "dice", "cpu_seconds": "minutes"}
_PRINTED["peak_mib"] = "memory_mib"


@dataclass(frozen=True)
class Finding:
    """One comparison on one data set.

    compared: names of the methods. printed, sd: the paper's number, NaN if it prints none. outcome:
    `HOLDS`, `IN_PART`, `OPEN`, `FAILS` or `WAITING`. pairs: how many. value, low, high: the
    statistic with its 95 % interval, in the unit of the claim. p, p_holm: of the differences,
    before and after Holm's correction over the claims of a part. machines: models of processors.
    """

    dataset: str
    compared: tuple[str, ...]
    printed: float
    sd: float = np.nan
    outcome: str = WAITING
    pairs: int = 0
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan
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

    claims, labels = read_claims(Path(book) / "claims.yml")
    results = Path(book) / "results"
    paper, rows = pd.read_csv(results / "paper.csv"), published(results)
    found = {claim.name: find(claim, labels, paper, rows) for claim in claims}
    entries = []
    for part in dict.fromkeys(claim.part for claim in claims):
        of_part = [claim for claim in claims if claim.part == part]
        p = iter(holm([finding.p for claim in of_part for finding in found[claim.name]]))
        for claim in of_part:
            findings = tuple(replace(f, p_holm=float(next(p))) for f in found[claim.name])
            entries.append(Entry(claim, findings, verdict(claim, findings)))
    return entries


def count(entries: list[Entry]) -> dict[str, int]:
    """How many claims have each verdict, in the order of `VERDICTS`."""
    counted = Counter(entry.verdict for entry in entries)
    return {name: counted[name] for name in VERDICTS}


def find(
    claim: Claim, labels: Mapping[str, str], paper: pd.DataFrame, rows: pd.DataFrame
) -> list[Finding]:
    """Every comparison of a claim on each of its data sets.

    labels: of the methods that rows call otherwise, see `read_claims`. paper: `paper.csv`.
    """
    rows = admitted(rows, claim)
    findings = []
    for dataset in claim.datasets:
        for compared in claim.compare:
            sides = [Side.of(name, labels) for name in compared]
            methods = [s.method if s.iterations is None else "" for s in sides]
            waiting = Finding(dataset, compared, *_printed(claim, methods, dataset, paper))
            of_dataset = rows[rows["dataset"] == dataset]
            findings.append(_measure(claim, waiting, [side.rows(of_dataset) for side in sides]))
    return findings


def verdict(claim: Claim, findings: tuple[Finding, ...]) -> str:
    """The verdict on a claim, see the rules above."""
    if claim.untested:
        return UNTESTED
    worst, pairs = {}, Counter()
    for finding in findings:
        pairs[finding.compared] += finding.pairs
        if finding.outcome != WAITING:
            known = worst.get(finding.dataset, HOLDS)
            worst[finding.dataset] = max(known, finding.outcome, key=VERDICTS.index)
    if not worst:
        return WAITING
    failing = [f for f in findings if f.outcome == FAILS and pairs[f.compared] >= MIN_PAIRS]
    if {f.dataset for f in failing} == set(claim.datasets):
        return FAILS
    complete = all(f.outcome != WAITING for f in findings) and min(pairs.values()) >= MIN_PAIRS
    outcomes = set(worst.values())
    if complete and outcomes == {HOLDS}:
        return HOLDS
    return IN_PART if outcomes & {HOLDS, IN_PART} else OPEN


def outcome(claim: Claim, finding: Finding) -> str:
    """Whether one comparison holds, see the rules above."""
    if finding.pairs < (1 if claim.study else FEWEST):
        return WAITING
    if claim.kind == "level":
        off = abs(finding.value - finding.printed) / finding.sd
        return HOLDS if off <= 1 else IN_PART if off <= 2 else FAILS
    sign = 1 if claim.wanted == "more" else -1
    mark = threshold(claim)
    value, *ends = (sign * (x - mark) for x in (finding.value, finding.low, finding.high))
    if np.isnan(finding.low):  # one pair, of what does not depend on people
        return IN_PART if value > 0 else FAILS
    if min(ends) <= 0:
        return FAILS if max(ends) < 0 else OPEN
    reached = not claim.size or max(ends) >= sign * (finding.printed - mark)
    return HOLDS if reached else IN_PART


def threshold(claim: Claim) -> float:
    """Where the side that is claimed begins; a level has none."""
    return {"ratio": 1.0, "limit": claim.limit}.get(claim.kind, 0.0)


def _measure(claim: Claim, finding: Finding, sides: list[pd.DataFrame]) -> Finding:
    """The finding with what the rows of each side say, on the pairs that they have in common.

    Several seeds of a pair count as their mean.
    """
    values = [side.groupby(["fixed", "moving"])[claim.measure].mean().dropna() for side in sides]
    common = values[0].index.intersection(values[-1].index)
    if common.empty:
        return finding
    ours, other = values[0][common], values[-1][common]
    p = np.nan if len(sides) == 1 else exact_p(ours - other)
    if len(sides) == 1:
        value, ends = ours.mean(), interval(ours)
    elif claim.kind == "difference":
        value, ends = (ours - other).mean(), interval(ours - other)
    else:
        value, ends = ours.mean() / other.mean(), interval(ours, other)
        if claim.kind == "percent":
            value, *ends = (100 * (ratio - 1) for ratio in (value, *ends))
    low, high = map(float, ends)
    machines = [m for side in sides for m in side["machine"].str.partition(",")[0]]
    measured = replace(finding, pairs=len(common), value=float(value), low=low, high=high, p=p)
    return replace(measured, outcome=outcome(claim, measured), machines=frozenset(machines))


def _printed(
    claim: Claim, methods: list[str], dataset: str, paper: pd.DataFrame
) -> tuple[float, float]:
    """The paper's number and its standard deviation: typed in the claim, or from its tables.

    methods: names in `paper.csv`; it prints no Dice of a method on the way, which is "" here.
    """
    if claim.kind == "limit":
        return claim.limit, np.nan
    if claim.printed is not None:
        return float(claim.printed.get(dataset, np.nan)), np.nan
    of_dataset = paper[paper["dataset"] == dataset].drop_duplicates("label").set_index("label")
    values = of_dataset[_PRINTED[claim.measure]].reindex(methods).to_numpy(float)
    if claim.kind == "level":
        return values[0], float(of_dataset["dice_sd"].get(methods[0], np.nan))
    if claim.kind == "difference":
        return values[0] - values[1], np.nan
    ratio = values[0] / values[1]
    return (100 * (ratio - 1) if claim.kind == "percent" else ratio), np.nan
