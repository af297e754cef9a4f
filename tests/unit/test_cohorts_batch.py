"""A batch finds what is wrong with a pair without labels, goes on where it stopped, and survives."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import nibabel as nib
import numpy as np
import pytest
from cohort_brains import displaced, half_a_head, scan, swapped_sides
from studies import start, wait_for

from nevf_lite.cohorts.batch import batch
from nevf_lite.cohorts.index import write_index
from nevf_lite.cohorts.pairs import ScanPair, find_pairs
from nevf_lite.cohorts.quality import MEASURES, distances, ranked
from nevf_lite.config import Config, Level, preset

QUICK = preset("fast", spacing=4.0)
TINY = Config(levels=(Level(1, 3),), width=8, spacing=8.0)


def write_pair(folder, name: str, fixed, moving) -> ScanPair:
    paths = [folder / f"{name}_{role}.nii.gz" for role in ("fixed", "moving")]
    for path, image in zip(paths, (fixed, moving), strict=True):
        nib.save(image, path)
    return ScanPair(name, *map(str, paths))


@pytest.mark.slow
def test_six_failures_among_forty_pairs_are_in_the_first_eight(tmp_path):
    """Forty people scanned twice: sides swapped, 40 mm off, another person, half a head."""
    wrong = {
        3: lambda s: swapped_sides(scan(s, 2)),
        9: lambda s: displaced(scan(s, 2), 40.0, axis=1),
        17: lambda s: scan(s + 100, 2),
        22: lambda s: half_a_head(scan(s, 2), axis=2),
        30: lambda s: scan(s + 100, 2),
        36: lambda s: half_a_head(scan(s, 2), axis=0),
    }
    pairs = [
        write_pair(tmp_path, f"p{s:02d}", scan(s, 1), wrong.get(s, lambda s: scan(s, 2))(s))
        for s in range(40)
    ]
    records = batch(pairs, tmp_path / "out", QUICK, size=20, progress=False)
    first = {record["name"] for record in records[:8]}
    assert {f"p{s:02d}" for s in wrong} <= first
    page = (tmp_path / "out" / "index.html").read_text()
    shown = re.findall(r'<a href="(p\d\d)/report.html">', page)
    assert shown == [record["name"] for record in records if record["status"] == "done"]
    assert page.count("data:image/webp;base64,") == len(shown)
