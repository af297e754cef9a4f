"""SYMNet: one U-Net that outputs two velocities, one for each image (Mok and Chung, CVPR 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nevf_lite.integrate import compose, scaling_and_squaring
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

#: The NCC window of Mok and Chung 2020, with the weights of the NeVF paper (section 3.3).
OBJECTIVE = Objective(window=7, smooth=4.0, jacobian=100.0, magnitude=0.001)
#: Squarings of each integration, as in the authors' code.
SQUARINGS = 7


class SYMNet(Network):
    """A U-Net with two outputs: the velocities that take each image to the midpoint between them.

    channels: of the first stage (`start_channel` of the authors); they double with each halving of
    the resolution. reach: upper bound of a velocity component, in voxels. ndim: 2 or 3. frame: the
    frame of its input, by default RAS at 1 mm. objective: the weights of its loss, by default those
    of the NeVF paper (section 3.3).

    The default channels and reach are those of the published weights. The displacement of a new
    network is almost zero; in the authors' code it is several voxels. Raises ValueError for wrong
    numbers of channels.
    """

    def __init__(
        self,
        channels: int = 7,
        reach: float = 100.0,
        ndim: int = 3,
        frame: NetworkFrame | None = None,
        objective: Objective | None = None,
    ) -> None:
        check_channels(channels=channels)
        settings = {"channels": channels, "reach": reach, "ndim": ndim}
        super().__init__(settings, frame or NetworkFrame(), objective or OBJECTIVE)
        self.reach, c = reach, channels
        self.encoder = nn.ModuleList(
            _Stage(ndim, *widths, stride)
            for *widths, stride in (
                (2, c, c, 1),
                (c, 2 * c, 2 * c, 2),
                (2 * c, 4 * c, 4 * c, 2),
                (4 * c, 8 * c, 8 * c, 2),
                (8 * c, 16 * c, 8 * c, 2),
            )
        )
        transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[ndim]
        self.up = nn.ModuleList(transposed(n * c, n * c, 2, stride=2) for n in (8, 4, 2, 2))
        self.decoder = nn.ModuleList(
            _Stage(ndim, *widths)
            for widths in (
                (16 * c, 8 * c, 4 * c),
                (8 * c, 4 * c, 2 * c),
                (4 * c, 4 * c, 2 * c),
                (3 * c, 2 * c, 2 * c),
            )
        )
        self.heads = nn.ModuleList(
            convolution(ndim, 2 * c, ndim, kernel_size=5, bias=False) for _ in range(2)
        )
        for head in self.heads:
            nn.init.normal_(head.weight, std=1e-5)

    def velocities(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the velocities from each image to the midpoint: two (N, ndim, *shape), in voxels.

        first, second: (N, 1, *shape) in [0, 1]. The velocities pull back: the first image warped by
        exp(v_first) and the second warped by exp(v_second) are alike.
        """
        self.check(first, second)
        x = torch.cat([first, second], dim=1)  # (N, 2, S)
        levels = []
        for stage in self.encoder:  # (N, c, S), (N, 2c, S/2), (N, 4c, S/4), (N, 8c, S/8 and S/16)
            x = stage(x)
            levels.append(x)
        for up, stage, skip in zip(self.up, self.decoder, reversed(levels[:-1]), strict=True):
            # (N, 4c, S/8), (N, 2c, S/4), (N, 2c, S/2), (N, 2c, S)
            x = stage(torch.cat([F.relu(up(x)), skip], dim=1))
        # the published components are in grid_sample's order, the last axis first
        return tuple(self.reach * F.softsign(head(x)).flip(1) for head in self.heads)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See `Network.forward`: first exp(v_moving), then exp(-v_fixed).

        This is the authors' order of composition, which the published weights were trained with.
        Pull-back maps compose in the opposite order: exp(-v_fixed) leads from the fixed image to
        the midpoint, and exp(v_moving) from there to the moving image. With the published weights
        the Dice of the pair of the parity test is 0.697 in the authors' order and 0.708 in the
        opposite one.
        Raises ValueError unless the sides are multiples of 16.
        """
        velocity_moving, velocity_fixed = self.velocities(moving, fixed)
        half_moving = scaling_and_squaring(velocity_moving, SQUARINGS)
        return compose(half_moving, scaling_and_squaring(-velocity_fixed, SQUARINGS))

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """The loss of Mok and Chung 2020, with the weights of `objective`.

        Its terms are the dissimilarity at the midpoint and at both images, the difference in
        magnitude of the two halves, the negative Jacobian determinants and the smoothness.
        """
        weights = self.objective
        velocities = self.velocities(moving, fixed)
        half_moving, half_fixed = (scaling_and_squaring(v, SQUARINGS) for v in velocities)
        inverse_moving, inverse_fixed = (scaling_and_squaring(-v, SQUARINGS) for v in velocities)
        displacement = compose(half_moving, inverse_fixed)
        reverse = compose(half_fixed, inverse_moving)

        def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
            return LocalNCC(a, weights.window)(b)

        terms = {
            "middle": dissimilarity(warp(moving, half_moving), warp(fixed, half_fixed)),
            "dissimilarity": dissimilarity(fixed, warp(moving, displacement)),
            "reverse": dissimilarity(moving, warp(fixed, reverse)),
            "magnitude": (half_moving.abs().mean() - half_fixed.abs().mean()).abs(),
            "jacobian": jacobian_penalty(displacement) + jacobian_penalty(reverse),
            "smoothness": smoothness(velocities[0]) + smoothness(velocities[1]),
        }
        total = (
            terms["middle"]
            + terms["dissimilarity"]
            + terms["reverse"]
            + weights.magnitude * terms["magnitude"]
            + weights.jacobian * terms["jacobian"]
            + weights.smooth * terms["smoothness"]
        )
        return Loss(total, terms, displacement)


class _Stage(nn.Sequential):
    """Two convolutions of 3 voxels a side with ReLU, the first with a stride."""

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> None:
        super().__init__(
            convolution(ndim, in_channels, hidden_channels, stride=stride),
            nn.ReLU(),
            convolution(ndim, hidden_channels, out_channels),
            nn.ReLU(),
        )
