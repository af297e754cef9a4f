"""Scaling and squaring with Numba, all compositions as one operation.

One squaring is u(x) + u(x + u(x)). The field is copied once into an array in which the components
of a voxel lie beside each other, which a processor reads and writes together (see `stencil`), and
once back at the end.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels import memory
from nevf_lite.kernels.cpu.slabs import even_slabs, in_slabs, reach_of, slabs_of
from nevf_lite.kernels.cpu.stencil import compose, compose_backward, interleave, separate

#: Factors of u(x) and of u(x + u(x)) in a squaring; and in the composition before the first one
#: where that is to begin with a midpoint step: with w = h v / 2, h = 2^-T, the step h v(x + w(x))
#: is 2 w(x + w(x)).
SQUARE = np.float32(1), np.float32(1)
MIDPOINT = np.float32(0), np.float32(2)


class Flow(torch.autograd.Function):
    """velocity (N, ndim, *shape) -> displacement of exp(v), the same shape.

    keep: store the field before each composition for the backward pass, up to `memory.KEEP_LIMIT`.
    """

    @staticmethod
    def forward(ctx, velocity: Tensor, steps: int, midpoint: bool, keep: bool) -> Tensor:
        ctx.factors = [MIDPOINT] * midpoint + [SQUARE] * steps
        ctx.scale = 2.0 ** -(steps + midpoint)
        volumes = _volumes(velocity)
        out = np.empty_like(volumes)
        keep = keep and len(ctx.factors) * volumes.size <= memory.KEEP_LIMIT
        saved = []
        for volume, result in zip(volumes, out, strict=True):
            grid = _Grid(volume.shape[1:])
            field = grid.interleaved(volume, ctx.scale)
            if keep:
                *fields, field = grid.compositions(field, ctx.factors)
                saved += [torch.from_numpy(f) for f in fields]
            else:
                composed = grid.empty()
                for factors in ctx.factors:
                    grid.compose(factors, field, composed)
                    field, composed = composed, field
            grid.separate(field, 1.0, result)
        ctx.save_for_backward(velocity, *saved)
        return _tensor(out, velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        velocity, *saved = ctx.saved_tensors
        volumes, gradients = _volumes(velocity), _volumes(gradient)
        out, count = np.empty_like(volumes), len(ctx.factors)
        for n, (volume, upstream, result) in enumerate(zip(volumes, gradients, out, strict=True)):
            grid = _Grid(volume.shape[1:])
            if saved:
                fields = [f.numpy() for f in saved[n * count : (n + 1) * count]]
            else:
                field = grid.interleaved(volume, ctx.scale)
                fields = grid.compositions(field, ctx.factors[:-1])
            largest = ctx.scale * float(np.abs(volume[0]).max())
            after, before = grid.interleaved(upstream, 1.0), grid.empty()
            for step in reversed(range(count)):
                # each composition doubles the displacement at most
                halves = grid.slabs_to_write(2.0**step * largest)
                grid.compose_backward(ctx.factors[step], halves, fields[step], after, before)
                after, before = before, after
            grid.separate(after, ctx.scale, result)
        return _tensor(out, velocity), None, None, None


class _Grid:
    """A grid whose fields are flat: four floats a voxel, see `stencil`, and one spare voxel."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.size = math.prod(shape[1:])  # of a slice

    def empty(self) -> np.ndarray:
        """A field of undefined values; the spare voxel is zero."""
        field = np.empty(4 * (self.shape[0] * self.size + 1), np.float32)
        field[-4:] = 0
        return field

    def interleaved(self, volume: np.ndarray, scale: float) -> np.ndarray:
        """A field of volume (3, D, H, W) times scale."""
        field = self.empty()
        slabs, flat = even_slabs(self.shape[0]), volume.reshape(3, -1)
        in_slabs(interleave, slabs, self.size, np.float32(scale), flat, field)
        return field

    def separate(self, field: np.ndarray, scale: float, out: np.ndarray) -> None:
        """Writes a field times scale to out (3, D, H, W)."""
        slabs, flat = even_slabs(self.shape[0]), out.reshape(3, -1)
        in_slabs(separate, slabs, self.size, np.float32(scale), field, flat)

    def compositions(self, field: np.ndarray, all_factors: list[tuple]) -> list[np.ndarray]:
        """A field, and the result of each composition from there."""
        fields = [field]
        for factors in all_factors:
            fields.append(self.empty())
            self.compose(factors, fields[-2], fields[-1])
        return fields

    def compose(self, factors: tuple, field: np.ndarray, out: np.ndarray) -> None:
        in_slabs(compose, even_slabs(self.shape[0]), self.shape, *factors, field, out)

    def slabs_to_write(self, largest: float) -> tuple[list, list]:
        """Slabs in two halves; those of one half write to no common slice.

        largest: of the displacements along the first axis. A weight of zero goes one slice farther.
        """
        slices = self.shape[0]
        slabs = slabs_of(self.shape, reach_of(largest, slices, slices) + 1)
        return slabs[0::2], slabs[1::2]

    def compose_backward(self, factors: tuple, halves: tuple, field, gradient, out) -> None:
        out[:] = 0
        for slabs in halves:
            in_slabs(compose_backward, slabs, self.shape, *factors, field, gradient, out)


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
    return _flow(velocity, steps, midpoint=False)


def midpoint_squaring(velocity: Tensor, steps: int) -> Tensor:
    """The same from `integrate.midpoint_start`, whose composition is one more of the same kind."""
    return _flow(velocity, steps, midpoint=True)


def _flow(velocity: Tensor, steps: int, midpoint: bool) -> Tensor:
    keep = velocity.requires_grad and torch.is_grad_enabled()  # grad mode is off in `forward`
    return Flow.apply(velocity, steps, midpoint, keep)
