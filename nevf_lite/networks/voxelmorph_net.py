"""VoxelMorph: one U-Net that outputs a displacement (Balakrishnan et al., CVPR 2018, "vm2")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nevf_lite.losses import LocalNCC, jacobian_penalty, smoothness
from nevf_lite.networks.base import (
    Loss,
    Network,
    NetworkFrame,
    Objective,
    check_channels,
    convolution,
)
from nevf_lite.warp import warp


class VoxelMorph(Network):
    """A U-Net whose output is the displacement in voxels.

    encoder: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution. decoder: channels of seven
    convolutions, at 1/16, 1/8, 1/4, 1/2, 1/2 and twice at full resolution. ndim: 2 or 3. frame: the
    frame of its input, by default RAS at 1 mm. objective: the weights of its loss, by default those
    of Balakrishnan et al. 2018 for local NCC: window 9, smoothness 1.0. The NeVF paper trains it
    with smoothness 4.0 (section 3.3).

    The default channels are those of the published "vm2". Convolutions have 3 voxels a side and are
    followed by LeakyReLU 0.2. Upsampling repeats voxels. Skip connections bring in the encoder's
    output at each resolution and, at full resolution, the images. The displacement of a new network
    is almost zero. Raises ValueError for wrong numbers of channels.
    """

    def __init__(
        self,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32, 32, 16, 16),
        ndim: int = 3,
        frame: NetworkFrame | None = None,
        objective: Objective | None = None,
    ) -> None:
        check_channels(encoder=encoder, decoder=decoder)
        for name, channels, count in (("encoder", encoder, 4), ("decoder", decoder, 7)):
            if len(channels) != count:
                raise ValueError(f"{name}: wanted {count} numbers of channels, got {channels!r}")
        settings = {"encoder": list(encoder), "decoder": list(decoder), "ndim": ndim}
        super().__init__(settings, frame or NetworkFrame(), objective or Objective())
        e, d = encoder, decoder
        inputs = [2, *e[:3]]
        # `forward` pads as Keras does for "same" at stride 2: no voxel before, one after
        self.encoder = nn.ModuleList(
            convolution(ndim, a, b, stride=2, padding=0) for a, b in zip(inputs, e, strict=True)
        )
        inputs = [e[3], d[0] + e[2], d[1] + e[1], d[2] + e[0], d[3], d[4] + 2, d[5]]
        self.decoder = nn.ModuleList(
            convolution(ndim, a, b) for a, b in zip(inputs, d, strict=True)
        )
        self.flow = convolution(ndim, d[6], ndim)
        nn.init.normal_(self.flow.weight, std=1e-5)
        nn.init.zeros_(self.flow.bias)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See `Network.forward`. Raises ValueError unless the sides are multiples of 16."""
        self.check(fixed, moving)
        x = torch.cat([moving, fixed], dim=1)  # (N, 2, S)
        levels = [x]
        for layer in self.encoder:  # (N, e0, S/2), (N, e1, S/4), (N, e2, S/8), (N, e3, S/16)
            x = _leaky(layer(F.pad(x, [0, 1] * self.ndim)))
            levels.append(x)
        d = self.decoder
        x = _leaky(d[0](levels[4]))  # (N, d0, S/16)
        x = _leaky(d[1](_up(x, levels[3])))  # (N, d1, S/8)
        x = _leaky(d[2](_up(x, levels[2])))  # (N, d2, S/4)
        x = _leaky(d[3](_up(x, levels[1])))  # (N, d3, S/2)
        x = _leaky(d[4](x))  # (N, d4, S/2)
        x = _leaky(d[5](_up(x, levels[0])))  # (N, d5, S)
        x = _leaky(d[6](x))  # (N, d6, S)
        return self.flow(x)  # (N, ndim, S), voxels

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """Local NCC and smoothness of the displacement (Balakrishnan et al. 2018)."""
        weights = self.objective
        displacement = self(fixed, moving)
        terms = {
            "dissimilarity": LocalNCC(fixed, weights.window)(warp(moving, displacement)),
            "smoothness": smoothness(displacement),
        }
        total = terms["dissimilarity"] + weights.smooth * terms["smoothness"]
        if weights.jacobian:
            terms["jacobian"] = jacobian_penalty(displacement)
            total = total + weights.jacobian * terms["jacobian"]
        return Loss(total, terms, displacement)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _up(x: Tensor, skip: Tensor) -> Tensor:
    """Repeat each voxel to double the resolution, and append the encoder's channels."""
    return torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1)
