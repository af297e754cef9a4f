"""What both files of command line tests share: small images with labels, and how to call `nevf`."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from nevf_lite.cli import app
from nevf_lite.registration import register as registration
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

#: Voxels of 4 mm, away from the origin: millimetres and voxels cannot be taken for each other.
AFFINE = np.array([[4, 0, 0, -40], [0, 4, 0, -50], [0, 0, 4, -30], [0, 0, 0, 1.0]])
SHAPES = {2: (40, 36), 3: (20, 22, 18)}


def nevf(*words):
    """Call the command line in this process; the result has exit_code, stdout and stderr."""
    return CliRunner().invoke(app, [str(word) for word in words])


def good(*words) -> str:
    """Call it, be sure that all went well, and return what it printed."""
    result = nevf(*words)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def write_pair(folder: Path, ndim: int) -> dict[str, Path]:
    """A ball in a ball, the moving one a voxel or two away: images and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, found = SHAPES[ndim], {}
    for seed, (name, shift) in enumerate({"fixed": 0.0, "moving": 1.5}.items()):
        axes = [np.arange(n) - (n - 1) / 2 - shift for n in shape]
        grid = np.meshgrid(*axes, indexing="ij")
        radius = np.sqrt(sum((x / (0.36 * n)) ** 2 for x, n in zip(grid, shape, strict=True)))
        labels = np.where(radius < 0.55, 1, np.where(radius < 1, 2, 0)).astype(np.int16)
        texture = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1)
        image = gaussian_filter(100.0 * labels + 5 * texture * (labels > 0), 0.7)
        for kind, data in ((name, image.astype(np.float32)), (f"{name}_labels", labels)):
            found[kind] = folder / f"{kind}.nii.gz"
            data = data if ndim == 3 else data[..., None]
            nib.save(nib.Nifti1Image(data, AFFINE), found[kind])
    return found


def label_options(files: dict[str, Path]) -> list[str]:
    """--fixed-labels and --moving-labels of a pair."""
    named = {"--fixed-labels": "fixed_labels", "--moving-labels": "moving_labels"}
    return [str(word) for flag, key in named.items() for word in (flag, files[key])]


def write_inputs(folder: Path) -> dict[str, Path]:
    """Good input to go with the bad: a pair, a slice, and a transform that moves nothing."""
    found = write_pair(folder, 3)
    found["slice"] = write_pair(folder / "flat", 2)["moving"]
    found["transform"] = folder / "t.safetensors"
    Transform.identity(Grid.of(nib.load(found["fixed"]))).save(found["transform"])
    return found


def register_pair(folder: Path, ndim: int) -> dict:
    """A pair registered with --json: its files, its folder, what was said, and the words."""
    files = write_pair(folder, ndim)
    words = ["register", files["fixed"], files["moving"], "-o", folder / "result"]
    words += [*label_options(files), "--iterations", "40,40,40", "--seed", "3", "--json"]
    result = nevf(*words)
    assert result.exit_code == 0, result.stderr
    words = [str(word) for word in words]
    return {**files, "folder": folder / "result", "ndim": ndim, "said": result, "words": words}


def forbid_registration(monkeypatch) -> None:
    """Let it fail the test that the optimisation is started."""

    def never(*_, **__):
        raise AssertionError("the registration was started")

    monkeypatch.setattr(registration, "register", never)


def refused(tmp_path: Path, *words, status: int = 2) -> str:
    """Run a command that must fail; return its one line. Nothing new may lie in tmp_path."""
    before = sorted(tmp_path.rglob("*"))
    result = nevf(*words)
    lines = result.stderr.splitlines()
    assert result.exit_code == status, (result.exit_code, result.stderr, result.exception)
    assert result.stdout == "" and lines and "Traceback" not in result.stderr
    assert lines[-1].startswith("nevf: error: ") and len(lines[-1]) < 400
    assert all(line.startswith("nevf: ") and "error" not in line for line in lines[:-1]), lines
    assert sorted(tmp_path.rglob("*")) == before
    return lines[-1]
