"""SyN, the symmetric normalisation of ANTs (Avants et al., Medical Image Analysis 2008)."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform


def syn(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (160, 120, 80),
    radius: int = 4,
    gradient_step: float = 0.2,
    flow_sigma: float = 3.0,
    total_sigma: float = 0.0,
) -> Transform:
    """Register with antspyx, `SyNOnly` from the identity, local cross-correlation.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: per level, coarse to fine;
    antspyx shrinks the levels by 4, 2, 1 and smooths them by 2, 1, 0 voxels. The paper has (40, 20,
    0), (80, 60, 40) and (160, 120, 80). radius: of the window of the correlation, voxels.
    gradient_step, flow_sigma, total_sigma: the defaults of antspyx. threads: of ITK. seed: passed
    to ANTs; the dense correlation draws no random numbers, and runs on one thread are identical.
    Raises ValueError if antspyx is missing or fails.
    """
    require("syn", "ants")
    iterations = check_iterations(iterations)
    with workspace("syn", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "syn",
            iterations=iterations,
            radius=radius,
            gradient_step=gradient_step,
            flow_sigma=flow_sigma,
            total_sigma=total_sigma,
            seed=seed + 1,  # ANTs takes 0 as: seed from the clock
        )
        return ws.transform_from_warp()
