"""The operations on the CPU, compiled by Numba when they are first called."""

import torch

from nevf_lite.kernels.cpu.features import feature_net
from nevf_lite.kernels.cpu.local_ncc import local_ncc
from nevf_lite.kernels.cpu.penalties import corner_penalties, penalties
from nevf_lite.kernels.cpu.pull import pull
from nevf_lite.kernels.cpu.sine import siren
from nevf_lite.kernels.cpu.squaring import midpoint_squaring, squaring
from nevf_lite.kernels.cpu.weighted_ncc import weighted_ncc

__all__ = [
    "feature_net",
    "local_ncc",
    "midpoint_squaring",
    "penalties",
    "corner_penalties",
    "pull",
    "ready",
    "siren",
    "squaring",
    "weighted_ncc",
]


def ready(device: torch.device) -> bool:
    """Whether the operations run on tensors of this device."""
    return device.type == "cpu"
