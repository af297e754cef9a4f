"""The network behind the features on the CPU: a sine and a linear layer, sixteen points at once.

Features and velocities have a row for each channel, as volumes do, so nothing is transposed. What
belongs to sixteen points stays in the nearest cache from the features to the velocity and back, and
is computed once more in the backward pass: that takes less time than to write it and read it.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nevf_lite.kernels.cpu.lanes import load16, splat16, store
from nevf_lite.kernels.cpu.slabs import in_slabs
from nevf_lite.kernels.cpu.waves import COUNT, sine_and_cosine_of, sine_of

ZERO = np.float32(0)
#: Points whose sums are computed apart and then added, always in the same order.
CHUNK = 2**15


@numba.njit(inline="always")
def _angles(first, unit, w, b, features, row):
    """The angles of one unit of the sine layer at sixteen points."""
    total = splat16(b[unit])
    for c in range(w.shape[1]):
        total = total + splat16(w[unit, c]) * load16(features, first + c * row)
    return total


@numba.njit(nogil=True, cache=True)
def _forward(start, stop, row, w, b, weight, bias, features, out):
    """Points start to stop. features (C * row), out (3 * row): flat, row >= 16 points each."""
    for q in range(start, stop, COUNT):
        first = min(q, row - COUNT)  # the last points are done with some before them
        for n in range(len(bias)):
            store(out, n * row + first, splat16(bias[n]))
        for u in range(len(b)):
            value = sine_of(_angles(first, u, w, b, features, row))
            for n in range(len(bias)):
                at = n * row + first
                store(out, at, load16(out, at) + splat16(weight[n, u]) * value)


@numba.njit(inline="always")
def _accumulate(sums, entry, value):
    store(sums, COUNT * entry, load16(sums, COUNT * entry) + value)


@numba.njit(nogil=True, cache=True)
def _backward(start, stop, chunk, row, w, b, weight, features, gradient, by_features, all_sums):
    """Points start to stop: fills by_features, and the sums of this chunk over its points.

    all_sums: (chunks, entries * 16) of zeros, an entry for each number of w, b, weight and bias.
    """
    units, channels = w.shape
    ndim = len(weight)
    sums = all_sums[start // chunk]
    slopes = np.empty(units * COUNT, np.float32)  # by the angles
    counted = np.zeros(2 * COUNT, np.float32)
    counted[COUNT:] = 1
    for q in range(start, stop, COUNT):
        first = min(q, row - COUNT)
        mask = load16(counted, COUNT - (q - first))  # 0 where a point was done before
        for u in range(units):
            value, slope = sine_and_cosine_of(_angles(first, u, w, b, features, row))
            total = splat16(ZERO)
            for n in range(ndim):
                g = load16(gradient, n * row + first)
                total = total + splat16(weight[n, u]) * g
                _accumulate(sums, units * (channels + 1 + n) + u, mask * g * value)
            slope = slope * total
            store(slopes, COUNT * u, slope)
            slope = mask * slope
            _accumulate(sums, units * channels + u, slope)
            for c in range(channels):
                _accumulate(sums, u * channels + c, slope * load16(features, c * row + first))
        for n in range(ndim):
            g = load16(gradient, n * row + first)
            _accumulate(sums, units * (channels + 1 + ndim) + n, mask * g)
        for c in range(channels):
            total = splat16(ZERO)
            for u in range(units):
                total = total + splat16(w[u, c]) * load16(slopes, COUNT * u)
            store(by_features, c * row + first, total)


class FeatureNet(torch.autograd.Function):
    """features (C, P), weight and bias of both layers -> (out, P)."""

    @staticmethod
    def forward(ctx, features: Tensor, *parameters: Tensor) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, *parameters)
        row = features.shape[1]
        out = features.new_empty(len(parameters[-1]), row)
        in_slabs(
            _forward, _chunks(row), row, *map(_array, parameters), *map(_flat, (features, out))
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        features, *parameters = ctx.saved_tensors
        by_features = torch.empty_like(features)
        row, chunks = features.shape[1], _chunks(features.shape[1])
        sums = np.zeros((len(chunks), COUNT * sum(p.numel() for p in parameters)), np.float32)
        volumes = map(_flat, (features, gradient.contiguous(), by_features))
        in_slabs(_backward, chunks, CHUNK, row, *map(_array, parameters[:3]), *volumes, sums)
        totals = torch.from_numpy(sums.reshape(len(chunks), -1, COUNT).sum((0, 2)))
        parts = totals.split([p.numel() for p in parameters])
        return by_features, *(t.view_as(p) for t, p in zip(parts, parameters, strict=True))


def _chunks(points: int) -> list[tuple[int, int]]:
    return [(first, min(first + CHUNK, points)) for first in range(0, points, CHUNK)]


def _array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().contiguous().numpy()


def _flat(rows: Tensor) -> np.ndarray:
    return rows.detach().view(-1).numpy()


def feature_net(features: Tensor, *parameters: Tensor) -> Tensor:
    """What `fields.FeatureField.net` computes of features (C, P), P >= 16: velocities (ndim, P).

    parameters: weight (out, in) and bias (out,) of the sine layer and of the linear one.
    """
    return FeatureNet.apply(features, *parameters)
