"""Pages that are fed from rows: single numbers, what has been run, and where rows come from.

Directives: `nevf-rows` (pairs, seeds and machines of each method of every study), `nevf-provenance
STUDY ...` (commits and dates), and those of `nevf_claims`: `nevf-claims PART` (the claims of a part
with their verdicts) and `nevf-verdicts` (how many have each); and `nevf-trust PART` of
`nevf_trust`. Roles: `row` (a number from rows), `fixed` (a number of the text that no row can
change, such as the paper's own or a definition).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from docutils import nodes
from docutils.statemachine import StringList
from nevf_claims import claims_table, headline, sources, strip
from nevf_trust import trust_table
from sphinx.util.docutils import SphinxDirective, SphinxRole

from nevf_lite.data.splits import TITLES
from nevf_lite.study import read_rows

BOOK = Path(__file__).resolve().parents[1]
#: Columns whose mean over pairs is shown; of all others it is the median.
MEANS = ("dice", "dice_before", "folds_percent", "ndv_percent")


def rows_table() -> str:
    """What has been run: pairs of each data set, seeds and machines, a line a method; and when."""
    files = sorted((BOOK / "results").glob("*.yml"))
    studies = [path.stem for path in files if path.with_suffix(".csv").exists()]
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
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{provenance(*studies)}"


def provenance(*studies: str) -> str:
    """The rows that a page shows: how many, of which commits, from when to when.

    Without names: the rows that decide claims, by study.
    """
    rows = {study: _done(study) for study in studies} or sources()
    told = {}
    for study, done in rows.items():
        short = done["commit"].str.replace(r"^(.{7})[0-9a-f]*", r"\1", regex=True)
        commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(short))
        told[study] = len(done), _days(done["started"]), commits
    if len(told) == 1:
        [(study, (count, when, commits))] = told.items()
        return f"Rows: `{study}`, {count} rows of {when}, commits {commits}."
    started = pd.concat([done["started"] for done in rows.values()])
    lines = [["study", "rows", "days", "commits"], ["---", "--:", "---", "---"]]
    lines += [[f"`{study}`", str(count), *rest] for study, (count, *rest) in told.items()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{len(started)} rows of {len(told)} studies, {_days(started)}.\n\n"
        f":::{{dropdown}} Their days and commits\n{table}\n:::"
    )


def _days(started: pd.Series) -> str:
    """The first and the last of the days on which rows were begun."""
    first, last = started.str[:10].min(), started.str[:10].max()
    until = last[8:] if first[:8] == last[:8] else last
    return first if first == last else f"{first} to {until}"


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


def _directive(name: str, markdown: Callable[..., str]) -> type[SphinxDirective]:
    """A directive that renders the Markdown that a function makes of its arguments."""

    class FromRows(SphinxDirective):
        optional_arguments = 20

        def run(self) -> list[nodes.Node]:
            container = nodes.container(classes=[name])
            try:
                text = markdown(*self.arguments)
            except ValueError as error:
                raise self.error(str(error)) from error
            self.state.nested_parse(StringList(text.split("\n"), ""), 0, container)
            return [container]

    return FromRows


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
    made = {
        "nevf-claims": lambda *words: claims_table(" ".join(words)),
        "nevf-verdicts": lambda: f"**{headline()}**\n\n{strip()}",
        "nevf-rows": rows_table,
        "nevf-provenance": provenance,
        "nevf-trust": trust_table,
    }
    for name, markdown in made.items():
        app.add_directive(name, _directive(name, markdown))
    app.add_role("row", Row())
    app.add_role("fixed", Fixed())
