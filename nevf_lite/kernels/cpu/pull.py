"""Linear interpolation with Numba, parallel over slabs of the image.

torch's 3-D grid_sample runs on one thread for a single image, and builds an array of positions
first. Here the position x + u(x) is made on the fly, and every core has a slab of x.
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
def _corner(position, size, border):
    """The two neighbours of one coordinate, their weights and the weights' slopes.

    Outside the image a neighbour has weight zero, or with `border` the position is brought back to
    the edge, where it stays: slope zero.
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
                a0, a1, wa0, wa1, _, _ = _corner(np.float32(i) + field[0, i, j, k], D, border)
                b0, b1, wb0, wb1, _, _ = _corner(np.float32(j) + field[1, i, j, k], H, border)
                c0, c1, wc0, wc1, _, _ = _corner(np.float32(k) + field[2, i, j, k], W, border)
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
def _pull_backward(first, last, image, field, border, gradient, to_image, scatter, field_gradient):
    """Adjoint of `_pull`: adds to scatter (C, D, H, W), fills slices of field_gradient."""
    channels, D, H, W = image.shape
    _, d, h, w = field.shape
    for i in range(first, last):
        for j in range(h):
            for k in range(w):
                a0, a1, wa0, wa1, da0, da1 = _corner(np.float32(i) + field[0, i, j, k], D, border)
                b0, b1, wb0, wb1, db0, db1 = _corner(np.float32(j) + field[1, i, j, k], H, border)
                c0, c1, wc0, wc1, dc0, dc1 = _corner(np.float32(k) + field[2, i, j, k], W, border)
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
                    if to_image:
                        s = scatter[c]
                        s[a0, b0, c0] += g * wa0 * wb0 * wc0
                        s[a0, b0, c1] += g * wa0 * wb0 * wc1
                        s[a0, b1, c0] += g * wa0 * wb1 * wc0
                        s[a0, b1, c1] += g * wa0 * wb1 * wc1
                        s[a1, b0, c0] += g * wa1 * wb0 * wc0
                        s[a1, b0, c1] += g * wa1 * wb0 * wc1
                        s[a1, b1, c0] += g * wa1 * wb1 * wc0
                        s[a1, b1, c1] += g * wa1 * wb1 * wc1
                field_gradient[0, i, j, k] = ga
                field_gradient[1, i, j, k] = gb
                field_gradient[2, i, j, k] = gc


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
        to_image = ctx.needs_input_grad[0]
        image_gradient = torch.empty_like(image) if to_image else None
        field_gradient = torch.empty_like(displacement)
        for n in range(len(image)):
            volume, field = volumes(image[n].detach(), displacement[n].detach())
            scatter = np.zeros(volume.shape if to_image else (1, 1, 1, 1), np.float32)
            out = np.empty(field.shape, np.float32)
            g = gradient[n].contiguous().view(len(volume), *field.shape[1:]).numpy()
            # Slabs thicker than two of them can reach never add to the same voxel when every other
            # one is worked on at a time, and the order of additions, hence the last bit, does not
            # depend on the number of threads.
            reach = reach_of(field[0], len(volume[0]))
            slabs = slabs_of(field.shape[1:], reach)
            for half in (slabs[0::2], slabs[1::2]):
                in_slabs(_pull_backward, half, volume, field, ctx.border, g, to_image, scatter, out)
            axes = [0, 2] if displacement.shape[1] == 2 else [0, 1, 2]
            field_gradient[n] = torch.from_numpy(out[axes]).view_as(displacement[n])
            if to_image:
                image_gradient[n] = torch.from_numpy(scatter).view_as(image[n])
        return image_gradient, field_gradient, None


def pull(image: Tensor, displacement: Tensor, border: bool) -> Tensor:
    """image(x + u(x)): (N, C, *shape) and (N, ndim, *grid) in voxels to (N, C, *grid)."""
    return Pull.apply(image, displacement, border)
