"""The operations as Triton kernels for NVIDIA GPUs, under the same names as in `kernels.cpu`.

The dispatcher imports this package only when it is needed, since triton comes with torch's CUDA
builds and not with its CPU builds. The tensors must be float32, on one device, and of shapes that
match: compiled code checks no bounds, so the dispatcher does. If TRITON_INTERPRET=1 was set before
triton was imported, the kernels run on CPU tensors instead, thousands of times slower, for tests.
"""

import torch
import triton
import triton.language as tl

from nevf_lite.kernels.gpu.lattice import unravel
from nevf_lite.kernels.gpu.local_ncc import local_ncc
from nevf_lite.kernels.gpu.penalties import penalties
from nevf_lite.kernels.gpu.pull import pull
from nevf_lite.kernels.gpu.sine import sine_layer
from nevf_lite.kernels.gpu.squaring import squaring

__all__ = ["local_ncc", "penalties", "pull", "ready", "sine_layer", "squaring"]


def ready(device: torch.device) -> bool:
    """Whether the kernels run on tensors of this device.

    Compiled kernels run on CUDA devices with tensor cores for TF32 (Ampere, 2020, or later),
    interpreted kernels on the CPU. TRITON_INTERPRET takes effect when a function is defined. If it
    was set between the imports of triton and of this package, triton's functions are compiled and
    this package's are interpreted, and the kernels run nowhere.
    """
    compiled = {isinstance(function, triton.JITFunction) for function in (unravel, tl.zeros)}
    if compiled == {True}:
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return compiled == {False} and device.type == "cpu"
