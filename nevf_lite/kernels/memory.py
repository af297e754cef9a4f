"""Limits on the memory that the kernels keep, and the reuse of freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys

#: Points that "siren" computes at a time: a layer's activations fit the processor's cache.
SIREN_BLOCK = 4096
#: Floats that "siren" and "squaring" on the CPU may each keep for the backward pass: 1 GiB. Above
#: this number they recompute them.
KEEP_LIMIT = 2**28


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks for the next iteration; does nothing without glibc.

    By default glibc returns every block above 32 MB to the system and requests it again, and the
    system fills it with zeros page by page. At 1 mm that made a registration take a quarter longer.
    Blocks above 128 MB, such as the activations of a wide network, are still returned. If kept,
    they would leave holes that the next iteration cannot use, and memory would grow to twice the
    need.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
        mallopt(mmap_threshold, 1 << 27)
        mallopt(trim_threshold, (1 << 31) - 1)
