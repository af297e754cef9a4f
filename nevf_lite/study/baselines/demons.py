"""Diffeomorphic demons (Vercauteren et al., NeuroImage 2009) of SimpleITK, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.io import read_displacement
from nevf_lite.study.baselines.bench import bench, counts, need
from nevf_lite.transform import Transform


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

    fixed, moving, spacing: see the package. iterations: a level, coarse to fine; each level halves
    the voxels of the one before. sigma, update_sigma: of the Gaussians that smooth the displacement
    and each update, voxels of the level; 0 for none. step_length: the longest vector of an update,
    voxels. match: bring the histogram of the moving image to the fixed one's first, without which
    two scanners' greys do not compare. seed: nothing is drawn; accepted and not used.
    Raises ValueError if SimpleITK fails.
    """
    need("demons", "SimpleITK")
    steps = counts("iterations", iterations)
    with bench("demons", fixed, moving, spacing, threads) as here:
        here.work(
            "demons",
            iterations=steps,
            sigma=sigma,
            update_sigma=update_sigma,
            step_length=step_length,
            match=match,
            threads=threads,
        )
        return here.transform(read_displacement(here.folder / "warp.nii.gz")[0])
