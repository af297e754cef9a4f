"""Interpolation on the GPU: image(x + u(x)), with the position made on the fly."""

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

#: Voxels a program, one a thread: two take twice the registers, which halves the threads at hand.
BLOCK = 128


@triton.jit
def _pull(
    image, field, out, spatial, channels, D, H, W, h, w, voxels,
    NDIM: tl.constexpr, BORDER: tl.constexpr, SPATIAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """image (N, C, D, H, W), field (N, NDIM, voxels) -> out (N, C, voxels).

    With SPATIAL also the image's gradient there, spatial (N, C, NDIM, voxels).
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
    image, field, gradient, to_image, to_field, channels, D, H, W, h, w, voxels,
    NDIM: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adjoint of `_pull`: adds to to_image (N, C, D, H, W), fills to_field (N, NDIM, voxels)."""
    n, voxel, mask, i, j, k = block_of_voxels(h, w, voxels, BLOCK)
    x, y, z = position(field + n * NDIM * voxels, voxel, voxels, i, j, k, mask, NDIM)
    size = D * H * W
    image += n * channels * size
    to_image += n * channels * size
    gradient += n * channels * voxels
    to_x = tl.zeros([BLOCK], tl.float32)
    to_y = tl.zeros([BLOCK], tl.float32)
    to_z = tl.zeros([BLOCK], tl.float32)
    for _channel in range(channels):
        g = tl.load(gradient + voxel, mask=mask, other=0.0)
        _value, gx, gy, gz = interpolate(image, x, y, z, D, H, W, mask, NDIM, BORDER)
        to_x += g * gx
        to_y += g * gy
        to_z += g * gz
        spread(to_image, g, x, y, z, D, H, W, mask, NDIM, BORDER)
        image += size
        to_image += size
        gradient += voxels
    to_field += n * NDIM * voxels
    tl.store(to_field + voxel, to_x, mask=mask)
    to_field += voxels
    if NDIM == 3:
        tl.store(to_field + voxel, to_y, mask=mask)
        to_field += voxels
    tl.store(to_field + voxel, to_z, mask=mask)


class Pull(torch.autograd.Function):
    """image (N, C, *shape), displacement (N, ndim, *grid) -> image(x + u(x)), (N, C, *grid)."""

    @staticmethod
    def forward(ctx, image: Tensor, displacement: Tensor, border: bool) -> Tensor:
        image, displacement = image.contiguous(), displacement.contiguous()
        batch, channels = image.shape[:2]
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        to_image, to_field = ctx.needs_input_grad[:2]
        ctx.ready = to_field and not to_image
        out = image.new_empty(batch, channels, *grid)
        # The warped scan's own values are never fitted: its slope is at hand now, from the corners
        # that are read anyway, and backward neither reads the image again nor needs the field.
        spatial = image.new_empty(batch, channels, ndim, *grid) if ctx.ready else out
        voxels = math.prod(grid)
        launch(
            _pull, (blocks(voxels, BLOCK), batch),
            image, displacement, out, spatial, channels, *box(image.shape[2:]), *box(grid)[1:],
            voxels, NDIM=ndim, BORDER=border, SPATIAL=ctx.ready, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.border = border
        if ctx.ready:
            ctx.save_for_backward(spatial)
        else:
            ctx.save_for_backward(image, displacement)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        if ctx.ready:
            (spatial,) = ctx.saved_tensors
            if spatial.shape[1] == 1:  # the usual case, in one pass
                return None, gradient * spatial[:, 0], None
            return None, (gradient.unsqueeze(2) * spatial).sum(1), None
        image, displacement = ctx.saved_tensors
        batch, channels = image.shape[:2]
        ndim, grid = displacement.shape[1], displacement.shape[2:]
        to_image, to_field = torch.zeros_like(image), torch.empty_like(displacement)
        voxels = math.prod(grid)
        launch(
            _pull_backward, (blocks(voxels, BLOCK), batch),
            image, displacement, gradient.contiguous(), to_image, to_field, channels,
            *box(image.shape[2:]), *box(grid)[1:], voxels,
            NDIM=ndim, BORDER=ctx.border, BLOCK=BLOCK,
        )  # fmt: skip
        return to_image, to_field if ctx.needs_input_grad[1] else None, None


def pull(image: Tensor, displacement: Tensor, border: bool) -> Tensor:
    """image(x + u(x)) by linear interpolation; what lies outside is zero, or the nearest edge.

    image: (N, C, *shape). displacement: (N, ndim, *grid) in voxels. border: read the nearest edge
    outside the image. Returns (N, C, *grid). Where the image needs no gradient the result is the
    same at every run. Its gradient is a sum of atomic additions, whose order is not fixed: the last
    bits of that one differ from run to run.
    """
    return Pull.apply(image, displacement, border)
