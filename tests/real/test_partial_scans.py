"""Scans that end inside the head, on a real pair of the `train` split at 1 mm, with `fast`.

Dice where both scans show the head is that of the whole scans, to 0.01; nothing moves more than the
most there is and 2 mm. Two runs of whole scans with other seeds are 0.005 apart. All presets and
cuts: `python -m benchmarks.coverage`.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from benchmarks.coverage import CUTS, PAIR, compare, with_cut
from nevf_lite import register
from nevf_lite.data import load_pair, split
from nevf_lite.scans.space import Grid

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(nevf_data):
    """The pair, and what whole scans give."""
    assert {split(name) for name in PAIR[1:]} == {"train"}
    pair = load_pair(*PAIR)
    return pair, register(pair.fixed, pair.moving, "fast", progress=False)


@pytest.mark.parametrize(
    ("scan", "cut"),
    [*(("moving", cut) for cut in CUTS), ("fixed", "bottom"), ("fixed", "side")],
)
def test_partial_coverage(whole, scan, cut):
    pair, reference = whole
    scans = with_cut(pair, scan, cut)
    result = register(**scans, config="fast", progress=False)
    found = compare(pair, scans, result, reference)
    print(scan, cut, found, result.notes)
    assert found["dice_cut"] > found["dice_whole"] - 0.01
    assert found["furthest_cut"] < found["furthest_whole"] + 2


@pytest.mark.parametrize("scan", ["fixed", "moving"])
def test_background_around_a_scan(whole, scan):
    """Twenty voxels on all sides: the map moves by less than 0.1 mm on average."""
    pair, reference = whole
    scans = {"fixed": pair.fixed, "moving": pair.moving}
    affine = scans[scan].affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [20, 20, 20]
    data = np.pad(scans[scan].get_fdata(dtype=np.float32), 20)
    scans[scan] = nib.Nifti1Image(data, affine)
    result = register(**scans, config="fast", progress=False)
    grid = Grid.of(pair.fixed)
    apart = result.transform.displacement(grid) - reference.transform.displacement(grid)
    assert np.linalg.norm(apart, axis=-1).mean() < 0.1
