"""Interpolation on the GPU: image(x + u(x)), without an array of positions."""

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

#: Voxels a program, one a thread. Two a thread take twice the registers, which halves the number of
#: threads that can be resident.
BLOCK = 128


@triton.jit
def _pull(
    image, field, out, spatial, channels, D, H, W, h, w, voxels,
    NDIM: tl.constexpr, BORDER: tl.constexpr, SPATIAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """image (N, C, D, H, W), field (N, NDIM, voxels) -> out (N, C, voxels).

    With SPATIAL also the image's spatial gradient at x + u(x): spatial (N, C, NDIM, voxels).
    """
    n, voxel, mask, i, j, k = block_of_voxels(h, w, voxels, BLOCK)
    x, y, z = position(field + n * NDIM * voxels, voxel, voxels, i, j, k, mask, NDIM)
    size = D * H * W
    image += n * channels * size
    out += n * channels * voxels
    spatial += n * channels * NDIM * voxels
    for _channel in range(channels):
        value, gx, gy, gz = interpolate(image, x, y, z, D, H, W, mask, NDIM, BORDER)
        tl.store(out + voxel, value, mask=mask)
        image += size
        out += voxels
        if SPATIAL:
            tl.store(spatial + voxel, gx, mask=mask)
            spatial += voxels
            if NDIM == 3:
                tl.store(spatial + voxel, gy, mask=mask)
                spatial += voxels
            tl.store(spatial + voxel, gz, mask=mask)
            spatial += voxels


@triton.jit
def _pull_backward(
    image, field, gradient, grad_image, grad_field, channels, D, H, W, h, w, voxels,
    NDIM: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adjoint of `_pull`.

    Adds to grad_image (N, C, D, H, W), and fills grad_field (N, NDIM, voxels).
    """
    n, voxel, mask, i, j, k = block_of_voxels(h, w, voxels, BLOCK)
    x, y, z = position(field + n * NDIM * voxels, voxel, voxels, i, j, k, mask, NDIM)
    size = D * H * W
    image += n * channels * size
    grad_image += n * channels * size
    gradient += n * channels * voxels
    grad_x = tl.zeros([BLOCK], tl.float32)
    grad_y = tl.zeros([BLOCK], tl.float32)
    grad_z = tl.zeros([BLOCK], tl.float32)
    for _channel in range(channels):
        g = tl.load(gradient + voxel, mask=mask, other=0.0)
        _value, gx, gy, gz = interpolate(image, x, y, z, D, H, W, mask, NDIM, BORDER)
        grad_x += g * gx
        grad_y += g * gy
        grad_z += g * gz
        spread(grad_image, g, x, y, z, D, H, W, mask, NDIM, BORDER)
        image += size
        grad_image += size
        gradient += voxels
    grad_field += n * NDIM * voxels
    tl.store(grad_field + voxel, grad_x, mask=mask)
    grad_field += voxels
    if NDIM == 3:
        tl.store(grad_field + voxel, grad_y, mask=mask)
        grad_field += voxels
    tl.store(grad_field + voxel, grad_z, mask=mask)


class Pull(torch.autograd.Function):
    """image (N, C, *shape), displacement (N, ndim, *grid) -> image(x + u(x)), (N, C, *grid)."""

    @staticmethod
    def forward(ctx, image: Tensor, displacement: Tensor, border: bool) -> Tensor:
        image, displacement = image.contiguous(), displacement.contiguous()
        batch, channels = image.shape[:2]
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        needs_image, needs_field = ctx.needs_input_grad[:2]
        ctx.has_spatial = needs_field and not needs_image
        out = image.new_empty(batch, channels, *grid)
        # In a registration the image needs no gradient. Its spatial gradient comes from the voxels
        # that forward reads, and with it backward needs neither the image nor the displacement.
        spatial = image.new_empty(batch, channels, ndim, *grid) if ctx.has_spatial else out
        voxels = math.prod(grid)
        launch(
            _pull, (blocks(voxels, BLOCK), batch),
            image, displacement, out, spatial, channels, *as_3d(image.shape[2:]), *as_3d(grid)[1:],
            voxels, NDIM=ndim, BORDER=border, SPATIAL=ctx.has_spatial, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.border = border
        if ctx.has_spatial:
            ctx.save_for_backward(spatial)
        else:
            ctx.save_for_backward(image, displacement)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        if ctx.has_spatial:
            (spatial,) = ctx.saved_tensors
            if spatial.shape[1] == 1:  # one channel: a product in one pass
                return None, gradient * spatial[:, 0], None
            return None, (gradient.unsqueeze(2) * spatial).sum(1), None
        image, displacement = ctx.saved_tensors
        batch, channels = image.shape[:2]
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        grad_image, grad_field = torch.zeros_like(image), torch.empty_like(displacement)
        voxels = math.prod(grid)
        launch(
            _pull_backward, (blocks(voxels, BLOCK), batch),
            image, displacement, gradient.contiguous(), grad_image, grad_field, channels,
            *as_3d(image.shape[2:]), *as_3d(grid)[1:], voxels,
            NDIM=ndim, BORDER=ctx.border, BLOCK=BLOCK,
        )  # fmt: skip
        return grad_image, grad_field if ctx.needs_input_grad[1] else None, None


def pull(image: Tensor, displacement: Tensor, border: bool) -> Tensor:
    """image(x + u(x)) by linear interpolation; outside the image zero, or the nearest edge.

    image: (N, C, *shape). displacement: (N, ndim, *grid) in voxels. border: read the nearest edge
    outside the image. Returns (N, C, *grid). The value and the gradient by displacement are the
    same bytes at every run. The gradient by image is a sum of atomic additions in no fixed order,
    so its last bits differ from run to run.
    """
    return Pull.apply(image, displacement, border)
