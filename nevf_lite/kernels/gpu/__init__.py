"""The hot operations as Triton kernels for NVIDIA GPUs: the same names as in `kernels.cpu`.

Imported only when asked for, since triton comes with torch's CUDA builds and not with its CPU ones.
The tensors must be float32, on one device, and of shapes that belong together: compiled code checks
no bounds, so the dispatcher does. On CPU tensors the kernels run where TRITON_INTERPRET=1 was set
before triton was imported, thousands of times slower: for tests.
"""

from nevf_lite.kernels.gpu.local_ncc import local_ncc
from nevf_lite.kernels.gpu.penalties import penalties
from nevf_lite.kernels.gpu.pull import pull
from nevf_lite.kernels.gpu.sine import sine_layer
from nevf_lite.kernels.gpu.squaring import squaring

__all__ = ["local_ncc", "penalties", "pull", "sine_layer", "squaring"]
