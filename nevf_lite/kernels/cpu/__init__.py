"""The operations on the CPU, compiled by Numba when they are first called."""

from nevf_lite.kernels.cpu.pull import pull

__all__ = ["pull"]
