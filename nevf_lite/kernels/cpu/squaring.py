"""Scaling and squaring with Numba, all squarings as one operation.

One squaring is u(x) + u(x + u(x)). Neighbouring voxels have similar displacements, so sixteen of
them in a row read few different offsets. For each offset o that any of them needs, u(x + o) gets
the hat-shaped weight max(0, 1 - |u - o|) along each axis. That is linear interpolation without a
lookup for each voxel. Its adjoint likewise writes sixteen neighbours at once.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels import memory
from nevf_lite.kernels.cpu.lanes import COUNT
from nevf_lite.kernels.cpu.slabs import in_slabs, reach_of, slabs_of
from nevf_lite.kernels.cpu.stencil import square, square_backward


class Squaring(torch.autograd.Function):
    """velocity (N, ndim, *shape) -> displacement of exp(v), the same shape.

    keep: store the field before each squaring for the backward pass, up to `memory.KEEP_LIMIT`.
    """

    @staticmethod
    def forward(ctx, velocity: Tensor, steps: int, keep: bool) -> Tensor:
        ctx.steps = steps
        volumes = _volumes(velocity)
        out = np.empty_like(volumes)
        keep = keep and steps * volumes.size <= memory.KEEP_LIMIT
        saved = []
        for volume, result in zip(volumes, out, strict=True):
            grid = _GuardedGrid(volume.shape[1:])
            field = grid.filled(volume, 2.0**-steps)
            if keep:
                *fields, field = grid.squarings(field, steps)
                saved += [torch.from_numpy(f) for f in fields]
            else:
                squared = grid.empty()
                for _ in range(steps):
                    grid.square(field, squared)
                    field, squared = squared, field
            grid.copy(field, result)
        ctx.save_for_backward(velocity, *saved)
        return _tensor(out, velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        velocity, *saved = ctx.saved_tensors
        volumes, gradients = _volumes(velocity), _volumes(gradient)
        out = np.empty_like(volumes)
        for n, (volume, upstream, result) in enumerate(zip(volumes, gradients, out, strict=True)):
            grid = _GuardedGrid(volume.shape[1:])
            if saved:
                fields = [f.numpy() for f in saved[n * ctx.steps : (n + 1) * ctx.steps]]
            else:
                fields = grid.squarings(grid.filled(volume, 2.0**-ctx.steps), ctx.steps - 1)
            after, before = grid.filled(upstream, 1.0), grid.empty()  # gradients around a squaring
            for step in reversed(range(ctx.steps)):
                grid.square_backward(fields[step], after, before)
                after, before = before, after
            grid.copy(after, result, 2.0**-ctx.steps)
        return _tensor(out, velocity), None, None


class _GuardedGrid:
    """A grid whose fields are flat, with guard cells: (3, guard + D * H * W + guard).

    guard: how far beyond the volume sixteen voxels together can read and write, with weight zero.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.size = math.prod(shape)
        self.guard = 2 * shape[2] + 4 * COUNT
        #: Slices beyond its displacement to which a voxel can write, with weight zero.
        self.extra_reach = 1 + math.ceil(self.guard / (shape[1] * shape[2]))
        self.numbers = np.arange(COUNT, dtype=np.float32)

    def empty(self) -> np.ndarray:
        """A field with guard cells of zero and undefined values inside."""
        volume = np.empty((3, self.size + 2 * self.guard), np.float32)
        volume[:, : self.guard] = volume[:, -self.guard :] = 0
        return volume

    def filled(self, values: np.ndarray, scale: float) -> np.ndarray:
        """A field of values (3, D, H, W) times scale."""
        volume = self.empty()
        np.multiply(values.reshape(3, -1), np.float32(scale), out=self.inner(volume))
        return volume

    def inner(self, volume: np.ndarray) -> np.ndarray:
        """A view of a field without its guard cells."""
        return volume[:, self.guard : -self.guard]

    def copy(self, volume: np.ndarray, out: np.ndarray, scale: float = 1.0) -> None:
        """Writes a field times scale, without its guard cells, to out (3, D, H, W)."""
        np.multiply(self.inner(volume), np.float32(scale), out=out.reshape(3, -1))

    def squarings(self, field: np.ndarray, count: int) -> list[np.ndarray]:
        """A field, and the result of each of `count` squarings of it."""
        fields = [field]
        for _ in range(count):
            fields.append(self.empty())
            self.square(fields[-2], fields[-1])
        return fields

    def square(self, field: np.ndarray, out: np.ndarray) -> None:
        slabs = slabs_of(self.shape)
        in_slabs(square, slabs, self.shape, self.guard, self.numbers, field, out)

    def square_backward(self, field: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
        out[:] = 0
        across_slices = self.inner(field)[0].reshape(self.shape)
        reach = reach_of(across_slices, self.shape[0]) + self.extra_reach
        slabs = slabs_of(self.shape, reach)
        for half in (slabs[0::2], slabs[1::2]):  # every other slab, as in `pull`
            in_slabs(
                square_backward, half, self.shape, self.guard, self.numbers, field, gradient, out
            )


def _volumes(field: Tensor) -> np.ndarray:
    """(N, 3, D, H, W); 2-D gets a middle axis of size 1."""
    field = field.detach()
    if field.ndim == 4:
        middle = torch.zeros_like(field[:, :1])
        field = torch.cat([field[:, :1], middle, field[:, 1:]], 1).unsqueeze(3)
    return field.contiguous().numpy()


def _tensor(volumes: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of `_volumes`, with the number of axes that `like` has."""
    if like.ndim == 4:
        volumes = volumes[:, :, :, 0][:, [0, 2]]
    return torch.from_numpy(np.ascontiguousarray(volumes))


def squaring(velocity: Tensor, steps: int) -> Tensor:
    """The displacement of exp(v), as `integrate.scaling_and_squaring`: (N, ndim, *shape)."""
    keep = velocity.requires_grad and torch.is_grad_enabled()  # grad mode is off in `forward`
    return Squaring.apply(velocity, steps, keep)
