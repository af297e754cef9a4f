"""A whole network of sine layers on the CPU, some thousand points at a time.

The products take most of the time and torch's are as fast as the processor; what torch wastes is
the way to memory and back for every layer, and the memory: two arrays a layer. A block of points
stays in the cache through all layers, and the backward pass computes it once more, which costs as
much as the way to memory did.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels import SIREN_BLOCK

#: Sums over points that are computed apart and then added, always in the same order.
PIECES = 8


class Siren(torch.autograd.Function):
    """points (P, in), then each layer's weight and bias -> (P, out)."""

    @staticmethod
    def forward(ctx, points: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(points, *parameters)
        *layers, (weight, bias) = _pairs(parameters)
        out = points.new_empty(len(points), len(bias))
        for block, to in zip(points.split(SIREN_BLOCK), out.split(SIREN_BLOCK), strict=True):
            for w, b in layers:
                block = torch.addmm(b, block, w.T).sin_()
            torch.addmm(bias, block, weight.T, out=to)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        points, *parameters = ctx.saved_tensors
        pairs = _pairs(parameters)
        sums = [torch.zeros_like(p) for p in parameters]
        by_weight, by_bias = sums[0::2], sums[1::2]
        for block, g in zip(points.split(SIREN_BLOCK), gradient.split(SIREN_BLOCK), strict=True):
            inputs, slopes = [block], []
            for w, b in pairs[:-1]:
                angles = torch.addmm(b, inputs[-1], w.T)
                inputs.append(angles.sin())
                slopes.append(angles.cos_())
            for n in reversed(range(len(pairs))):
                by_weight[n] += _product(g, inputs[n])
                by_bias[n] += g.sum(0)
                if n:
                    g = (g @ pairs[n][0]).mul_(slopes[n - 1])
        return None, *sums


def _product(g: Tensor, x: Tensor) -> Tensor:
    """g^T x: (P, out), (P, in) -> (out, in), the same bytes for any number of threads.

    Asked for in one, the library would share the sum over points among its threads.
    """
    whole = len(g) - len(g) % PIECES
    parts = [t[:whole].unflatten(0, (PIECES, -1)) for t in (g, x)]
    total = torch.bmm(parts[0].mT, parts[1]).sum(0)
    return total.addmm_(g[whole:].T, x[whole:])


def _pairs(parameters) -> list[tuple[Tensor, Tensor]]:
    return list(zip(parameters[0::2], parameters[1::2], strict=True))


def siren(points: Tensor, *parameters: Tensor) -> Tensor:
    """What `fields.SirenField.net` computes: sin(x W^T + b) layer by layer, the last without sine.

    points: (P, in), which get no gradient. parameters: weight (out, in) and bias (out,) of each
    layer. Returns (P, out).
    """
    return Siren.apply(points, *parameters)
