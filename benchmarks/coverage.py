"""Scans that end inside the head, beside the whole ones: a table of the book's page *Trust*.

    python -m benchmarks.coverage [PRESET ...] [--seeds SEED ...]

Either scan of a pair of OASIS's train split at 1 mm is cut at the bottom, top, side or front, and
registered with each preset. Dice is compared where both scans show the head, over structures of
which a tenth or more is shown there, for the map of the cut pair and for that of the whole one.
Another seed moves Dice of the whole pair by up to 0.006 there, so three are asked for.
Writes `book/results/coverage.csv` and goes on with what it does not hold yet. "paper" is 128 wide,
as in the rerun of the paper; a scan of it takes ten minutes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from benchmarks.table import append, rows
from nevf_lite import config
from nevf_lite.data import Pair, load_pair
from nevf_lite.registration.register import register
from nevf_lite.registration.result import Registration
from nevf_lite.scans.space import Grid
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.transform import Transform

TABLE = Path(__file__).parents[1] / "book" / "results" / "coverage.csv"
KEYS = ("preset", "scan", "cut", "seed")
COLUMNS = (*KEYS, "dice_cut", "dice_whole", "furthest_cut", "furthest_whole")
COLUMNS += ("cpu_seconds", "machine", "commit")
PAIR = ("oasis", "1000", "1001")
#: Axis, and the first and last share of it that is kept.
CUTS = {"bottom": (2, 0.4, 1), "top": (2, 0, 0.6), "side": (0, 0.35, 1), "front": (1, 0, 0.65)}
#: Share of a structure that is shown, below which it is left out: one voxel of it would weigh as
#: much as the whole of another.
LEAST = 0.1
#: What differs from a preset.
CHANGES = {"paper": {"width": 128}}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("presets", nargs="*", default=[*config.PRESETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pair = load_pair(*PAIR)
    done = {tuple(row[key] for key in KEYS) for row in rows(options.output)}
    for preset, seed in itertools.product(options.presets, options.seeds):
        settings = config.preset(preset, seed=seed, **CHANGES.get(preset, {}))
        whole = functools.cache(functools.partial(fit, pair.fixed, pair.moving, settings))
        for cut, scan in itertools.product(CUTS, ("moving", "fixed")):
            case = preset, scan, cut, str(seed)
            if case in done:
                continue
            started, scans = time.process_time(), with_cut(pair, scan, cut)
            result = fit(**scans, settings=settings)
            seconds = round(time.process_time() - started, 1)
            row = compare(pair, scans, result, whole())
            row |= dict(zip(KEYS, case, strict=True), cpu_seconds=seconds)
            print(row, flush=True)
            append(options.output, COLUMNS, row)


def fit(fixed: nib.Nifti1Image, moving: nib.Nifti1Image, settings: config.Config) -> Registration:
    return register(fixed, moving, settings, progress=False)


def with_cut(pair: Pair, scan: str, cut: str) -> dict[str, nib.Nifti1Image]:
    """The two scans of a pair, one of them ("fixed" or "moving") without what the cut takes."""
    scans = {"fixed": pair.fixed, "moving": pair.moving}
    axis, first, last = CUTS[cut]
    whole = scans[scan]
    box, length = [slice(None)] * 3, whole.shape[axis]
    box[axis] = slice(int(first * length), int(last * length))
    return {**scans, scan: whole.slicer[tuple(box)]}


def compare(
    pair: Pair,
    scans: dict[str, nib.Nifti1Image],
    result: Registration,
    whole: Registration,
) -> dict[str, float]:
    """Dice where both scans show the head, and the largest displacement in mm, of both maps."""
    grid, maps = Grid.of(pair.fixed), (result.transform, whole.transform)
    points, moved = grid.points(), [each.displacement(grid) for each in maps]
    shown = _inside(points, Grid.of(scans["fixed"]))
    for displacement in moved:
        shown &= _inside(points + displacement, Grid.of(scans["moving"]))
    whole_labels = np.asarray(pair.fixed_labels.dataobj)
    labels = np.where(shown, whole_labels, 0)
    kept = [n for n in pair.protocol if (labels == n).sum() > LEAST * (whole_labels == n).sum()]
    found = {}
    for name, each, displacement in zip(("cut", "whole"), maps, moved, strict=True):
        warped = Transform(each.components, grid, grid).warp_labels(pair.moving_labels)
        seen = np.where(shown, np.asarray(warped.dataobj), 0)
        found[f"dice_{name}"] = round(mean_dice(labels, seen, kept), 4)
        found[f"furthest_{name}"] = round(float(np.linalg.norm(displacement, axis=-1).max()), 2)
    return found


def _inside(points: np.ndarray, grid: Grid) -> np.ndarray:
    voxels = grid.to_voxels(points)
    return ((voxels >= 0) & (voxels <= np.array(grid.shape) - 1)).all(axis=-1)


if __name__ == "__main__":
    main()
