"""SYMNet: both images are moved half way and meet in the middle (Mok and Chung, CVPR 2020)."""

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

#: The authors' loss on brains, with the weights that the NeVF paper trains it with.
OBJECTIVE = Objective(window=7, smooth=4.0, jacobian=100.0, magnitude=0.001)
SQUARINGS = 7


class SYMNet(Network):
    """A U-Net with two outputs: the velocities that take each image to the middle.

    channels: of the first stage (`start_channel` of the authors); they double with each halving of
    the resolution. reach: voxels that an output of 1 stands for, the most that a velocity can be.
    ndim: 2 or 3. The defaults are those of the published weights. A new network starts at (almost)
    no displacement; the authors' own starts at several voxels.
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
            _Stage(ndim, *numbers, stride)
            for *numbers, stride in (
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
            _Stage(ndim, *numbers)
            for numbers in (
                (16 * c, 8 * c, 4 * c),
                (8 * c, 4 * c, 2 * c),
                (4 * c, 4 * c, 2 * c),
                (3 * c, 2 * c, 2 * c),
            )
        )
        self.heads = nn.ModuleList(
            convolution(ndim, 2 * c, ndim, kernel=5, bias=False) for _ in range(2)
        )
        for head in self.heads:
            nn.init.normal_(head.weight, std=1e-5)

    def velocities(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity fields of each image's half of the way: two (N, ndim, *shape), in voxels.

        first, second: (N, 1, *shape) in [0, 1]. Pull-back, as every displacement here: the first
        image warped by exp(v_first) and the second warped by exp(v_second) look alike.
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
        # the authors' components are in grid_sample's order, the last axis first
        return tuple(self.reach * F.softsign(head(x)).flip(1) for head in self.heads)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See `Network.forward`: to the middle by the moving image's half, then the other's back.

        This is the authors' order of composition, which the published weights were trained with.
        For maps that pull back the other order, the fixed image's half first, is the one that
        leads from the fixed image to the middle and on: with the published weights it takes the
        pair of the parity test to Dice 0.708 where this one takes it to 0.697.
        Raises ValueError for sides that are no multiples of 16.
        """
        from_moving, from_fixed = self.velocities(moving, fixed)
        half = scaling_and_squaring(from_moving, SQUARINGS)
        return compose(half, scaling_and_squaring(-from_fixed, SQUARINGS))

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """Similarity in the middle and at both ends, magnitude, folds and smoothness.

        The loss of Mok and Chung 2020; `Objective` has the weights. `terms` has each part bare.
        """
        weights = self.objective
        # X is the moving image and Y the fixed one, as in the paper
        velocity_x, velocity_y = self.velocities(moving, fixed)
        half_x, half_y = (scaling_and_squaring(v, SQUARINGS) for v in (velocity_x, velocity_y))
        back_x, back_y = (scaling_and_squaring(-v, SQUARINGS) for v in (velocity_x, velocity_y))
        whole_x, whole_y = compose(half_x, back_y), compose(half_y, back_x)

        def apart(a: Tensor, b: Tensor) -> Tensor:
            return LocalNCC(a, weights.window)(b)

        terms = {
            "middle": apart(warp(moving, half_x), warp(fixed, half_y)),
            "dissimilarity": apart(fixed, warp(moving, whole_x)),
            "reverse": apart(moving, warp(fixed, whole_y)),
            "magnitude": (half_x.abs().mean() - half_y.abs().mean()).abs(),
            "jacobian": jacobian_penalty(whole_x) + jacobian_penalty(whole_y),
            "smoothness": smoothness(velocity_x) + smoothness(velocity_y),
        }
        total = (
            terms["middle"]
            + terms["dissimilarity"]
            + terms["reverse"]
            + weights.magnitude * terms["magnitude"]
            + weights.jacobian * terms["jacobian"]
            + weights.smooth * terms["smoothness"]
        )
        return Loss(total, terms, whole_x)


class _Stage(nn.Sequential):
    """Two convolutions of 3 voxels with ReLU, the first with a stride."""

    def __init__(self, ndim: int, into: int, between: int, out: int, stride: int = 1) -> None:
        super().__init__(
            convolution(ndim, into, between, stride=stride),
            nn.ReLU(),
            convolution(ndim, between, out),
            nn.ReLU(),
        )
