"""Diffeomorphic demons (Vercauteren et al., NeuroImage 2009) of SimpleITK, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform


def demons(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (100, 100, 60),
    sigma: float = 1.0,
    update_sigma: float = 0.0,
    step_length: float = 2.0,
    match: bool = True,
) -> Transform:
    """Register with `DiffeomorphicDemonsRegistrationFilter`, which compares raw intensities.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: per level, coarse to fine;
    each level halves the voxel size of the one before. sigma, update_sigma: of the Gaussians that
    smooth the displacement and each update, voxels of the level; 0 for none. step_length: length of
    the longest vector of an update, voxels. match: match the histogram of the moving image to that
    of the fixed one first, because intensities of two scanners are not comparable. seed: not used,
    no random numbers are drawn.
    Raises ValueError if SimpleITK fails.
    """
    require("demons", "SimpleITK")
    iterations = check_iterations(iterations)
    with workspace("demons", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "demons",
            iterations=iterations,
            sigma=sigma,
            update_sigma=update_sigma,
            step_length=step_length,
            match=match,
            threads=threads,
        )
        return ws.transform_from_warp()
