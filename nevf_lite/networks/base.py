"""What every network here has: the frame it sees images in, the loss it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkFrame:
    """How images have to lie in the arrays that a network is given.

    orientation: where the three axes point to ("LIA": left, inferior, anterior); a 2-D network
    takes slices with their axes closest to RAS. spacing: mm between voxels, the same along each
    axis. normalisation: "min-max", each image to [0, 1].
    """

    orientation: str = "RAS"
    spacing: float = 1.0
    normalisation: str = "min-max"

    def __post_init__(self) -> None:
        pairs = ("RL", "AP", "SI")
        axes = [p for code in self.orientation for p in pairs if code in p]
        if sorted(axes) != sorted(pairs):
            raise ValueError(
                f"orientation: wanted three letters such as 'RAS', got {self.orientation!r}"
            )
        if not 0 < self.spacing < 100:
            raise ValueError(f"spacing: wanted millimetres above 0, got {self.spacing!r}")
        if self.normalisation != "min-max":
            raise ValueError(f"normalisation: wanted 'min-max', got {self.normalisation!r}")


@dataclass(frozen=True)
class Objective:
    """The weights of a training loss.

    window: side of the local NCC's window in voxels, odd. smooth: of the mean squared forward
    differences of the displacement (VoxelMorph) or of both velocities (SYMNet). jacobian: of folds.
    magnitude: of the difference in length between the two halves of a symmetric deformation.
    """

    window: int = 9
    smooth: float = 1.0
    jacobian: float = 0.0
    magnitude: float = 0.0

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window: wanted an odd number from 3 on, got {self.window!r}")
        for name in ("smooth", "jacobian", "magnitude"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: wanted 0 or more, got {getattr(self, name)!r}")


class Network(nn.Module):
    """A network that looks at two images once and gives the displacement between them.

    settings: the arguments that make another one of the same shape. stride: sides of the images
    must be multiples of it. frame, objective: see there. record: how it was trained, where that is
    known. Subclasses have the two methods below.
    """

    stride = 16

    def __init__(self, settings: dict, frame: NetworkFrame, objective: Objective) -> None:
        super().__init__()
        self.settings, self.frame, self.objective = settings, frame, objective
        self.record: dict = {}

    @property
    def ndim(self) -> int:
        """2 or 3: the number of axes of the images it takes."""
        return self.settings["ndim"]

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """The pull-back displacement: a fixed voxel x is at x + u(x) in the moving image.

        fixed, moving: (N, 1, *shape) in [0, 1]. Returns (N, ndim, *shape) in voxels, components in
        the order of the axes.
        """
        raise NotImplementedError

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """What it was, or is, trained to make small; arguments as for `forward`."""
        raise NotImplementedError

    def check(self, fixed: Tensor, moving: Tensor) -> None:
        """Raise ValueError unless both are (N, 1, *shape) alike with sides that can be halved."""
        wanted = (len(fixed), 1, *fixed.shape[2:])
        if fixed.ndim != self.ndim + 2 or tuple(fixed.shape) != wanted or 0 in fixed.shape:
            axes = ", ".join("DHW"[-self.ndim :])
            raise ValueError(f"fixed: wanted (N, 1, {axes}), got {tuple(fixed.shape)}")
        if moving.shape != fixed.shape:
            raise ValueError(f"moving: wanted {tuple(fixed.shape)}, got {tuple(moving.shape)}")
        if any(n % self.stride for n in fixed.shape[2:]):
            raise ValueError(
                f"fixed: wanted sides that are multiples of {self.stride}, "
                f"got {tuple(fixed.shape[2:])}; pad with zeros"
            )


@dataclass(frozen=True)
class Loss:
    """A training loss and what it is made of.

    total: scalar, to be minimised. terms: each term before its weight. displacement: from fixed to
    moving, (N, ndim, *shape) in voxels.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(repr=False)
    displacement: Tensor = field(repr=False)

    def numbers(self) -> dict[str, float]:
        """The total and the terms as plain numbers."""
        return {"loss": self.total.item(), **{k: v.item() for k, v in self.terms.items()}}


def describe(network: Network) -> dict:
    """Architecture, settings, frame and objective, for JSON; `weights.build` is its inverse."""
    return {
        "architecture": type(network).__name__,
        "settings": network.settings,
        "frame": asdict(network.frame),
        "objective": asdict(network.objective),
    }


def convolution(ndim: int, into: int, out: int, kernel: int = 3, **options) -> nn.Module:
    """A 2-D or 3-D convolution that keeps the shape at stride 1."""
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    return kind(into, out, kernel, padding=options.pop("padding", kernel // 2), **options)


def check_channels(**channels: Sequence[int] | int) -> None:
    """Raise ValueError naming the argument for anything but numbers of channels from 1 on."""
    for name, numbers in channels.items():
        for n in [numbers] if isinstance(numbers, int) else numbers:
            if not isinstance(n, int) or n < 1:
                raise ValueError(f"{name}: wanted channels from 1 on, got {numbers!r}")
