"""Interrupted runs: at any moment nothing is half-written, and the same command again finishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from nevf_lite.cli import app
from nevf_lite.registration.register import register  # noqa: F401  for what is forked
from nevf_lite.scans.files import RESULT_FILES
from nevf_lite.transforms.transform import Transform
from nevf_lite.viz.report.report import write_report  # noqa: F401  for what is forked

#: Runs are forked from a process that has imported everything and done nothing, so they start at
#: once, and a random moment is one of the work.
FORK = get_context("forkserver")
FORK.set_forkserver_preload([__name__])
DISK = 64  # MiB of the disk that fills up
#: What every complete result holds.
FILES = [name for name in RESULT_FILES if name not in ("view.html", "warped_labels.nii.gz")]


def interrupt(kind: str, words: Sequence[str], folder: Path, moments: Sequence[float]) -> dict:
    """Interrupt one command at many moments of its run, repeat it, and count what was found.

    kind: "SIGKILL", "Ctrl-C", "full disk" or "batch". words: of `nevf`, without its output.
    moments: fractions of the time that an undisturbed run takes. Returns numbers of runs: tried;
    finished, nothing, some and halves, see `state`; leftovers, which left unfinished files; and
    resumed, where the same command again gave the files of the undisturbed run and cleared what was
    left.
    """
    start, strike = STRIKES[kind]
    _wait_for_server()
    reference = folder / "reference"
    began = time.monotonic()
    end = start([*words, "-o", str(reference)])
    if end(None) != 0:
        raise RuntimeError(f"{kind}: the undisturbed run failed")
    took, counts = time.monotonic() - began, Counter()
    for number, moment in enumerate(moments):
        place = folder / f"{number}"
        place.mkdir()
        if kind == "full disk":
            mount(place)
        command = [*words, "-o", str(place / "out")]
        end = start(command)
        time.sleep(moment * took)
        strike(end, place)
        end(None)
        counts[state(*results(place / "out", reference))] += 1
        counts["leftovers"] += bool(unfinished(place))
        (place / "filler").unlink(missing_ok=True)
        again = start(command)(None)
        whole = all(
            same(result, reference / result.relative_to(place / "out"))
            for result in results(place / "out", reference)
        )
        counts["resumed"] += again == 0 and whole and not unfinished(place)
        if kind == "full disk":
            subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(reference)
    names = ("finished", "nothing", "some", "halves", "leftovers", "resumed")
    return {"kind": kind, "tried": len(moments), **{name: counts[name] for name in names}}


def results(output: Path, reference: Path) -> list[Path]:
    """The result folders that an output must hold: itself, or of a batch each pair's."""
    pairs = sorted(path.parent.name for path in reference.glob("*/result.json"))
    return [output / name for name in pairs] or [output]


def state(*folders: Path) -> str:
    """What result folders hold: "finished", "nothing", "some" files, each whole, or "halves"."""
    files = [folder / name for folder in folders for name in FILES]
    there = [path for path in files if path.exists()]
    if not all(readable(path) for path in there):
        return "halves"
    return "finished" if len(there) == len(files) else "some" if there else "nothing"


def readable(path: Path) -> bool:
    """Whether a file of a result can be read to its end."""
    try:
        if path.suffix == ".gz":
            np.asarray(nib.load(path).dataobj)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            Transform.load(path)
        else:
            return path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError):
        return False
    return True


def same(folder: Path, reference: Path) -> bool:
    """Whether a result is whole and has the maps and images of another, byte for byte."""
    names = [name for name in FILES if not name.endswith((".html", ".json"))]
    return state(folder) == "finished" and all(
        (folder / name).read_bytes() == (reference / name).read_bytes() for name in names
    )


def unfinished(place: Path) -> list[Path]:
    """What a run was writing when it ended."""
    return list(place.rglob(".writing-*"))


def mount(place: Path) -> None:
    """A small disk of its own. Raises CalledProcessError where none can be mounted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(place)]
    subprocess.run(command, check=True, capture_output=True)


def _wait_for_server() -> None:
    process = FORK.Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


def _forked(command: list[str]) -> Callable:
    """Start a command in a copy of this process; the function sends a signal or waits."""
    process = FORK.Process(target=_run, args=(command,))
    process.start()

    def end(number: int | None) -> int:
        if number is None:
            process.join()
        elif process.is_alive():
            os.kill(process.pid, number)
        return process.exitcode

    return end


def run_alone(command: list[str]) -> None:
    """Run a command in a process of its own. Raises RuntimeError if it fails."""
    if status := _started(command)(None):
        raise RuntimeError(f"nevf {' '.join(command)}: exit status {status}")


def _run(command: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    app(command, prog_name="nevf")


def _started(command: list[str]) -> Callable:
    """The same in a process of its own with its workers, as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nevf_lite", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end(number: int | None) -> int:
        return process.wait() if number is None else process.send_signal(number)

    return end


def _fill(end: Callable, place: Path) -> None:
    """Leave less room than a result takes: nothing to 256 KiB, by the place's number."""
    left = int(place.name) * 7919 % 256 * 1024
    with suppress(OSError):  # what is being registered may write in the same moment: full is full
        (place / "filler").write_bytes(bytes(max(shutil.disk_usage(place).free - left, 0)))


#: How a command is started, and what befalls it.
STRIKES = {
    "SIGKILL": (_forked, lambda end, place: end(signal.SIGKILL)),
    "Ctrl-C": (_forked, lambda end, place: end(signal.SIGINT)),
    "full disk": (_forked, _fill),
    "batch": (_started, lambda end, place: end(signal.SIGKILL)),
}
