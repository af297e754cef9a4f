"""The claims of the paper, as they are written in `book/claims.yml`, and the rows for them.

A claim is tested on rows of the test split alone. `verdicts` says what they show.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.data.splits import TEST_ATLASES, test_pairs
from nevf_lite.study.rows import KEY, canonical_json, read_rows

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("difference", "percent", "ratio", "level", "limit")
MEASURES = ("dice", "folds_percent", "ndv_percent", "cpu_seconds", "peak_mib")
#: What a label may say besides the method: its grid and its seed, which the row says as well.
_ASIDE = re.compile(r" at [\d.]+ mm$|, seed \d+$")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how rows test it.

    name: for links. part: the heading that it stands under. where: section, table or figure of the
    paper. says: the claim in our words. untested: why it cannot be tested here, or "".
    kind: "difference" of means over pairs, "percent" by which one mean exceeds another, "ratio" of
    means, "level" beside the paper's mean, or "limit" of a mean. measure: column of the rows.
    compare: ((ours, other), ...), names of methods; for a level or a limit (ours,) each. at:
    iterations at which ours and other are compared, None for the end. wanted: "more" or "less".
    limit: of a limit. printed: by data set, numbers that the paper's tables do not give. size:
    whether the paper's number has to be reached, or only its sign. datasets: those it is made for.
    note: what to keep in mind.
    """

    name: str
    part: str
    where: str
    says: str
    untested: str = ""
    kind: str = "difference"
    measure: str = "dice"
    compare: tuple[tuple[str, ...], ...] = ()
    at: tuple[int | None, int | None] = (None, None)
    wanted: str = "more"
    limit: float = np.nan
    printed: Mapping[str, float] | None = None
    size: bool = False
    datasets: tuple[str, ...] = tuple(TEST_ATLASES)
    note: str = ""

    def __post_init__(self) -> None:
        def check(name: str, valid: bool, wanted: str) -> None:
            if not valid:
                raise ValueError(f"{self.name}.{name}: wanted {wanted}, got {getattr(self, name)}")

        sides = 1 if self.kind in ("level", "limit") else 2
        compare = tuple(tuple(names) for names in self.compare)
        object.__setattr__(self, "compare", compare)
        object.__setattr__(self, "at", tuple(self.at))
        object.__setattr__(self, "datasets", tuple(self.datasets))
        check("kind", self.kind in KINDS, f"one of {KINDS}")
        check("measure", self.measure in MEASURES, f"one of {MEASURES}")
        check("wanted", self.wanted in ("more", "less"), "more or less")
        check("compare", all(len(c) == sides for c in compare), f"lists of {sides} names")
        check("compare", bool(compare) != bool(self.untested), "methods, or a reason in untested")
        check("limit", np.isfinite(self.limit) == (self.kind == "limit"), "a number for a limit")
        check("at", len(self.at) == 2, "two numbers of iterations")
        check("datasets", set(self.datasets) <= set(TEST_ATLASES), f"some of {set(TEST_ATLASES)}")


@dataclass(frozen=True)
class Name:
    """A method of the claims. rows: the labels of its rows; printed: its label in `paper.csv`."""

    rows: tuple[str, ...]
    printed: str


def read_claims(path: str | os.PathLike) -> tuple[list[Claim], dict[str, Name]]:
    """The claims of a file and the names that its methods have in rows and in `paper.csv`.

    A method that the file does not list under `names` has one name everywhere. Raises ValueError
    for a claim that is incomplete.
    """
    import yaml

    from nevf_lite.scans.files import existing_file

    document = yaml.safe_load(existing_file(path, "claims").read_text(encoding="utf-8"))
    try:
        claims = [
            Claim(part=part, **entry)
            for part, entries in document["claims"].items()
            for entry in entries
        ]
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    names = {
        name: Name(tuple(entry["rows"]), entry.get("printed", name))
        for name, entry in document["names"].items()
    }
    for claim in claims:
        for name in (name for compared in claim.compare for name in compared):
            names.setdefault(name, Name((name,), name))
    return claims, names


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one configuration of a method measured on one data set.

    values: the measure, indexed by (fixed, moving), the mean over seeds. spacing: mm. seeds: the
    fewest that a pair has. machines: models of processors.
    """

    values: pd.Series
    spacing: float
    seeds: int
    machines: frozenset[str]


def admitted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that may enter the ledger: done, and of a pair in `splits.test_pairs`."""
    tested = {(dataset, *pair) for dataset in TEST_ATLASES for pair in test_pairs(dataset)}
    pairs = zip(rows["dataset"], rows["fixed"], rows["moving"], strict=True)
    done = rows["status"] == "done"
    return rows[done & np.fromiter((pair in tested for pair in pairs), bool, len(rows))]


def published(folder: str | os.PathLike) -> pd.DataFrame:
    """The admitted rows of every study in a folder: those with a CSV file beside the YAML file."""
    import pandas as pd

    files = (path.with_suffix(".csv") for path in sorted(Path(folder).glob("*.yml")))
    rows = pd.concat([read_rows(path) for path in files if path.exists()], ignore_index=True)
    return admitted(rows).drop_duplicates(list(KEY), keep="last", ignore_index=True)


def evidence(
    rows: pd.DataFrame, dataset: str, labels: Sequence[str], measure: str, at: int | None
) -> list[Evidence]:
    """Every configuration with one of these labels; rows that differ in the seed are one.

    at: iteration at which the Dice is read from the trajectory; rows without it are left out.
    """
    plain = rows["label"].str.replace(_ASIDE, "", regex=True)
    found = rows[(rows["dataset"] == dataset) & plain.isin(labels)]
    values = found["trajectory"].map(lambda _: np.nan) if at else found[measure]
    if at:
        values = [_dice_at(*row, at) for row in found[["options", "trajectory"]].to_numpy()]
    # the images are at 1 mm, and an affine map has no grid
    spacing = found["spacing_mm"].fillna(1.0).where(found["method"] != "affine", 1.0)
    found = found.assign(value=values, spacing_mm=spacing)
    found = found.assign(settings=found["options"].map(_without_trajectory)).dropna(subset="value")
    configurations = found.groupby(["method", "settings", "spacing_mm"], sort=False)
    made = []
    for (_, _, spacing), of_one in configurations:
        # with and without a trajectory: one result, so the newest of a pair and seed
        of_one = of_one.drop_duplicates(["fixed", "moving", "seed"], keep="last")
        by_pair = of_one.groupby(["fixed", "moving"])["value"]
        machines = frozenset(of_one["machine"].str.partition(",")[0])
        made.append(Evidence(by_pair.mean(), spacing, int(by_pair.count().min()), machines))
    return made


def _dice_at(options: str, trajectory: str, iteration: int) -> float:
    """The Dice of a trajectory after some iterations; NaN where it was not recorded there."""
    every = json.loads(options or "{}").get("trajectory", 0)
    if not every or iteration % every or not trajectory:
        return np.nan
    curve = json.loads(trajectory)  # the start, each record, the end
    return curve[iteration // every][1] if iteration // every < len(curve) - 1 else np.nan


def _without_trajectory(options: str) -> str:
    return canonical_json(
        {k: v for k, v in json.loads(options or "{}").items() if k != "trajectory"}
    )
