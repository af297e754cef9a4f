"""Velocity fields: what the optimisation fits. A network (SIREN), or plain voxels to compare with.

Both map normalised points to velocities in voxels of the finest grid, so that an Adam step means
the same motion whatever the image's size (velocity units and learning rate are one knob).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nevf_lite.grid import normalised
from nevf_lite.kernels import find
from nevf_lite.warp import sample


class VelocityField(nn.Module):
    """A stationary velocity field v(x); subclasses say how v is stored.

    shape: the finest grid, whose box the field lives on and in whose voxels it speaks.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def on_lattice(self, nodes: Sequence[int]) -> Tensor:
        """The velocity on a lattice over the field's box: (1, ndim, *nodes), in finest voxels."""
        first = next(self.parameters())
        points = normalised(nodes, self.shape, first.device, first.dtype)
        flat = points.view(self.ndim, -1).T  # (P, ndim)
        return self(flat).T.reshape(1, self.ndim, *nodes)


class SineLayer(nn.Linear):
    """sin(omega (W x + b)): the frequency scales the input, so weights stay of the usual size.

    omega multiplies the few weights, not the many activations.
    """

    def __init__(self, fan_in: int, fan_out: int, omega: float, bound: float) -> None:
        super().__init__(fan_in, fan_out)
        self.omega = omega
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.omega * self.weight, self.omega * self.bias
        if (fast := find("sine_layer", x, weight, bias)) is not None:
            return fast(x, weight, bias)
        return torch.sin(F.linear(x, weight, bias))


class SirenField(VelocityField):
    """A perceptron with sine activations (Sitzmann et al. 2020; section 3.1, equation 5).

    shape: the finest grid. width, depth: units and number of the sine layers; a linear layer
    follows. omega: frequency of the first layer, the smoothness prior: at 30 the network starts
    with wavelengths near a third of the longest axis. Output starts at about 0.02 voxel, so the
    map starts at the identity. scale: voxels in one unit of the network's output.
    bfloat16: run the hidden layers' products in half precision (integration never is).
    chunk: points at a time; activations of a chunk are recomputed in the backward pass, which
    trades a third more arithmetic for memory that does not grow with the number of points. The
    fast version on the CPU always does so, in blocks of its own.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 5,
        omega: float = 30.0,
        scale: float = 1.0,
        bfloat16: bool = False,
        chunk: int | None = None,
    ) -> None:
        super().__init__(shape)
        self.settings = dict(
            width=width, depth=depth, omega=omega, scale=scale, bfloat16=bfloat16, chunk=chunk
        )
        layers: list[nn.Module] = []
        for i in range(depth):
            fan_in = self.ndim if i == 0 else width
            # first layer: inputs span [-1, 1]; later ones: keep the variance of a sine's output
            bound = 1 / fan_in if i == 0 else math.sqrt(6 / fan_in) / omega
            layers.append(SineLayer(fan_in, width, omega, bound))
        head = nn.Linear(width, self.ndim)
        bound = math.sqrt(6 / width) / omega
        nn.init.uniform_(head.weight, -bound, bound)
        nn.init.zeros_(head.bias)
        self.net = nn.Sequential(*layers, head)

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        if not self.settings["bfloat16"]:
            parameters = [p for layer in self.net for p in _scaled(layer)]
            if (fast := find("siren", points, *parameters)) is not None:
                return self.settings["scale"] * fast(points, *parameters)
        chunk = self.settings["chunk"]
        if chunk is None or len(points) <= chunk:
            return self._evaluate(points)
        parts = points.split(chunk)
        return torch.cat([checkpoint(self._evaluate, p, use_reentrant=False) for p in parts])

    def _evaluate(self, points: Tensor) -> Tensor:
        # the first layer keeps full precision: half would round the coordinates themselves, to
        # about a voxel, and quadruple the error of the whole
        hidden = self.net[0](points)
        with torch.autocast(points.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
            return self.settings["scale"] * self.net[1:](hidden).to(points.dtype)


def _scaled(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias with the frequency in them, as the layer uses them."""
    if isinstance(layer, SineLayer):
        return layer.omega * layer.weight, layer.omega * layer.bias
    return layer.weight, layer.bias


class VoxelField(VelocityField):
    """Velocities stored on a lattice and interpolated linearly: the paper's ablation (section 3.5).

    shape: the finest grid. nodes: the lattice, by default the whole grid. Starts at zero.
    """

    def __init__(self, shape: Sequence[int], nodes: Sequence[int] | None = None) -> None:
        super().__init__(shape)
        nodes = self.shape if nodes is None else tuple(nodes)
        self.values = nn.Parameter(torch.zeros(1, self.ndim, *nodes))

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        longest = max(n - 1 for n in self.shape)
        half = points.new_tensor([(n - 1) / longest for n in self.shape])
        nodes = points.new_tensor([n - 1 for n in self.values.shape[2:]])
        positions = (points / half + 1) / 2 * nodes
        positions = positions.T.reshape(1, self.ndim, -1, *[1] * (self.ndim - 1))
        return sample(self.values, positions, padding="border").reshape(self.ndim, -1).T
