"""The page of claims: tables of the ledger with verdicts, and the headline that counts them, with a
strip of them all."""

from __future__ import annotations

import functools
import html
import itertools
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
    threshold,
)

HOLD = "\u00a0"  # between a number and what it counts, also at the end of a line
BOOK = Path(__file__).resolve().parents[1]
#: Left empty in the Markdown of a notebook, where no directive is wanted; the built page fills it.
VERDICTS_SPAN = '<span class="nevf-verdicts"></span>'
#: Of a verdict: how the headline counts it, the class of its mark on the page, and its sign.
_TOLD = {
    HOLDS: ("{} hold", "holds", "✓"),
    IN_PART: ("{} hold in part", "part", "◐"),
    OPEN: ("{} are open", "waiting", "?"),
    FAILS: ("{} do not hold", "fails", "✗"),
    UNTESTED: ("{} cannot be tested here", "untested", "–"),
    WAITING: ("{} are not tested yet", "waiting", ""),
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


def strip() -> str:
    """A square for every claim, linked to its row, a line for each heading; and what they mean."""
    lines = []
    for part, of_part in itertools.groupby(entries(), lambda entry: entry.claim.part):
        squares = "".join(
            f'<a href="#claim-{entry.claim.name}" title="{told}" aria-label="{told}" '
            f"{_square(entry.verdict)}</a>"
            for entry in of_part
            for told in [html.escape(f"{entry.verdict}: {entry.claim.says}")]
        )
        lines.append(f"<li><span>{part}</span>{squares}</li>")
    key = " ".join(f"<span><span {_square(name)}</span>{HOLD}{name}</span>" for name in VERDICTS)
    return (
        f'<ul class="nevf-strip">{"".join(lines)}</ul>'
        f'<p class="nevf-strip-key">{key}</p>'
        '<p class="nevf-strip-key">Beside the numbers: a dot and its interval are ours, a diamond '
        "is the paper’s, and at the upright line, or within the pale bar, which is the spread that "
        "the paper prints, a claim begins to hold.</p>"
        '<script src="../_static/claims.js" defer></script>'
    )


def _square(verdict: str) -> str:
    """The end of a tag with the class of a verdict's square, and its sign."""
    _, name, sign = _TOLD[verdict]
    return f'class="nevf-square nevf-{name}">{sign}'


def claims_table(part: str) -> str:
    """The claims under one heading as a Markdown table; ValueError for an unknown heading."""
    chosen = [entry for entry in entries() if entry.claim.part == part]
    if not chosen:
        parts = dict.fromkeys(entry.claim.part for entry in entries())
        raise ValueError(f"nevf-claims: wanted one of {', '.join(parts)}, got {part!r}")
    lines = [["claim", "the paper", "here"], ["---"] * 3]
    for entry in chosen:
        claim = entry.claim
        here = claim.untested or "".join(_here(entry))
        mark = (
            f'<span id="claim-{claim.name}" class="nevf-verdict nevf-{_TOLD[entry.verdict][1]}">'
            f"{entry.verdict}</span>"
        )
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
    lines = (f"{name}{line}" if several else line for line, name in told.items())
    return "".join(f'<span class="nevf-line">{line}</span>' for line in lines)


def _here(entry: Entry) -> Iterator[str]:
    """The findings of a claim, a line each, and for each data set what has no rows."""
    for dataset in entry.claim.datasets:
        findings = [finding for finding in entry.findings if finding.dataset == dataset]
        several = sum(finding.pairs > 0 for finding in findings) > 1
        if several:
            yield f'<strong class="nevf-line">{TITLES[dataset]}</strong>'
        for finding in findings:
            if finding.pairs:
                told = f"<span>{_finding(entry, finding, several)}</span>"
                yield f'<span class="nevf-line">{told}{_drawn(entry, finding)}</span>'
        missing = [
            _beside(entry, finding).rstrip(", ") for finding in findings if not finding.pairs
        ]
        if missing:
            which = "" if len(missing) == len(findings) else f", {', '.join(missing)}"
            yield f'<span class="nevf-line nevf-few">{TITLES[dataset]}{which}: rows missing</span>'


def _drawn(entry: Entry, finding: Finding) -> str:
    """A finding as a small drawing, on the scale that those of its claim share."""
    claim = entry.claim
    mark = np.nan if claim.kind == "level" else threshold(claim)
    measured = [f for f in entry.findings if f.pairs]

    def spread(of: Finding) -> list[float]:
        """Within which a level holds: the paper's number less and more what it prints of it."""
        return [of.printed - of.sd, of.printed + of.sd] if claim.kind == "level" else []

    shown = [x for f in measured for x in (f.value, f.low, f.high, f.printed, *spread(f))] + [mark]
    low, high = np.nanmin(shown), np.nanmax(shown)

    def at(value: float) -> str:
        return f"{8 + 184 * (value - low) / ((high - low) or 1):.0f}"

    parts = []
    if ends := [at(end) for end in spread(finding) if not np.isnan(end)]:
        parts.append(f'<path class="nevf-spread" d="M{ends[0]} 7H{ends[1]}"/>')
    parts.append(f'<circle cx="{at(finding.value)}" cy="7" r="3.5"/>')
    if not np.isnan(mark):
        parts.append(f'<path d="M{at(mark)} 0v14"/>')
    if not np.isnan(finding.low):
        parts.append(f'<path class="nevf-ours" d="M{at(finding.low)} 7H{at(finding.high)}"/>')
    if not np.isnan(finding.printed) and claim.kind != "limit":
        parts.append(f'<path class="nevf-papers" d="M{at(finding.printed)} 1l6 6l-6 6l-6-6z"/>')
    return f'<svg class="nevf-drawn" viewBox="0 0 200 14" aria-hidden="true">{"".join(parts)}</svg>'


def _finding(entry: Entry, finding: Finding, several: bool) -> str:
    """One finding in words: value, interval, pairs, p, and what was not equal. several: on its data
    set, which then stands above them.
    """
    beside = _beside(entry, finding)
    where = beside.rstrip(", ") if several else f"{beside}{TITLES[finding.dataset]}"
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
