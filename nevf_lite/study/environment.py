"""The environment of a child process: how many threads its libraries may start."""

from __future__ import annotations

import os

#: Variables that set the number of threads of a library.
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def with_threads(count: int) -> dict[str, str]:
    """This process's environment with `count` threads for every library in THREADS.

    A library reads its variable once, when it is loaded. The variables are therefore set before a
    process starts.
    """
    return os.environ | dict.fromkeys(THREADS, str(count))
