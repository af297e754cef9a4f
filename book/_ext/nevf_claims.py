"""The page of claims: tables of the ledger with verdicts, and the headline that counts them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from nevf_lite.data.splits import TITLES
from nevf_lite.study.claims import Side, admitted, published, read_claims
from nevf_lite.study.statistics import MIN_PAIRS
from nevf_lite.study.verdicts import (
    FAILS,
    HOLDS,
    IN_PART,
    OPEN,
    UNTESTED,
    VERDICTS,
    WAITING,
    Entry,
    Finding,
    count,
    ledger,
)

HOLD = "\u00a0"  # between a number and what it counts, also at the end of a line
BOOK = Path(__file__).resolve().parents[1]
#: Left empty in the Markdown of a notebook, where no directive is wanted; the built page fills it.
VERDICTS_SPAN = '<span class="nevf-verdicts"></span>'
#: Of a verdict: how the headline counts it, and the class of its mark on the page.
_TOLD = {
    HOLDS: ("{} hold", "holds"),
    IN_PART: ("{} hold in part", "part"),
    OPEN: ("{} are open", "waiting"),
    FAILS: ("{} do not hold", "fails"),
    UNTESTED: ("{} cannot be tested here", "untested"),
    WAITING: ("{} are not tested yet", "waiting"),
}
_UNITS = {
    "difference": ("{:+.3f}", ""),
    "percent": ("{:+.1f}", f"{HOLD}%"),
    "ratio": ("{:.2f}", f"{HOLD}times"),
    "level": ("{:.3f}", ""),
    "limit": ("{:.4f}", f"{HOLD}%"),
}


@functools.cache  # several directives of a page
def entries() -> list[Entry]:
    """The ledger as it stands."""
    return ledger(BOOK)


def headline() -> str:
    """How many claims of the paper have each verdict, in one sentence."""
    counted = count(entries())
    told = ", ".join(_TOLD[name][0].format(counted[name]) for name in VERDICTS)
    return f"Of {sum(counted.values())} claims of the paper {told}."


def claims_table(part: str) -> str:
    """The claims under one heading as a Markdown table; ValueError for an unknown heading."""
    chosen = [entry for entry in entries() if entry.claim.part == part]
    if not chosen:
        parts = dict.fromkeys(entry.claim.part for entry in entries())
        raise ValueError(f"nevf-claims: wanted one of {', '.join(parts)}, got {part!r}")
    lines = [["claim", "the paper", "here"], ["---"] * 3]
    for entry in chosen:
        claim = entry.claim
        here = claim.untested or "<br>".join(_here(entry))
        mark = f'<span class="nevf-verdict nevf-{_TOLD[entry.verdict][1]}">{entry.verdict}</span>'
        says = f"{mark}<br>{claim.says} ({claim.where})"
        if claim.note:
            says += f'<br><span class="nevf-few">{claim.note}</span>'
        lines.append([says, _papers(entry), here])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sources() -> dict[str, pd.DataFrame]:
    """The rows that decide claims, by study."""
    claims, labels = read_claims(BOOK / "claims.yml")
    rows, found = published(BOOK / "results"), {}
    for claim in claims:
        used = admitted(rows, claim)
        for name in (name for names in claim.compare for name in names):
            for study, of_study in Side.of(name, labels).rows(used).groupby("study"):
                found[study] = pd.concat([found[study], of_study]) if study in found else of_study
    return {study: of_study[~of_study.index.duplicated()] for study, of_study in found.items()}


def _papers(entry: Entry) -> str:
    """The paper's number on each data set, where it prints one; one line for equal comparisons."""
    claim, (form, unit) = entry.claim, _UNITS[entry.claim.kind]
    if claim.kind == "limit":
        return f"{'below' if claim.wanted == 'less' else 'above'} {claim.limit:g}{HOLD}%"
    told = {}
    for finding in entry.findings:
        if not np.isnan(finding.printed):
            value = f"{form.format(finding.printed).replace('-', '−')}{unit}"
            if claim.kind == "level":  # the spread that decides how near is near
                value += f"{HOLD}±{HOLD}{form.format(finding.sd)}"
            told[f"{TITLES[finding.dataset]} {value}"] = _beside(entry, finding)
    several = len({*told.values()}) > 1
    return "<br>".join(f"{name}{line}" if several else line for line, name in told.items())


def _here(entry: Entry) -> Iterator[str]:
    """The findings of a claim, a line each, and for each data set what has no rows."""
    for dataset in entry.claim.datasets:
        findings = [finding for finding in entry.findings if finding.dataset == dataset]
        yield from (_finding(entry, finding) for finding in findings if finding.pairs)
        missing = [
            _beside(entry, finding).rstrip(", ") for finding in findings if not finding.pairs
        ]
        if missing:
            which = "" if len(missing) == len(findings) else f", {', '.join(missing)}"
            yield f'<span class="nevf-few">{TITLES[dataset]}{which}: rows missing</span>'


def _finding(entry: Entry, finding: Finding) -> str:
    """One finding in words: value, interval, pairs, p, and what was not equal."""
    where = f"{_beside(entry, finding)}{TITLES[finding.dataset]}"
    form, unit = _UNITS[entry.claim.kind]
    told = f"{where} {form.format(finding.value)}"
    if not np.isnan(finding.low):
        told += f" [{form.format(finding.low)},{HOLD}{form.format(finding.high)}]"
    told = told.replace("-", "−") + unit
    pairs = f"{finding.pairs}{HOLD}pair{'s' * (finding.pairs > 1)}"
    told += (
        f", {pairs}" if finding.pairs >= MIN_PAIRS else f', <span class="nevf-few">{pairs}</span>'
    )
    if not np.isnan(finding.p_holm):
        told += f", p{HOLD}{finding.p_holm:.2g}"
    if entry.claim.measure == "cpu_seconds" and len(finding.machines) > 1:
        told += f", on {' and '.join(sorted(finding.machines))}"
    return told


def _beside(entry: Entry, finding: Finding) -> str:
    """What a line of a claim with several comparisons is about."""
    compare, names = entry.claim.compare, finding.compared
    if len(compare) == 1:
        return ""
    if len(names) == 1:
        return f"{names[0]}, "
    alike = len({ours for ours, _ in compare}) == 1
    return f"beside {names[1]}, " if alike else f"{names[0]} beside {names[1]}, "
