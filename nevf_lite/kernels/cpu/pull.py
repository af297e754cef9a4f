"""Linear interpolation with Numba, parallel over slabs of the image.

torch's 3-D grid_sample runs on one thread for a single image, and needs an array of positions.
These kernels compute each position x + u(x) when they read there, and every thread has a slab of x.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.slabs import in_slabs, reach_of, slabs_of, volumes

ZERO, ONE = np.float32(0), np.float32(1)


@numba.njit(inline="always", fastmath=True)
def _weights(position, size, border):
    """The two neighbours of one coordinate, their weights and the weights' slopes.

    Outside the image a neighbour has weight zero. With `border` a position outside is clipped to
    the edge, and its slopes are zero.
    """
    slope = ONE
    if border:
        if position <= ZERO:
            position, slope = ZERO, ZERO
        elif position >= np.float32(size - 1):
            position, slope = np.float32(size - 1), ZERO
    floor = np.floor(position)
    low = int(floor)
    high = low + 1
    high_weight = position - floor
    low_weight = ONE - high_weight
    low_slope, high_slope = -slope, slope
    if low < 0 or low >= size:
        low, low_weight, low_slope = 0, ZERO, ZERO
    if high < 0 or high >= size:
        high, high_weight, high_slope = 0, ZERO, ZERO
    return low, high, low_weight, high_weight, low_slope, high_slope


@numba.njit(nogil=True, fastmath=True, cache=True)
def _pull(first, last, image, field, border, out):
    """image (C, D, H, W), field (3, d, h, w) -> slices first to last of out (C, d, h, w)."""
    channels, D, H, W = image.shape
    _, d, h, w = field.shape
    for i in range(first, last):
        for j in range(h):
            for k in range(w):
                a0, a1, wa0, wa1, _, _ = _weights(np.float32(i) + field[0, i, j, k], D, border)
                b0, b1, wb0, wb1, _, _ = _weights(np.float32(j) + field[1, i, j, k], H, border)
                c0, c1, wc0, wc1, _, _ = _weights(np.float32(k) + field[2, i, j, k], W, border)
                for c in range(channels):
                    v = image[c]
                    out[c, i, j, k] = wa0 * (
                        wb0 * (wc0 * v[a0, b0, c0] + wc1 * v[a0, b0, c1])
                        + wb1 * (wc0 * v[a0, b1, c0] + wc1 * v[a0, b1, c1])
                    ) + wa1 * (
                        wb0 * (wc0 * v[a1, b0, c0] + wc1 * v[a1, b0, c1])
                        + wb1 * (wc0 * v[a1, b1, c0] + wc1 * v[a1, b1, c1])
                    )


@numba.njit(nogil=True, fastmath=True, cache=True)
def _pull_backward(
    first, last, image, field, border, gradient, needs_image, grad_image, grad_field
):
    """Adjoint of `_pull` for slices first to last of gradient (C, d, h, w).

    Adds to grad_image (C, D, H, W) if needs_image, and fills the slices of grad_field
    (3, d, h, w).
    """
    channels, D, H, W = image.shape
    _, d, h, w = field.shape
    for i in range(first, last):
        for j in range(h):
            for k in range(w):
                silent = True  # as in the background of a local NCC
                for c in range(channels):
                    silent &= gradient[c, i, j, k] == ZERO
                if silent:
                    grad_field[:, i, j, k] = ZERO
                    continue
                a0, a1, wa0, wa1, da0, da1 = _weights(np.float32(i) + field[0, i, j, k], D, border)
                b0, b1, wb0, wb1, db0, db1 = _weights(np.float32(j) + field[1, i, j, k], H, border)
                c0, c1, wc0, wc1, dc0, dc1 = _weights(np.float32(k) + field[2, i, j, k], W, border)
                ga, gb, gc = ZERO, ZERO, ZERO
                for c in range(channels):
                    g = gradient[c, i, j, k]
                    v = image[c]
                    v000, v001 = v[a0, b0, c0], v[a0, b0, c1]
                    v010, v011 = v[a0, b1, c0], v[a0, b1, c1]
                    v100, v101 = v[a1, b0, c0], v[a1, b0, c1]
                    v110, v111 = v[a1, b1, c0], v[a1, b1, c1]
                    e00, e01 = wc0 * v000 + wc1 * v001, wc0 * v010 + wc1 * v011
                    e10, e11 = wc0 * v100 + wc1 * v101, wc0 * v110 + wc1 * v111
                    ga += g * (da0 * (wb0 * e00 + wb1 * e01) + da1 * (wb0 * e10 + wb1 * e11))
                    gb += g * (wa0 * (db0 * e00 + db1 * e01) + wa1 * (db0 * e10 + db1 * e11))
                    gc += g * (
                        wa0 * (wb0 * (dc0 * v000 + dc1 * v001) + wb1 * (dc0 * v010 + dc1 * v011))
                        + wa1 * (wb0 * (dc0 * v100 + dc1 * v101) + wb1 * (dc0 * v110 + dc1 * v111))
                    )
                    if needs_image:
                        out = grad_image[c]
                        out[a0, b0, c0] += g * wa0 * wb0 * wc0
                        out[a0, b0, c1] += g * wa0 * wb0 * wc1
                        out[a0, b1, c0] += g * wa0 * wb1 * wc0
                        out[a0, b1, c1] += g * wa0 * wb1 * wc1
                        out[a1, b0, c0] += g * wa1 * wb0 * wc0
                        out[a1, b0, c1] += g * wa1 * wb0 * wc1
                        out[a1, b1, c0] += g * wa1 * wb1 * wc0
                        out[a1, b1, c1] += g * wa1 * wb1 * wc1
                grad_field[0, i, j, k] = ga
                grad_field[1, i, j, k] = gb
                grad_field[2, i, j, k] = gc


class Pull(torch.autograd.Function):
    """image (N, C, *shape), displacement (N, ndim, *grid) -> image(x + u(x)), (N, C, *grid)."""

    @staticmethod
    def forward(ctx, image: Tensor, displacement: Tensor, border: bool) -> Tensor:
        ctx.save_for_backward(image, displacement)
        ctx.border = border
        out = image.new_empty(*image.shape[:2], *displacement.shape[2:])
        for n in range(len(image)):
            volume, field = volumes(image[n].detach(), displacement[n].detach())
            result = out[n].view(len(volume), *field.shape[1:]).numpy()
            in_slabs(_pull, slabs_of(field.shape[1:]), volume, field, border, result)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        image, displacement = ctx.saved_tensors
        needs_image = ctx.needs_input_grad[0]
        grad_image = torch.empty_like(image) if needs_image else None
        grad_displacement = torch.empty_like(displacement)
        for n in range(len(image)):
            volume, field = volumes(image[n].detach(), displacement[n].detach())
            grad_volume = np.zeros(volume.shape if needs_image else (1, 1, 1, 1), np.float32)
            grad_field = np.empty(field.shape, np.float32)
            g = gradient[n].contiguous().view(len(volume), *field.shape[1:]).numpy()
            # Slabs are thicker than twice the reach and every other slab runs at a time, so no two
            # threads add to the same voxel. The order of additions, and with it the last bit, does
            # not depend on the number of threads.
            largest = float(np.abs(field[0]).max())
            reach = reach_of(largest, field.shape[1], volume.shape[1])
            slabs = slabs_of(field.shape[1:], reach)
            for half in (slabs[0::2], slabs[1::2]):
                in_slabs(
                    _pull_backward, half,
                    volume, field, ctx.border, g, needs_image, grad_volume, grad_field,
                )  # fmt: skip
            if displacement.shape[1] == 2:
                grad_field = grad_field[[0, 2]]  # its middle axis is not one of the image's
            grad_displacement[n] = torch.from_numpy(grad_field).view_as(displacement[n])
            if needs_image:
                grad_image[n] = torch.from_numpy(grad_volume).view_as(image[n])
        return grad_image, grad_displacement, None


def pull(image: Tensor, displacement: Tensor, border: bool) -> Tensor:
    """image(x + u(x)) by linear interpolation; outside the image zero, or the nearest edge.

    image: (N, C, *shape). displacement: (N, ndim, *grid) in voxels. border: read the nearest edge
    outside the image. Returns (N, C, *grid), the same bytes for any number of threads.
    """
    return Pull.apply(image, displacement, border)
