"""The hot operations as the method calls them: inputs of a given size, and one call of each.

All through the package's public functions, so that the backend in force decides.
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

#: A head at 1 mm.
HEAD = (160, 192, 160)
SPACINGS = (4, 2, 1)
#: The issue's own field: 128 wide, five layers, at every third voxel.
WIDTH, DEPTH, STEP = 128, 5, 3


@dataclass
class Task:
    """One operation, forward and backward, on inputs of its own.

    forward: returns a scalar to differentiate. leaves: what gets a gradient.
    """

    forward: Callable[[], Tensor]
    leaves: Sequence[Tensor]
    count: counts.Count

    def __call__(self) -> Tensor:
        """Value and gradients."""
        return self.run(self.forward)

    def run(self, forward: Callable[[], Tensor]) -> Tensor:
        """The same with another function of the same inputs, for example a compiled one."""
        for leaf in self.leaves:
            leaf.grad = None
        value = forward()
        value.backward()
        return value.detach()


def shape_at(spacing: float) -> tuple[int, ...]:
    """The grid of a head at this spacing, in mm."""
    return tuple(max(2, round(n / spacing)) for n in HEAD)


def smooth(channels: int, shape: Sequence[int], every: int, seed: int, device="cpu") -> Tensor:
    """Noise at nodes `every` voxels apart, linear between: (1, channels, *shape), unit variance."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, channels, *sparse_shape(shape, every), generator=random)
    return resize(noise, shape).contiguous().to(device)


def pull(shape: Sequence[int], device="cpu") -> Task:
    """The moving image through a displacement of some voxels."""
    image = smooth(1, shape, 2, 0, device)
    displacement = (2 * smooth(3, shape, 8, 1, device)).requires_grad_()
    weights = smooth(1, shape, 2, 2, device)
    count = counts.pull(math.prod(shape))
    return Task(lambda: (warp(image, displacement) * weights).sum(), [displacement], count)


def squaring(shape: Sequence[int], device="cpu") -> Task:
    """exp(v) by the default's number of squarings."""
    steps = preset("default").squarings
    velocity = (2 * smooth(3, shape, 8, 0, device)).requires_grad_()
    weights = smooth(3, shape, 2, 1, device)
    count = counts.squaring(math.prod(shape), steps)
    return Task(lambda: (scaling_and_squaring(velocity, steps) * weights).sum(), [velocity], count)


def local_ncc(shape: Sequence[int], device="cpu") -> Task:
    """Local correlation with the window of the default's last level."""
    window = preset("default").levels[-1].window
    fixed, moving = smooth(1, shape, 2, 0, device), smooth(1, shape, 2, 1, device)
    warped = (0.5 + 0.1 * fixed + 0.1 * moving).requires_grad_()
    similarity = LocalNCC(0.5 + 0.1 * fixed, window)
    count = counts.local_ncc(math.prod(shape), window)
    return Task(lambda: similarity(warped), [warped], count)


def both_penalties(shape: Sequence[int], device="cpu") -> Task:
    """Jacobian penalty and smoothness, weighted as in the loss."""
    config = preset("default")
    displacement = smooth(3, shape, 8, 0, device).requires_grad_()

    def forward() -> Tensor:
        jacobian, roughness, _ = penalties(displacement, config.margin)
        return config.jacobian * jacobian + config.smooth * roughness

    return Task(forward, [displacement], counts.penalties(math.prod(shape)))


def siren(shape: Sequence[int], device="cpu") -> Task:
    """The network of sine layers at every third voxel."""
    nodes = sparse_shape(shape, STEP)
    field = SirenField(shape, WIDTH, DEPTH).to(device)
    points = normalised(nodes, shape).view(3, -1).T.contiguous().to(device)
    weights = smooth(3, nodes, 2, 0, device).view(3, -1).T
    count = counts.siren(math.prod(nodes), WIDTH, DEPTH)
    return Task(lambda: (field(points) * weights).sum(), list(field.parameters()), count)


OPERATIONS = {
    "pull": pull,
    "squaring": squaring,
    "local_ncc": local_ncc,
    "penalties": both_penalties,
    "siren": siren,
}
