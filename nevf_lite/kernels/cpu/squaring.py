"""Scaling and squaring with Numba, all squarings as one operation.

One squaring is u(x) + u(x + u(x)). Neighbouring voxels move alike, so sixteen of them in a row read
from few neighbours each: for all offsets o that any of them needs, u(x + o) counts with a
hat-shaped weight max(0, 1 - |u - o|) along each axis. That is linear interpolation without a lookup
for each voxel, and its adjoint writes sixteen neighbours at once just as it reads them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite import kernels
from nevf_lite.kernels.cpu.lanes import COUNT
from nevf_lite.kernels.cpu.slabs import in_slabs, reach_of, slabs_of
from nevf_lite.kernels.cpu.stencil import square, square_backward


class Squaring(torch.autograd.Function):
    """velocity (N, ndim, *shape) -> displacement of exp(v), the same shape; keep: the fields."""

    @staticmethod
    def forward(ctx, velocity: Tensor, steps: int, keep: bool) -> Tensor:
        ctx.steps = steps
        volumes = _volumes(velocity)
        out = np.empty_like(volumes)
        keep = keep and steps * volumes.size <= kernels.KEPT
        kept = []
        for volume, result in zip(volumes, out, strict=True):
            room = _Room(volume.shape[1:])
            field = room.filled(volume, 2.0**-steps)
            if keep:
                *before, field = room.squarings(field, steps)
                kept += [torch.from_numpy(one) for one in before]
            else:
                other = room.empty()
                for _ in range(steps):
                    room.square(field, other)
                    field, other = other, field
            room.copy(field, result)
        ctx.save_for_backward(velocity, *kept)
        return _tensor(out, velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        velocity, *kept = ctx.saved_tensors
        volumes, gradients = _volumes(velocity), _volumes(gradient)
        out = np.empty_like(volumes)
        for n, (volume, by_result, result) in enumerate(zip(volumes, gradients, out, strict=True)):
            room = _Room(volume.shape[1:])
            if kept:
                fields = [one.numpy() for one in kept[n * ctx.steps : (n + 1) * ctx.steps]]
            else:
                fields = room.squarings(room.filled(volume, 2.0**-ctx.steps), ctx.steps - 1)
            by_field, other = room.filled(by_result, 1.0), room.empty()
            for step in reversed(range(ctx.steps)):
                room.square_backward(fields[step], by_field, other)
                by_field, other = other, by_field
            room.copy(by_field, result)
            result *= np.float32(2.0**-ctx.steps)
        return _tensor(out, velocity), None, None


class _Room:
    """Flat volumes (3, guard + D * H * W + guard) and what is done in them.

    guard: how far sixteen voxels together can reach beyond the volume, with weights of zero.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.size = math.prod(shape)
        self.guard = 2 * shape[2] + 4 * COUNT
        #: how many slices further than its displacement a voxel can write, if only zeros
        self.beyond = 1 + math.ceil(self.guard / (shape[1] * shape[2]))
        self.numbers = np.arange(COUNT, dtype=np.float32)

    def empty(self) -> np.ndarray:
        volume = np.empty((3, self.size + 2 * self.guard), np.float32)
        volume[:, : self.guard] = volume[:, -self.guard :] = 0
        return volume

    def filled(self, values: np.ndarray, scale: float) -> np.ndarray:
        volume = self.empty()
        np.multiply(values.reshape(3, -1), np.float32(scale), out=self.inner(volume))
        return volume

    def inner(self, volume: np.ndarray) -> np.ndarray:
        return volume[:, self.guard : -self.guard]

    def copy(self, volume: np.ndarray, out: np.ndarray) -> None:
        out.reshape(3, -1)[:] = self.inner(volume)

    def squarings(self, field: np.ndarray, count: int) -> list[np.ndarray]:
        """A field, and what each squaring makes of it."""
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
        along = self.inner(field)[0].reshape(self.shape)
        slabs = slabs_of(self.shape, reach_of(along, self.shape[0]) + self.beyond)
        for half in (slabs[0::2], slabs[1::2]):  # as in `pull`
            in_slabs(
                square_backward, half, self.shape, self.guard, self.numbers, field, gradient, out
            )


def _volumes(field: Tensor) -> np.ndarray:
    """(N, 3, D, H, W); two axes get a middle one of one voxel."""
    field = field.detach()
    if field.ndim == 4:
        middle = torch.zeros_like(field[:, :1])
        field = torch.cat([field[:, :1], middle, field[:, 1:]], 1).unsqueeze(3)
    return field.contiguous().numpy()


def _tensor(volumes: np.ndarray, like: Tensor) -> Tensor:
    if like.ndim == 4:
        volumes = volumes[:, :, :, 0][:, [0, 2]]
    return torch.from_numpy(np.ascontiguousarray(volumes))


def squaring(velocity: Tensor, steps: int) -> Tensor:
    """The displacement of exp(v), as `integrate.scaling_and_squaring`: (N, ndim, *shape)."""
    keep = velocity.requires_grad and torch.is_grad_enabled()  # the latter is off in `forward`
    return Squaring.apply(velocity, steps, keep)
