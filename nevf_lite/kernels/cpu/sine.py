"""A whole network of sine layers on the CPU, some thousand points at a time.

A block of points stays in the cache through all layers. torch's products are left as they are; its
sines are not (see `waves`). What the backward pass needs of each layer is kept as long as it is not
too much, and otherwise computed once more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite import kernels
from nevf_lite.kernels import SIREN_BLOCK
from nevf_lite.kernels.cpu.waves import sine, sine_and_cosine

#: Sums over points that are computed apart and then added, always in the same order.
PIECES = 8


class Siren(torch.autograd.Function):
    """points (P, in), whether to keep, then each layer's weight and bias -> (P, out)."""

    @staticmethod
    def forward(ctx, points: Tensor, keep: bool, *parameters: Tensor) -> Tensor:
        *layers, (weight, bias) = _pairs(parameters)
        units = sum(len(b) for _, b in layers)
        keep = keep and 2 * units * len(points) <= kernels.KEPT
        kept = []
        out = points.new_empty(len(points), len(bias))
        for block, to in zip(points.split(SIREN_BLOCK), out.split(SIREN_BLOCK), strict=True):
            if keep:
                inputs, slopes = _inputs_and_slopes(block, layers)
                kept += inputs[1:] + slopes
                block = inputs[-1]
            else:
                for w, b in layers:
                    block = torch.addmm(b, block, w.T)
                    sine(block.view(-1).numpy())
            torch.addmm(bias, block, weight.T, out=to)
        ctx.save_for_backward(points, *parameters, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        points, *rest = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 2
        parameters, kept = rest[:count], rest[count:]
        pairs, depth = _pairs(parameters), count // 2 - 1
        sums = [torch.zeros_like(p) for p in parameters]
        by_weight, by_bias = sums[0::2], sums[1::2]
        blocks = zip(points.split(SIREN_BLOCK), gradient.split(SIREN_BLOCK), strict=True)
        for number, (block, g) in enumerate(blocks):
            if kept:
                known = kept[2 * depth * number : 2 * depth * (number + 1)]
                inputs, slopes = [block, *known[:depth]], known[depth:]
            else:
                inputs, slopes = _inputs_and_slopes(block, pairs[:-1])
            for n in reversed(range(len(pairs))):
                by_weight[n] += _product(g, inputs[n])
                by_bias[n] += g.sum(0)
                if n:
                    g = (g @ pairs[n][0]).mul_(slopes[n - 1])
        return None, None, *sums


def _inputs_and_slopes(block: Tensor, layers) -> tuple[list[Tensor], list[Tensor]]:
    """What each layer reads of a block of points, the last layer too; each sine's derivative."""
    inputs, slopes = [block], []
    for w, b in layers:
        angles = torch.addmm(b, inputs[-1], w.T)
        sines = torch.empty_like(angles)
        sine_and_cosine(angles.view(-1).numpy(), sines.view(-1).numpy())
        inputs.append(sines)
        slopes.append(angles)
    return inputs, slopes


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


def siren(points: Tensor, *parameters: Tensor, keep: bool = True) -> Tensor:
    """What `fields.SirenField.net` computes: sin(x W^T + b) layer by layer, the last without sine.

    points: (P, in), which get no gradient. parameters: weight (out, in) and bias (out,) of each
    layer. keep: activations for the backward pass, if they are not too many (`kernels.KEPT`).
    Returns (P, out).
    """
    keep = keep and torch.is_grad_enabled()  # which is off in `forward`
    return Siren.apply(points, keep, *parameters)
