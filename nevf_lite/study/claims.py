"""The claims of the paper, as they are written in `book/claims.yml`, and the rows that test them.

A claim is tested on rows of the test split, at 1 mm, the paper's resolution, unless a name says
another. `verdicts` says what they show.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nevf_lite.data.splits import TEST_ATLASES, test_pairs
from nevf_lite.study.courses import course
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
    compare: ((ours, other), ...), names of methods, see `Side`; for a level or a limit (ours,)
    each. wanted: "more" or "less". limit: of a limit. printed: by data set, numbers that the
    paper's tables do not give. size: whether the paper's number has to be reached, or only its
    sign. datasets: those it is made for. study: the one whose rows count whoever they are of, for
    what does not depend on the people ("": any study, people of the test split). note: what to keep
    in mind.
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


def at_spacing(rows: pd.DataFrame, spacing: float = 1.0) -> pd.DataFrame:
    """The rows of a voxel size, mm; one without any worked on the images' own grid, which is 1.

    The preset `fast` leaves its finest level out, so it ends at twice what it was told.
    """
    told = rows["spacing_mm"].fillna(1.0)
    return rows[told.where(~rows["label"].str.contains("features, fast"), 2 * told) == spacing]


@dataclass(frozen=True)
class Side:
    """The rows of one side of a comparison: "NeVF", "NeVF at 2 mm", "NeVF after 80 iterations".

    method: named as in `paper.csv`. label: of the rows. spacing: mm, see `at_spacing`. iterations:
    of the trajectory at which its Dice is taken, or None for the end.
    """

    method: str
    label: str
    spacing: float = 1.0
    iterations: int | None = None

    @classmethod
    def of(cls, name: str, labels: Mapping[str, str]) -> Side:
        """The side that a claim calls `name`; labels: see `read_claims`."""
        form = r"(.+?)(?: after (\d+) iterations)?(?: at (\d+) mm)?"
        method, iterations, spacing = re.fullmatch(form, name).groups()
        at = f" at {spacing} mm" if spacing else ""
        whole = f"{method} after iterations{at}" if iterations else f"{method}{at}"
        return cls(
            method,
            labels.get(whole, labels.get(method, method)),
            float(spacing or 1),
            int(iterations) if iterations else None,
        )

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of its label and spacing, with the Dice after its iterations."""
        found = at_spacing(rows[rows["label"] == self.label], self.spacing)
        if self.iterations is None:
            return found
        return found.assign(dice=[self._dice_on_the_way(row) for row in found.itertuples()])

    def _dice_on_the_way(self, row: tuple) -> float:
        try:
            return course(row).dice.at[self.iterations]
        except KeyError:
            raise ValueError(
                f"{row.label}: its trajectory has no {self.iterations} iterations"
            ) from None


def admitted(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows that may decide a claim: of the test split, or of the claim's study."""
    return rows[rows["study"] == claim.study] if claim.study else of_test_split(rows)
