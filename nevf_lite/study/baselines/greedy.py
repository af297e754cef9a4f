"""Greedy, the fast diffeomorphic registration of ITK-SNAP's group (Yushkevich et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform


def greedy(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (100, 100, 60),
    metric: str = "NCC 2x2x2",
    sigmas: tuple[float, float] = (1.6, 0.7),
    step: float = 1.0,
    velocity: bool = False,
) -> Transform:
    """Register with picsl_greedy in deformable mode.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: per level, coarse to fine
    (-n). metric: `NCC 2x2x2` (radius in voxels), `SSD`, `MI` or `NMI` (-m). sigmas: of the
    Gaussians that smooth each update and the displacement, voxels (-s). step: of the update (-e).
    velocity: estimate a stationary velocity field, which folds less, instead of a displacement
    (-sv). seed: of the weak noise that greedy adds to images for NCC. The defaults were tuned on
    brains of the `train` split.
    Raises ValueError if picsl_greedy is missing or fails.
    """
    require("greedy", "picsl_greedy")
    per_level = "x".join(map(str, check_iterations(iterations)))
    arguments = [
        f"-i fixed.nii moving.nii -o warp.nii.gz -m {metric} -n {per_level}",
        f"-s {sigmas[0]:g}vox {sigmas[1]:g}vox -e {step:g}",
        "-sv" if velocity else "",
        # -wp 0: do not round the field to a tenth of a voxel; seed 0 would be the clock
        f"-wp 0 -threads {threads} -seed {seed + 1}",
    ]
    with workspace("greedy", fixed, moving, spacing, threads) as ws:
        ws.run_worker("greedy", command=" ".join(filter(None, arguments)))
        return ws.transform_from_warp()
