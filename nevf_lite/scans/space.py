"""The grid of an image: its shape and the affine from voxels to RAS millimetres.

All conversions between voxels and millimetres go through :class:`Grid`. A two-dimensional image
has a position in the three-dimensional world: its voxels have two coordinates, its points three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxels in the world.

    shape: voxels along each axis, two or three axes.
    affine: (4, 4) matrix from voxel indices to RAS+ millimetres. For a 2-D grid the third column
        is the direction across the slice.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        if len(self.shape) not in (2, 3):
            raise ValueError(f"shape: a grid has 2 or 3 axes, got {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("affine: wanted a finite 4x4 matrix from voxels to millimetres")
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        if abs(np.linalg.det(affine[:3, :3])) <= 1e-9 * steps.prod():
            raise ValueError("affine: it is singular, so voxels have no volume; repair the header")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @classmethod
    def of(cls, image) -> Grid:
        """The grid of a nibabel image; a trailing axis of length one makes it two-dimensional."""
        shape = image.shape[:-1] if len(image.shape) == 3 and image.shape[2] == 1 else image.shape
        return cls(shape, image.affine)

    @property
    def ndim(self) -> int:
        """Number of axes: 2 or 3."""
        return len(self.shape)

    @property
    def directions(self) -> np.ndarray:
        """(3, ndim): the step in RAS mm of one voxel along each axis."""
        return self.affine[:3, : self.ndim]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres per voxel along each axis."""
        return tuple(float(s) for s in np.linalg.norm(self.directions, axis=0))

    @property
    def extent(self) -> tuple[float, ...]:
        """Millimetres between the centres of the first and the last voxel of each axis."""
        return tuple((n - 1) * s for n, s in zip(self.shape, self.spacing, strict=True))

    def to_world(self, voxels: np.ndarray) -> np.ndarray:
        """Voxel coordinates (..., ndim) to RAS millimetres (..., 3)."""
        return voxels @ self.directions.T + self.affine[:3, 3]

    def to_voxels(self, world: np.ndarray) -> np.ndarray:
        """RAS millimetres (..., 3) to voxel coordinates (..., ndim).

        For a 2-D grid the distance from the slice is dropped: a point is projected onto it.
        """
        inverse = np.linalg.inv(self.affine)
        return (np.asarray(world) @ inverse[:3, :3].T + inverse[:3, 3])[..., : self.ndim]

    def distance(self, world: np.ndarray) -> np.ndarray:
        """How far points (..., 3) in RAS mm lie outside the box of the voxel centres: (...), mm.

        0 inside. For a 2-D grid the distance within its plane.
        """
        voxels = self.to_voxels(world)
        nearest = np.clip(voxels, 0, np.array(self.shape) - 1)
        return np.linalg.norm((voxels - nearest) @ self.directions.T, axis=-1)

    def points(self) -> np.ndarray:
        """(*shape, 3): the position of every voxel, in RAS mm."""
        axes = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        return self.to_world(np.stack(axes, axis=-1))

    def with_shape(self, shape: tuple[int, ...]) -> Grid:
        """A grid of another shape whose corner voxel centres are those of this one."""
        scale = [(old - 1) / (new - 1) for old, new in zip(self.shape, shape, strict=True)]
        return Grid(shape, self.affine @ np.diag([*scale, *[1.0] * (4 - self.ndim)]))

    def at_spacing(self, millimetres: float) -> Grid:
        """A grid of about this isotropic spacing whose corner voxel centres are those of this one.

        The spacing differs from `millimetres` by up to half a voxel over the length of an axis
        (0.6 % for 80 voxels).
        """
        # A header keeps an affine as float32, which moves the end of an axis by up to 1e-7 of its
        # length. Four digits of a voxel keep that from deciding where 79.5 steps are rounded to.
        steps = [round(e / millimetres, 4) for e in self.extent]
        return self.with_shape(tuple(max(round(n) + 1, 2) for n in steps))

    def canonical(self) -> tuple[Grid, np.ndarray]:
        """`reoriented` to RAS+. Flipped copies of an image have one canonical grid.

        So they register alike, bit for bit, from the same random initial weights.
        """
        return self.reoriented("RAS")

    def reoriented(self, orientation: str) -> tuple[Grid, np.ndarray]:
        """The same voxels with axes permuted and flipped to lie closest to an orientation.

        orientation: axis codes as of nibabel, for example "LPS"; a 2-D grid is always laid closest
        to RAS+. Returns the grid and the nibabel orientation transform (ndim, 2) that takes an
        array on this grid to it. No voxel is resampled.
        """
        axes = io_orientation(self.affine)
        if self.ndim == 2:  # only the two in-plane axes are permuted
            order = np.argsort(np.argsort(axes[:2, 0]))
            reorientation = np.stack([order.astype(float), axes[:2, 1]], axis=1)
        else:
            reorientation = ornt_transform(axes, axcodes2ornt(orientation))
        affine = self.affine.copy()
        columns = affine[:3, : self.ndim].copy()
        origin = affine[:3, 3].copy()
        for axis, (target, flip) in enumerate(reorientation):
            affine[:3, int(target)] = flip * columns[:, axis]
            if flip < 0:
                origin += (self.shape[axis] - 1) * columns[:, axis]
        affine[:3, 3] = origin
        shape = [0] * self.ndim
        for axis, (target, _) in enumerate(reorientation):
            shape[int(target)] = self.shape[axis]
        return Grid(tuple(shape), affine), reorientation

    def at_right_angles(self) -> Grid:
        """The smallest grid at right angles, of this spacing, that covers a grid with shear."""
        axes = self.affine.copy()
        axes[:3, :3] = right_angled(self.affine)
        corners = self.to_world(box_corners(self.shape))
        corners = Grid(self.shape, axes).to_voxels(corners)
        low = np.floor(corners.min(axis=0) + 1e-6)
        shape = np.ceil(corners.max(axis=0) - low - 1e-6).astype(int) + 1
        axes[:3, 3] += axes[:3, : self.ndim] @ low
        return Grid(tuple(shape), axes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and np.allclose(self.affine, other.affine, atol=1e-5)
        )


@dataclass(frozen=True, eq=False)
class UnknownGrid:
    """The grid of an image that a transform file says nothing of. To use it is a ValueError.

    file: the path. role: "fixed" or "moving".
    """

    file: str
    role: str

    def __getattr__(self, name: str):
        if name.startswith("__"):  # questions of copy and pickle, not of a caller
            raise AttributeError(name)
        raise ValueError(
            f"transform: {self.file} does not say the grid of its {self.role} image; name an image "
            f"with that grid (--{self.role}, or --like of apply)"
        )


def box_corners(shape: tuple[int, ...]) -> np.ndarray:
    """(2**ndim, ndim): the voxel indices of the corners of a grid."""
    last = np.subtract(shape, 1)
    return np.array([*np.ndindex(*[2] * len(shape))]) * last


def right_angled(affine: np.ndarray) -> np.ndarray:
    """(3, 3): the axes at right angles that are nearest to those of an affine, with its spacing."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    return left @ right * spacing


def check_spacing(spacing: float | None) -> None:
    """ValueError for a spacing to resample to outside 0.1 to 50 mm; None keeps the image's own."""
    if spacing is not None and not 0.1 <= spacing <= 50:
        raise ValueError(f"spacing: wanted millimetres between 0.1 and 50, got {spacing}")
