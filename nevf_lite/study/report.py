"""The table of a study: scores, and paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.study.statistics import MIN_PAIRS, exact_p, holm, interval, rank_biserial

if TYPE_CHECKING:
    import pandas as pd

_PAIR = ["fixed", "moving"]


@dataclass(frozen=True, eq=False)
class Report:
    """The result of :func:`report`; printed, it is its tables in Markdown.

    table: one row per dataset and method, with the columns dataset, label, pairs, of_pairs (those
    that any method of the dataset has), failed, dice_mean, dice_sd, dice_before, folds_percent
    (by forward differences), ndv_percent (by volume; means), seconds, cpu_seconds, peak_mib and
    device_peak_mib (medians); if methods are compared, also pairs_in_common, difference (of the
    mean Dice on those pairs), low and high (its 95 % interval), p, p_holm (over the table) and
    effect. against: label of the method that the others are compared with. notes: limits of the
    comparison, such as failed jobs.
    """

    table: pd.DataFrame
    against: str | None
    notes: tuple[str, ...]

    def blocks(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """The tables as text: title, header and cells; a row per method, columns by dataset.

        Means over different pairs do not stand beside each other: where a method has fewer pairs
        than another, its Dice is the difference on the pairs in common, or missing.
        """
        scores = {
            "Dice": _dice,
            "pairs": _pairs,
            "folds %": lambda r: _number(r["folds_percent"], ".4f"),
            "volume %": lambda r: _number(r["ndv_percent"], ".4f"),
            "s": lambda r: _number(r["seconds"], ".1f"),
            "CPU s": lambda r: _number(r["cpu_seconds"], ".1f"),
            "MiB": lambda r: _number(
                r["peak_mib"] if np.isnan(r["device_peak_mib"]) else r["device_peak_mib"], ".0f"
            ),
        }
        title = (
            "Dice: mean ± sd over pairs; folds by forward differences and by volume: mean; "
            "seconds (wall, processor) and MiB: median"
        )
        blocks = [(title, *self._by_dataset(scores))]
        if self.against is not None:
            compared = {
                "diff": lambda r: _number(r["difference"], "+.4f"),
                "95 %": _interval,
                "p": _p,
                "effect": lambda r: _number(r["effect"], "+.2f"),
                "pairs": lambda r: _number(r["pairs_in_common"], "d"),
            }
            title = (
                f"Dice less that of {self.against}, on the pairs in common; 95 % interval by a "
                "bootstrap over people; Wilcoxon's p, Holm's correction over this table"
            )
            blocks.append((title, *self._by_dataset(compared)))
        return blocks

    def markdown(self) -> str:
        """The tables and the notes in Markdown; numbers of too few pairs are grey in the book."""
        paragraphs = []
        for title, header, cells in self.blocks():
            cells = [[_grey(cell) for cell in line] for line in cells]
            lines = [header, ["---"] + ["---:"] * (len(header) - 1), *cells]
            paragraphs += [title, "\n".join(f"| {' | '.join(line)} |" for line in lines)]
        return "\n\n".join([*paragraphs, *(f"- {note}" for note in self.notes)])

    __str__ = markdown

    def _by_dataset(self, columns) -> tuple[list[str], list[list[str]]]:
        datasets = list(dict.fromkeys(self.table["dataset"]))
        rows = {(r["label"], r["dataset"]): r for r in self.table.to_dict("records")}
        header = ["method", *(f"{d} {name}" for d in datasets for name in columns)]
        cells = []
        for label in dict.fromkeys(self.table["label"]):
            cells.append([label])
            for row in (rows.get((label, d)) for d in datasets):
                cells[-1] += ["-" if row is None else form(row) for form in columns.values()]
        return header, cells


def report(rows: pd.DataFrame, against: str | None = None) -> Report:
    """The table of a study's rows, see `read_rows`.

    against: the label of a method to compare all others with, on the pairs that both methods have:
    see `compare`; p_holm corrects p for the number of comparisons in the table.

    Raises ValueError if no job is done or the label does not occur.
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
        of_pairs = len(done.loc[done["dataset"] == dataset, _PAIR].drop_duplicates())
        for label in labels:
            attempted = of_dataset[of_dataset["label"] == label]
            if attempted.empty:
                continue
            completed = attempted[attempted["status"] == "done"]
            counts = {"of_pairs": of_pairs, "failed": len(attempted) - len(completed)}
            summary = {"pairs": len(completed), **counts, **_summary(completed)}
            if against is not None:
                reference = done[(done["dataset"] == dataset) & (done["label"] == against)]
                # nothing is in common with itself: a method is not compared with itself
                other = _dice_by_pair(reference)[: 0 if label == against else None]
                summary |= compare(_dice_by_pair(completed), other)
            table.append({"dataset": dataset, "label": label, **summary})
    table = pd.DataFrame(table)
    if against is not None:
        table["p_holm"] = holm(table["p"])
    return Report(table, against, tuple(_notes(rows, done)))


def compare(dice: pd.Series, reference: pd.Series) -> dict[str, float]:
    """Compare a method with a reference on the pairs in common.

    dice, reference: the Dice of each method, indexed by (fixed, moving). Returns pairs_in_common,
    difference (the mean), low and high (its 95 % interval, see `statistics.interval`), p (see
    `statistics.exact_p`, NaN below six pairs) and effect (see `statistics.rank_biserial`).
    """
    common = dice.index.intersection(reference.index)
    difference = dice[common] - reference[common]
    low, high = interval(difference)
    return {
        "pairs_in_common": len(common),
        "difference": float(difference.mean()) if len(common) else np.nan,
        "low": low,
        "high": high,
        "p": exact_p(difference),
        "effect": rank_biserial(difference),
    }


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with the hash added to labels of more than one configuration on a dataset."""
    ambiguous = rows.groupby(["dataset", "label"])["config_hash"].transform("nunique") > 1
    labels = rows["label"].where(~ambiguous, rows["label"] + " [" + rows["config_hash"] + "]")
    return rows.assign(label=labels)


def _dice_by_pair(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index(_PAIR)["dice"]


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    dice = rows["dice"]
    means = ("dice_before", "folds_percent", "ndv_percent")
    medians = ("seconds", "cpu_seconds", "peak_mib", "device_peak_mib")
    return {
        "dice_mean": dice.mean(),
        "dice_sd": dice.std(),
        **{name: rows[name].mean() for name in means},
        **{name: rows[name].median() for name in medians},
    }


def _notes(rows: pd.DataFrame, done: pd.DataFrame) -> Iterator[str]:
    """Lines on missing pairs, several configurations, and seconds that are not comparable."""
    for dataset, of_dataset in rows.groupby("dataset", sort=False):
        count = len(of_dataset[_PAIR].drop_duplicates())
        for label, of_label in of_dataset.groupby("label", sort=False):
            completed = int((of_label["status"] == "done").sum())
            failed = int((of_label["status"] == "failed").sum())
            if completed < count:
                reason = f", {failed} failed" if failed else ""
                yield f"{label}: {completed} of the {count} pairs of {dataset}{reason}"
    for label, of_label in rows.groupby("label", sort=False):
        if of_label["config_hash"].nunique() > 1:
            yield f"{label}: its configuration is not the same on every dataset"
    for column, plural in (("machine", "machines"), ("threads", "numbers of threads")):
        count = done[column].nunique()
        if count > 1:
            yield f"seconds come from {count} {plural}; compare them with care"


def _number(value: float, spec: str) -> str:
    if value is None or np.isnan(value):
        return "-"
    return format(int(value) if spec == "d" else value, spec)


def _dice(row: dict) -> str:
    if row["pairs"] < row["of_pairs"]:
        return _number(row.get("difference"), "+.3f")
    return _mean_sd(row["dice_mean"], row["dice_sd"])


def _pairs(row: dict) -> str:
    return f"{row['pairs']:d}" + (f" of {row['of_pairs']:d}" * (row["pairs"] < row["of_pairs"]))


def _interval(row: dict) -> str:
    return "-" if np.isnan(row["low"]) else f"{row['low']:+.4f} to {row['high']:+.4f}"


def _p(row: dict) -> str:
    few = 0 < row["pairs_in_common"] < MIN_PAIRS
    return f"n < {MIN_PAIRS}" if few else _number(row["p_holm"], ".2g")


def _grey(cell: str) -> str:
    """A cell that speaks of too few pairs, in the book's grey."""
    few = " of " in cell or cell.startswith("n < ")
    return f'<span class="nevf-few">{cell.replace("<", "&lt;")}</span>' if few else cell


def _mean_sd(mean: float, sd: float) -> str:
    return _number(mean, ".3f") if np.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"
