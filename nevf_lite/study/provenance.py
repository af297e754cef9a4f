"""The provenance of a result: machine, commit and packages; its processor time and memory."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import threading
from pathlib import Path

import psutil

#: Distributions whose versions are in every row.
PACKAGES = ("nevf-lite", "torch", "numpy")
#: Seconds between two samples of the memory of the programs that a method starts.
INTERVAL = 0.1


def machine() -> str:
    """The model of the processor, cores and memory, without the name of a host or a user."""
    cores = psutil.cpu_count() or 1
    return f"{_processor()}, {cores} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the package's repository, with "-dirty" if the package differs; "" if none."""
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return result.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails for an installed copy
        return git("rev-parse", "--short=12", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu_seconds() -> float:
    """Processor seconds of this process and of the child processes that it has waited for.

    Other work on the machine changes them less than wall time.
    """
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


class PeakMemory:
    """Peak resident memory of this process and its children together, as `mib`, within `with`.

    Only Linux can reset the peak of a process. Elsewhere the peak counts from the start of the
    process.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):  # 5 resets the peak to the current size
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()
        self.mib = max(self.mib, process_peak_mib())

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(INTERVAL):
            resident = process.memory_info().rss
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):  # the child may have ended
                    resident += child.memory_info().rss
            self.mib = max(self.mib, resident / 2**20)


def process_peak_mib() -> float:
    """Peak resident memory of this process since its start, or since its peak was reset; MiB."""
    # not getrusage: on Linux its peak includes the parent's memory at the time of the fork
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    info = psutil.Process(os.getpid()).memory_info()
    return getattr(info, "peak_wset", info.rss) / 2**20
