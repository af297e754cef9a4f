"""The hot operations as Triton kernels for NVIDIA GPUs: the same names as in `kernels.cpu`.

Imported only when asked for, since triton comes with torch's CUDA builds and not with its CPU ones.
The tensors must be float32, on one device, and of shapes that belong together: compiled code checks
no bounds, so the dispatcher does. On CPU tensors the kernels run where TRITON_INTERPRET=1 was set
before triton was imported, thousands of times slower: for tests.
"""

import torch
import triton
import triton.language as tl

from nevf_lite.kernels.gpu.lattice import place
from nevf_lite.kernels.gpu.local_ncc import local_ncc
from nevf_lite.kernels.gpu.penalties import penalties
from nevf_lite.kernels.gpu.pull import pull
from nevf_lite.kernels.gpu.sine import sine_layer
from nevf_lite.kernels.gpu.squaring import squaring

__all__ = ["local_ncc", "penalties", "pull", "ready", "sine_layer", "squaring"]


def ready(device: torch.device) -> bool:
    """Whether the kernels run on tensors of that device, at the speed they are meant for.

    Compiled, that is CUDA with tensor cores for float32 (Ampere, 2020, or later); interpreted, the
    CPU. What counts is how triton was imported, not what the environment says now; imported before
    the environment asked for the interpreter, its own functions are compiled and ours are not.
    """
    compiled = {isinstance(function, triton.JITFunction) for function in (place, tl.zeros)}
    if compiled == {True}:
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return compiled == {False} and device.type == "cpu"
