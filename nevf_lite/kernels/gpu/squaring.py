"""Scaling and squaring on the GPU: all squarings as one operation.

Components stay planar, as in torch. Packed as four floats a voxel, each neighbour would be a single
load of 16 bytes, but a warp of threads needs as many memory transactions for it as for planar
loads. For a smooth deformation neighbouring threads share cache lines in either layout. The packed
field is a third larger, and its atomic additions are still one for each component.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import (
    as_3d,
    block_of_voxels,
    blocks,
    interpolate,
    launch,
    position,
    spread,
)

BLOCK = 128


@triton.jit
def _square(field, out, D, H, W, voxels, NDIM: tl.constexpr, BLOCK: tl.constexpr):
    """field u (N, NDIM, D, H, W) -> out, u(x) + u(x + u(x)); outside the volume u is its edge."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    out += n * NDIM * voxels
    x, y, z = position(field, voxel, voxels, i, j, k, mask, NDIM)
    for _component in tl.static_range(NDIM):
        u = tl.load(field + voxel, mask=mask, other=0.0)
        displaced, _gx, _gy, _gz = interpolate(field, x, y, z, D, H, W, mask, NDIM, True)
        tl.store(out + voxel, u + displaced, mask=mask)
        field += voxels
        out += voxels


@triton.jit
def _square_backward(
    field, gradient, grad_field, D, H, W, voxels, NDIM: tl.constexpr, BLOCK: tl.constexpr
):
    """Adjoint of `_square`: adds to grad_field g + (grad u)^T g, and g at the voxels it read."""
    n, voxel, mask, i, j, k = block_of_voxels(H, W, voxels, BLOCK)
    field += n * NDIM * voxels
    gradient += n * NDIM * voxels
    grad_field += n * NDIM * voxels
    x, y, z = position(field, voxel, voxels, i, j, k, mask, NDIM)
    target = grad_field
    grad_x = tl.zeros([BLOCK], tl.float32)
    grad_y = tl.zeros([BLOCK], tl.float32)
    grad_z = tl.zeros([BLOCK], tl.float32)
    for c in tl.static_range(NDIM):
        g = tl.load(gradient + voxel, mask=mask, other=0.0)
        _value, gx, gy, gz = interpolate(field, x, y, z, D, H, W, mask, NDIM, True)
        grad_x += g * gx
        grad_y += g * gy
        grad_z += g * gz
        # the term g of u(x) itself, in the same component
        if c == 0:
            grad_x += g
        elif c == NDIM - 1:
            grad_z += g
        else:
            grad_y += g
        spread(target, g, x, y, z, D, H, W, mask, NDIM, True)
        field += voxels
        gradient += voxels
        target += voxels
    tl.atomic_add(grad_field + voxel, grad_x, mask=mask, sem="relaxed")
    grad_field += voxels
    if NDIM == 3:
        tl.atomic_add(grad_field + voxel, grad_y, mask=mask, sem="relaxed")
        grad_field += voxels
    tl.atomic_add(grad_field + voxel, grad_z, mask=mask, sem="relaxed")


def _squared(field: Tensor) -> Tensor:
    """One squaring: (N, ndim, *shape) -> the same shape."""
    out = torch.empty_like(field)
    ndim, voxels = field.shape[1], math.prod(field.shape[2:])
    programs = blocks(voxels, BLOCK), len(field)
    launch(_square, programs, field, out, *as_3d(field.shape[2:]), voxels, NDIM=ndim, BLOCK=BLOCK)
    return out


def _squared_backward(field: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by `field` from the gradient by `_squared(field)`; all (N, ndim, *shape)."""
    out = torch.zeros_like(field)
    ndim, voxels = field.shape[1], math.prod(field.shape[2:])
    launch(
        _square_backward, (blocks(voxels, BLOCK), len(field)),
        field, gradient, out, *as_3d(field.shape[2:]), voxels, NDIM=ndim, BLOCK=BLOCK,
    )  # fmt: skip
    return out


def _recomputed_backward(field: Tensor, steps: int, gradient: Tensor) -> Tensor:
    """Backward through `steps` squarings of `field` with nothing stored.

    The later half comes first, from a field that is recomputed and then freed, and the earlier half
    second. This holds log2(steps) fields at a time instead of `steps`, for steps / 2 * log2(steps)
    more squarings.
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
    """velocity (N, ndim, *shape) -> displacement of exp(v), the same shape.

    recompute: store no field for the backward pass.
    """

    @staticmethod
    def forward(ctx, velocity: Tensor, steps: int, recompute: bool) -> Tensor:
        ctx.steps, ctx.recompute = steps, recompute
        fields = [(velocity / 2**steps).contiguous()]
        keep = ctx.needs_input_grad[0] and not recompute
        for _ in range(steps):
            squared = _squared(fields[-1])
            fields = [*fields, squared] if keep else [squared]
        out = fields.pop()
        # the caller holds velocity, so saving it takes no memory
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

    steps: number of squarings. recompute: store no field for the backward pass. For seven steps
    backward then holds three to four fields at a time instead of seven, and squares nine more
    times. The gradient is a sum of atomic additions in no fixed order, so its last bits differ from
    run to run.
    """
    return Squaring.apply(velocity, steps, recompute)
