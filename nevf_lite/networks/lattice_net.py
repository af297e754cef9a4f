"""A network that predicts the coarse lattices of a `FeatureField`, with the field's head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nevf_lite.config import PRESETS
from nevf_lite.fields import FEATURES_PER_NODE
from nevf_lite.grid import identity
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

#: Voxels of the images between two nodes of the predicted lattices, coarse to fine.
STRIDES = (4, 2)
#: mm (at 1 mm: voxels) of velocity per unit of the head's output, and the determinant below which
#: the Jacobian penalty begins: those of the preset "default".
SCALE, MARGIN = PRESETS["default"].scale, PRESETS["default"].margin
SQUARINGS = PRESETS["default"].squarings


class LatticeNet(Network):
    """Predicts features on two lattices, every four and every two voxels of its images.

    The features are those of a `FeatureField` times their gain. One head, a sine layer and a linear
    one without biases, turns the sum of all lattices' features at a point into its velocity. It is
    learned along, and every lattice of the field gets a copy of it.

    channels: of the U-Net at 1/2, 1/4 and 1/8 of the images' resolution. passes: times that the
    U-Net is applied; each adds to the features. It sees the fixed image, the moving one as warped
    so far, the displacement so far, and the direction in which that lowers the loss. So it is a
    descent whose steps are learned, and it need not learn what a brain looks like. width: sine
    units of the head. ndim: 2 or 3. frame: by default RAS at 4 mm. objective: weights of its loss,
    by default those of the preset "default".
    """

    stride = 8

    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 48),
        passes: int = 3,
        width: int = 32,
        ndim: int = 3,
        frame: NetworkFrame | None = None,
        objective: Objective | None = None,
    ) -> None:
        check_channels(channels=channels, passes=passes, width=width)
        if len(channels) != 3:
            raise ValueError(f"channels: wanted 3 numbers of channels, got {channels!r}")
        settings = {"channels": list(channels), "passes": passes, "width": width, "ndim": ndim}
        objective = objective or Objective(window=7, smooth=0.5, jacobian=100.0)
        super().__init__(settings, frame or NetworkFrame(spacing=4.0), objective)
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
        """See `Network.forward`. Raises ValueError unless the sides are multiples of 8."""
        lattices = self.predict_lattices(fixed, moving)
        return self.displacement(lattices, fixed.shape[2:])

    def predict_lattices(
        self,
        fixed: Tensor,
        moving: Tensor,
        fixed_mask: Tensor | None = None,
        moving_mask: Tensor | None = None,
    ) -> list[Tensor]:
        """The features of both lattices, coarse to fine: (N, 4, *shape / stride), without unit.

        Node i of a lattice lies at voxel i * stride. fixed, moving: as for `forward`. fixed_mask,
        moving_mask: (N, 1, *shape), 1 where the image counts.
        """
        *_, lattices = self._passes(fixed, moving, fixed_mask, moving_mask)
        return lattices

    def displacement(self, lattices: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """The flow of the velocity that lattices describe: (N, ndim, *shape), voxels."""
        coarse, fine = lattices
        features = fine + _at_every(coarse, STRIDES[1] / STRIDES[0], fine.shape[2:])
        sines = torch.einsum("wf,nf...->nw...", self.features_to_sines, features).sin()
        velocity = torch.einsum("dw,nw...->nd...", self.sines_to_velocity, sines)
        velocity = SCALE / self.frame.spacing * _at_every(velocity, 1 / STRIDES[1], shape)
        return scaling_and_squaring(velocity, SQUARINGS)

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """The loss of a registration, mean over the passes; its terms are of the last one.

        The pair is registered in both directions: two at once take no longer than one.
        """
        weights, totals = self.objective, []
        fixed, moving = torch.cat([fixed, moving]), torch.cat([moving, fixed])
        similarity = LocalNCC(fixed, weights.window)
        for lattices in self._passes(fixed, moving):
            displacement = self.displacement(lattices, fixed.shape[2:])
            dissimilarity = similarity(warp(moving, displacement))
            jacobian, smooth, _ = penalties(displacement, MARGIN)
            terms = {"dissimilarity": dissimilarity, "jacobian": jacobian, "smoothness": smooth}
            totals.append(dissimilarity + weights.jacobian * jacobian + weights.smooth * smooth)
        return Loss(sum(totals) / len(totals), terms, displacement[: len(fixed) // 2])

    def _passes(self, fixed, moving, fixed_mask=None, moving_mask=None):
        """The lattices after each pass."""
        self.check(fixed, moving)
        similarity = LocalNCC(fixed, self.objective.window, fixed_mask)
        shape = fixed.shape[2:]
        lattices = [
            fixed.new_zeros(len(fixed), FEATURES_PER_NODE, *(n // stride for n in shape))
            for stride in STRIDES
        ]
        displacement = fixed.new_zeros(len(fixed), self.ndim, *shape)
        for number in range(self.settings["passes"]):
            if number:
                with torch.no_grad():
                    displacement = self.displacement(lattices, shape)
            warped, force = _force(similarity, moving, moving_mask, displacement)
            updates = self._unet(torch.cat([fixed, warped, displacement, force], dim=1))
            lattices = [old + new for old, new in zip(lattices, updates, strict=True)]
            yield lattices

    def _unet(self, x: Tensor) -> list[Tensor]:
        levels = []
        for down, same in self.encoder:  # (N, a, S/2), (N, b, S/4), (N, c, S/8)
            x = _leaky(same(_leaky(down(x))))
            levels.append(x)
        outputs = []
        for layer, output, skip in zip(self.decoder, self.outputs, levels[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = _leaky(layer(torch.cat([x, skip], dim=1)))  # (N, b, S/4), (N, a, S/2)
            outputs.append(output(x))
        return outputs


def _force(
    similarity: LocalNCC, moving: Tensor, mask: Tensor | None, displacement: Tensor
) -> tuple[Tensor, Tensor]:
    """The warped moving image, and the direction of steepest descent of the dissimilarity.

    The latter is (N, ndim, *shape), scaled to a mean square of 1.
    """
    with torch.enable_grad():
        position = displacement.detach().requires_grad_()
        warped, weight = warp_masked(moving, mask, position)
        (gradient,) = torch.autograd.grad(similarity(warped, weight), position)
    return warped.detach(), -gradient / gradient.square().mean().sqrt().clamp_min(1e-12)


def _at_every(lattice: Tensor, step: float, shape: Sequence[int]) -> Tensor:
    """Interpolate (N, C, *nodes) linearly at 0, step, 2 step, ... of its nodes: (N, C, *shape)."""
    positions = identity(shape, lattice.device, lattice.dtype) * step
    return sample(lattice, positions.expand(len(lattice), *positions.shape[1:]), padding="border")


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
