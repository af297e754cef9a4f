"""DIPY's SyN: the algorithm of Avants et al. (2008) in Python and Cython (Garyfallidis 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform


def dipy_syn(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (100, 100, 25),
    radius: int = 4,
    sigma: float = 2.0,
    step_length: float = 0.25,
    inverse_iterations: int = 20,
) -> Transform:
    """Register with `SymmetricDiffeomorphicRegistration` and `CCMetric`.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: per level, coarse to fine.
    radius: of the window of the correlation, voxels. sigma: of the Gaussian that smooths each
    update, voxels. step_length: length of the longest vector of an update. inverse_iterations: for
    the inversion of the fields. All defaults are those of DIPY. seed: not used, no random numbers
    are drawn.
    Raises ValueError if dipy is missing or fails.
    """
    require("dipy", "dipy")
    iterations = check_iterations(iterations)
    with workspace("dipy", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "dipy",
            iterations=iterations,
            radius=radius,
            sigma=sigma,
            step_length=step_length,
            inverse_iterations=inverse_iterations,
        )
        return ws.transform(np.load(ws.folder / "displacement.npy"))
