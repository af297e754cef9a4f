"""Two-dimensional slices of a volume of any orientation.

Every array is first flipped and permuted so that its axes lie closest to right, anterior and
superior (nibabel's canonical orientation); nothing is resampled. Slices therefore run along the
voxels of the image, also when it is oblique. They are drawn to scale in millimetres. Display is
neurological: the person's left is on the left of the picture, anterior and superior are up, and
anterior is on the right of a sagittal slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation
from scipy.ndimage import uniform_filter

from nevf_lite.scans.space import Grid

Point = tuple[float, float, float]  # RAS mm

MARGIN_MM = 2.0  # between the brain and the edges of a cropped slice
_NAMES = ("sagittal", "coronal", "axial")  # by the canonical axis perpendicular to the slice
_OBLIQUE = np.sin(np.deg2rad(12))  # an axis that leans more than this gets a second letter


def on_grid(image, grid: Grid, name: str, components: tuple[int, ...] = ()) -> np.ndarray:
    """The values of an image on `grid` with its axes closest to RAS+; a view where possible.

    image: a nibabel image on that grid, or an array (*grid.shape, *components); the third
        axis of a 2-D slice, of length one, is dropped. name: the argument's name, for messages.
    Raises ValueError when the shape differs, or the affine of a nibabel image does.
    """
    array = np.asanyarray(getattr(image, "dataobj", image))
    if array.ndim == grid.ndim + len(components) + 1 and array.shape[2:3] == (1,):
        array = array[:, :, 0]
    shape = (*grid.shape, *components)
    if array.shape != shape:
        raise ValueError(
            f"{name}: its shape is {array.shape}, wanted {shape}, as the fixed image has; "
            "resample it to the fixed image's grid first"
        )
    affine = getattr(image, "affine", None)
    if affine is not None and not np.allclose(affine, grid.affine, atol=1e-3):
        raise ValueError(
            f"{name}: its affine differs from the fixed image's, so it lies elsewhere in the "
            "world; resample it to the fixed image's grid first"
        )
    return apply_orientation(array, grid.canonical()[1])


def foreground(values: np.ndarray) -> np.ndarray:
    """The voxels that are not background: a boolean array of the same shape.

    The background value is the median of the outermost voxels, which covers zeros around a
    skull-stripped brain, air at -1000 in CT and a noisy border. Foreground differs from it by more
    than 6 % of the image's range. An image without any such voxel is all foreground.
    """
    border = [_slab(values, axis, end).ravel() for axis in range(values.ndim) for end in (0, -1)]
    background = np.median(np.nan_to_num(np.concatenate(border)))
    low, high = np.percentile(np.nan_to_num(_subsample(values)), (0.5, 99.5))
    tolerance = 0.06 * max(high - low, 1e-12)
    mask = (values > background + tolerance) | (values < background - tolerance)
    return mask if mask.any() else np.ones_like(mask)


def brain(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """A mask with sulci and ventricles filled: plus voxels whose 16 mm cube is mostly in it."""
    size = [2 * int(8 / mm) + 1 for mm in spacing]
    return mask | (uniform_filter(mask.astype(np.float32), size) > 0.5)


def window(values: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, float]:
    """The intensity window: (black, white).

    Black is the lower of the first percentiles of the image and of the mask, white the 99.5th
    percentile within the mask. mask: the :func:`foreground` when None.
    """
    sample = np.nan_to_num(_subsample(values).astype(np.float32))
    inside = sample[_subsample(foreground(values) if mask is None else mask)]
    low, high = min(np.percentile(sample, 1), np.percentile(inside, 1)), np.percentile(inside, 99.5)
    return float(low), float(high if high > low else low + 1.0)


def shades(values: np.ndarray, limits: tuple[float, float], plane: Plane) -> np.ndarray:
    """A plane of a canonical array as (rows, columns) shades from 0, black, to 1, white.

    limits: the intensities of black and of white, from :func:`window`.
    """
    low, high = limits
    flat = np.nan_to_num(plane.cut(values).astype(np.float32))
    return np.clip((flat - low) / (high - low), 0.0, 1.0)


def _slab(values: np.ndarray, axis: int, index: int) -> np.ndarray:
    """One slice across an axis, as a view; np.take would copy, slowly in Fortran order."""
    return values[(slice(None),) * axis + (index,)]


def _subsample(values: np.ndarray, max_voxels: int = 500_000) -> np.ndarray:
    """Every n-th voxel along each axis: enough for a percentile, and fast for a large image."""
    step = max(int(np.ceil((values.size / max_voxels) ** (1 / values.ndim))), 1)
    return values[(slice(None, None, step),) * values.ndim]


@dataclass(frozen=True)
class Plane:
    """A plane of a canonical array.

    name: "axial", "coronal" or "sagittal". position: a text such as "z = 12 mm".
    axes: the two canonical axes that run right and up in the picture.
    across: the canonical axis perpendicular to it, None for a 2-D image. index: the voxel along it.
    box: (start, stop) voxels of the cropped region, per drawn axis. spacing: mm per voxel, per
        drawn axis. letters: orientation at the left, right, bottom and top edge.
    """

    name: str
    position: str
    axes: tuple[int, int]
    across: int | None
    index: int
    box: tuple[tuple[int, int], tuple[int, int]]
    spacing: tuple[float, float]
    letters: tuple[str, str, str, str]

    @property
    def caption(self) -> str:
        return f"{self.name}, {self.position}" if self.position else self.name

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) of the cropped region, in mm."""
        return tuple((b - a) * s for (a, b), s in zip(self.box, self.spacing, strict=True))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Edges for `Axes.imshow`, in mm from the centre of the array's first voxel."""
        sides = [
            ((a - 0.5) * s, (b - 0.5) * s) for (a, b), s in zip(self.box, self.spacing, strict=True)
        ]
        return (*sides[0], *sides[1])

    def cut(self, array: np.ndarray) -> np.ndarray:
        """This plane of a canonical array, as (rows upward, columns rightward[, C])."""
        if self.across is not None:
            array = _slab(array, self.across, self.index)
        (a, b), (c, d) = self.box
        return np.swapaxes(array[a:b, c:d], 0, 1)


def planes(grid: Grid, mask: np.ndarray, at: Point | None = None) -> list[Plane]:
    """Axial, coronal and sagittal planes, or the plane of a 2-D image, cropped to a mask.

    grid: the fixed grid, of any orientation. mask: canonical boolean array to crop to.
    at: point in RAS mm that the planes pass through; the :func:`middle` of the mask when None.
    """
    canonical = grid.canonical()[0]
    point = canonical.to_voxels(np.asarray(middle(grid, mask) if at is None else at, dtype=float))
    index = np.clip(np.rint(point), 0, np.array(canonical.shape) - 1).astype(int)
    profiles = zip(_profiles(mask), canonical.spacing, strict=True)
    box = [_range(profile, mm) for profile, mm in profiles]
    view_planes = []
    for k in [None] if canonical.ndim == 2 else [2, 1, 0]:
        drawn = tuple(axis for axis in range(canonical.ndim) if axis != k)
        view_planes.append(
            Plane(
                name=_name(canonical, k),
                position="" if k is None else _position(canonical, k, index),
                axes=drawn,
                across=k,
                index=0 if k is None else int(index[k]),
                box=tuple(box[a] for a in drawn),
                spacing=tuple(canonical.spacing[a] for a in drawn),
                letters=tuple(
                    _letters(sign * canonical.directions[:, a]) for a in drawn for sign in (-1, 1)
                ),
            )
        )
    return view_planes


def middle(grid: Grid, mask: np.ndarray) -> Point:
    """A point near the centre of a mask, in RAS mm, whose planes cut much of it.

    It is the centroid of the mask (canonical, boolean), moved along each axis by up to 8 mm to the
    slice with the most voxels of the mask. A sagittal plane then shows one hemisphere and not the
    gap between the two.
    """
    canonical = grid.canonical()[0]
    index = []
    for profile, mm in zip(_profiles(mask), canonical.spacing, strict=True):
        centre = round(float(np.average(np.arange(len(profile)), weights=profile)))
        radius = int(8 / mm)
        first = max(centre - radius, 0)
        index.append(first + int(np.argmax(profile[first : centre + radius + 1])))
    return tuple(float(x) for x in canonical.to_world(np.array(index)))


def view_point(image) -> Point:
    """The :func:`middle` of a nibabel image's foreground, as `at` of figures on the same planes."""
    grid = Grid.of(image)
    return middle(grid, foreground(on_grid(image, grid, "image")))


def _profiles(mask: np.ndarray) -> list[np.ndarray]:
    """The number of mask voxels in each slice, for every axis."""
    drawn = [tuple(b for b in range(mask.ndim) if b != a) for a in range(mask.ndim)]
    return [mask.sum(axis=axes, dtype=np.int64) for axes in drawn]


def _range(profile: np.ndarray, mm: float) -> tuple[int, int]:
    """First and one past the last slice of the crop; slices with few mask voxels are noise."""
    inside = np.flatnonzero(profile > 0.002 * profile.max())
    margin = int(np.ceil(MARGIN_MM / mm))
    return max(int(inside[0]) - margin, 0), min(int(inside[-1]) + 1 + margin, len(profile))


def _letters(direction: np.ndarray) -> str:
    """The side of the body that a direction in RAS points to: "L", or "LA" if it is oblique."""
    unit = direction / np.linalg.norm(direction)
    order = [k for k in np.argsort(-np.abs(unit), kind="stable") if abs(unit[k]) > _OBLIQUE]
    return "".join(("RAS" if unit[k] > 0 else "LPI")[k] for k in order)


def _name(grid: Grid, across: int | None) -> str:
    if across is not None:
        return _NAMES[across]
    normal = np.cross(*grid.directions.T)
    return _NAMES[int(np.argmax(np.abs(normal)))]


def _position(grid: Grid, across: int, index: np.ndarray) -> str:
    """The world coordinate, "z = 12 mm", or for an oblique slice "slice 3 of 90"."""
    unit = grid.directions[:, across] / grid.spacing[across]
    if abs(unit[across]) > 0.9998:  # within about one degree
        return f"{'xyz'[across]} = {grid.to_world(index)[across]:.0f} mm".replace("-", "\u2212")
    return f"slice {index[across] + 1} of {grid.shape[across]}"
