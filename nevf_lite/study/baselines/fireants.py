"""FireANTs (Jena et al., 2024): Adam on the group of diffeomorphisms."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.scans.io import read_displacement
from nevf_lite.study.baselines.workspace import check_iterations, require, workspace
from nevf_lite.transforms.transform import Transform

#: Its wheel asks for one old version of SimpleITK and for packages that registration does not use.
INSTALL = "--no-deps fireants"


def fireants(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: Sequence[int] = (100, 100, 25),
    window: int = 5,
    gradient_sigma: float = 1.5,
    warp_sigma: float = 0.2,
    lr: float = 0.5,
) -> Transform:
    """Register with FireANTs' `GreedyRegistration` and its local correlation, on the CPU.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: at most, per level, coarse
    to fine; each level halves the voxel size of the one before. window: edge of the window of the
    correlation, voxels. gradient_sigma, warp_sigma: of the Gaussians that smooth each update and
    the warp, voxels of the level. lr: of Adam. seed: not used, no random numbers are drawn. The
    defaults were tuned on brains of the `train` split.
    Raises ValueError if fireants is missing or fails.
    """
    require("fireants", "fireants", INSTALL)
    iterations = check_iterations(iterations)
    with workspace("fireants", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "fireants",
            iterations=iterations,
            scales=[2 ** (len(iterations) - 1 - level) for level in range(len(iterations))],
            cc_kernel_size=window,
            smooth_grad_sigma=gradient_sigma,
            smooth_warp_sigma=warp_sigma,
            optimizer_lr=lr,
        )
        return ws.transform(read_displacement(ws.folder / "warp.nii.gz")[0])
