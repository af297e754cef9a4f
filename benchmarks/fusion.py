"""Labels of people who were not looked at: one atlas, the majority, joint fusion, and ANTs' own.

    python -m benchmarks.fusion [--spacing MM]

Writes `book/results/fusion.csv`, which the chapter *Labels from atlases* reads, and goes on with
what it does not hold yet. Each of the six people of Mindboggle's test split is labelled by the
eight of its train split, after registrations with the preset `fast`; all votes are on the same
warped images and labels. Without --spacing on 2-D slices of 1 mm, with it on volumes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.table import append, rows
from nevf_lite.cohorts.atlases import joint_fusion, majority_vote
from nevf_lite.data import load_pair
from nevf_lite.data.splits import TEST_ATLASES, TEST_SCANS, TRAIN
from nevf_lite.registration.register import register
from nevf_lite.scores.metrics import mean_dice

TABLE = Path(__file__).parents[1] / "book" / "results" / "fusion.csv"
PEOPLE = (*TEST_ATLASES["mindboggle"], *TEST_SCANS["mindboggle"])
COLUMNS = ("dataset", "spacing", "person", "atlases", "dice_one", "dice_best", "dice_majority")
COLUMNS += ("dice_joint", "dice_ants", "cpu_joint", "cpu_ants", "machine", "commit")
#: Labels of ANTs' votes are above 0.
BACKGROUND = 3000


def ants_fusion(
    target: np.ndarray, images: Sequence[np.ndarray], votes: Sequence[np.ndarray]
) -> np.ndarray:
    """`joint_fusion` by ANTs, with the same patches, search and weights: (*shape), int32."""
    import ants

    def of(array: np.ndarray):
        return ants.from_numpy(array.astype(np.float32))

    fused = ants.joint_label_fusion(
        of(target),
        of((target > 0) | (np.max(votes, axis=0) > 0)),
        [of(image) for image in images],
        label_list=[of(np.where(vote == 0, BACKGROUND, vote)) for vote in votes],
        beta=2,
        rho=0.1,
        rad=2,
        r_search=1,
    )["segmentation"].numpy()
    return np.where(fused == BACKGROUND, 0, np.rint(fused)).astype(np.int32)


def measure(dataset: str, spacing: float | None, person: str) -> dict:
    """One row: a person labelled in every way, and the Dice of each."""
    images, votes = [], []
    for atlas in TRAIN["mindboggle"]:
        pair = load_pair(dataset, person, atlas, spacing=spacing)
        result = register(pair.fixed, pair.moving, "fast", progress=False)
        images.append(np.asarray(result.warped.dataobj))
        votes.append(np.asarray(result.transform.warp_labels(pair.moving_labels).dataobj))
    fixed = np.asarray(pair.fixed.dataobj).squeeze()
    truth = np.asarray(pair.fixed_labels.dataobj).squeeze()
    protocol = [label for label in pair.protocol if label in truth]

    def dice(labels: np.ndarray) -> float:
        return round(mean_dice(truth, labels, protocol), 4)

    alone = [dice(vote) for vote in votes]
    ours, cpu_joint = timed(joint_fusion, fixed, images, votes)
    theirs, cpu_ants = timed(ants_fusion, fixed, images, votes)
    return {
        "atlases": len(votes),
        "dice_one": round(float(np.mean(alone)), 4),
        "dice_best": max(alone),
        "dice_majority": dice(majority_vote(votes)),
        "dice_joint": dice(ours),
        "dice_ants": dice(theirs),
        "cpu_joint": cpu_joint,
        "cpu_ants": cpu_ants,
    }


def timed(fuse: Callable, *arguments) -> tuple[np.ndarray, float]:
    began = time.process_time()
    return fuse(*arguments), round(time.process_time() - began, 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--spacing", type=float)
    spacing = parser.parse_args(arguments).spacing
    torch.set_num_threads(1)
    dataset = "slices2d" if spacing is None else "mindboggle"
    done = {(row["dataset"], row["spacing"], row["person"]) for row in rows(TABLE)}
    for person in PEOPLE:
        row = {"dataset": dataset, "spacing": spacing or 1.0, "person": person}
        if tuple(map(str, row.values())) in done:
            continue
        row |= measure(dataset, spacing, person)
        append(TABLE, COLUMNS, row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
