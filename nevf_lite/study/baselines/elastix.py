"""elastix (Klein et al., IEEE Transactions on Medical Imaging 2010): cubic B-splines, few points.

Each iteration compares the images at a few thousand random points, so that its cost does not grow
with the grid. Ten seconds of every call are the loading of ITK.
"""

from __future__ import annotations

from nevf_lite.scans.io import read_displacement
from nevf_lite.study.baselines.workspace import require, workspace
from nevf_lite.transforms.transform import Transform

#: The extra that brings it, in pip's words.
INSTALL = '"nevf-lite[peers]"'


def elastix(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    iterations: int = 2000,
    levels: int = 3,
    control: float = 4.0,
    samples: int = 5000,
    metric: str = "AdvancedNormalizedCorrelation",
    bending: float = 0.0,
) -> Transform:
    """Register with itk-elastix, B-splines and adaptive stochastic gradient descent.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. iterations: of each level. levels: each
    halves the smoothing of the images and the spacing of the control points. control: their
    spacing at the last level, mm. samples: random points, new ones in each iteration. metric: one
    of elastix, such as "AdvancedMattesMutualInformation". bending: weight of the bending energy; 0
    for none. seed: of the points. The step sizes are elastix's own estimates. The defaults were
    tuned on brains of the `train` split.
    Raises ValueError if itk-elastix is missing or fails.
    """
    require("elastix", "itk", INSTALL)
    if levels < 1 or iterations < 1 or samples < 1 or control <= 0:
        raise ValueError(
            "levels, iterations, samples, control: wanted positive numbers, got "
            f"{levels}, {iterations}, {samples}, {control}"
        )
    parameters = {
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        "Metric": [metric],
        "Transform": ["BSplineTransform"],
        "FinalGridSpacingInPhysicalUnits": [control],
        "NumberOfResolutions": [levels],
        "FixedImagePyramid": ["FixedSmoothingImagePyramid"],
        "MovingImagePyramid": ["MovingSmoothingImagePyramid"],
        "Optimizer": ["AdaptiveStochasticGradientDescent"],
        "AutomaticParameterEstimation": ["true"],
        "MaximumNumberOfIterations": [iterations],
        "ImageSampler": ["RandomCoordinate"],
        "NumberOfSpatialSamples": [samples],
        "NewSamplesEveryIteration": ["true"],
        "Interpolator": ["LinearInterpolator"],
        "FinalBSplineInterpolationOrder": [1],
        "RandomSeed": [seed + 1],
    }
    if bending:
        parameters["Metric"].append("TransformBendingEnergyPenalty")
        parameters["Metric0Weight"], parameters["Metric1Weight"] = [1.0], [bending]
    texts = {name: [str(value) for value in values] for name, values in parameters.items()}
    with workspace("elastix", fixed, moving, spacing, threads) as ws:
        ws.run_worker("elastix", parameters=texts)
        return ws.transform(read_displacement(ws.folder / "warp.nii.gz")[0])
