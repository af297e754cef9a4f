"""Velocity fields, which the optimisation fits: neural fields, and voxels to compare them with.

All map normalised points to velocities in voxels of the finest grid, so that a step of Adam means
the same motion for every image size. (The unit of velocity and the learning rate are one knob.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nevf_lite.grid import normalised, resize, sparse_shape
from nevf_lite.kernels import find_kernel
from nevf_lite.warp import sample

#: Features at each node of a lattice of features.
FEATURES_PER_NODE = 4


class VelocityField(nn.Module):
    """A stationary velocity field V(p) = v (equation 2 of the paper); subclasses define V.

    shape: the finest grid. The field covers its box and returns velocities in its voxels. settings:
    the other arguments of a subclass, from which it can be rebuilt. changes_with_time: whether its
    points have the time as one more coordinate; a velocity V(p) has no need of it.
    """

    settings: dict
    changes_with_time = False

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def on_lattice(self, nodes: Sequence[int]) -> Tensor:
        """The velocity on a lattice over the field's box: (1, ndim, *nodes), in finest voxels."""
        parameter = next(self.parameters())
        points = normalised(nodes, self.shape, parameter.device, parameter.dtype)
        points = points.view(self.ndim, -1).T  # (P, ndim)
        return self(points).T.reshape(1, self.ndim, *nodes)

    def freeze_finer_than(self, spacing: float) -> None:
        """Prepare for a level on which the field is sampled every `spacing` finest voxels."""

    def rest(self) -> None:
        """Make the velocity zero everywhere: that of the last layer, which is linear."""
        with torch.no_grad():
            for parameter in list(self.parameters())[-2:]:
                parameter.zero_()


class SineLayer(nn.Linear):
    """sin(omega (W x + b)).

    The frequency omega scales the input of the sine, so that weights keep their usual size. In the
    code it multiplies the weights, of which there are fewer than activations.
    """

    def __init__(self, fan_in: int, fan_out: int, omega: float, bound: float) -> None:
        super().__init__(fan_in, fan_out)
        self.omega = omega
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.omega * self.weight, self.omega * self.bias
        if (kernel := find_kernel("sine_layer", x, weight, bias)) is not None:
            return kernel(x, weight, bias)
        return torch.sin(F.linear(x, weight, bias))


class SirenField(VelocityField):
    """A perceptron with sine activations (Sitzmann et al. 2020): the paper's field, section 2.1.

    shape: the finest grid. width, depth: units and number of the sine layers; a linear layer
    follows. omega: frequency omega_0 of the sine layers, the smoothness prior. At 30 the network
    starts with wavelengths near a third of the longest axis. scale: voxels per unit of the
    network's output. The output starts with a standard deviation of about scale / omega.
    bfloat16: compute the products of the hidden layers in half precision; integration is always in
    full precision. chunk: points evaluated at a time. Their activations are recomputed in the
    backward pass: a third more arithmetic, for memory that does not grow with the number of points.
    The CPU kernel always works in blocks of its own.
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
            fan_in = self.ndim + self.changes_with_time if i == 0 else width
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
            if (kernel := find_kernel("siren", points, *parameters)) is not None:
                return self.settings["scale"] * kernel(points, *parameters, keep=chunk is None)
        if chunk is None or len(points) <= chunk:
            return self._evaluate(points)
        chunks = points.split(chunk)
        return torch.cat([checkpoint(self._evaluate, c, use_reentrant=False) for c in chunks])

    def _evaluate(self, points: Tensor) -> Tensor:
        # The first layer keeps full precision: half precision would round the coordinates to about
        # a voxel and quadruple the error of the result.
        hidden = self.net[0](points)
        with torch.autocast(points.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
            return self.settings["scale"] * self.net[1:](hidden).to(points.dtype)


def _scaled(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, multiplied by its frequency."""
    if isinstance(layer, SineLayer):
        return layer.omega * layer.weight, layer.omega * layer.bias
    return layer.weight, layer.bias


class FeatureField(VelocityField):
    """Learned features of a point, instead of its coordinates, as input of a small sine network.

    Lattices of several spacings hold `channels` features at each node. At a point they are
    interpolated linearly and concatenated; one sine layer and one linear layer turn them into a
    velocity. A node affects only its neighbourhood, so the field fits in a tenth of the iterations
    of a SIREN. (Multiresolution grids as in Müller et al. 2022, without the hashing, because the
    lattices of a registration are small.)

    shape: the finest grid. spacings: of the lattices, in its voxels. width: units of the sine
    layer. scale: voxels per unit of the network's output. gain: factor on the features of a
    lattice, per voxel of its spacing. Adam moves all parameters equally far in a step, and features
    have farther to go than weights; with the gain one learning rate serves both. Coarse lattices
    get the larger gain, so that fine detail comes last and stays small.

    The field starts at about 0.01 voxel. All features start at zero except those of the coarsest
    lattice, which are tiny random numbers of both signs. With zero displacement every position
    would lie on a voxel, where linear interpolation has a kink, and the same one-sided gradient
    everywhere would pull the whole image to one side.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacings: Sequence[float] = (16, 8, 4, 2),
        channels: int = FEATURES_PER_NODE,
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
        # weights that keep the variance of their input; without biases, zero features give zero
        self.net = nn.Sequential(
            SineLayer(fan_in, width, 1.0, math.sqrt(6 / fan_in)), nn.Linear(width, self.ndim)
        )
        nn.init.uniform_(self.net[1].weight, -math.sqrt(6 / width), math.sqrt(6 / width))
        for layer in self.net:
            nn.init.zeros_(layer.bias)
        coarsest = max(range(len(self.lattices)), key=lambda i: spacings[i])
        nn.init.uniform_(self.lattices[coarsest], -1e-4, 1e-4)

    def freeze_finer_than(self, spacing: float) -> None:
        """Freeze the lattices that are finer than the sampling, except the coarsest one.

        Nodes between the samples would get no gradient. Fitting only the nodes next to a sample
        would show as spikes on the next level.
        """
        spacings = self.settings["spacings"]
        for lattice_spacing, lattice in zip(spacings, self.lattices, strict=True):
            resolved = lattice_spacing >= 0.9 * spacing or lattice_spacing == max(spacings)
            lattice.requires_grad_(resolved)

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        features = [_sample_lattice(values, points, self.shape).T for values in self._scaled()]
        return self.settings["scale"] * self.net(torch.cat(features).T)

    def on_lattice(self, nodes: Sequence[int]) -> Tensor:
        """The velocity on a lattice over the field's box: (1, ndim, *nodes), in finest voxels."""
        features = torch.cat([resize(values, nodes).flatten(2)[0] for values in self._scaled()])
        kernel = find_kernel("feature_net", features, *(parameters := [*self.net.parameters()]))
        velocity = kernel(features, *parameters) if kernel else self.net(features.T).T
        return self.settings["scale"] * velocity.reshape(1, self.ndim, *nodes)

    def _scaled(self) -> list[Tensor]:
        """The lattices, each times its gain."""
        gain, spacings = self.settings["gain"], self.settings["spacings"]
        return [gain * h * lattice for h, lattice in zip(spacings, self.lattices, strict=True)]


class VoxelField(VelocityField):
    """Velocities on a lattice, interpolated linearly: the paper's voxel parameter (section 3.5).

    shape: the finest grid. nodes: of the lattice; by default the whole grid. It starts at zero.
    """

    def __init__(self, shape: Sequence[int], nodes: Sequence[int] | None = None) -> None:
        super().__init__(shape)
        nodes = self.shape if nodes is None else tuple(nodes)
        self.settings = dict(nodes=nodes)
        self.values = nn.Parameter(torch.zeros(1, self.ndim, *nodes))

    def forward(self, points: Tensor) -> Tensor:
        """Velocities (P, ndim) in finest voxels at normalised points (P, ndim)."""
        return _sample_lattice(self.values, points, self.shape)


def _sample_lattice(lattice: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a lattice (1, C, *nodes) over the box of `shape` at normalised points (P, ndim).

    Returns (P, C).
    """
    longest = max(n - 1 for n in shape)
    half_extent = points.new_tensor([(n - 1) / longest for n in shape])
    cells = points.new_tensor([n - 1 for n in lattice.shape[2:]])
    positions = (points / half_extent + 1) / 2 * cells
    return sample(lattice, positions.T[None], padding="border")[0].T
