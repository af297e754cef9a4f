"""Where a number came from: machine, commit, versions, and the memory that it took."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

#: Seconds between two looks at the memory of the programs that a method starts.
INTERVAL = 0.1


def machine() -> str:
    """The model of the processor, cores and memory; no names of hosts or people."""
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
    """The commit of the package's repository, "-dirty" if the package differs; "" without one."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an installed copy belongs to nobody
        return git("rev-parse", "--short=12", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def versions(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Of Python, torch, numpy, this package, and those named that are installed."""
    found = {"python": platform.python_version()}
    for name in ("nevf-lite", "torch", "numpy", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_seconds() -> float:
    """What the processor has worked for this process and the programs it has waited for.

    Beside wall time, because on a machine that does other work too it is the steadier of the two.
    """
    used = psutil.Process().cpu_times()
    return used.user + used.system + used.children_user + used.children_system


class PeakMemory:
    """The most memory this process and the programs it starts held together, in MiB.

    Between `with` and its end; where the system cannot forget what the process held before (it can
    on Linux), since the process started.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):  # 5: the peak starts again from what is held now
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
        self.mib = max(self.mib, own_peak())

    def _look(self) -> None:
        me = psutil.Process()
        while not self._done.wait(INTERVAL):
            held = me.memory_info().rss
            for child in me.children(recursive=True):
                try:
                    held += child.memory_info().rss
                except psutil.Error:  # it has ended meanwhile
                    continue
            self.mib = max(self.mib, held / 2**20)


def own_peak() -> float:
    """The most memory this process has held since it started, or was last told to forget; MiB."""
    # getrusage would do, but on Linux it remembers what the parent held when it started us
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    info = psutil.Process(os.getpid()).memory_info()
    return getattr(info, "peak_wset", info.rss) / 2**20
