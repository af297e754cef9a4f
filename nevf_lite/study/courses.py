"""Dice on the way: what a watched run had reached after how many iterations and seconds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def course(row) -> pd.DataFrame:
    """The way of one run: `seconds` of the processor and `dice` by iteration.

    row: of a study, with a trajectory: the start, a record each so many iterations, and the end.
    """
    import pandas as pd

    seconds, dice = np.array(json.loads(row.trajectory)).T
    every = json.loads(row.options)["trajectory"]
    iterations = [every * k for k in range(len(dice) - 1)] + [int(row.iterations)]
    # the trajectory has the seconds of the clock, of which other work may have had a share
    seconds = seconds * (row.cpu_seconds / row.seconds)
    way = pd.DataFrame({"seconds": seconds, "dice": dice}, pd.Index(iterations, name="iterations"))
    return way[~way.index.duplicated(keep="last")]


def mean_course(rows: pd.DataFrame) -> pd.DataFrame:
    """The way of a method over its pairs, by iteration.

    rows: of one label, one for each pair, each with a trajectory. Returns the median `seconds`, the
    mean `dice`, and the lowest and highest of the pairs, `low` and `high`, where all pairs have a
    record.
    """
    import pandas as pd

    way = pd.concat([course(row) for row in rows.itertuples()]).groupby("iterations")
    dice, whole = way["dice"], way.size() == len(rows)
    mean = pd.DataFrame({"seconds": way["seconds"].median(), "dice": dice.mean()})
    return mean.assign(low=dice.min(), high=dice.max())[whole]
