"""`Transform`: the map from the fixed image's space to the moving one's, in RAS millimetres.

A transform is a chain of parts, each a map of points in the world. The pull-back convention of
images and the push-forward of points meet here, and the names say which is meant:
`points_to_moving` follows the map, `points_to_fixed` its inverse, and images of the moving space
are warped onto the fixed grid by looking up, for each fixed voxel, where the map sends it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from nevf_lite.io import load_image, load_labels, make_image
from nevf_lite.parts import Affine, Dense, Part, Velocity
from nevf_lite.space import Grid
from nevf_lite.warp import sample

__all__ = ["Affine", "Dense", "Transform", "Velocity"]

#: Voxels whose positions are held at once: bounds the memory of warping to a few hundred MB.
BLOCK = 4_000_000


@dataclass(frozen=True)
class Transform:
    """A map from fixed to moving space, as a chain of parts applied first to last.

    parts: from `nevf_lite.parts`, each a map of RAS mm points. fixed, moving: the grids of the two
    images; the moving one is where `inverse` puts its results. An instance is never changed.
    """

    parts: tuple[Part, ...]
    fixed: Grid
    moving: Grid

    @classmethod
    def identity(cls, fixed: Grid, moving: Grid | None = None) -> Transform:
        """The map that moves nothing."""
        return cls((), fixed, fixed if moving is None else moving)

    @classmethod
    def from_affine(cls, matrix: np.ndarray, fixed: Grid, moving: Grid) -> Transform:
        """matrix: (4, 4), fixed to moving RAS mm."""
        return cls((Affine(matrix),), fixed, moving)

    @property
    def inverse(self) -> Transform:
        """The map from moving to fixed space: exp(-v) for a velocity, no search needed."""
        parts = tuple(part.inverse for part in reversed(self.parts))
        return Transform(parts, self.moving, self.fixed)

    def compose(self, after: Transform) -> Transform:
        """First this map, then `after`, which must start where this one ends.

        Returns the map from this one's fixed space to the moving space of `after`.
        """
        return Transform(self.parts + after.parts, self.fixed, after.moving)

    def points_to_moving(self, points: np.ndarray) -> np.ndarray:
        """Where anatomy at these points of the fixed image is in the moving one: (N, 3) RAS mm."""
        out = _checked_points(points)
        for part in self.parts:
            out = part.map(out)
        return out

    def points_to_fixed(self, points: np.ndarray) -> np.ndarray:
        """Where anatomy at these points of the moving image is in the fixed one: (N, 3) RAS mm."""
        return self.inverse.points_to_moving(points)

    def displacement(self, like: Grid | None = None) -> np.ndarray:
        """T(p) - p at each voxel of a grid (the fixed one): (*shape, 3) float32, RAS mm."""
        if like is None or like == self.fixed:
            return self._own_displacement
        return self._displacement_on(like)

    @cached_property
    def _own_displacement(self) -> np.ndarray:
        """Computed once: everything that is warped onto the fixed grid asks for it."""
        displacement = self._displacement_on(self.fixed)
        displacement.flags.writeable = False
        return displacement

    def _displacement_on(self, grid: Grid) -> np.ndarray:
        out = np.empty((*grid.shape, 3), np.float32)
        for rows, points in _blocks(grid):
            flat = points.reshape(-1, 3)
            out[rows] = (self.points_to_moving(flat) - flat).reshape(points.shape)
        return out

    def voxel_displacement(self, like: Grid | None = None) -> torch.Tensor:
        """`displacement` in voxels of the grid, (1, ndim, *shape), as the ground floor wants it."""
        grid = self.fixed if like is None else like
        to_voxels = np.linalg.inv(grid.affine)[: grid.ndim, :3]
        voxels = self.displacement(grid) @ to_voxels.T.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0)))[None]

    def warp_image(self, moving, interpolation: str = "linear", like=None):
        """The moving image seen in the fixed one's space.

        moving: a path or nibabel image, of any grid in the moving space. interpolation: "linear",
        "cubic" (sharper; may overshoot) or "nearest". like: the Grid or image to sample on, by
        default the fixed one. Returns a nibabel image, float32; zero where the moving image does
        not reach. Raises ValueError for an unknown interpolation.
        """
        if interpolation not in ("linear", "cubic", "nearest"):
            raise ValueError(
                f"interpolation: wanted 'linear', 'cubic' or 'nearest', got {interpolation!r}"
            )
        image = load_image(moving, "moving")
        target = self._target(like)
        volume = self.pull_back(
            image.get_fdata(dtype=np.float32), Grid.of(image), target, interpolation
        )
        return make_image(volume, target.affine)

    def warp_labels(self, labels, mode: str = "nearest", like=None):
        """The moving image's labels seen in the fixed one's space; a nibabel image, int32.

        mode: "nearest", each voxel takes the label it lands on; or "onehot", each label is
        interpolated linearly and the largest wins, which is smoother and scores a little higher.
        """
        if mode not in ("nearest", "onehot"):
            raise ValueError(f"mode: wanted 'nearest' or 'onehot', got {mode!r}")
        image = load_labels(labels, "labels")
        volume = np.asarray(image.dataobj).astype(np.int32)
        source, grid = Grid.of(image), self._target(like)
        out = np.zeros(grid.shape, np.int32)
        for rows, positions in self._positions(grid, source):
            read = _nearest_label if mode == "nearest" else _onehot_label
            out[rows] = read(volume, positions)
        return make_image(out, grid.affine)

    def pull_back(
        self, volume: np.ndarray, source: Grid, target: Grid, interpolation: str = "linear"
    ) -> np.ndarray:
        """An array of the moving space, as `warp_image` without the checks and the file headers.

        volume: (*source.shape), float32. Returns (*target.shape), float32.
        """
        volume = np.ascontiguousarray(volume, dtype=np.float32)
        out = np.zeros(target.shape, np.float32)
        if (offset := self._offset(target, source)) is not None:
            there, here = _overlap(offset, source.shape, target.shape)
            out[here] = volume[there]
            return out
        for rows, positions in self._positions(target, source):
            if interpolation == "cubic":
                out[rows] = map_coordinates(volume, positions, order=3, mode="grid-constant")
            else:
                out[rows] = _torch_sample(volume, positions, interpolation)
        return out

    def _target(self, like) -> Grid:
        if like is None:
            return self.fixed
        return like if isinstance(like, Grid) else Grid.of(like)

    def _positions(self, grid: Grid, source: Grid):
        """Blocks of rows, with the (ndim, *block) voxel positions in the source that they read."""
        if grid.ndim != source.ndim:
            raise ValueError(
                f"image: wanted {grid.ndim}-D like the fixed image, got {source.ndim}-D"
            )
        if (matrix := self._matrix(grid, source)) is not None:
            yield from _affine_positions(matrix, grid)
            return
        displacement = self.displacement(grid)
        for rows, points in _blocks(grid):
            yield rows, np.moveaxis(source.to_voxels(points + displacement[rows]), -1, 0)

    def _matrix(self, grid: Grid, source: Grid) -> np.ndarray | None:
        """From voxels of a grid to voxels of the source, (ndim, ndim + 1), if nothing bends."""
        if not all(isinstance(part, Affine) for part in self.parts) or grid.ndim != source.ndim:
            return None
        whole = grid.affine
        for part in self.parts:
            whole = part.matrix @ whole
        whole = np.linalg.inv(source.affine) @ whole
        return whole[: grid.ndim, [*range(grid.ndim), 3]]

    def _offset(self, grid: Grid, source: Grid) -> np.ndarray | None:
        """How many voxels of the source further each voxel of a grid is, if it lies on one."""
        matrix = self._matrix(grid, source)
        if matrix is None:
            return None
        whole = np.column_stack([np.eye(grid.ndim), np.round(matrix[:, -1])])
        # scales to a millionth: a thousandth of a voxel from one end of a large image to the other
        near = np.abs(matrix - whole) <= [*[1e-6] * grid.ndim, 1e-3]
        return whole[:, -1].astype(int) if near.all() else None

    def save(self, path) -> None:
        """Write everything to one `.safetensors` file; `Transform.load` is its inverse."""
        from nevf_lite.store import save_transform

        save_transform(self, path)

    @classmethod
    def load(cls, path) -> Transform:
        """Read what `save` wrote, or the result folder of a registration.

        Raises FileNotFoundError or ValueError with one line that says what is wrong with it.
        """
        from nevf_lite.store import load_transform

        return load_transform(path)


def _checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: wanted (N, 3) coordinates in mm, got shape {points.shape}")
    return points


def _slabs(grid: Grid):
    """The grid in slabs along its first axis: (slice, one array of voxel indices an axis)."""
    per_row = int(np.prod(grid.shape[1:]))
    height = max(1, BLOCK // per_row)
    for start in range(0, grid.shape[0], height):
        rows = slice(start, min(start + height, grid.shape[0]))
        axes = [np.arange(rows.start, rows.stop), *(np.arange(n) for n in grid.shape[1:])]
        yield rows, np.meshgrid(*axes, indexing="ij", sparse=True)


def _blocks(grid: Grid):
    """The grid in slabs along its first axis: (slice, (rows, ..., 3) world positions)."""
    for rows, axes in _slabs(grid):
        yield rows, grid.to_world(np.stack(np.broadcast_arrays(*axes), axis=-1))


def _affine_positions(matrix: np.ndarray, grid: Grid):
    """`Transform._positions` by a matrix, axis by axis: several times faster."""
    for rows, axes in _slabs(grid):
        shape = np.broadcast_shapes(*(axis.shape for axis in axes))
        positions = np.empty((grid.ndim, *shape))
        for out, (*factors, offset) in zip(positions, matrix, strict=True):
            out[:] = offset
            for factor, axis in zip(factors, axes, strict=True):
                out += factor * axis
        yield rows, positions


def _overlap(offset, source, target) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Which voxels of the source are voxels of the target, and which of the target they are."""
    there, here = [], []
    for shift, n, m in zip(offset.tolist(), source, target, strict=True):
        first, last = max(0, -shift), max(0, -shift, min(m, n - shift))  # of the target
        here.append(slice(first, last))
        there.append(slice(first + shift, last + shift))
    return tuple(there), tuple(here)


def _torch_sample(volume: np.ndarray, positions: np.ndarray, mode: str) -> np.ndarray:
    positions = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.float32))[None]
    return sample(torch.from_numpy(volume)[None, None], positions, mode)[0, 0].numpy()


def _nearest_label(volume: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Integers throughout: label 16777217 survives, as it would not as a float."""
    index = np.floor(positions + 0.5).astype(np.int64)
    limits = np.reshape(volume.shape, (-1, *[1] * (index.ndim - 1)))
    inside = ((index >= 0) & (index < limits)).all(axis=0)
    index = np.clip(index, 0, limits - 1)
    return np.where(inside, volume[tuple(index)], 0)


def _onehot_label(volume: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The label with the most linear weight; at a tie the smaller label.

    Only the corners of the cell a position lies in have weight, so instead of interpolating every
    label's mask, each corner's label is given the weights of all corners that agree with it.
    """
    low = np.floor(positions).astype(np.int64)
    part = (positions - low).astype(np.float32)
    limits = np.reshape(volume.shape, (-1, *[1] * (low.ndim - 1)))
    labels, weights = [], []
    for corner in itertools.product((0, 1), repeat=volume.ndim):
        index = low + np.reshape(corner, limits.shape)
        inside = ((index >= 0) & (index < limits)).all(axis=0)
        labels.append(np.where(inside, volume[tuple(np.clip(index, 0, limits - 1))], 0))
        weights.append(np.prod([p if c else 1 - p for c, p in zip(corner, part, strict=True)], 0))
    best, most = labels[0], np.zeros_like(weights[0])
    for label in labels:
        total = sum(
            np.where(other == label, w, 0) for other, w in zip(labels, weights, strict=True)
        )
        tied = np.abs(total - most) <= 1e-6
        better = np.where(tied, label < best, total > most)
        best, most = np.where(better, label, best), np.where(better, total, most)
    return best
