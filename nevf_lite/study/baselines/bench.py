"""What the baselines share: both images in files at the working resolution, and a child process.

Every tool runs in a process of its own. That is the only way in which its threads are set for
certain (ITK reads its number once, when it is loaded), its chatter is caught whole, a Ctrl-C ends
it at once (compiled code does not look for one) and nothing of it stays in memory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation

from nevf_lite.grid import downsample
from nevf_lite.io import load_image, save_image
from nevf_lite.itk import sheared
from nevf_lite.parts import Dense
from nevf_lite.space import Grid
from nevf_lite.study.process import THREADS
from nevf_lite.transform import Transform

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, eq=False)
class Bench:
    """A folder with `fixed.nii` and `moving.nii`, where one tool works and leaves its files.

    tool: its name, for messages. grid: of `fixed.nii`, axes turned to lie closest to RAS. fixed,
    moving: the grids of the images as given, which the transform is between.
    """

    tool: str
    folder: Path
    grid: Grid
    fixed: Grid
    moving: Grid
    threads: int

    def run(self, command: Sequence[str]) -> None:
        """Run a program in the folder, silently; see :func:`run_quietly`."""
        # On Linux it starts by way of our worker, which ties its life to ours.
        through = [*_python(), "exec"] if sys.platform == "linux" else []
        run_quietly(self.tool, [*through, *command], self.folder, self.threads)

    def work(self, job: str, **options) -> None:
        """Run one of the functions of `worker.py` in a Python of its own, in the folder."""
        command = [*_python(), job, json.dumps(options)]
        run_quietly(self.tool, command, self.folder, self.threads)

    def transform(self, displacement: np.ndarray) -> Transform:
        """displacement: (*grid.shape, 3), RAS mm, pull-back, as the tool found it on `grid`."""
        if displacement.shape != (*self.grid.shape, 3) or not np.isfinite(displacement).all():
            raise ValueError(
                f"{self.tool}: wanted a finite displacement {(*self.grid.shape, 3)}, got "
                f"{displacement.shape} with {(~np.isfinite(displacement)).sum()} values not finite"
            )
        return Transform((Dense.from_mm(displacement, self.grid),), self.fixed, self.moving)


@contextlib.contextmanager
def bench(tool: str, fixed, moving, spacing: float | None, threads: int) -> Iterator[Bench]:
    """Both images written to a temporary folder, which is gone when the block ends.

    fixed, moving: nibabel images (or what `load_image` reads), 3-D. spacing: mm of cubic voxels to
    work at, over each image's own box, smoothed against aliasing; None: the voxels as they are.
    Raises ValueError for other than three axes, for axes not at right angles (which no ITK tool
    reads), and for a spacing or a number of threads that makes no sense.
    """
    if spacing is not None and not 0.1 <= spacing <= 50:
        raise ValueError(f"spacing: wanted millimetres between 0.1 and 50, got {spacing}")
    if threads < 1:
        raise ValueError(f"threads: wanted at least 1, got {threads}")
    images = {"fixed": load_image(fixed, "fixed"), "moving": load_image(moving, "moving")}
    with tempfile.TemporaryDirectory(prefix="nevf-", ignore_cleanup_errors=True) as name:
        grids = {}
        for role, image in images.items():
            if len(image.shape) != 3 or sheared(image.affine):
                raise ValueError(
                    f"{role}: {tool} wants three axes at right angles, got shape {image.shape}"
                )
            data, grids[role] = at_spacing(image, spacing)
            save_image(Path(name) / f"{role}.nii", data, grids[role])
        yield Bench(
            tool, Path(name), grids["fixed"], *(Grid.of(i) for i in images.values()), threads
        )


def at_spacing(image: nib.Nifti1Image, spacing: float | None) -> tuple[np.ndarray, Grid]:
    """The image, axes turned to lie closest to RAS, at a spacing in mm: (*shape) and its grid.

    Flipped copies of an image so become the same numbers. Corner voxel centres keep their place.
    """
    grid, change = Grid.of(image).canonical()
    data = np.ascontiguousarray(apply_orientation(np.asarray(image.dataobj), change), np.float32)
    if spacing is None:
        return data, grid
    target = grid.at_spacing(spacing)
    return downsample(torch.from_numpy(data)[None, None], target.shape)[0, 0].numpy(), target


def need(tool: str, module: str) -> None:
    """ValueError with what to install if a module is not here."""
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f'{tool}: the package {module!r} is missing; pip install "nevf-lite[baselines]"'
        )


def counts(name: str, values: Sequence[int]) -> list[int]:
    """Iterations a level, coarse to fine, checked."""
    values = list(values)
    if not values or any(n != int(n) or n < 0 for n in values):
        raise ValueError(f"{name}: wanted whole numbers, one a level, coarse to fine, got {values}")
    return [int(n) for n in values]


def run_quietly(tool: str, command: Sequence[str], folder: Path, threads: int) -> None:
    """Run a command in a folder with so many threads, and keep what it says to ourselves.

    Raises ValueError with its last useful line if it fails. Whatever interrupts us ends it too.
    """
    environment = os.environ | dict.fromkeys(THREADS, str(threads))
    log = folder / "log.txt"
    with log.open("wb") as stream:
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise ValueError(f"{tool}: {command[0]} could not be started ({error})") from error
        try:
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
    if status:
        raise ValueError(f"{tool} failed: {_reason(log.read_text(errors='replace'), status)}")


def _reason(text: str, status: int) -> str:
    """The last line that speaks of an error, else the last line of all."""
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name} (too little memory?)"
    # NiftyReg begins each line with the path of the program, in brackets
    lines = [re.sub(r"^\[[^\]]*/[^\]]*\]\s*", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    errors = [line for line in lines if re.search("error|exception", line, re.IGNORECASE)]
    return (errors or lines or [f"it ended with status {status} and said nothing"])[-1]


def _python() -> list[str]:
    # -P: the modules beside the worker must not hide packages of the same name
    return [sys.executable, "-P", str(WORKER)]
