"""Greedy, the fast diffeomorphic registration of ITK-SNAP's group (Yushkevich et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from nevf_lite.io import read_displacement
from nevf_lite.study.baselines.bench import bench, counts, need
from nevf_lite.transform import Transform


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

    fixed, moving, spacing: see the package. iterations (-n): a level, coarse to fine. metric (-m):
    "NCC 2x2x2" (radius in voxels), "SSD", "MI" or "NMI". sigmas (-s): of the Gaussians that smooth
    each update and the whole field, voxels. step (-e): of the update. velocity (-sv): a stationary
    velocity field, which folds less, instead of greedy updates. seed: of the faint noise that
    greedy adds to images for NCC. The defaults were the best known on brains of the `train` split.
    Raises ValueError if picsl_greedy is missing or fails.
    """
    need("greedy", "picsl_greedy")
    steps = "x".join(map(str, counts("iterations", iterations)))
    words = [
        f"-i fixed.nii moving.nii -o warp.nii.gz -m {metric} -n {steps}",
        f"-s {sigmas[0]:g}vox {sigmas[1]:g}vox -e {step:g}",
        "-sv" if velocity else "",
        # -wp 0: the field in full, not rounded to a tenth of a voxel; a seed of 0 is the clock
        f"-wp 0 -threads {threads} -seed {seed + 1}",
    ]
    with bench("greedy", fixed, moving, spacing, threads) as here:
        here.work("greedy", command=" ".join(filter(None, words)))
        return here.transform(read_displacement(here.folder / "warp.nii.gz")[0])
