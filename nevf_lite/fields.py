"""Velocity fields: what the optimisation fits. Networks, or plain voxels to compare with.

All map normalised points to velocities in voxels of the finest grid, so that an Adam step means
the same motion whatever the image's size (velocity units and learning rate are one knob).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nevf_lite.grid import normalised, resize, sparse_shape
from nevf_lite.kernels import find
from nevf_lite.warp import sample

#: Features that a node of a lattice holds.
CHANNELS = 4


class VelocityField(nn.Module):
    """A stationary velocity field v(x); subclasses say how v is stored.

    shape: the finest grid, whose box the field lives on and in whose voxels it speaks. settings:
    what else a subclass was made from, so that a file can make it again.
    """

    settings: dict

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

    def learn_at(self, spacing: float) -> None:
        """Told before each level: how many finest voxels apart the field will be sampled."""


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
        chunk = self.settings["chunk"]
        if not self.settings["bfloat16"]:
            parameters = [p for layer in self.net for p in _scaled(layer)]
            if (fast := find("siren", points, *parameters)) is not None:
                return self.settings["scale"] * fast(points, *parameters, keep=chunk is None)
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


class FeatureField(VelocityField):
    """Learned features of a place, instead of its coordinates, in front of a small sine network.

    Lattices of several spacings hold `channels` features at each node. A point reads them all
    linearly; one sine layer and a linear one make a velocity of what it reads. Each node learns of
    its neighbourhood alone, so the field fits in a tenth of a SIREN's iterations, and each of them
    costs little. (Neural graphics primitives of Müller et al. 2022, without their hashing: in 3-D a
    registration's lattices are small.)

    shape: the finest grid. spacings: of the lattices, in its voxels. width: units of the sine
    layer. scale: voxels in one unit of the network's output. gain: of a lattice's features over the
    weights, for each voxel of its spacing. Adam moves every parameter equally far; with the gain
    one learning rate serves both, since features have farther to go, and coarse ones farthest: fine
    detail should come last and stay small. Starts within 0.02 voxel of the identity: all features
    are zero but the coarsest, whose random numbers only break the tie. On the voxels exactly linear
    interpolation has a slope to each side and none of its own, and whichever is taken pulls the
    whole image that way.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacings: Sequence[float] = (16, 8, 4, 2),
        channels: int = CHANNELS,
        width: int = 32,
        scale: float = 5.0,
        gain: float = 2.0,
    ) -> None:
        super().__init__(shape)
        self.settings = dict(
            spacings=tuple(spacings), channels=channels, width=width, scale=scale, gain=gain
        )
        self.lattices = nn.ParameterList(
            nn.Parameter(torch.zeros(1, channels, *sparse_shape(shape, spacing)))
            for spacing in spacings
        )
        fan_in = channels * len(self.lattices)
        # weights of a layer that keeps its input's variance; no biases, so zero in is zero out
        self.net = nn.Sequential(
            SineLayer(fan_in, width, 1.0, math.sqrt(6 / fan_in)), nn.Linear(width, self.ndim)
        )
        nn.init.uniform_(self.net[1].weight, -math.sqrt(6 / width), math.sqrt(6 / width))
        for layer in self.net:
            nn.init.zeros_(layer.bias)
        coarsest = max(range(len(self.lattices)), key=lambda i: spacings[i])
        nn.init.uniform_(self.lattices[coarsest], -1e-4, 1e-4)

    def learn_at(self, spacing: float) -> None:
        """Lattices finer than the samples wait: a node that falls between samples learns nothing.

        What a sample taught its nearest nodes alone would show as spikes on the next level.
        """
        for own, lattice in zip(self.settings["spacings"], self.lattices, strict=True):
            lattice.requires_grad_(own >= 0.9 * spacing or own == max(self.settings["spacings"]))

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        return self._of_features([_read(lattice, points, self.shape) for lattice in self.lattices])

    def on_lattice(self, nodes: Sequence[int]) -> Tensor:
        """The velocity on a lattice over the field's box: (1, ndim, *nodes), in finest voxels."""
        read = [resize(lattice, nodes).flatten(2)[0].T for lattice in self.lattices]
        return self._of_features(read).T.reshape(1, self.ndim, *nodes)

    def _of_features(self, features: list[Tensor]) -> Tensor:
        """features: (P, channels) for each lattice. Returns (P, ndim)."""
        settings = self.settings
        gains = [settings["gain"] * spacing for spacing in settings["spacings"]]
        scaled = [gain * read for gain, read in zip(gains, features, strict=True)]
        return settings["scale"] * self.net(torch.cat(scaled, dim=1))


class VoxelField(VelocityField):
    """Velocities stored on a lattice and interpolated linearly: the paper's ablation (section 3.5).

    shape: the finest grid. nodes: the lattice, by default the whole grid. Starts at zero.
    """

    def __init__(self, shape: Sequence[int], nodes: Sequence[int] | None = None) -> None:
        super().__init__(shape)
        nodes = self.shape if nodes is None else tuple(nodes)
        self.settings = dict(nodes=nodes)
        self.values = nn.Parameter(torch.zeros(1, self.ndim, *nodes))

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        return _read(self.values, points, self.shape)


def _read(lattice: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    """A lattice (1, C, *nodes) over the box of `shape`, at normalised points (P, ndim): (P, C)."""
    longest = max(n - 1 for n in shape)
    half = points.new_tensor([(n - 1) / longest for n in shape])
    nodes = points.new_tensor([n - 1 for n in lattice.shape[2:]])
    positions = (points / half + 1) / 2 * nodes
    positions = positions.T.reshape(1, len(shape), -1, *[1] * (len(shape) - 1))
    return sample(lattice, positions, padding="border").reshape(lattice.shape[1], -1).T
