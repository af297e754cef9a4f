"""The operations that take most of the method's time, on inputs of a given size.

They are called through the public functions of the package, which use the current backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import counts
from nevf_lite.config import preset
from nevf_lite.fields import SirenField
from nevf_lite.grid import normalised, resize, sparse_shape
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.losses import LocalNCC, penalties
from nevf_lite.warp import warp

#: Shape of the grid of a head at 1 mm.
HEAD = (160, 192, 160)
SPACINGS = (4, 2, 1)
#: The SIREN that is timed: width and number of layers, evaluated at every third voxel.
WIDTH, DEPTH, STEP = 128, 5, 3


@dataclass
class Task:
    """One operation, forward and backward, with its inputs.

    forward: returns a scalar to differentiate. leaves: the inputs that get a gradient. count: the
    bytes and operations that it needs.
    """

    forward: Callable[[], Tensor]
    leaves: Sequence[Tensor]
    count: counts.Count

    def __call__(self) -> Tensor:
        """Compute the value, which is returned, and the gradients."""
        return self.run(self.forward)

    def run(self, forward: Callable[[], Tensor]) -> Tensor:
        """Call another function of the same inputs, for example a compiled one."""
        for leaf in self.leaves:
            leaf.grad = None
        value = forward()
        value.backward()
        return value.detach()


def shape_at(spacing: float) -> tuple[int, ...]:
    """The shape of the grid of a head at a spacing in mm."""
    return tuple(max(2, round(n / spacing)) for n in HEAD)


def smooth_noise(channels: int, shape: Sequence[int], step: int, seed: int, device="cpu") -> Tensor:
    """Noise of unit variance at every `step`-th voxel, linear between; (1, channels, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, channels, *sparse_shape(shape, step), generator=generator)
    return resize(noise, shape).contiguous().to(device)


def pull(shape: Sequence[int], device="cpu") -> Task:
    """Warp the moving image by a displacement of some voxels."""
    image = smooth_noise(1, shape, 2, 0, device)
    displacement = (2 * smooth_noise(3, shape, 8, 1, device)).requires_grad_()
    weights = smooth_noise(1, shape, 2, 2, device)
    count = counts.pull(math.prod(shape))
    return Task(lambda: (warp(image, displacement) * weights).sum(), [displacement], count)


def squaring(shape: Sequence[int], device="cpu") -> Task:
    """exp(v) by scaling and squaring, with the number of squarings of the default."""
    steps = preset("default").squarings
    velocity = (2 * smooth_noise(3, shape, 8, 0, device)).requires_grad_()
    weights = smooth_noise(3, shape, 2, 1, device)
    count = counts.squaring(math.prod(shape), steps)
    return Task(lambda: (scaling_and_squaring(velocity, steps) * weights).sum(), [velocity], count)


def local_ncc(shape: Sequence[int], device="cpu") -> Task:
    """Local correlation with the window of the last level of the default."""
    window = preset("default").levels[-1].window
    fixed, moving = smooth_noise(1, shape, 2, 0, device), smooth_noise(1, shape, 2, 1, device)
    warped = (0.5 + 0.1 * fixed + 0.1 * moving).requires_grad_()
    similarity = LocalNCC(0.5 + 0.1 * fixed, window)
    count = counts.local_ncc(math.prod(shape), window)
    return Task(lambda: similarity(warped), [warped], count)


def weighted_ncc(shape: Sequence[int], device="cpu") -> Task:
    """Local correlation where a third of the voxels has no weight, as beyond a scan's end."""
    window = preset("default").levels[-1].window
    fixed, moving = smooth_noise(1, shape, 2, 0, device), smooth_noise(1, shape, 2, 1, device)
    warped = (0.5 + 0.1 * fixed + 0.1 * moving).requires_grad_()
    weight = torch.ones_like(fixed)
    weight[:, :, : shape[0] // 3] = 0
    similarity = LocalNCC(0.5 + 0.1 * fixed, window)
    count = counts.weighted_ncc(math.prod(shape), window)
    return Task(lambda: similarity(warped, weight), [warped], count)


def field_penalties(shape: Sequence[int], device="cpu") -> Task:
    """Jacobian penalty and smoothness, weighted as in the loss."""
    config = preset("default")
    displacement = smooth_noise(3, shape, 8, 0, device).requires_grad_()

    def forward() -> Tensor:
        jacobian, roughness, _ = penalties(displacement, config.margin)
        return config.jacobian * jacobian + config.smooth * roughness

    return Task(forward, [displacement], counts.penalties(math.prod(shape)))


def siren(shape: Sequence[int], device="cpu") -> Task:
    """The network of sine layers, evaluated at every third voxel."""
    nodes = sparse_shape(shape, STEP)
    field = SirenField(shape, WIDTH, DEPTH).to(device)
    points = normalised(nodes, shape).view(3, -1).T.contiguous().to(device)
    weights = smooth_noise(3, nodes, 2, 0, device).view(3, -1).T
    count = counts.siren(math.prod(nodes), WIDTH, DEPTH)
    return Task(lambda: (field(points) * weights).sum(), list(field.parameters()), count)


OPERATIONS = {
    "pull": pull,
    "squaring": squaring,
    "local_ncc": local_ncc,
    "weighted_ncc": weighted_ncc,
    "penalties": field_penalties,
    "siren": siren,
}
