"""`Transform`: the map from the fixed image's space to the moving one's, in RAS millimetres.

A transform is a chain of components, each a map of points in the world. Points follow the map:
`points_to_moving` applies it and `points_to_fixed` applies its inverse. Images are pulled back: the
value at a voxel of the fixed grid is read where the map takes that voxel in the moving image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from nevf_lite.scans.files import suffix_of
from nevf_lite.scans.io import load_image, load_labels, make_image, write_displacement
from nevf_lite.scans.readers import space_code
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, Component
from nevf_lite.transforms.gaps import pull_back_with_gaps
from nevf_lite.transforms.itk_files import AFFINE_SUFFIXES, write_affine, write_itk_composite
from nevf_lite.transforms.resample import (
    affine_positions,
    displacement_of,
    nearest_label,
    onehot_label,
    overlap,
    sample_array,
    world_slabs,
)
from nevf_lite.transforms.store import load_chain, save_chain

#: The files that `Transform.save` writes.
SAVED_SUFFIXES = (".safetensors", ".nii", ".nii.gz", ".h5", *AFFINE_SUFFIXES)


@dataclass(frozen=True)
class Transform:
    """A map from fixed to moving space, as a chain of components applied first to last.

    components: see `nevf_lite.transforms.components`; each maps points in RAS mm. fixed, moving:
    the grids of the two images; results of `inverse` lie on the moving one. Immutable.
    """

    components: tuple[Component, ...]
    fixed: Grid
    moving: Grid

    @classmethod
    def identity(cls, fixed: Grid, moving: Grid | None = None) -> Transform:
        """The map that moves no point."""
        return cls((), fixed, fixed if moving is None else moving)

    @classmethod
    def from_affine(cls, matrix: np.ndarray, fixed: Grid, moving: Grid) -> Transform:
        """matrix: (4, 4), fixed to moving RAS mm."""
        return cls((Affine(matrix),), fixed, moving)

    @property
    def inverse(self) -> Transform:
        """The map from moving to fixed space. The inverse of a velocity flow exp(v) is exp(-v)."""
        components = tuple(component.inverse for component in reversed(self.components))
        return Transform(components, self.moving, self.fixed)

    def compose(self, after: Transform) -> Transform:
        """First this map, then `after`, which must start where this one ends.

        Returns the map from this one's fixed space to the moving space of `after`.
        """
        return Transform(self.components + after.components, self.fixed, after.moving)

    def points_to_moving(self, points: np.ndarray) -> np.ndarray:
        """Where anatomy at these points of the fixed image is in the moving one: (N, 3) RAS mm."""
        out = _checked_points(points)
        for component in self.components:
            out = component.map(out)
        return out

    def points_to_fixed(self, points: np.ndarray) -> np.ndarray:
        """Where anatomy at these points of the moving image is in the fixed one: (N, 3) RAS mm."""
        return self.inverse.points_to_moving(points)

    def displacement(self, like: Grid | None = None) -> np.ndarray:
        """T(p) - p at each voxel of a grid (the fixed one): (*shape, 3) float32, RAS mm."""
        if like is None or like == self.fixed:
            return self._fixed_displacement
        return displacement_of(self.points_to_moving, like)

    @cached_property
    def _fixed_displacement(self) -> np.ndarray:
        """On the fixed grid; computed once, because every warp onto that grid uses it."""
        displacement = displacement_of(self.points_to_moving, self.fixed)
        displacement.flags.writeable = False
        return displacement

    def voxel_displacement(self, like: Grid | None = None) -> torch.Tensor:
        """`displacement` as a tensor in voxels of the grid, (1, ndim, *shape)."""
        grid = self.fixed if like is None else like
        to_voxels = np.linalg.inv(grid.affine)[: grid.ndim, :3]
        voxels = self.displacement(grid) @ to_voxels.T.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0)))[None]

    def warp_image(
        self, moving, interpolation: str = "linear", like=None, fill: float | None = None
    ):
        """Resample the moving image in the fixed image's space.

        moving: a path or nibabel image, of any grid in the moving space; NaN stays NaN, see
        `gaps`. interpolation: "linear", "cubic" (sharper; may overshoot) or "nearest". like: the
        Grid or image to sample on, by default the fixed one; an image's space (MNI) is named in
        the output. fill: the value where the moving image does not reach, by default 0, or NaN
        where it holds NaN itself. Returns a nibabel image, float32. Raises ValueError for an
        unknown interpolation.
        """
        if interpolation not in ("linear", "cubic", "nearest"):
            raise ValueError(
                f"interpolation: wanted 'linear', 'cubic' or 'nearest', got {interpolation!r}"
            )
        image = load_image(moving, "image", registrable=False)
        source, target = Grid.of(image), self._target(like)
        volume = pull_back_with_gaps(
            np.asarray(image.dataobj),
            lambda data, kind: self.pull_back(data, source, target, kind),
            interpolation,
            fill,
        )
        return make_image(volume, target.affine, space_code(like))

    def warp_labels(self, labels, mode: str = "nearest", like=None):
        """Resample the moving image's labels in the fixed image's space: a nibabel image, int32.

        mode: "nearest" reads the label of the nearest voxel; "onehot" interpolates each label
        linearly and takes the largest, which is smoother and scores a little higher.
        """
        if mode not in ("nearest", "onehot"):
            raise ValueError(f"mode: wanted 'nearest' or 'onehot', got {mode!r}")
        image = load_labels(labels, "labels")
        volume = np.asarray(image.dataobj).astype(np.int32)
        source, grid = Grid.of(image), self._target(like)
        out = np.zeros(grid.shape, np.int32)
        for rows, positions in self._positions(grid, source):
            sample_labels = nearest_label if mode == "nearest" else onehot_label
            out[rows] = sample_labels(volume, positions)
        return make_image(out, grid.affine, space_code(like))

    def pull_back(
        self, volume: np.ndarray, source: Grid, target: Grid, interpolation: str = "linear"
    ) -> np.ndarray:
        """Resample an array of the moving space: `warp_image` without checks and headers.

        volume: (*source.shape), float32. Returns (*target.shape), float32.
        """
        volume = np.ascontiguousarray(volume, dtype=np.float32)
        out = np.zeros(target.shape, np.float32)
        if (offset := self._offset(target, source)) is not None:
            in_source, in_target = overlap(offset, source.shape, target.shape)
            out[in_target] = volume[in_source]
            return out
        for rows, positions in self._positions(target, source):
            if interpolation == "cubic":
                out[rows] = map_coordinates(volume, positions, order=3, mode="grid-constant")
            else:
                out[rows] = sample_array(volume, positions, interpolation)
        return out

    def _target(self, like) -> Grid:
        if like is None:
            return self.fixed
        return like if isinstance(like, Grid) else Grid.of(like)

    def _positions(self, grid: Grid, source: Grid):
        """For each slab of the grid, the voxel positions in the source that it reads.

        Yields (slice along the first axis, (ndim, *slab) positions). Raises ValueError for a source
        with another number of axes.
        """
        if grid.ndim != source.ndim:
            raise ValueError(
                f"image: wanted {grid.ndim}-D like the fixed image, got {source.ndim}-D"
            )
        if (matrix := self._matrix(grid, source)) is not None:
            yield from affine_positions(matrix, grid)
            return
        displacement = self.displacement(grid)
        for rows, points in world_slabs(grid):
            yield rows, np.moveaxis(source.to_voxels(points + displacement[rows]), -1, 0)

    def _matrix(self, grid: Grid, source: Grid) -> np.ndarray | None:
        """(ndim, ndim + 1), voxels of a grid to voxels of the source; None if not affine."""
        if grid.ndim != source.ndim or not all(isinstance(c, Affine) for c in self.components):
            return None
        matrix = grid.affine
        for component in self.components:
            matrix = component.matrix @ matrix
        matrix = np.linalg.inv(source.affine) @ matrix
        return matrix[: grid.ndim, [*range(grid.ndim), 3]]

    def _offset(self, grid: Grid, source: Grid) -> np.ndarray | None:
        """The shift in whole voxels from a grid to the source; None if it is anything else."""
        matrix = self._matrix(grid, source)
        if matrix is None:
            return None
        shift = np.column_stack([np.eye(grid.ndim), np.round(matrix[:, -1])])
        # scales to a millionth: a thousandth of a voxel from one end of a large image to the other
        close = np.abs(matrix - shift) <= [*[1e-6] * grid.ndim, 1e-3]
        return shift[:, -1].astype(int) if close.all() else None

    def save(self, path) -> None:
        """Write the transform to a file, in the format that its ending says.

        .safetensors: all of it; `Transform.load` is the inverse. .h5: a composite of ITK, each part
        as an affine or as the displacement on its grid. .nii, .nii.gz: the displacement on the
        fixed grid, see `scans.io.write_displacement`. .mat, .txt, .tfm: the affine part alone, for
        ITK and ANTs. Raises ValueError for another ending, or where there is no affine part.
        """
        suffix = suffix_of(Path(path), SAVED_SUFFIXES, "output")
        if suffix == ".safetensors":
            save_chain(path, self.components, self.fixed, self.moving)
        elif suffix == ".h5":
            write_itk_composite(path, self.components)
        elif suffix in AFFINE_SUFFIXES:
            write_affine(path, self.components)
        else:
            write_displacement(path, self.displacement(), self.fixed)

    @classmethod
    def load(cls, path, fixed=None, moving=None) -> Transform:
        """Read what `save` wrote, the result folder of a registration, or another program's file.

        Other programs': affines and composites of ITK and ANTs (.mat, .txt, .tfm, .h5),
        displacement fields (.nii, .nii.gz, .mha, .nrrd), and with NiTransforms FreeSurfer's .lta,
        FSL's .mat and AFNI's .1D. fixed, moving: the two images (Grid, nibabel image or path) of a
        file that does not say their grids; FSL's and AFNI's need them. Without them the points of
        an affine can be mapped, but no image warped.
        Raises FileNotFoundError or ValueError with one line that says what is wrong with it.
        """
        return cls(*load_chain(path, fixed, moving))


def _checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: wanted (N, 3) coordinates in mm, got shape {points.shape}")
    return points
