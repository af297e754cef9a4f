"""The results explorer: a sentence, and the rows that may decide a claim for the page to plot.

Directive: `nevf-explorer`. All numbers are from `book/results` at each build: rows of the test
split at 1 mm, and what the paper prints (`paper.csv`). `book/_static/live_results.js` draws them;
without a script the page shows a table.
"""

from __future__ import annotations

import functools
import html
import json

import pandas as pd
from docutils import nodes
from docutils.statemachine import StringList
from nevf_claims import BOOK
from sphinx.util.docutils import SphinxDirective

from nevf_lite.data.splits import TITLES
from nevf_lite.study.claims import at_spacing, of_test_split, published, read_claims
from nevf_lite.study.statistics import MIN_PAIRS

#: The row of the plot that every method starts from.
BEFORE = "Affine (the start)"
#: Of the download, in order: the columns of a row.
COLUMNS = ("label", "dataset", "fixed", "moving", "dice", "dice_before", "folds_percent")
COLUMNS += ("cpu_seconds", "machine", "study", "commit", "started")


@functools.cache  # the figure and the sentence
def rows() -> pd.DataFrame:
    """The rows of the test split at 1 mm, in the order of the studies."""
    found = of_test_split(at_spacing(published(BOOK / "results")))
    machine = found["machine"].str.partition(",")[0].str.replace("(R)", "", regex=False)
    short = found["commit"].str[:7]
    return found.assign(machine=machine, commit=short, started=found["started"].str[:10])


@functools.cache
def paper() -> list[dict]:
    """Mean Dice, and minutes where it has them, of the paper's methods under our labels."""
    _, labels = read_claims(BOOK / "claims.yml")
    labels["Affine"] = BEFORE
    printed = pd.read_csv(BOOK / "results" / "paper.csv")
    printed = printed[printed["table"].isin(["1", "2"])]
    return [
        {
            "label": labels.get(row.label, row.label),
            "dataset": row.dataset,
            "dice": row.dice,
            "minutes": None if pd.isna(row.minutes) else row.minutes,
        }
        for row in printed.itertuples()
    ]


def sentence() -> str:
    """What the paper's method reached, what the paper prints, and what reached most."""
    told = []
    for dataset, title in TITLES.items():
        of_one = rows()[rows()["dataset"] == dataset]
        means = of_one.groupby("label")["dice"].agg(["mean", "size"])
        means = means[means["size"] >= MIN_PAIRS]["mean"]
        ours = of_one[of_one["label"] == "NeVF"]
        if ours.empty:
            continue
        (printed,) = (p["dice"] for p in paper() if (p["label"], p["dataset"]) == ("NeVF", dataset))
        part = (
            f"{ours['dice'].mean():.3f} on {title} ({ours['dice_before'].mean():.3f} at the start, "
            f"{printed:.3f} in the paper, {len(ours)} pairs)"
        )
        best = means.idxmax()
        if best != "NeVF":
            part += f", where the highest mean is {means[best]:.3f}, that of *{best}*"
        told.append(part)
    return (
        "**On people that nothing was tuned on, at 1 mm, NeVF, the paper's method, reaches a mean "
        f"Dice of {'; and of '.join(told)}.**"
    )


def figure() -> str:
    """The place of the figure, with a table for readers without scripts, and its data."""
    data = {
        "columns": COLUMNS,
        "rows": json.loads(rows()[list(COLUMNS)].to_json(orient="values", double_precision=5)),
        "paper": paper(),
        "titles": TITLES,
        "few": MIN_PAIRS,
        "before": BEFORE,
    }
    packed = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    says = "Dice of each method and pair, at 1 mm, beside what the paper prints"
    return (
        f'<figure class="nevf-live" data-live="results" aria-label="{says}">{_table()}</figure>'
        f'<script type="application/json" id="nevf-results">{packed}</script>'
    )


def _table() -> str:
    lines = []
    grouped = rows().groupby(["dataset", "label"], sort=False)
    for (dataset, label), of_one in grouped:
        cells = (TITLES[dataset], label, f"{len(of_one)}", f"{of_one['dice'].mean():.3f}")
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    head = "".join(f'<th scope="col">{n}</th>' for n in ("data set", "method", "pairs", "Dice"))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Explorer(SphinxDirective):
    """The sentence and the figure."""

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList([sentence()], ""), 0, container)
        return [*container.children, nodes.raw("", figure(), format="html")]


def setup_explorer(app) -> None:
    """Called by the book's extension."""
    app.add_directive("nevf-explorer", Explorer)
