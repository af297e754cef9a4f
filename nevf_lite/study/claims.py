"""The claims of the paper, as they are written in `book/claims.yml`, and the rows that test them.

A claim is tested on rows of the test split at 1 mm, the paper's resolution. `verdicts` says what
they show.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.data.splits import TEST_ATLASES, test_pairs
from nevf_lite.study.rows import read_rows

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("difference", "percent", "ratio", "level", "limit")
MEASURES = ("dice", "dice_before", "folds_percent", "ndv_percent", "cpu_seconds", "peak_mib")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how rows test it.

    name: for links. part: the heading that it stands under. where: section, table or figure of the
    paper. says: the claim in our words. untested: why it cannot be tested here, or "".
    kind: "difference" of means over pairs, "percent" by which one mean exceeds another, "ratio" of
    means, "level" beside the paper's mean, or "limit" of a mean. measure: column of the rows.
    compare: ((ours, other), ...), names of methods; for a level or a limit (ours,) each. wanted:
    "more" or "less". limit: of a limit. printed: by data set, numbers that the paper's tables do
    not give. size: whether the paper's number has to be reached, or only its sign. datasets: those
    it is made for. study: the one whose rows count whoever they are of, for what does not depend
    on the people ("": any study, people of the test split). note: what to keep in mind.
    """

    name: str
    part: str
    where: str
    says: str
    untested: str = ""
    kind: str = "difference"
    measure: str = "dice"
    compare: tuple[tuple[str, ...], ...] = ()
    wanted: str = "more"
    limit: float = np.nan
    printed: Mapping[str, float] | None = None
    size: bool = False
    datasets: tuple[str, ...] = tuple(TEST_ATLASES)
    study: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        def check(name: str, valid: bool, wanted: str) -> None:
            if not valid:
                raise ValueError(f"{self.name}.{name}: wanted {wanted}, got {getattr(self, name)}")

        sides = 1 if self.kind in ("level", "limit") else 2
        object.__setattr__(self, "compare", tuple(tuple(names) for names in self.compare))
        object.__setattr__(self, "datasets", tuple(self.datasets))
        check("kind", self.kind in KINDS, f"one of {KINDS}")
        check("measure", self.measure in MEASURES, f"one of {MEASURES}")
        check("wanted", self.wanted in ("more", "less"), "more or less")
        check("compare", all(len(c) == sides for c in self.compare), f"lists of {sides} names")
        check("compare", bool(self.compare) != bool(self.untested), "methods, or a reason not to")
        check("limit", np.isfinite(self.limit) == (self.kind == "limit"), "a number for a limit")
        check("datasets", set(self.datasets) <= set(TEST_ATLASES), f"some of {set(TEST_ATLASES)}")


def read_claims(path: str | os.PathLike) -> tuple[list[Claim], dict[str, str]]:
    """The claims of a file, and the label in rows of each method that is not labelled by its name.

    Names are those of `paper.csv`. Raises ValueError for a claim that is incomplete.
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
    return claims, document["labels"]


def published(folder: str | os.PathLike) -> pd.DataFrame:
    """The rows that are done of every study in a folder: a CSV file beside a YAML file."""
    import pandas as pd

    files = (path.with_suffix(".csv") for path in sorted(Path(folder).glob("*.yml")))
    rows = pd.concat([read_rows(path) for path in files if path.exists()], ignore_index=True)
    return rows[rows["status"] == "done"]


def of_test_split(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a pair in `splits.test_pairs`."""
    wanted = {(dataset, *pair) for dataset in TEST_ATLASES for pair in test_pairs(dataset)}
    pairs = zip(rows["dataset"], rows["fixed"], rows["moving"], strict=True)
    return rows[np.fromiter((pair in wanted for pair in pairs), bool, len(rows))]


def admitted(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows that may decide a claim: at 1 mm, of the test split or of the claim's study.

    A row without a spacing worked on the images' own grid, which is 1 mm.
    """
    rows = rows[rows["spacing_mm"].fillna(1.0) == 1]
    return rows[rows["study"] == claim.study] if claim.study else of_test_split(rows)
