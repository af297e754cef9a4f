"""Affine registration, as a start for the deformable one.

SimpleITK maximises mutual information (Mattes et al. 2003) from coarse to fine, first over rigid,
then over affine transforms. The search starts from the centres of mass with a few rotations of the
head, and from the headers alone. Slices and volumes take the same code, and the same input gives
the same matrix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from nevf_lite.scans.io import load_image
from nevf_lite.transforms.affine_images import AffineImage, registration_frames, upright

#: Voxels along the longest axis at the finest level, for 2-D and 3-D: 2 mm for a head.
FINEST = {2: 192, 3: 96}
#: Samples of the metric. More cost time and hardly change the matrix.
SAMPLES = 60_000
#: Rotations tried at the coarsest level, radians: a slice in its plane, a head about each axis.
ROTATIONS = (-0.4, 0.4)


def affine_register(
    fixed_image,
    moving_image,
    *,
    fixed_mask=None,
    moving_mask=None,
    kind: str = "affine",
    seed: int = 0,
) -> np.ndarray:
    """The affine transform that best aligns the moving image with the fixed one.

    fixed_image, moving_image: whatever `io.load_image` takes, both 2-D or both 3-D; their headers
        should place them within about 45 degrees of each other.
    fixed_mask, moving_mask: label maps, non-zero where the image counts.
    kind: "affine", or "rigid" for a rotation and a translation. seed: chooses the samples of the
        metric.
    Returns (4, 4), float64: fixed RAS mm to moving RAS mm (pull-back). The motion of slices stays
    within their planes. The same input gives the same bytes on any number of cores.
    Raises ValueError for images that cannot be used or do not overlap.
    """
    if kind not in ("affine", "rigid"):
        raise ValueError(f'kind: wanted "affine" or "rigid", got {kind!r}')
    fixed, moving = load_image(fixed_image, "fixed"), load_image(moving_image, "moving")
    if fixed.ndim != moving.ndim:
        raise ValueError(
            f"moving: it has {moving.ndim} axes and the fixed image {fixed.ndim}; "
            "wanted two slices or two volumes"
        )
    fixed, fixed_mask = upright(fixed, fixed_mask)
    moving, moving_mask = upright(moving, moving_mask)
    frames = registration_frames(fixed.affine, moving.affine, fixed.ndim)
    pair = (
        AffineImage.of(fixed, fixed_mask, frames[0], "fixed"),
        AffineImage.of(moving, moving_mask, frames[1], "moving"),
    )
    finest = max(pair[0].field_of_view) / FINEST[fixed.ndim]
    coarse, middle, fine = ([i.at_spacing(finest * factor) for i in pair] for factor in (4, 2, 1))

    with _single_threaded():
        candidates = []
        for start in _initial_transforms(*pair):
            with contextlib.suppress(_TooLittleOverlap):
                candidates.append(_optimise(coarse, start, seed, iterations=25))
        if not candidates:
            raise _TooLittleOverlap
        transform, _ = min(candidates, key=lambda candidate: candidate[1])
        transform, _ = _optimise(coarse, transform, seed)
        if kind == "affine":
            transform = _as_affine(transform)
        for level in (middle, fine):
            transform, _ = _optimise(level, transform, seed)
    return frames[1] @ _matrix(transform) @ np.linalg.inv(frames[0])


class _TooLittleOverlap(ValueError):
    def __str__(self) -> str:
        return (
            "moving: it shares too little with the fixed image to be aligned; check both headers, "
            "and the masks"
        )


def _initial_transforms(fixed: AffineImage, moving: AffineImage) -> Iterator:
    """Rigid transforms that align the centres of mass, without rotation and with each rotation.

    And none at all: where a scan ends inside the head its centre of mass is not the head's, and the
    headers are the better start.
    """
    import SimpleITK as sitk

    centre = fixed.centre_of_mass()
    shift = moving.centre_of_mass() - centre
    ndim = len(centre)
    turns = [np.zeros(1 if ndim == 2 else 3)]
    turns += [angle * axis for axis in np.eye(len(turns[0])) for angle in ROTATIONS]
    starts = [(turn, shift) for turn in turns]
    for turn, shift in [*starts, (turns[0], np.zeros(ndim))]:
        transform = sitk.Euler2DTransform() if ndim == 2 else sitk.Euler3DTransform()
        transform.SetCenter(centre.tolist())
        transform.SetTranslation(shift.tolist())
        transform.SetParameters([*turn, *shift])
        yield transform


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Run ITK on one thread and without warnings.

    Sums over several threads differ in the last digit, and ITK's optimisers obey only this setting.
    A start that fails is handled here and must not appear on the terminal.
    """
    import SimpleITK as sitk

    process = sitk.ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads(), process.GetGlobalWarningDisplay()
    process.SetGlobalDefaultNumberOfThreads(1)
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before[0])
        process.SetGlobalWarningDisplay(before[1])


def _as_affine(rigid):
    """A rigid transform as an affine one."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(rigid.GetDimension())
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def _optimise(
    level: list[AffineImage], start, seed: int, iterations: int = 80
) -> tuple[object, float]:
    """Improve a transform on one level. Returns it and its metric; lower is better."""
    import SimpleITK as sitk

    fixed, moving = level
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    share = min(1.0, SAMPLES / fixed.image.GetNumberOfPixels())
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, abs(seed) + 1)  # a seed of 0 would mean the clock
    if fixed.mask is not None:
        method.SetMetricFixedMask(fixed.mask)
    if moving.mask is not None:
        method.SetMetricMovingMask(moving.mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.MetricUseMovingImageGradientFilterOff()  # it needs at least four slices
    method.MetricUseFixedImageGradientFilterOff()
    # The step is one voxel, shortened whenever the gradient reverses. It is estimated at each
    # iteration, because a unit of rotation or shear moves the image as far as a hundred units of
    # translation.
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
        estimateLearningRate=method.EachIteration,
        maximumStepSizeInPhysicalUnits=max(fixed.image.GetSpacing()),
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(type(start)(start), inPlace=True)
    try:
        optimised = method.Execute(fixed.image, moving.image)
    except RuntimeError as error:
        raise _TooLittleOverlap from error
    return type(start)(optimised), method.GetMetricValue()


def _matrix(transform) -> np.ndarray:
    """(4, 4) of a SimpleITK transform with a centre; a 2-D one leaves the third axis unchanged."""
    ndim = transform.GetDimension()
    linear = np.reshape(transform.GetMatrix(), (ndim, ndim))
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:ndim, :ndim] = linear
    matrix[:ndim, 3] = centre + transform.GetTranslation() - linear @ centre
    return matrix
