"""The workspace of a baseline: both images as files in a folder, where an external tool runs.

Every tool runs in a child process. Its number of threads can then be set (ITK reads it once, when
it is loaded), all its output is captured, Ctrl-C ends it at once (compiled code does not check for
it) and its memory is released.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
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
from nevf_lite.scans.io import load_image, save_image
from nevf_lite.scans.itk import sheared
from nevf_lite.scans.space import Grid, check_spacing
from nevf_lite.study.environment import with_threads
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, eq=False)
class Workspace:
    """A folder with `fixed.nii` and `moving.nii`, where a tool runs and writes its files.

    tool: its name, for messages. grid: of `fixed.nii`, with axes reordered and flipped to be
    closest to RAS. fixed, moving: the grids of the original images, which the transform maps
    between. threads: of the tool.
    """

    tool: str
    folder: Path
    grid: Grid
    fixed: Grid
    moving: Grid
    threads: int

    def run(self, command: Sequence[str]) -> None:
        """Run a program in the folder, see :func:`run_quietly`."""
        # on Linux the worker becomes the program, which then is killed when this process dies
        prefix = [*_worker_command(), "exec"] if sys.platform == "linux" else []
        run_quietly(self.tool, [*prefix, *command], self.folder, self.threads)

    def run_worker(self, function: str, **options) -> None:
        """Run a function of `worker.py` in a new Python process, in the folder."""
        command = [*_worker_command(), function, json.dumps(options)]
        run_quietly(self.tool, command, self.folder, self.threads)

    def transform(self, displacement: np.ndarray) -> Transform:
        """The transform between the original images.

        displacement: (*grid.shape, 3), RAS mm, from fixed to moving, on `grid`. Raises ValueError
        for another shape or values that are not finite.
        """
        if displacement.shape != (*self.grid.shape, 3) or not np.isfinite(displacement).all():
            raise ValueError(
                f"{self.tool}: wanted a finite displacement {(*self.grid.shape, 3)}, got "
                f"{displacement.shape} with {(~np.isfinite(displacement)).sum()} values not finite"
            )
        return Transform(
            (DisplacementField.from_mm(displacement, self.grid),), self.fixed, self.moving
        )


@contextlib.contextmanager
def workspace(tool: str, fixed, moving, spacing: float | None, threads: int) -> Iterator[Workspace]:
    """Write both images to a temporary folder, which is removed at the end of the block.

    fixed, moving: nibabel images (or what `load_image` reads), 3-D. spacing: of the cubic voxels of
    the written images, mm, smoothed against aliasing; None: the original voxels. Raises ValueError
    for images without three axes, for axes not at right angles (which no ITK tool reads), and for a
    spacing or a number of threads out of range.
    """
    check_spacing(spacing)
    if threads < 1:
        raise ValueError(f"threads: wanted at least 1, got {threads}")
    images = {"fixed": load_image(fixed, "fixed"), "moving": load_image(moving, "moving")}
    with tempfile.TemporaryDirectory(prefix="nevf-", ignore_cleanup_errors=True) as folder:
        grids = {}
        for role, image in images.items():
            if len(image.shape) != 3 or sheared(image.affine):
                raise ValueError(
                    f"{role}: {tool} wants three axes at right angles, got shape {image.shape}"
                )
            data, grids[role] = at_spacing(image, spacing)
            save_image(Path(folder) / f"{role}.nii", data, grids[role])
        originals = [Grid.of(image) for image in images.values()]
        yield Workspace(tool, Path(folder), grids["fixed"], *originals, threads)


def at_spacing(image: nib.Nifti1Image, spacing: float | None) -> tuple[np.ndarray, Grid]:
    """An image at a spacing in mm, axes reordered and flipped to be closest to RAS, and its grid.

    Copies of an image that are stored in other orientations give the same array, (*shape). The
    centres of the corner voxels are preserved.
    """
    grid, orientation = Grid.of(image).canonical()
    data = apply_orientation(np.asarray(image.dataobj), orientation)
    data = np.ascontiguousarray(data, np.float32)
    if spacing is None:
        return data, grid
    target = grid.at_spacing(spacing)
    return downsample(torch.from_numpy(data)[None, None], target.shape)[0, 0].numpy(), target


def require(tool: str, module: str, install: str = '"nevf-lite[baselines]"') -> None:
    """Raise ValueError if a module is missing, with what `pip install` has to be given."""
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{tool}: the package {module!r} is missing; pip install {install}")


def check_iterations(values: Sequence[int]) -> list[int]:
    """The iterations per level, coarse to fine, as integers; ValueError for anything else."""
    values = list(values)
    if not values or any(n != int(n) or n < 0 for n in values):
        raise ValueError(
            f"iterations: wanted whole numbers, one a level, coarse to fine, got {values}"
        )
    return [int(n) for n in values]


def run_quietly(tool: str, command: Sequence[str], folder: Path, threads: int) -> None:
    """Run a command in a folder with a number of threads; its output goes to `log.txt` there.

    Raises ValueError with a line of the output if the command fails. An exception that interrupts
    the wait, such as KeyboardInterrupt, kills the command.
    """
    environment = with_threads(threads)
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
    """The last line that mentions an error, or else the last line."""
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name} (too little memory?)"
    # NiftyReg begins each line with the path of the program, in brackets
    lines = [re.sub(r"^\[[^\]]*/[^\]]*\]\s*", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    errors = [line for line in lines if re.search("error|exception", line, re.IGNORECASE)]
    return (errors or lines or [f"it ended with status {status} and said nothing"])[-1]


def _worker_command() -> list[str]:
    # -P: the modules beside the worker must not hide packages of the same name
    return [sys.executable, "-P", str(WORKER)]
