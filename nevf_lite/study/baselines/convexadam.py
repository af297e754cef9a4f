"""ConvexAdam (Siebert et al., IEEE Transactions on Medical Imaging 2024): a search, then Adam.

A coarse grid of displacements is searched exhaustively, with a coupled convex smoothness; Adam then
refines the result. Both compare MIND descriptors, which also suit images of two modalities.
"""

from __future__ import annotations

from nevf_lite.scans.io import read_displacement
from nevf_lite.study.baselines.workspace import require, workspace
from nevf_lite.transforms.transform import Transform


def convexadam(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: int = 200,
    smoothness: float = 0.6,
    search_spacing: int = 6,
    search_radius: int = 4,
    adam_spacing: int = 2,
    radius: int = 1,
    dilation: int = 2,
    smoothing: int = 0,
) -> Transform:
    """Register with convexAdam, on the CPU in single precision.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: of Adam. smoothness: weight
    of its diffusion penalty. search_spacing, adam_spacing: of the control points of the search and
    of Adam, voxels. search_radius: of the search, steps of `search_spacing`. radius, dilation: of
    the patches of MIND and of their distance, voxels. smoothing: edge of a last mean filter of the
    displacement, voxels, odd; 0 for none. seed: not used, no random numbers are drawn. The defaults
    are those of convexAdam, but for `iterations` (80) and `smoothness` (1.25), tuned on brains of
    the `train` split.
    Raises ValueError if convexAdam is missing or fails.
    """
    require("convexadam", "convexAdam")
    with workspace("convexadam", fixed, moving, spacing, threads) as ws:
        ws.run_worker(
            "convexadam",
            selected_niter=iterations,
            lambda_weight=smoothness,
            grid_sp=search_spacing,
            disp_hw=search_radius,
            grid_sp_adam=adam_spacing,
            mind_r=radius,
            mind_d=dilation,
            selected_smooth=smoothing,
        )
        return ws.transform(read_displacement(ws.folder / "warp.nii.gz")[0])
