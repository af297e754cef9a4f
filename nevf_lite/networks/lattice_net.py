"""A network that predicts the features of a `FeatureField`, with the field's head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nevf_lite.config import PRESETS
from nevf_lite.fields import FEATURES_PER_NODE
from nevf_lite.grid import downsample_masked, identity
from nevf_lite.integrate import scaling_and_squaring
from nevf_lite.losses import LocalNCC, penalties
from nevf_lite.networks.base import (
    Loss,
    Network,
    NetworkFrame,
    Objective,
    check_channels,
    convolution,
)
from nevf_lite.warp import sample, warp, warp_masked

#: Voxels between two nodes of the predicted lattice.
STRIDE = 2
#: mm (at 1 mm: voxels) of velocity per unit of the head's output, and the determinant below which
#: the Jacobian penalty begins: those of the preset "default".
SCALE, MARGIN = PRESETS["default"].scale, PRESETS["default"].margin
SQUARINGS = PRESETS["default"].squarings


class LatticeNet(Network):
    """Predicts the features of a `FeatureField`, times their gain, at every second voxel.

    One head, a sine layer and a linear one without biases, turns the features at a point into its
    velocity. It is learned along, and every lattice of the field gets a copy of it.

    channels: of the U-Net at 1/2, 1/4 and 1/8 of the images' resolution. passes: times that the
    U-Net is applied on each resolution, coarse to fine; the last is that of the frame, each other
    half of the next. A pass sees the fixed image, the moving one as warped so far, the displacement
    so far, and the direction in which that lowers the loss, and adds to the features. So it is a
    descent whose steps are learned, and it need not learn what a brain looks like. width: sine
    units of the head. ndim: 2 or 3. frame: by default RAS at 2 mm. objective: weights of its loss,
    by default those of the preset "default".
    """

    stride = 1

    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 48),
        passes: Sequence[int] = (3, 1),
        width: int = 32,
        ndim: int = 3,
        frame: NetworkFrame | None = None,
        objective: Objective | None = None,
    ) -> None:
        check_channels(channels=channels, passes=passes, width=width)
        if len(channels) != 3:
            raise ValueError(f"channels: wanted 3 numbers of channels, got {channels!r}")
        settings = dict(channels=list(channels), passes=list(passes), width=width, ndim=ndim)
        objective = objective or Objective(window=7, smooth=0.5, jacobian=100.0)
        super().__init__(settings, frame or NetworkFrame(spacing=2.0), objective)
        a, b, c = channels
        features, inputs = FEATURES_PER_NODE, 2 + 2 * ndim

        def layer(fan_in: int, fan_out: int, stride: int = 1) -> nn.Module:
            return convolution(ndim, fan_in, fan_out, stride=stride)

        self.encoder = nn.ModuleList(
            nn.ModuleList([layer(n, m, stride=2), layer(m, m)])
            for n, m in ((inputs, a), (a, b), (b, c))
        )
        self.decoder = nn.ModuleList([layer(c + b, b), layer(b + a, a)])
        self.outputs = nn.ModuleList([layer(b, features), layer(a, features)])
        for output in self.outputs:
            nn.init.normal_(output.weight, std=1e-3)
            nn.init.zeros_(output.bias)
        # the bounds of a new FeatureField with four lattices
        first, second = math.sqrt(6 / (4 * features)), math.sqrt(6 / width)
        self.features_to_sines = nn.Parameter(torch.empty(width, features).uniform_(-first, first))
        self.sines_to_velocity = nn.Parameter(torch.empty(ndim, width).uniform_(-second, second))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See `Network.forward`."""
        features = self.predict_features(fixed, moving)
        return self._displacement(features, fixed.shape[2:], self.frame.spacing)

    def predict_features(
        self,
        fixed: Tensor,
        moving: Tensor,
        fixed_mask: Tensor | None = None,
        moving_mask: Tensor | None = None,
    ) -> Tensor:
        """The features at voxels 0, 2, 4, ...: (N, 4, *shape / 2, rounded up), without unit.

        fixed, moving: as for `forward`. fixed_mask, moving_mask: (N, 1, *shape), 1 where the image
        counts.
        """
        *_, (_, features) = self._passes(fixed, moving, fixed_mask, moving_mask)
        return features

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """The loss of a registration, mean over the passes; its terms are of the last one.

        The pair is registered in both directions.
        """
        weights, totals = self.objective, []
        both = torch.cat([fixed, moving]), torch.cat([moving, fixed])
        for scale, features in self._passes(*both):
            displacement = self._displacement(features, scale.moving.shape[2:], scale.spacing)
            dissimilarity = scale.similarity(warp(scale.moving, displacement))
            jacobian, smooth, _ = penalties(displacement, MARGIN)
            terms = {"dissimilarity": dissimilarity, "jacobian": jacobian, "smoothness": smooth}
            totals.append(dissimilarity + weights.jacobian * jacobian + weights.smooth * smooth)
        return Loss(sum(totals) / len(totals), terms, displacement[: len(fixed)])

    def _passes(
        self,
        fixed: Tensor,
        moving: Tensor,
        fixed_mask: Tensor | None = None,
        moving_mask: Tensor | None = None,
    ) -> Iterator[tuple[_Scale, Tensor]]:
        """The features after each pass, with the images that it saw."""
        self.check(fixed, moving)
        images, pyramid = [(fixed, fixed_mask), (moving, moving_mask)], []
        for number in range(len(self.settings["passes"])):
            if number:
                images = [_halved(*image) for image in images]
            (fixed, fixed_mask), moving_and_mask = images
            similarity = LocalNCC(fixed, self.objective.window, fixed_mask)
            spacing = self.frame.spacing * 2**number
            pyramid.insert(0, _Scale(spacing, fixed, *moving_and_mask, similarity))
        features = None
        for scale, passes in zip(pyramid, self.settings["passes"], strict=True):
            shape = scale.fixed.shape[2:]
            nodes = _halved_shape(shape)
            if features is None:
                features = fixed.new_zeros(len(fixed), FEATURES_PER_NODE, *nodes)
            else:  # the voxels of the coarser images are the nodes now
                features = _at_every(features, 1 / STRIDE, nodes)
            for _ in range(passes):
                with torch.no_grad():
                    displacement = self._displacement(features, shape, scale.spacing)
                # the same step in voxels on each resolution
                step = scale.spacing / pyramid[0].spacing
                features = features + step * self._unet(scale.look(displacement))
                yield scale, features

    def _displacement(self, features: Tensor, shape: Sequence[int], spacing: float) -> Tensor:
        """The flow of the velocity that features describe: (N, ndim, *shape), voxels."""
        sines = torch.einsum("wf,nf...->nw...", self.features_to_sines, features).sin()
        velocity = torch.einsum("dw,nw...->nd...", self.sines_to_velocity, sines)
        velocity = SCALE / spacing * _at_every(velocity, 1 / STRIDE, shape)
        return scaling_and_squaring(velocity, SQUARINGS)

    def _unet(self, x: Tensor) -> Tensor:
        """(N, inputs, *shape) to features at every second voxel."""
        nodes = _halved_shape(x.shape[2:])
        levels = []
        x = F.pad(x, [p for n in reversed(x.shape[2:]) for p in (0, -n % 8)])
        for down, same in self.encoder:  # (N, a, S/2), (N, b, S/4), (N, c, S/8)
            x = _leaky(same(_leaky(down(x))))
            levels.append(x)
        outputs = []
        for layer, output, skip in zip(self.decoder, self.outputs, levels[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = _leaky(layer(torch.cat([x, skip], dim=1)))  # (N, b, S/4), (N, a, S/2)
            outputs.append(output(x))
        coarse, fine = outputs
        inside = (..., *(slice(n) for n in nodes))
        return fine[inside] + _at_every(coarse, 1 / 2, nodes)


@dataclass
class _Scale:
    """Both images on one resolution. spacing: mm."""

    spacing: float
    fixed: Tensor
    moving: Tensor
    moving_mask: Tensor | None
    similarity: LocalNCC

    def look(self, displacement: Tensor) -> Tensor:
        """What a pass sees: (N, 2 + 2 ndim, *shape).

        The direction of steepest descent is scaled to a mean square of 1.
        """
        with torch.enable_grad():
            position = displacement.detach().requires_grad_()
            warped, weight = warp_masked(self.moving, self.moving_mask, position)
            (gradient,) = torch.autograd.grad(self.similarity(warped, weight), position)
        force = -gradient / gradient.square().mean().sqrt().clamp_min(1e-12)
        return torch.cat([self.fixed, warped.detach(), displacement, force], dim=1)


def _halved_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The number of voxels 0, 2, 4, ... along each axis."""
    return tuple((n + 1) // 2 for n in shape)


def _halved(image: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """An image and its mask, blurred, at voxels 0, 2, 4, ..."""
    shape = image.shape[2:]
    odd = (..., *(slice(n - 1 + n % 2) for n in shape))
    return downsample_masked(image[odd], None if mask is None else mask[odd], _halved_shape(shape))


def _at_every(lattice: Tensor, step: float, shape: Sequence[int]) -> Tensor:
    """Interpolate (N, C, *nodes) linearly at 0, step, 2 step, ... of its nodes: (N, C, *shape)."""
    positions = identity(shape, lattice.device, lattice.dtype) * step
    return sample(lattice, positions.expand(len(lattice), *positions.shape[1:]), padding="border")


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
