"""Scaling and squaring on the GPU: all squarings as one operation.

Components stay planar, as torch has them. Packed four to a voxel each corner would be one load of
16 bytes, but a warp of those is as many transactions as its four planar loads, and a smooth
deformation lets neighbouring threads share cache lines either way; the packed field is a third
larger, and its atomic additions are by component all the same.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import (
    block_of_voxels,
    blocks,
    box,
    interpolate,
    launch,
    position,
    spread,
)

BLOCK = 128


@triton.jit
def _square(field, out, D, H, W, voxels, NDIM: tl.constexpr, BLOCK: tl.constexpr):
    """field (N, NDIM, D, H, W) -> u(x) + u(x + u(x)), the field continued by its edges."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    out += n * NDIM * voxels
    x, y, z = position(field, voxel, voxels, i, j, k, mask, NDIM)
    for _component in tl.static_range(NDIM):
        here = tl.load(field + voxel, mask=mask, other=0.0)
        there, _gx, _gy, _gz = interpolate(field, x, y, z, D, H, W, mask, NDIM, True)
        tl.store(out + voxel, here + there, mask=mask)
        field += voxels
        out += voxels


@triton.jit
def _square_backward(
    field, gradient, to_field, D, H, W, voxels, NDIM: tl.constexpr, BLOCK: tl.constexpr
):
    """Adjoint of `_square`: adds g + (grad u)^T g, and g to where u was read, to to_field."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    gradient += n * NDIM * voxels
    to_field += n * NDIM * voxels
    x, y, z = position(field, voxel, voxels, i, j, k, mask, NDIM)
    target = to_field
    to_x = tl.zeros([BLOCK], tl.float32)
    to_y = tl.zeros([BLOCK], tl.float32)
    to_z = tl.zeros([BLOCK], tl.float32)
    for c in tl.static_range(NDIM):
        g = tl.load(gradient + voxel, mask=mask, other=0.0)
        _value, gx, gy, gz = interpolate(field, x, y, z, D, H, W, mask, NDIM, True)
        to_x += g * gx
        to_y += g * gy
        to_z += g * gz
        # g itself goes to the component it came from: x, (y,) z
        if c == 0:
            to_x += g
        elif c == NDIM - 1:
            to_z += g
        else:
            to_y += g
        spread(target, g, x, y, z, D, H, W, mask, NDIM, True)
        field += voxels
        gradient += voxels
        target += voxels
    tl.atomic_add(to_field + voxel, to_x, mask=mask, sem="relaxed")
    to_field += voxels
    if NDIM == 3:
        tl.atomic_add(to_field + voxel, to_y, mask=mask, sem="relaxed")
        to_field += voxels
    tl.atomic_add(to_field + voxel, to_z, mask=mask, sem="relaxed")


def _squared(field: Tensor) -> Tensor:
    """One squaring: (N, ndim, *shape) -> the same shape."""
    out = torch.empty_like(field)
    ndim, voxels = field.shape[1], math.prod(field.shape[2:])
    programs = blocks(voxels, BLOCK), len(field)
    launch(_square, programs, field, out, *box(field.shape[2:]), voxels, NDIM=ndim, BLOCK=BLOCK)
    return out


def _squared_backward(field: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with respect to `field` from the one with respect to `_squared(field)`."""
    out = torch.zeros_like(field)
    ndim, voxels = field.shape[1], math.prod(field.shape[2:])
    launch(
        _square_backward, (blocks(voxels, BLOCK), len(field)),
        field, gradient, out, *box(field.shape[2:]), voxels, NDIM=ndim, BLOCK=BLOCK,
    )  # fmt: skip
    return out


def _recomputed_backward(field: Tensor, steps: int, gradient: Tensor) -> Tensor:
    """Backward through `steps` squarings of `field` with nothing stored.

    First the later half, from a field computed for it and then forgotten, then the earlier half:
    log2(steps) fields at a time instead of `steps`, for steps / 2 * log2(steps) more squarings.
    """
    if steps == 0:
        return gradient
    if steps == 1:
        return _squared_backward(field, gradient)
    middle = field
    for _ in range(steps // 2):
        middle = _squared(middle)
    gradient = _recomputed_backward(middle, steps - steps // 2, gradient)
    del middle
    return _recomputed_backward(field, steps // 2, gradient)


class Squaring(torch.autograd.Function):
    """velocity (N, ndim, *shape) -> displacement of exp(v), keeping the fields between or not."""

    @staticmethod
    def forward(ctx, velocity: Tensor, steps: int, recompute: bool) -> Tensor:
        ctx.steps, ctx.recompute = steps, recompute
        fields = [(velocity / 2**steps).contiguous()]
        keep = ctx.needs_input_grad[0] and not recompute
        for _ in range(steps):
            squared = _squared(fields[-1])
            fields = [*fields, squared] if keep else [squared]
        out = fields.pop()
        # velocity is somebody's already: to keep it costs nothing
        ctx.save_for_backward(*(fields if keep else [velocity]))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        scale, gradient = 1 / 2**ctx.steps, gradient.contiguous()
        if ctx.recompute:
            (velocity,) = ctx.saved_tensors
            first = (velocity * scale).contiguous()
            return _recomputed_backward(first, ctx.steps, gradient) * scale, None, None
        for field in reversed(ctx.saved_tensors):
            gradient = _squared_backward(field, gradient)
        return gradient * scale, None, None


def squaring(velocity: Tensor, steps: int, recompute: bool = False) -> Tensor:
    """The displacement of exp(v) by scaling and squaring; both (N, ndim, *shape), in voxels.

    steps: squarings. recompute: keep no field between forward and backward; backward holds three
    to four at a time instead of seven for seven steps, and squares nine times more. The gradient is
    a sum of atomic additions, whose order is not fixed: its last bits differ from run to run.
    """
    return Squaring.apply(velocity, steps, recompute)
