"""A sine layer on the GPU: sin(x W^T + b), with the sine fused to the product.

At 128 to 256 units memory limits a layer, not arithmetic. A product by cuBLAS and a separate sine
write the sums, read them, and write the sine and, for backward, the cosine. This kernel keeps the
sums in registers. Backward recomputes the product instead of storing a cosine: it needs only x,
which is saved for the gradient by the weights.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.gpu.lattice import blocks, launch

#: Points, units and inputs of the product in one step of a program.
POINTS, UNITS, INPUTS = 128, 64, 32


@triton.jit
def _sine(
    x, weight, bias, gradient, out, totals, count, fan_in, units,
    BACKWARD: tl.constexpr, PRECISION: tl.constexpr,
    POINTS: tl.constexpr, UNITS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """x (count, fan_in), weight (units, fan_in), bias (units) -> out (count, units), the sine.

    With BACKWARD out is gradient * cosine, and totals (blocks of points, units) its sum over each
    block of points.
    """
    unit_blocks = tl.cdiv(units, UNITS)  # programs of the same points have adjacent numbers
    block = tl.program_id(0) // unit_blocks
    point = block * POINTS + tl.arange(0, POINTS)
    unit = tl.program_id(0) % unit_blocks * UNITS + tl.arange(0, UNITS)
    z = tl.zeros([POINTS, UNITS], tl.float32)
    rows = x + point.to(tl.int64)[:, None] * fan_in
    columns = weight + unit[None, :] * fan_in
    for first in range(0, fan_in, INPUTS):
        k = first + tl.arange(0, INPUTS)
        inside = (point[:, None] < count) & (k[None, :] < fan_in)
        a = tl.load(rows + k[None, :], mask=inside, other=0.0)
        inside = (unit[None, :] < units) & (k[:, None] < fan_in)
        b = tl.load(columns + k[:, None], mask=inside, other=0.0)
        z = tl.dot(a, b, z, input_precision=PRECISION)
    z += tl.load(bias + unit, mask=unit < units, other=0.0)[None, :]
    mask = (point[:, None] < count) & (unit[None, :] < units)
    offset = point.to(tl.int64)[:, None] * units + unit[None, :]
    if BACKWARD:
        value = tl.load(gradient + offset, mask=mask, other=0.0) * tl.cos(z)
        tl.store(totals + block * units + unit, tl.sum(value, axis=0), mask=unit < units)
    else:
        value = tl.sin(z)
    tl.store(out + offset, value, mask=mask)


def _launch(x, weight, bias, gradient, out, totals, backward: bool, precision: str) -> None:
    """Run `_sine` over all points and units.

    Eight warps: with four, the three products of "tf32x3" do not fit into the registers.
    """
    (count, fan_in), units = x.shape, len(weight)
    launch(
        _sine, (blocks(count, POINTS) * blocks(units, UNITS),),
        x, weight, bias, gradient, out, totals, count, fan_in, units,
        BACKWARD=backward, PRECISION=precision,
        POINTS=POINTS, UNITS=UNITS, INPUTS=16 if fan_in <= 16 else INPUTS,
        num_warps=8,
    )  # fmt: skip


class SineLayer(torch.autograd.Function):
    """x (P, in), weight (out, in), bias (out) -> sin(x W^T + b), (P, out)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, precision: str) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        out = x.new_empty(len(x), len(weight))
        _launch(x, weight, bias, out, out, out, False, precision)
        ctx.precision = precision
        ctx.save_for_backward(x, weight, bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight, bias = ctx.saved_tensors
        grad_product = x.new_empty(len(x), len(weight))
        totals = x.new_empty(blocks(len(x), POINTS), len(weight))
        _launch(x, weight, bias, gradient.contiguous(), grad_product, totals, True, ctx.precision)
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            grad_product @ weight if needs_x else None,
            grad_product.T @ x if needs_weight else None,
            totals.sum(0) if needs_bias else None,
            None,
        )


def sine_layer(x: Tensor, weight: Tensor, bias: Tensor, precision: str | None = None) -> Tensor:
    """sin(x W^T + b) for points x (P, in); weight (out, in), bias (out). Returns (P, out).

    precision: of the product: "tf32" (ten bits of mantissa), "tf32x3" (three such products, float32
    except for the last bits) or "ieee" (float32, without tensor cores). By default "tf32x3", or
    "tf32" if torch.set_float32_matmul_precision allows it and x has more than 16 inputs. With
    fewer, x may be coordinates, which "tf32" would round to a tenth of a voxel. The same bytes at
    every run.
    """
    if precision is None:
        use_tf32 = torch.get_float32_matmul_precision() != "highest" and x.shape[1] > 16
        precision = "tf32" if use_tf32 else "tf32x3"
    return SineLayer.apply(x, weight, bias, precision)
