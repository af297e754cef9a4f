"""DIPY's SyN: the algorithm of Avants et al. (2008) in Python and Cython (Garyfallidis 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nevf_lite.study.baselines.bench import bench, counts, need
from nevf_lite.transform import Transform


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

    fixed, moving, spacing: see the package. iterations: a level, coarse to fine. radius: of the
    window of the correlation, voxels. sigma: of the Gaussian that smooths each update, voxels.
    step_length: the longest vector of an update. inverse_iterations: to invert the fields. All
    defaults are DIPY's own. seed: nothing is drawn; accepted and not used.
    Raises ValueError if dipy is missing or fails.
    """
    need("dipy", "dipy")
    steps = counts("iterations", iterations)
    with bench("dipy", fixed, moving, spacing, threads) as here:
        here.work(
            "dipy",
            iterations=steps,
            radius=radius,
            sigma=sigma,
            step_length=step_length,
            inverse_iterations=inverse_iterations,
        )
        return here.transform(np.load(here.folder / "displacement.npy"))
