"""A network of sine layers on the CPU, a block of some thousand points at a time.

A block of points stays in the cache through all layers. The products are torch's; the sines are not
(see `waves`). What the backward pass needs of each layer is kept up to a limit, and recomputed
beyond it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels import memory
from nevf_lite.kernels.cpu.waves import sine, sine_and_cosine

#: Partial sums over points that are computed apart and then added, always in the same order.
CHUNKS = 8


class Siren(torch.autograd.Function):
    """points (P, in), whether to keep activations, each layer's weight and bias -> (P, out)."""

    @staticmethod
    def forward(ctx, points: Tensor, keep: bool, *parameters: Tensor) -> Tensor:
        *layers, (weight, bias) = _pairs(parameters)
        units = sum(len(b) for _, b in layers)
        keep = keep and 2 * units * len(points) <= memory.KEEP_LIMIT
        saved = []
        out = points.new_empty(len(points), len(bias))
        for block, block_out in zip(
            points.split(memory.SIREN_BLOCK), out.split(memory.SIREN_BLOCK), strict=True
        ):
            if keep:
                inputs, slopes = _inputs_and_slopes(block, layers)
                saved += inputs[1:] + slopes
                block = inputs[-1]
            else:
                for w, b in layers:
                    block = torch.addmm(b, block, w.T)
                    sine(block.view(-1).numpy())
            torch.addmm(bias, block, weight.T, out=block_out)
        ctx.save_for_backward(points, *parameters, *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        points, *rest = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 2
        parameters, saved = rest[:count], rest[count:]
        pairs, depth = _pairs(parameters), count // 2 - 1
        sums = [torch.zeros_like(p) for p in parameters]
        grad_weights, grad_biases = sums[0::2], sums[1::2]
        blocks = zip(
            points.split(memory.SIREN_BLOCK), gradient.split(memory.SIREN_BLOCK), strict=True
        )
        for number, (block, g) in enumerate(blocks):
            if saved:
                block_saved = saved[2 * depth * number : 2 * depth * (number + 1)]
                inputs, slopes = [block, *block_saved[:depth]], block_saved[depth:]
            else:
                inputs, slopes = _inputs_and_slopes(block, pairs[:-1])
            for n in reversed(range(len(pairs))):
                grad_weights[n] += _product(g, inputs[n])
                grad_biases[n] += g.sum(0)
                if n:
                    g = (g @ pairs[n][0]).mul_(slopes[n - 1])
        return None, None, *sums


def _inputs_and_slopes(block: Tensor, layers) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs of all layers for a block of points, and the derivatives of the sines.

    block: (P, in). layers: (weight, bias) of each sine layer; the inputs are one more, those of the
    last layer.
    """
    inputs, slopes = [block], []
    for w, b in layers:
        angles = torch.addmm(b, inputs[-1], w.T)
        sines = torch.empty_like(angles)
        sine_and_cosine(angles.view(-1).numpy(), sines.view(-1).numpy())
        inputs.append(sines)
        slopes.append(angles)  # cosines by now
    return inputs, slopes


def _product(g: Tensor, x: Tensor) -> Tensor:
    """g^T x: (P, out), (P, in) -> (out, in), the same bytes for any number of threads.

    In a single product the library would share the sum over points among its threads.
    """
    full = len(g) - len(g) % CHUNKS  # points in chunks of equal size
    g_chunks, x_chunks = [t[:full].unflatten(0, (CHUNKS, -1)) for t in (g, x)]
    total = torch.bmm(g_chunks.mT, x_chunks).sum(0)
    return total.addmm_(g[full:].T, x[full:])


def _pairs(parameters) -> list[tuple[Tensor, Tensor]]:
    return list(zip(parameters[0::2], parameters[1::2], strict=True))


def siren(points: Tensor, *parameters: Tensor, keep: bool = True) -> Tensor:
    """What `fields.SirenField.net` computes: sin(x W^T + b) layer by layer, the last without sine.

    points: (P, in), which get no gradient. parameters: weight (out, in) and bias (out,) of each
    layer. keep: store activations for the backward pass, up to `memory.KEEP_LIMIT`.
    Returns (P, out).
    """
    keep = keep and torch.is_grad_enabled()  # grad mode is off in `forward`
    return Siren.apply(points, keep, *parameters)
