"""The base class of the networks, with their image frame, training objective and loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkFrame:
    """Orientation, spacing and intensity range of a network's input.

    orientation: the directions of the three axes ("LIA": left, inferior, anterior); a 2-D network
    takes slices with their axes closest to RAS. spacing: mm between voxels, the same along each
    axis. normalisation: "min-max", each image to [0, 1]. Raises ValueError for any other value.
    """

    orientation: str = "RAS"
    spacing: float = 1.0
    normalisation: str = "min-max"

    def __post_init__(self) -> None:
        directions = ("RL", "AP", "SI")
        axes = [pair for code in self.orientation for pair in directions if code in pair]
        if sorted(axes) != sorted(directions):
            raise ValueError(
                f"orientation: wanted three letters such as 'RAS', got {self.orientation!r}"
            )
        if not 0 < self.spacing < 100:
            raise ValueError(f"spacing: wanted millimetres above 0, got {self.spacing!r}")
        if self.normalisation != "min-max":
            raise ValueError(f"normalisation: wanted 'min-max', got {self.normalisation!r}")


@dataclass(frozen=True)
class Objective:
    """The NCC window of a training loss and the weights of its penalties.

    window: side of the local NCC's window in voxels, odd. smooth: weight of the mean squared
    forward differences of the displacement (VoxelMorph) or of both velocities (SYMNet). jacobian:
    weight of negative Jacobian determinants. magnitude: weight of the difference in length between
    the two halves of a symmetric deformation. Raises ValueError for any other window and for a
    negative weight.
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
    """A network that predicts the displacement between two images.

    settings: the architecture's arguments, for JSON. frame: the frame of its input. objective: the
    weights of its training loss.

    The sides of the images must be multiples of `stride`. `record` says how the network was
    trained; it is empty where that is unknown. Subclasses implement `forward` and `loss`.
    """

    stride = 16

    def __init__(self, settings: dict, frame: NetworkFrame, objective: Objective) -> None:
        super().__init__()
        self.settings, self.frame, self.objective = settings, frame, objective
        self.record: dict = {}

    @property
    def ndim(self) -> int:
        """Number of axes of its images: 2 or 3."""
        return self.settings["ndim"]

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict the pull-back displacement: a fixed voxel x is at x + u(x) in the moving image.

        fixed, moving: (N, 1, *shape) in [0, 1]. Returns (N, ndim, *shape) in voxels, components in
        the order of the axes.
        """
        raise NotImplementedError

    def loss(self, fixed: Tensor, moving: Tensor) -> Loss:
        """The training loss of a pair; arguments as for `forward`."""
        raise NotImplementedError

    def check(self, fixed: Tensor, moving: Tensor) -> None:
        """Raise ValueError unless both are (N, 1, *shape) with sides that are multiples of stride.

        The two shapes must be equal.
        """
        expected = (len(fixed), 1, *fixed.shape[2:])
        if fixed.ndim != self.ndim + 2 or tuple(fixed.shape) != expected or 0 in fixed.shape:
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
    """A training loss, its terms and the displacement it was computed from.

    total: scalar, to be minimised. terms: each term, unweighted. displacement: from fixed to
    moving, (N, ndim, *shape) in voxels.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(repr=False)
    displacement: Tensor = field(repr=False)

    def numbers(self) -> dict[str, float]:
        """The total (as `loss`) and the terms as floats."""
        return {"loss": self.total.item(), **{k: v.item() for k, v in self.terms.items()}}


def describe(network: Network) -> dict:
    """Architecture, settings, frame and objective of a network, for JSON."""
    return {
        "architecture": type(network).__name__,
        "settings": network.settings,
        "frame": asdict(network.frame),
        "objective": asdict(network.objective),
    }


def convolution(
    ndim: int, in_channels: int, out_channels: int, kernel_size: int = 3, **options
) -> nn.Module:
    """A 2-D or 3-D convolution; by default its padding keeps the shape at stride 1."""
    options.setdefault("padding", kernel_size // 2)
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    return layer(in_channels, out_channels, kernel_size, **options)


def check_channels(**channels: Sequence[int] | int) -> None:
    """Raise ValueError, naming the argument, unless every number of channels is 1 or more."""
    for name, counts in channels.items():
        for count in [counts] if isinstance(counts, int) else counts:
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name}: wanted channels from 1 on, got {counts!r}")
