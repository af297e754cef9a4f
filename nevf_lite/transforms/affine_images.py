"""The two images as the affine registration sees them: scaled, masked, resampled, in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nevf_lite.grid import antialiasing_sigma
from nevf_lite.scans.io import load_labels, make_image
from nevf_lite.scans.itk import sheared
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform


def registration_frames(
    fixed: np.ndarray, moving: np.ndarray, ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which two images are registered: (4, 4) matrices from frame to RAS mm.

    fixed, moving: (4, 4) affines of the images. ndim: 2 or 3. For volumes the frame is the world.
    For slices the first two coordinates lie in the plane of each slice, along the same directions
    of the world as far as the planes allow.
    """
    if ndim == 3:
        return np.eye(4), np.eye(4)
    fixed_axes, moving_axes = (
        affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0) for affine in (fixed, moving)
    )
    fixed_normal, moving_normal = np.cross(*fixed_axes.T), np.cross(*moving_axes.T)
    if fixed_normal @ moving_normal < 0:
        moving_normal = -moving_normal
    x, y, z = np.cross(fixed_normal, moving_normal)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # the smallest rotation that takes one plane to the other (Rodrigues)
    turn = np.eye(3) + skew + skew @ skew / (1 + fixed_normal @ moving_normal)
    axes = np.column_stack([fixed_axes, fixed_normal])
    frames = []
    for rotation, affine in ((axes, fixed), (turn @ axes, moving)):
        frame = np.eye(4)
        frame[:3, :3] = rotation
        frame[:3, 3] = rotation[:, 2] * (rotation[:, 2] @ affine[:3, 3])
        frames.append(frame)
    return frames[0], frames[1]


def upright(image, mask):
    """An image whose axes are sheared, on a grid at right angles, since ITK has no others.

    image: a nibabel image. mask: what `load_labels` takes, or None. Returns both; the mask then
    leaves out what the larger grid adds. An image at right angles is returned as it is.
    """
    if not sheared(image.affine):
        return image, mask
    grid = Grid.of(image)
    straight = grid.at_right_angles()
    still = Transform.identity(straight, grid)
    data = still.pull_back(np.asarray(image.dataobj), grid, straight)
    inside = still.pull_back(np.ones(grid.shape, np.float32), grid, straight) > 0.999
    if mask is not None:
        inside &= np.asarray(still.warp_labels(mask).dataobj) != 0
    return make_image(data, straight.affine), make_image(inside.astype(np.uint8), straight.affine)


@dataclass(frozen=True)
class AffineImage:
    """One image with intensities in [0, 1], and its mask or None, as SimpleITK images."""

    image: object
    mask: object | None

    @classmethod
    def of(cls, image, mask, frame: np.ndarray, name: str) -> AffineImage:
        """image: a nibabel image. mask: what `load_labels` takes, or None. frame: (4, 4).

        name: "fixed" or "moving", for messages. Raises ValueError for a mask that does not fit.
        """
        import SimpleITK as sitk

        data = np.asanyarray(image.dataobj)
        inside = data
        if mask is not None:
            mask = load_labels(mask, f"{name}_mask")
            if mask.ndim != image.ndim:
                raise ValueError(f"{name}_mask: wanted {image.ndim} axes, got {mask.ndim}")
            mask = _in_frame(np.asanyarray(mask.dataobj) != 0, mask.affine, frame)
            reference = _in_frame(data, image.affine, frame)
            mask = sitk.Resample(mask, reference, sitk.Transform(), sitk.sitkNearestNeighbor)
            inside = data[sitk.GetArrayViewFromImage(mask).T > 0]
            if not inside.size:
                raise ValueError(f"{name}_mask: no voxel of the {name} image lies in it")
        # a few bright voxels would waste the bins of the joint histogram
        low, high = np.percentile(inside, [0.1, 99.9])
        if not high > low:
            low, high = data.min(), data.max()
        scaled = (data.clip(low, high) - low) / (high - low)
        return cls(_in_frame(scaled, image.affine, frame), mask)

    @property
    def field_of_view(self) -> list[float]:
        """Millimetres along each axis."""
        return [n * s for n, s in zip(self.image.GetSize(), self.image.GetSpacing(), strict=True)]

    def weights(self) -> np.ndarray:
        """1 where the image counts and 0 elsewhere, in SimpleITK's order of axes."""
        import SimpleITK as sitk

        if self.mask is None:
            return np.ones(self.image.GetSize()[::-1], np.float32)
        return sitk.GetArrayFromImage(self.mask).astype(np.float32)

    def at_spacing(self, spacing: float) -> AffineImage:
        """The image smoothed and resampled to a spacing in mm, no finer than its own."""
        import SimpleITK as sitk

        old = np.array(self.image.GetSpacing())
        new = np.maximum(old, spacing)
        size = np.floor((np.array(self.image.GetSize()) - 1) * old / new).astype(int) + 1
        sigma = [antialiasing_sigma(factor) for factor in (new / old)[::-1]]
        smooth = sitk.GetArrayFromImage(self.image)
        if self.mask is None:
            smooth = ndimage.gaussian_filter(smooth, sigma, truncate=3)
        else:  # masked intensities must not leak in
            weights = self.weights()
            smooth = ndimage.gaussian_filter(smooth * weights, sigma, truncate=3)
            smooth /= ndimage.gaussian_filter(weights, sigma, truncate=3).clip(min=1e-3)
        image = sitk.GetImageFromArray(smooth)
        image.CopyInformation(self.image)
        grid = image.GetOrigin(), new.tolist(), image.GetDirection()
        image = sitk.Resample(image, size.tolist(), sitk.Transform(), sitk.sitkLinear, *grid)
        return AffineImage(image, self.mask)

    def centre_of_mass(self) -> np.ndarray:
        """The centre of mass in frame coordinates, mm."""
        import SimpleITK as sitk

        # the small addend is for masks in which the image is dark throughout
        data = (sitk.GetArrayViewFromImage(self.image) + 1e-6) * self.weights()
        index = [float(i) for i in reversed(ndimage.center_of_mass(data))]
        return np.array(self.image.TransformContinuousIndexToPhysicalPoint(index))


def _in_frame(data: np.ndarray, affine: np.ndarray, frame: np.ndarray):
    """A SimpleITK image of an array, positioned in frame coordinates."""
    import SimpleITK as sitk

    ndim = data.ndim
    in_frame = np.linalg.inv(frame) @ affine
    spacing = np.linalg.norm(in_frame[:ndim, :ndim], axis=0)
    dtype = np.uint8 if data.dtype == bool else np.float32
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=dtype))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((in_frame[:ndim, :ndim] / spacing).ravel().tolist())
    image.SetOrigin(in_frame[:ndim, 3].tolist())
    return image
