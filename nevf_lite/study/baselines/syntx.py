"""syntx: the symmetric normalisation of ANTs' group in PyTorch, with Sobolev smoothing."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.scans.io import read_displacement
from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform

#: The extra that brings it, in pip's words.
INSTALL = '"nevf-lite[peers]"'


def syntx(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (100, 100, 20),
    radius: int = 2,
    gradient_step: float = 0.25,
    alpha: float = 1.5,
    jitter: bool = False,
) -> Transform:
    """Register with syntx's SyN from the identity, squared local cross-correlation, on the CPU.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: per level, coarse to fine;
    each level halves the voxel size of the one before. radius: of the window of the correlation,
    voxels. gradient_step: length of the longest vector of an update, voxels. alpha: of the Sobolev
    smoothing of each update. jitter: also compare at points shifted to and fro at random, at three
    times the cost. seed: of these shifts. The defaults are those of syntx's `auto_reg`, without
    jitter.
    Raises ValueError if syntx is missing or fails.
    """
    require("syntx", "syntx", INSTALL)
    iterations = check_iterations(iterations)
    with workspace("syntx", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "syntx",
            reg_iterations=iterations,
            syn_sampling=radius,
            grad_step=gradient_step,
            sobolev_alpha=alpha,
            bootstrap_mode="antithetic" if jitter else None,
            seed=seed,
        )
        return ws.transform(read_displacement(ws.folder / "warp.nii.gz")[0])
