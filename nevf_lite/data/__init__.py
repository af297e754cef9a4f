"""Pairs of brain images by name: loading, downloading, preparing and simulating them.

`pairs` loads a pair and `splits` says which subjects are tested on. `catalogue` describes the
datasets, `sources` their files on the web. `fetch` and `prepare` download and convert a dataset,
with `http`, `download` and `archives`. `simulate` makes a pair with a known deformation.
"""

from nevf_lite.data.catalogue import DATASETS
from nevf_lite.data.pairs import LocalDataset, Pair, available, load_pair
from nevf_lite.data.splits import TEST_ATLASES, TEST_SCANS, TRAIN, split, test_pairs

__all__ = [
    "DATASETS",
    "TEST_ATLASES",
    "TEST_SCANS",
    "TRAIN",
    "LocalDataset",
    "Pair",
    "available",
    "load_pair",
    "split",
    "test_pairs",
]
