"""The table of a study, as the paper lays it out, and whether its differences are real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_PAIR = ["fixed", "moving"]


@dataclass(frozen=True, eq=False)
class Report:
    """What :func:`report` returns; printed, it is its tables in Markdown.

    table: one row a dataset and method, with the columns dataset, label, pairs, failed, dice_mean,
    dice_sd, dice_before, folds_percent, ndv_percent (means), seconds, cpu_seconds, peak_mib and
    device_peak_mib (medians); and, compared with another method, pairs_in_common, difference (of
    the mean Dice on those pairs), p and effect. notes: what a reader of the table has to know.
    """

    table: pd.DataFrame
    against: str | None
    notes: tuple[str, ...]

    def blocks(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """The tables as text: title, header and cells; a row a method, columns by dataset."""
        scores = {
            "Dice": lambda r: _spread(r["dice_mean"], r["dice_sd"]),
            "pairs": lambda r: _number(r["pairs"], "d"),
            "folds %": lambda r: _number(r["folds_percent"], ".4f"),
            "s": lambda r: _number(r["seconds"], ".1f"),
            "CPU s": lambda r: _number(r["cpu_seconds"], ".1f"),
            "MiB": lambda r: _number(
                r["peak_mib"] if np.isnan(r["device_peak_mib"]) else r["device_peak_mib"], ".0f"
            ),
        }
        title = "Dice: mean ± sd over pairs; seconds (wall, processor) and MiB: median"
        found = [(title, *self._wide(scores))]
        if self.against is not None:
            compared = {
                "diff": lambda r: _number(r["difference"], "+.4f"),
                "p": lambda r: _number(r["p"], ".2g"),
                "effect": lambda r: _number(r["effect"], "+.2f"),
                "pairs": lambda r: _number(r["pairs_in_common"], "d"),
            }
            title = f"Dice less that of {self.against}, on the pairs in common; Wilcoxon's p"
            found.append((title, *self._wide(compared)))
        return found

    def markdown(self) -> str:
        """The tables and the notes in Markdown."""
        parts = []
        for title, header, cells in self.blocks():
            lines = [header, ["---"] + ["---:"] * (len(header) - 1), *cells]
            parts += [title, "\n".join(f"| {' | '.join(line)} |" for line in lines)]
        return "\n\n".join([*parts, *(f"- {note}" for note in self.notes)])

    __str__ = markdown

    def _wide(self, columns) -> tuple[list[str], list[list[str]]]:
        datasets = list(dict.fromkeys(self.table["dataset"]))
        rows = {(r["label"], r["dataset"]): r for r in self.table.to_dict("records")}
        header = ["method", *(f"{d} {name}" for d in datasets for name in columns)]
        cells = []
        for label in dict.fromkeys(self.table["label"]):
            known = [rows.get((label, d)) for d in datasets]
            shown = ["-" if r is None else show(r) for r in known for show in columns.values()]
            cells.append([label, *shown])
        return header, cells


def report(rows: pd.DataFrame, against: str | None = None) -> Report:
    """The table of a study's rows, see `read_rows`.

    against: the label of a method to compare every other one with, on the pairs that both have: the
    mean difference of Dice, the p of a two-sided Wilcoxon signed-rank test (exact for few pairs)
    and, as the effect size, the matched-pairs rank-biserial correlation, from -1 (worse on every
    pair) to 1 (better on every pair); Kerby, Comprehensive Psychology 3, 2014.

    Raises ValueError for rows none of which is done, or a label that does not occur.
    """
    import pandas as pd

    rows = _labelled(rows)
    done = rows[rows["status"] == "done"]
    labels = list(dict.fromkeys(rows["label"]))
    if done.empty:
        raise ValueError("rows: none of the jobs is done; there is nothing to report")
    if against is not None and against not in set(done["label"]):
        raise ValueError(f"against: wanted one of {', '.join(labels)}, got {against!r}")
    table = []
    for dataset, of_dataset in rows.groupby("dataset", sort=False):
        for label in labels:
            everything = of_dataset[of_dataset["label"] == label]
            if everything.empty:
                continue
            mine = everything[everything["status"] == "done"]
            line = _summary(mine) | {"failed": len(everything) - len(mine)}
            if against is not None:
                other = done[(done["dataset"] == dataset) & (done["label"] == against)]
                line |= compare(_by_pair(mine), _by_pair(other)) if label != against else {}
            table.append({"dataset": dataset, "label": label, **line})
    return Report(pd.DataFrame(table), against, tuple(_notes(rows, done)))


def compare(dice: pd.Series, other: pd.Series) -> dict[str, float]:
    """Two methods on the pairs that both have; both series are indexed by pair."""
    from scipy.stats import rankdata, wilcoxon

    common = dice.index.intersection(other.index)
    difference = (dice[common] - other[common]).to_numpy()
    found = {"pairs_in_common": len(common), "difference": np.nan, "p": np.nan, "effect": np.nan}
    if not len(common):
        return found
    found["difference"] = float(difference.mean())
    moved = difference[difference != 0]
    if not len(moved):  # the same Dice everywhere: nothing speaks for a difference
        return found | {"p": 1.0, "effect": 0.0}
    ranks = rankdata(np.abs(moved))
    found["p"] = float(wilcoxon(difference, method="auto").pvalue)
    found["effect"] = float((ranks * np.sign(moved)).sum() / ranks.sum())
    return found


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with the hash in labels that mean more than one configuration of a dataset."""
    several = rows.groupby(["dataset", "label"])["config_hash"].transform("nunique") > 1
    labels = rows["label"].where(~several, rows["label"] + " [" + rows["config_hash"] + "]")
    return rows.assign(label=labels)


def _by_pair(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index(_PAIR)["dice"]


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    dice = rows["dice"]
    means = ("dice_before", "folds_percent", "ndv_percent")
    medians = ("seconds", "cpu_seconds", "peak_mib", "device_peak_mib")
    return {
        "pairs": len(rows),
        "dice_mean": dice.mean(),
        "dice_sd": dice.std(),
        **{name: rows[name].mean() for name in means},
        **{name: rows[name].median() for name in medians},
    }


def _notes(rows: pd.DataFrame, done: pd.DataFrame):
    """Methods with fewer pairs than others, and seconds that cannot be compared."""
    pairs = rows.groupby("dataset", sort=False).apply(
        lambda part: len(part[_PAIR].drop_duplicates()), include_groups=False
    )
    for dataset, count in pairs.items():
        part = rows[rows["dataset"] == dataset]
        for label, mine in part.groupby("label", sort=False):
            have = int((mine["status"] == "done").sum())
            failed = int((mine["status"] == "failed").sum())
            if have < count:
                why = f", {failed} failed" if failed else ""
                yield f"{label}: {have} of the {count} pairs of {dataset}{why}"
    for label, mine in rows.groupby("label", sort=False):
        if mine["config_hash"].nunique() > 1:
            yield f"{label}: its configuration is not the same on every dataset"
    for column, what in (("machine", "machines"), ("threads", "numbers of threads")):
        count = done[column].nunique()
        if count > 1:
            yield f"seconds come from {count} {what}; compare them with care"


def _number(value: float, form: str) -> str:
    if value is None or np.isnan(value):
        return "-"
    return format(int(value) if form == "d" else value, form)


def _spread(mean: float, sd: float) -> str:
    return _number(mean, ".3f") if np.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"
