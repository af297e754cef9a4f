"""Pairs of brains by name: where they are, how they come here, and the ones made on the spot.

`pairs` loads them, `catalogue` says what there is with licences and credits, `fetch` and `prepare`
bring a set from its owner (`download` and `archives` are how), `simulate` makes the embedded pair.
"""

from nevf_lite.data.catalogue import DATASETS
from nevf_lite.data.pairs import (
    TEST_ATLASES,
    TEST_SCANS,
    TRAIN,
    Found,
    Pair,
    available,
    load_pair,
    split,
    test_pairs,
)

__all__ = [
    "DATASETS",
    "TEST_ATLASES",
    "TEST_SCANS",
    "TRAIN",
    "Found",
    "Pair",
    "available",
    "load_pair",
    "split",
    "test_pairs",
]
