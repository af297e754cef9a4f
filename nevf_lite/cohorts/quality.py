"""How good is a registration, without labels: measures of one pair, and its distance from others.

No threshold is right for every study, so a pair is compared with the rest of its batch: each
measure is put in robust standard deviations from the batch's median, counted on its bad side only.
What most pairs have in common, such as a poor contrast, raises no alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nevf_lite.cohorts.change import log_jacobian
from nevf_lite.grid import box_sum
from nevf_lite.losses import LocalNCC
from nevf_lite.registration.result import Registration
from nevf_lite.scans.space import Grid
from nevf_lite.scores.evaluation import score_deformation
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.components import Affine
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.slices import foreground

#: Side of the neighbourhood in which the worst local agreement is sought, mm.
NEIGHBOURHOOD = 24.0


@dataclass(frozen=True)
class Measure:
    """One measure. title: in words. bad: +1 if high values are bad, -1 if low ones are. spread:
    the smallest standard deviation that is believed, so that a batch of equals has no outliers."""

    title: str
    bad: int
    spread: float


MEASURES = {
    "ncc": Measure("local NCC", -1, 0.01),
    "ncc_worst": Measure("local NCC, worst 24 mm", -1, 0.03),
    "overlap": Measure("overlap of the heads", -1, 0.01),
    "log_jacobian_low": Measure("log |J|, 1st percentile", -1, 0.05),
    "log_jacobian_high": Measure("log |J|, 99th percentile", 1, 0.05),
    "displacement_mm": Measure("displacement, 95th percentile, mm", 1, 0.5),
    "folds_percent": Measure("folds, %", 1, 0.05),
    "inverse_error_mm": Measure("inverse error, largest, mm", 1, 0.25),
}


def measure(result: Registration) -> tuple[dict[str, float], np.ndarray]:
    """The measures of a registration (the keys of MEASURES), and its map of local NCC.

    The map, (*fixed.shape), is the squared local correlation of the fixed and the warped image, 0
    to 1, in windows of 7 voxels; its mean and its worst neighbourhood are taken over the foreground
    of either. The Jacobian and the displacement are those of the deformation without its affine
    parts, in the fixed image's foreground.
    """
    transform = result.transform
    fixed, warped = (np.asarray(i.dataobj, np.float32) for i in (result.fixed, result.warped))
    head = foreground(fixed)
    other = foreground(warped)
    ncc = ncc_map(fixed, warped)
    logs = np.asarray(log_jacobian(transform, affine=False).dataobj)[head]
    low, high = np.percentile(logs, (1, 99))
    deformable = tuple(c for c in transform.components if not isinstance(c, Affine))
    lengths = np.linalg.norm(
        Transform(deformable, transform.fixed, transform.fixed).displacement()[head], axis=-1
    )
    scores = score_deformation(transform, head)
    return {
        "ncc": float(ncc[head | other].mean()),
        "ncc_worst": _worst(ncc, head | other, transform.fixed),
        "overlap": mean_dice(head.astype(np.uint8), other.astype(np.uint8)),
        "log_jacobian_low": float(low),
        "log_jacobian_high": float(high),
        "displacement_mm": float(np.percentile(lengths, 95)),
        "folds_percent": scores["folds_percent"],
        "inverse_error_mm": scores["inverse_consistency_max_mm"],
    }, ncc


def ncc_map(fixed: np.ndarray, warped: np.ndarray, window: int = 7) -> np.ndarray:
    """The squared local correlation of two images at each voxel, (*shape), float32, in [0, 1].

    window: in voxels. Flat background counts as 0.
    """
    scaled = []
    for image in (fixed, warped):
        low, high = np.percentile(image, (0.1, 99.9))
        values = np.clip((image - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
        scaled.append(torch.from_numpy(values)[None, None])
    return LocalNCC(scaled[0], window).map(scaled[1])[0, 0].numpy()


def _worst(ncc: np.ndarray, head: np.ndarray, grid: Grid) -> float:
    """The lowest mean of the map over the head in a neighbourhood that is mostly head."""
    window = max(3, 2 * round(NEIGHBOURHOOD / 2 / float(np.mean(grid.spacing))) + 1)
    inside = torch.from_numpy(head.astype(np.float32))[None, None]
    count = box_sum(inside, window)
    total = box_sum(inside * torch.from_numpy(ncc)[None, None], window)
    mostly = count >= 0.5 * count.max()
    return float((total / count.clamp_min(1))[mostly].min())


def distances(measures: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """How far each pair is from its batch, by measure, in robust standard deviations.

    measures: of each pair, see `measure`. 0 for a value on the good side of the median. The
    standard deviation is 1.4826 times the median distance from the median, which a few failures do
    not change, and at least the measure's `spread`.
    """
    out: list[dict[str, float]] = [{} for _ in measures]
    for name, kind in MEASURES.items():
        values = np.array([m[name] for m in measures], dtype=float)
        middle = np.median(values) if len(values) else 0.0
        deviation = (
            max(1.4826 * np.median(np.abs(values - middle)), kind.spread) if len(values) else 1.0
        )
        for pair, value in zip(out, values, strict=True):
            pair[name] = float(max(0.0, kind.bad * (value - middle) / deviation))
    return out


def ranked(records: Iterable[dict]) -> list[dict]:
    """The records of a batch, worst first, each with `score` and `because`.

    score: the root mean square of a pair's `distances`; infinite for one that failed. because: the
    measure that is farthest off, in words.
    """
    records = list(records)
    done = [r for r in records if r["status"] == "done"]
    scored = [
        {**r, "score": float("inf"), "because": r["reason"]} for r in records if r not in done
    ]
    for record, away in zip(done, distances([r["measures"] for r in done]), strict=True):
        worst = max(away, key=away.get)
        score = float(np.sqrt(np.mean(np.square(list(away.values())))))
        because = f"{MEASURES[worst].title}: {record['measures'][worst]:.3g}"
        scored.append({**record, "score": score, "because": because})
    return sorted(scored, key=lambda r: (-r["score"], r["name"]))
