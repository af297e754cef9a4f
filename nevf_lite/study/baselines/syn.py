"""SyN, the symmetric normalisation of ANTs (Avants et al., Medical Image Analysis 2008)."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.io import read_displacement
from nevf_lite.study.baselines.bench import bench, counts, need
from nevf_lite.transform import Transform


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

    fixed, moving, spacing: see the package. iterations: a level, coarse to fine; levels shrink by
    4, 2, 1 and smooth by 2, 1, 0 voxels, as antspyx chooses. The paper's are (40, 20, 0),
    (80, 60, 40) and (160, 120, 80). radius: of the window of the correlation, voxels.
    gradient_step, flow_sigma, total_sigma: antspyx's own defaults. threads: of ITK, which a process
    reads once; the tool has a process of its own, so it holds even if ITK is loaded in ours. seed:
    handed to ANTs; the dense correlation draws nothing, and on one thread runs are alike.
    Raises ValueError if antspyx is missing or fails.
    """
    need("syn", "ants")
    steps = counts("iterations", iterations)
    with bench("syn", fixed, moving, spacing, threads) as here:
        here.work(
            "syn",
            iterations=steps,
            radius=radius,
            gradient_step=gradient_step,
            flow_sigma=flow_sigma,
            total_sigma=total_sigma,
            seed=seed + 1,  # to ANTs 0 means: by the clock
        )
        return here.transform(read_displacement(here.folder / "warp.nii.gz")[0])
