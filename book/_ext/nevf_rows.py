"""Pages that are fed from rows: the ledger of claims, single numbers, and where rows come from.

Directives: `nevf-claims PART` (the claims of a part with their verdicts), `nevf-verdicts` (how many
have each), `nevf-rows STUDY ...` (pairs, seeds and machines of each method), `nevf-provenance
STUDY ...` (commits and dates). Roles: `row` (a number from rows), `fixed` (a number of the text
that no row can change, such as the paper's own or a definition).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole

from nevf_lite.study import read_rows
from nevf_lite.study.claims import published
from nevf_lite.study.statistics import MIN_PAIRS
from nevf_lite.study.verdicts import (
    FAILS,
    HOLDS,
    IN_PART,
    UNTESTED,
    VERDICTS,
    WAITING,
    Entry,
    Finding,
    count,
    ledger,
)

BOOK = Path(__file__).resolve().parents[1]
TITLES = {"mindboggle": "Mindboggle", "oasis": "OASIS"}
#: Columns whose mean over pairs is shown; of all others it is the median.
MEANS = ("dice", "dice_before", "folds_percent", "ndv_percent")
#: Left empty in the Markdown of a notebook, where no directive is wanted; the built page fills it.
VERDICTS_SPAN = '<span class="nevf-verdicts"></span>'
_COUNTED = {
    HOLDS: "{} hold",
    IN_PART: "{} hold in part",
    FAILS: "{} do not hold",
    UNTESTED: "{} cannot be tested here",
    WAITING: "{} wait for rows",
}
_UNITS = {
    "difference": ("{:+.3f}", ""),
    "percent": ("{:+.1f}", " %"),
    "ratio": ("{:.2f}", " times"),
    "level": ("{:.3f}", ""),
    "limit": ("{:.4f}", " %"),
}


@functools.cache  # several directives of a page
def entries() -> list[Entry]:
    """The ledger as it stands."""
    return ledger(BOOK)


def headline() -> str:
    """How many claims of the paper have each verdict, in one sentence."""
    counted = count(entries())
    told = ", ".join(_COUNTED[name].format(counted[name]) for name in VERDICTS)
    return f"Of {sum(counted.values())} claims of the paper {told}."


def claims_table(part: str) -> str:
    """The claims under one heading as a Markdown table; ValueError for an unknown heading."""
    chosen = [entry for entry in entries() if entry.claim.part == part]
    if not chosen:
        parts = dict.fromkeys(entry.claim.part for entry in entries())
        raise ValueError(f"nevf-claims: wanted one of {', '.join(parts)}, got {part!r}")
    lines = [["claim", "the paper", "here", "verdict"], ["---"] * 4]
    for entry in chosen:
        claim = entry.claim
        says = f"{claim.says} ({claim.where})" + (f" *{claim.note}*" if claim.note else "")
        here = claim.untested or "<br>".join(_here(entry))
        lines.append([says, _papers(entry), here, f"**{entry.verdict}**"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_table(*studies: str) -> str:
    """What has been run: pairs of each data set, seeds and machines, a line a method."""
    lines = [["study", "method", "mm", "pairs", "seeds", "processor"], ["---"] * 6]
    for study in studies:
        done = _done(study)
        done = done.assign(spacing_mm=done["spacing_mm"].fillna(1.0))
        for (label, spacing), of_one in done.groupby(["label", "spacing_mm"], sort=False):
            pairs = of_one.drop_duplicates(["dataset", "fixed", "moving"])["dataset"]
            counted = ", ".join(
                f"{TITLES.get(name, name)} {n}"
                for name, n in pairs.value_counts(sort=False).items()
            )
            machines = sorted(set(of_one["machine"].str.partition(",")[0]))
            cells = [f"`{study}`", label, f"{spacing:g}", counted]
            lines.append([*cells, str(of_one["seed"].nunique()), "; ".join(machines)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def provenance(*studies: str) -> str:
    """The rows that a page shows: how many, of which commits, from when to when.

    Without names: the rows that entered the ledger, by study.
    """
    rows = {study: _done(study) for study in studies} or dict(
        iter(published(BOOK / "results").groupby("study"))
    )
    told = []
    for study, done in rows.items():
        dates = sorted(done["started"].str[:10])
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        short = done["commit"].str.replace(r"^(.{7})[0-9a-f]*", r"\1", regex=True)
        commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(short))
        told.append(f"`{study}`, {len(done)} rows of {when}, commits {commits}")
    return f"Rows: {'; '.join(told)}."


def number(text: str) -> str:
    """A number from rows. text: "study; label; dataset; column; format", as in the role `row`.

    The mean over pairs of a score and the median of seconds or memory, rounded by the format.
    Raises ValueError if there is no such row.
    """
    study, label, dataset, column, form = (part.strip() for part in text.split(";"))
    done = _done(study)
    found = done[(done["label"] == label) & (done["dataset"] == dataset)]
    if found.empty:
        raise ValueError(f"row: {study}.csv has no row of {label!r} on {dataset!r}")
    value = found[column].mean() if column in MEANS else found[column].median()
    return format(value, form)


@functools.cache  # read once for a build
def _done(study: str):
    rows = read_rows(BOOK / "results" / f"{study}.csv")
    return rows[rows["status"] == "done"]


def _papers(entry: Entry) -> str:
    """The paper's number on each data set, where it prints one; one line for equal comparisons."""
    claim, (form, unit) = entry.claim, _UNITS[entry.claim.kind]
    if claim.kind == "limit":
        return f"{'below' if claim.wanted == 'less' else 'above'} {claim.limit:g} %"
    told = {}
    for finding in entry.findings:
        if not np.isnan(finding.printed):
            value = f"{form.format(finding.printed).replace('-', '−')}{unit}"
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
            which = "" if len(missing) == len(findings) else f" {', '.join(missing)}"
            yield f'<span class="nevf-few">{TITLES[dataset]}{which}: no rows yet</span>'


def _finding(entry: Entry, finding: Finding) -> str:
    """One finding in words: value, interval, pairs, p, and what was not equal."""
    where = f"{_beside(entry, finding)}{TITLES[finding.dataset]}"
    form, unit = _UNITS[entry.claim.kind]
    told = f"{where} {form.format(finding.value)}"
    if not np.isnan(finding.low):
        told += f" [{form.format(finding.low)}, {form.format(finding.high)}]"
    told = told.replace("-", "−") + unit
    pairs = f"{finding.pairs} pair{'s' * (finding.pairs > 1)}"
    told += (
        f", {pairs}" if finding.pairs >= MIN_PAIRS else f', <span class="nevf-few">{pairs}</span>'
    )
    if not np.isnan(finding.p_holm):
        told += f", p {finding.p_holm:.2g}"
    if finding.seeds > 1:
        told += f", {finding.seeds} seeds"
    if set(finding.spacings) != {1.0}:
        told += f", at {' and '.join(f'{s:g}' for s in dict.fromkeys(finding.spacings))} mm"
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


class _FromRows(SphinxDirective):
    """A directive that renders Markdown made from rows."""

    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        container = nodes.container(classes=["nevf-from-rows"])
        try:
            text = self.markdown()
        except ValueError as error:
            raise self.error(str(error)) from error
        self.state.nested_parse(StringList(text.split("\n"), ""), 0, container)
        return [container]


class Claims(_FromRows):
    """The claims under one heading."""

    def markdown(self) -> str:
        return claims_table(" ".join(self.arguments))


class Verdicts(_FromRows):
    """How many claims have each verdict."""

    def markdown(self) -> str:
        return f"**{headline()}**"


class Rows(_FromRows):
    """What has been run."""

    def markdown(self) -> str:
        return rows_table(*self.arguments)


class Provenance(_FromRows):
    """Commits and dates of the rows of a page."""

    def markdown(self) -> str:
        return provenance(*self.arguments)


class Row(SphinxRole):
    """A number from rows."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [nodes.Text(number(self.text))], []
        except (ValueError, KeyError) as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]


class Fixed(SphinxRole):
    """A number of the text itself."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.Text(self.text)], []


def setup_rows(app) -> None:
    """Register what this module brings; called by the book's extension."""
    app.add_directive("nevf-claims", Claims)
    app.add_directive("nevf-verdicts", Verdicts)
    app.add_directive("nevf-rows", Rows)
    app.add_directive("nevf-provenance", Provenance)
    app.add_role("row", Row())
    app.add_role("fixed", Fixed())
