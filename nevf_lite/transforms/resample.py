"""Sampling arrays at positions between voxels, slab by slab."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from nevf_lite.scans.space import Grid
from nevf_lite.warp import sample

#: Voxels whose positions are held at once: bounds the memory of warping to about a hundred MB.
SLAB_VOXELS = 500_000


def _slabs(grid: Grid) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """The grid in slabs along its first axis: (slice, one array of voxel indices for each axis)."""
    per_row = int(np.prod(grid.shape[1:]))
    height = max(1, SLAB_VOXELS // per_row)
    for start in range(0, grid.shape[0], height):
        rows = slice(start, min(start + height, grid.shape[0]))
        axes = [np.arange(rows.start, rows.stop), *(np.arange(n) for n in grid.shape[1:])]
        yield rows, np.meshgrid(*axes, indexing="ij", sparse=True)


def world_slabs(grid: Grid) -> Iterator[tuple[slice, np.ndarray]]:
    """The grid in slabs along its first axis: (slice, (rows, ..., 3) world positions in mm)."""
    for rows, axes in _slabs(grid):
        yield rows, grid.to_world(np.stack(np.broadcast_arrays(*axes), axis=-1))


def displacement_of(mapping: Callable[[np.ndarray], np.ndarray], grid: Grid) -> np.ndarray:
    """mapping(p) - p at each voxel of a grid: (*shape, 3) float32, RAS mm.

    mapping: (N, 3) RAS mm to (N, 3) RAS mm.
    """
    out = np.empty((*grid.shape, 3), np.float32)
    for rows, points in world_slabs(grid):
        flat = points.reshape(-1, 3)
        out[rows] = (mapping(flat) - flat).reshape(points.shape)
    return out


def affine_positions(matrix: np.ndarray, grid: Grid) -> Iterator[tuple[slice, np.ndarray]]:
    """The grid in slabs, mapped by a matrix: (slice, (ndim, rows, ...) positions).

    matrix: (ndim, ndim + 1), from voxels of the grid. Computed axis by axis, which is several times
    faster than a product for each voxel.
    """
    for rows, axes in _slabs(grid):
        shape = np.broadcast_shapes(*(axis.shape for axis in axes))
        positions = np.empty((grid.ndim, *shape))
        for out, (*factors, offset) in zip(positions, matrix, strict=True):
            out[:] = offset
            for factor, axis in zip(factors, axes, strict=True):
                out += factor * axis
        yield rows, positions


def overlap(
    offset: np.ndarray, source: Sequence[int], target: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The voxels that two arrays share when they are shifted by whole voxels.

    offset: (ndim,), the index in the source of the target's first voxel. source, target: shapes.
    Returns the slices of the source and those of the target.
    """
    in_source, in_target = [], []
    for shift, n, m in zip(offset.tolist(), source, target, strict=True):
        first, last = max(0, -shift), max(0, -shift, min(m, n - shift))
        in_target.append(slice(first, last))
        in_source.append(slice(first + shift, last + shift))
    return tuple(in_source), tuple(in_target)


def sample_array(volume: np.ndarray, positions: np.ndarray, mode: str) -> np.ndarray:
    """`warp.sample` for one NumPy volume (*shape) at (ndim, *out) positions; zero outside."""
    positions = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.float32))[None]
    return sample(torch.from_numpy(volume)[None, None], positions, mode)[0, 0].numpy()


def nearest_label(volume: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The label of the nearest voxel, zero outside: (*out) for (ndim, *out) positions.

    Labels stay integers: as float32 a label above 2**24 would be rounded.
    """
    index = np.floor(positions + 0.5).astype(np.int64)
    limits = np.reshape(volume.shape, (-1, *[1] * (index.ndim - 1)))
    inside = ((index >= 0) & (index < limits)).all(axis=0)
    index = np.clip(index, 0, limits - 1)
    return np.where(inside, volume[tuple(index)], 0)


def onehot_label(volume: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The label with the largest linear weight, and the smaller label at a tie.

    Only the corners of the cell around a position have weight. So instead of interpolating the mask
    of every label, each corner's label is given the weights of all corners that carry it.
    """
    low = np.floor(positions).astype(np.int64)
    fraction = (positions - low).astype(np.float32)
    limits = np.reshape(volume.shape, (-1, *[1] * (low.ndim - 1)))
    labels, weights = [], []
    for corner in itertools.product((0, 1), repeat=volume.ndim):
        index = low + np.reshape(corner, limits.shape)
        inside = ((index >= 0) & (index < limits)).all(axis=0)
        labels.append(np.where(inside, volume[tuple(np.clip(index, 0, limits - 1))], 0))
        weights.append(
            np.prod([f if c else 1 - f for c, f in zip(corner, fraction, strict=True)], 0)
        )
    best, most = labels[0], np.zeros_like(weights[0])
    for label in labels:
        total = sum(
            np.where(other == label, w, 0) for other, w in zip(labels, weights, strict=True)
        )
        tied = np.abs(total - most) <= 1e-6
        better = np.where(tied, label < best, total > most)
        best, most = np.where(better, label, best), np.where(better, total, most)
    return best
