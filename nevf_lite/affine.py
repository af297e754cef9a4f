"""The affine start: bring two scans together before anything is bent.

The work is SimpleITK's: mutual information (Mattes et al. 2003) from coarse to fine, first rigid,
then affine. What is added is a start from the centres of mass with a few turns of the head, the
same code for slices and volumes, and the same matrix every time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nevf_lite.io import load_image, load_labels
from nevf_lite.itk import sheared

#: Voxels along the longest axis at the finest level, for 2-D and 3-D: 2 mm for a head.
FINEST = {2: 192, 3: 96}
#: Samples of the metric: more cost time and hardly move the matrix.
SAMPLES = 60_000
#: Turns tried at the coarsest level, radians: of a slice in its plane, of a head about each axis.
TILTS = (-0.4, 0.4)


def affine_register(
    fixed_image,
    moving_image,
    *,
    fixed_mask=None,
    moving_mask=None,
    kind: str = "affine",
    seed: int = 0,
) -> np.ndarray:
    """The affine that best lays the moving image over the fixed one.

    fixed_image, moving_image: whatever `io.load_image` takes, both 2-D or both 3-D; their headers
        should place them within about 45 degrees of each other.
    fixed_mask, moving_mask: label maps, non-zero where the image counts.
    kind: "affine", or "rigid" for a rotation and a shift. seed: chooses the metric's samples.
    Returns (4, 4), float64: fixed RAS mm to moving RAS mm, the pull-back. Of two slices the motion
    stays within their planes. The same input gives the same bytes, whatever the number of cores.
    Raises ValueError for images that cannot be used, or that share no content.
    """
    if kind not in ("affine", "rigid"):
        raise ValueError(f'kind: wanted "affine" or "rigid", got {kind!r}')
    fixed, moving = load_image(fixed_image, "fixed"), load_image(moving_image, "moving")
    if fixed.ndim != moving.ndim:
        raise ValueError(
            f"moving: it has {moving.ndim} axes and the fixed image {fixed.ndim}; "
            "wanted two slices or two volumes"
        )
    frames = _frames(fixed.affine, moving.affine, fixed.ndim)
    sides = (
        _Side.of(fixed, fixed_mask, frames[0], "fixed"),
        _Side.of(moving, moving_mask, frames[1], "moving"),
    )
    finest = max(sides[0].extent) / FINEST[fixed.ndim]
    coarse, middle, fine = ([s.at(finest * factor) for s in sides] for factor in (4, 2, 1))

    with _one_quiet_thread():
        tries = []
        for start in _starts(*sides):
            with contextlib.suppress(_TooLittleShared):
                tries.append(_optimise(coarse, start, seed, steps=25))
        if not tries:
            raise _TooLittleShared
        transform = min(tries, key=lambda found: found[1])[0]
        transform, _ = _optimise(coarse, transform, seed)
        if kind == "affine":
            transform = _as_affine(transform)
        for level in (middle, fine):
            transform, _ = _optimise(level, transform, seed)
    return frames[1] @ _matrix(transform) @ np.linalg.inv(frames[0])


class _TooLittleShared(ValueError):
    def __str__(self) -> str:
        return (
            "moving: it shares too little with the fixed image to be aligned; check both headers, "
            "and the masks"
        )


def _frames(fixed: np.ndarray, moving: np.ndarray, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the two images are registered: (4, 4) matrices from frame coordinates to RAS mm.

    For volumes that is the world itself. For slices the first two coordinates lie in the plane of
    each, along the same directions of the world as far as the planes allow.
    """
    if ndim == 3:
        return np.eye(4), np.eye(4)
    first, second = (a[:3, :2] / np.linalg.norm(a[:3, :2], axis=0) for a in (fixed, moving))
    normals = [np.cross(*axes.T) for axes in (first, second)]
    normals[1] = normals[1] if normals[0] @ normals[1] >= 0 else -normals[1]
    x, y, z = np.cross(*normals)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # the smallest rotation that turns one plane into the other (Rodrigues)
    turn = np.eye(3) + skew + skew @ skew / (1 + normals[0] @ normals[1])
    axes = np.column_stack([first, normals[0]])
    frames = []
    for rotation, affine in ((axes, fixed), (turn @ axes, moving)):
        frame = np.eye(4)
        frame[:3, :3] = rotation
        frame[:3, 3] = rotation[:, 2] * (rotation[:, 2] @ affine[:3, 3])
        frames.append(frame)
    return frames[0], frames[1]


@dataclass(frozen=True)
class _Side:
    """One of the two images, with intensities in [0, 1], as a SimpleITK image; and its mask."""

    image: object
    mask: object | None

    @classmethod
    def of(cls, image, mask, frame: np.ndarray, name: str) -> _Side:
        import SimpleITK as sitk

        if sheared(image.affine):
            raise ValueError(f"{name}: its axes are not at right angles; resample the image first")
        data = np.asanyarray(image.dataobj)
        inside = data
        if mask is not None:
            mask = load_labels(mask, f"{name}_mask")
            if mask.ndim != image.ndim:
                raise ValueError(f"{name}_mask: wanted {image.ndim} axes, got {mask.ndim}")
            mask = _in_frame(np.asanyarray(mask.dataobj) != 0, mask.affine, frame)
            like = _in_frame(data, image.affine, frame)
            mask = sitk.Resample(mask, like, sitk.Transform(), sitk.sitkNearestNeighbor)
            inside = data[sitk.GetArrayViewFromImage(mask).T > 0]
            if not inside.size:
                raise ValueError(f"{name}_mask: no voxel of the {name} image lies in it")
        low, high = np.percentile(inside, [0.1, 99.9])  # a few bright voxels would waste the bins
        if not high > low:
            low, high = data.min(), data.max()
        return cls(
            _in_frame((data.clip(low, high) - low) / (high - low), image.affine, frame), mask
        )

    @property
    def extent(self) -> list[float]:
        return [n * s for n, s in zip(self.image.GetSize(), self.image.GetSpacing(), strict=True)]

    def weights(self) -> np.ndarray:
        """1 where the image counts and 0 where not, as an array of SimpleITK's order."""
        import SimpleITK as sitk

        if self.mask is None:
            return np.ones(self.image.GetSize()[::-1], np.float32)
        return sitk.GetArrayFromImage(self.mask).astype(np.float32)

    def at(self, spacing: float) -> _Side:
        """Smoothed, and sampled no finer than this spacing."""
        import SimpleITK as sitk

        old = np.array(self.image.GetSpacing())
        new = np.maximum(old, spacing)
        size = np.floor((np.array(self.image.GetSize()) - 1) * old / new).astype(int) + 1
        sigma = (0.5 * np.sqrt(new**2 - old**2) / old)[::-1]
        smooth = sitk.GetArrayFromImage(self.image)
        if self.mask is None:
            smooth = ndimage.gaussian_filter(smooth, sigma, truncate=3)
        else:  # what is masked out must not leak in
            weights = self.weights()
            smooth = ndimage.gaussian_filter(smooth * weights, sigma, truncate=3)
            smooth /= ndimage.gaussian_filter(weights, sigma, truncate=3).clip(min=1e-3)
        image = sitk.GetImageFromArray(smooth)
        image.CopyInformation(self.image)
        place = image.GetOrigin(), new.tolist(), image.GetDirection()
        image = sitk.Resample(image, size.tolist(), sitk.Transform(), sitk.sitkLinear, *place)
        return _Side(image, self.mask)

    def centre(self) -> np.ndarray:
        """The centre of mass, in the frame."""
        import SimpleITK as sitk

        # the small addend is for masks in which the image is dark throughout
        data = (sitk.GetArrayViewFromImage(self.image) + 1e-6) * self.weights()
        index = [float(i) for i in reversed(ndimage.center_of_mass(data))]
        return np.array(self.image.TransformContinuousIndexToPhysicalPoint(index))


def _in_frame(data: np.ndarray, affine: np.ndarray, frame: np.ndarray):
    """A SimpleITK image of an array, placed in frame coordinates."""
    import SimpleITK as sitk

    ndim = data.ndim
    place = np.linalg.inv(frame) @ affine
    spacing = np.linalg.norm(place[:ndim, :ndim], axis=0)
    kind = np.uint8 if data.dtype == bool else np.float32
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=kind))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((place[:ndim, :ndim] / spacing).ravel().tolist())
    image.SetOrigin(place[:ndim, 3].tolist())
    return image


def _starts(fixed: _Side, moving: _Side) -> Iterator:
    """Rigid transforms that lay centre of mass on centre of mass: straight, and turned each way."""
    import SimpleITK as sitk

    centre = fixed.centre()
    shift = moving.centre() - centre
    ndim = len(centre)
    turns = [np.zeros(1 if ndim == 2 else 3)]
    turns += [tilt * axis for axis in np.eye(len(turns[0])) for tilt in TILTS]
    for turn in turns:
        transform = sitk.Euler2DTransform() if ndim == 2 else sitk.Euler3DTransform()
        transform.SetCenter(centre.tolist())
        transform.SetTranslation(shift.tolist())
        transform.SetParameters([*turn, *shift])
        yield transform


@contextlib.contextmanager
def _one_quiet_thread() -> Iterator[None]:
    """Sums made by several threads differ in the last digit; ITK's optimisers heed only this.

    And a start that fails, which is dealt with here, would be reported on the terminal.
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
    """The same motion with all the freedom of an affine."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(rigid.GetDimension())
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def _optimise(level: list[_Side], start, seed: int, steps: int = 80) -> tuple[object, float]:
    """Improve a transform on one level; returns it with the metric, lower is better."""
    import SimpleITK as sitk

    fixed, moving = level
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    share = min(1.0, SAMPLES / fixed.image.GetNumberOfPixels())
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, abs(seed) + 1)  # 0 would mean the clock
    if fixed.mask is not None:
        method.SetMetricFixedMask(fixed.mask)
    if moving.mask is not None:
        method.SetMetricMovingMask(moving.mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.MetricUseMovingImageGradientFilterOff()  # it cannot do with fewer than four slices
    method.MetricUseFixedImageGradientFilterOff()
    # The step is one voxel, shortened whenever the gradient turns back. It has to be measured anew
    # each time: a unit of rotation or shear is worth a hundred of translation.
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=steps,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
        estimateLearningRate=method.EachIteration,
        maximumStepSizeInPhysicalUnits=max(fixed.image.GetSpacing()),
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(type(start)(start), inPlace=True)
    try:
        found = method.Execute(fixed.image, moving.image)
    except RuntimeError as error:
        raise _TooLittleShared from error
    return type(start)(found), method.GetMetricValue()


def _matrix(transform) -> np.ndarray:
    """(4, 4) of a 2-D or 3-D SimpleITK transform with a centre; 2-D leaves the third axis alone."""
    ndim = transform.GetDimension()
    linear = np.reshape(transform.GetMatrix(), (ndim, ndim))
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:ndim, :ndim] = linear
    matrix[:ndim, 3] = centre + transform.GetTranslation() - linear @ centre
    return matrix
