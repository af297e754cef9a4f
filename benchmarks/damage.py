"""Damaged inputs: every one of them is used, or refused in one line that leaves nothing behind."""

from __future__ import annotations

import contextlib
import gzip
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nevf_lite.cli import app
from nevf_lite.transforms.transform import Transform

#: Bytes of a NIfTI-1 header.
HEADER = 352
#: Seconds after which a command hangs.
DEADLINE = 60
BYTES = st.integers(0, 255)
POINTS = "x,y,z,name\n1.5,-20,31,hippocampus\n-4,8,12.25,pons\n0,0,0,\n"


def damage_inputs(kind: str, result: Path, folder: Path, count: int) -> dict:
    """Damage good files of a kind, and count what `nevf apply` does with them.

    kind: one of `KINDS`. result: a result folder, whose files are damaged. folder: an empty one to
    work in. Returns tried, used, refused and failed: the number of inputs that ended in a
    traceback, hung, or left a file behind though they were refused.
    """
    damaged, words = KINDS[kind](result, folder)
    counts: Counter = Counter()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged)
    def try_one(example: tuple[str, bytes]) -> None:
        name, raw = example
        (folder / name).write_bytes(raw)
        counts[outcome([*words(folder / name), "-o"], folder, name)] += 1
        (folder / name).unlink()

    try_one()
    found = {name: counts[name] for name in ("used", "refused", "failed")}
    return {"kind": kind, "tried": counts.total(), **found}


def outcome(command: list, folder: Path, name: str) -> str:
    """Run a command that lacks its output: "used", "refused" or "failed"."""
    output = folder / ("out.csv" if any(str(word).endswith(".csv") for word in command) else OUT)
    with deadline():
        done = CliRunner().invoke(app, [str(word) for word in (*command, output)])
    lines = done.stderr.splitlines()
    written = output.exists()
    output.unlink(missing_ok=True)
    if done.exit_code == 0 and written:
        return "used"
    clean = done.exit_code == 2 and bool(lines) and lines[-1].startswith("nevf: error: ")
    clean = clean and not written and not list(folder.glob(".writing-*"))
    if not clean:
        print(f"failed: {name}, status {done.exit_code}: {done.exception!r} {lines[-1:]}")
    return "refused" if clean else "failed"


OUT = "out.nii.gz"


@contextlib.contextmanager
def deadline(seconds: int = DEADLINE) -> Iterator[None]:
    """Raises RuntimeError in what takes longer."""

    def hang(*_) -> None:
        raise RuntimeError(f"it took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _changed(raw: bytes, first: int = 0, last: int | None = None) -> st.SearchStrategy[bytes]:
    """A file with up to 12 bytes changed between two places, and perhaps cut short."""
    last = len(raw) if last is None else last

    def change(drawn: tuple) -> bytes:
        damage, cut = drawn
        changed = bytearray(raw)
        for where, value in damage:
            changed[where] = value
        return bytes(changed[:cut])

    places = st.tuples(st.integers(first, last - 1), BYTES)
    cut = st.none() | st.integers(first, len(raw))
    return st.tuples(st.lists(places, min_size=1, max_size=12), cut).map(change)


def _identity(result: Path, folder: Path) -> Path:
    """A transform that is quick to apply, for what damages an image."""
    path = folder.parent / "identity.safetensors"
    Transform.identity(Transform.load(result).fixed).save(path)
    return path


def _header(result: Path, folder: Path) -> tuple[st.SearchStrategy, Callable]:
    raw = gzip.decompress((result / "warped.nii.gz").read_bytes())
    plain = _changed(raw, 0, HEADER)
    packed = plain.map(lambda changed: ("a.nii.gz", gzip.compress(changed, 1)))
    transform = _identity(result, folder)
    return plain.map(lambda changed: ("a.nii", changed)) | packed, lambda path: [
        "apply",
        transform,
        path,
    ]


def _data(result: Path, folder: Path) -> tuple[st.SearchStrategy, Callable]:
    packed = (result / "warped.nii.gz").read_bytes()
    raw = gzip.decompress(packed)
    damaged = _changed(packed).map(lambda changed: ("a.nii.gz", changed))
    damaged |= _changed(raw, HEADER).map(lambda changed: ("a.nii", changed))
    transform = _identity(result, folder)
    return damaged, lambda path: ["apply", transform, path]


def _labels(result: Path, folder: Path) -> tuple[st.SearchStrategy, Callable]:
    labels = nib.load(result / "warped_labels.nii.gz")
    as_floats = nib.Nifti1Image(labels.get_fdata(dtype="f4"), labels.affine).to_bytes()
    damaged = _changed(gzip.decompress((result / "warped_labels.nii.gz").read_bytes()))
    damaged |= _changed(as_floats)
    transform = _identity(result, folder)
    return damaged.map(lambda changed: ("a.nii", changed)), lambda path: [
        "apply",
        transform,
        path,
        "--kind",
        "labels",
    ]


def _points(result: Path, folder: Path) -> tuple[st.SearchStrategy, Callable]:
    damaged = _changed(POINTS.encode()) | st.text(max_size=200).map(str.encode)
    transform = _identity(result, folder)
    return damaged.map(lambda changed: ("a.csv", changed)), lambda path: ["apply", transform, path]


def _transform(result: Path, folder: Path) -> tuple[st.SearchStrategy, Callable]:
    found, points = Transform.load(result), folder.parent / "points.csv"
    points.write_text(POINTS, encoding="utf-8")
    found.save(folder.parent / "warp.h5")
    affine = Transform.from_affine(np.diag([1.1, 1.0, 0.9, 1.0]), found.fixed, found.moving)
    affine.save(folder.parent / "affine.mat")
    files = [result / "velocity.safetensors", result / "warp.nii.gz"]
    files += [folder.parent / "warp.h5", folder.parent / "affine.mat"]
    kinds = []
    for path in files:
        raw, end = path.read_bytes(), 2000  # where formats are described; the rest is numbers
        near = _changed(raw, 0, min(end, len(raw))) | _changed(raw)
        kinds.append(near.map(lambda changed, name=path.name: (name, changed)))
    return st.one_of(kinds), lambda path: ["apply", path, points]


#: What is damaged: the good file's strategy, and the command that reads it.
KINDS = {
    "header": _header,
    "data": _data,
    "labels": _labels,
    "points": _points,
    "transform": _transform,
}
