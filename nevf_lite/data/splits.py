"""The fixed splits: which subjects are trained and tuned on, and which are tested on."""

from __future__ import annotations

import re

_OASIS_TRAIN = (*map(str, range(1000, 1008)), "1101", "1104", "1107", "1110", "1113")
#: Subjects on which networks are trained and every hyper-parameter is chosen. trtNN and 10MM are
#: the same people (trt01-14 are 1000-1013), so they are split together.
TRAIN = {"mindboggle": tuple(f"trt{i:02d}" for i in range(1, 9)), "oasis": _OASIS_TRAIN}
#: An atlas-based protocol as the paper's, with three atlases (fixed) and three scans (moving) for
#: each dataset where the paper has three and twenty. The test people of the two datasets differ.
TEST_ATLASES = {"mindboggle": ("trt09", "trt10", "trt11"), "oasis": ("1018", "1019", "1036")}
TEST_SCANS = {"mindboggle": ("trt12", "trt13", "trt14"), "oasis": ("1122", "1125", "1128")}
#: The test people of Mindboggle under their names in OASIS: nothing may be tuned on them either.
_MINDBOGGLE_TEST = {"oasis": tuple(map(str, range(1008, 1014)))}

#: The data sets of the studies as they are written on a page.
TITLES = {"mindboggle": "Mindboggle", "oasis": "OASIS"}


def titled(text: str) -> str:
    """A text that begins with the name of a data set, "oasis 1001", as it is written: "OASIS 1001".

    A text that begins with anything else comes back as it is.
    """
    word = re.match(r"\w*", text)[0]
    return TITLES.get(word, word) + text[len(word) :]


def split(subject: str) -> str | None:
    """The split of a subject: "train", "test", or None for a subject in neither."""
    groups_of = {"train": (TRAIN,), "test": (TEST_ATLASES, TEST_SCANS, _MINDBOGGLE_TEST)}
    for name, groups in groups_of.items():
        if any(str(subject) in subjects for group in groups for subjects in group.values()):
            return name
    return None


def test_pairs(dataset: str) -> list[tuple[str, str]]:
    """The nine (atlas, scan) pairs of the test split.

    dataset: "mindboggle" or "oasis". Raises ValueError for any other.
    """
    if dataset not in TEST_ATLASES:
        raise ValueError(f"dataset: wanted one of {', '.join(TEST_ATLASES)}, got {dataset!r}")
    return [(atlas, scan) for atlas in TEST_ATLASES[dataset] for scan in TEST_SCANS[dataset]]


test_pairs.__test__ = False  # pytest would collect it by its name
