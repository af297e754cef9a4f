"""Further channels of a pair, such as T2 beside T1: compared one with the other, and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from nevf_lite.config import Config
from nevf_lite.grid import downsample_masked
from nevf_lite.registration.coverage import Scan
from nevf_lite.registration.frames import Frame
from nevf_lite.registration.memory import available_memory, predict_memory
from nevf_lite.scans.io import load_image
from nevf_lite.transforms.transform import Transform


def load_channels(source, name: str) -> list[nib.Nifti1Image]:
    """The images of one side: of a list or tuple all, of anything else the one that it is."""
    if not isinstance(source, list | tuple):
        return [load_image(source, name)]
    if not source:
        raise ValueError(f"{name}: wanted an image, or a list of channels, got an empty one")
    return [
        load_image(channel, f"{name}, channel {number}")
        for number, channel in enumerate(source, start=1)
    ]


def check_channels(fixed: Sequence, moving: Sequence) -> None:
    """ValueError unless both sides have as many channels."""
    if len(fixed) != len(moving):
        raise ValueError(
            f"moving: it has {len(moving)} channels and the fixed image {len(fixed)}; wanted the "
            "same channels of both, in the same order"
        )


def add_channels(
    frame: Frame,
    fixed: Sequence[nib.Nifti1Image],
    moving: Sequence[nib.Nifti1Image],
    config: Config,
    device: torch.device,
) -> None:
    """Resample further channels onto the lattice of a frame, and add them to its tensors, in place.

    fixed, moving: the channels after the first, in the space of the first, on any grids. Where a
    channel ends inside the head, what lies beyond does not count. Raises MemoryError where not all
    channels would fit.
    """
    if not fixed:
        return
    channels, free = 1 + len(fixed), available_memory(device)
    needed = channels * predict_memory(config, frame.working.shape, device)
    if needed > free:
        raise MemoryError(
            f"memory: {channels} channels need about {needed / 2**30:.1f} GiB and {device} has "
            f"{free / 2**30:.1f} GiB free; choose fewer channels or a coarser spacing"
        )
    tensors = frame.tensors
    resampling = Transform(frame.resampled, frame.fixed, frame.moving)
    for name, images, transform in (
        ("fixed", fixed, Transform.identity(frame.fixed)),
        ("moving", moving, resampling),
    ):
        for image in images:
            if image.ndim != frame.fixed.ndim:
                raise ValueError(
                    f"{name}: its channels have {image.ndim} and {frame.fixed.ndim} axes"
                )
            channel, seen = _resample(Scan.of(image), transform, frame)
            tensors[name] = torch.cat([tensors[name], channel], dim=1)
            mask = tensors[f"{name}_mask"]
            if seen is not None:
                tensors[f"{name}_mask"] = seen if mask is None else mask * seen


def _resample(scan: Scan, transform: Transform, frame: Frame) -> tuple[Tensor, Tensor | None]:
    """A channel on the working lattice, scaled to [0, 1], and how much of it was seen there."""
    lattice = frame.output.at_spacing(max(frame.spacing / 2, min(scan.grid.spacing)))
    values = torch.from_numpy(scan.resample(transform, lattice))[None, None]
    if (seen := scan.seen(transform, lattice)) is not None:
        seen = torch.from_numpy(seen.astype(np.float32))[None, None]
    return downsample_masked(values, seen, frame.working.shape)
