"""What the tests of studies share: a study of flat simulated brains, and `nevf` in a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import yaml

from nevf_lite.study.rows import COLUMNS

#: Runs for minutes, unless something ends it.
ENDLESS = {
    "method": "nevf",
    "label": "endless",
    "levels": [{"iterations": 100_000}],
    "patience": 100_000,
}


def write_study(folder: Path, *, seeds=(0,), methods=({"method": "affine"},), **more) -> Path:
    """A YAML file with a simulated slice for each seed."""
    pairs = [{"dataset": "simulated", "ndim": 2, "seed": list(seeds)}]
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump({"pairs": pairs, "methods": list(methods), **more}))
    return path


def start(*words, **environment) -> subprocess.Popen:
    """`nevf` with these words, in a process group of its own; standard error is kept.

    Ctrl-C reaches it even where the tests run in the background, which ignores it.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "nevf_lite", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def heard(stream: TextIO, words: str) -> str:
    """What a process writes up to these words, or up to its end."""
    said = ""
    for letter in iter(lambda: stream.read(1), ""):
        said += letter
        if said.endswith(words):
            break
    return said


def wait_for(happened: Callable[[], object], seconds: float = 120):
    """What `happened` returns, once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for {happened}")


def made_row(seed: int = 0, label: str = "Affine", dice: float = 0.5, **more) -> dict:
    """A row as a job makes it."""
    row = dict.fromkeys(COLUMNS, "") | {
        "study": "s",
        "dataset": "mindboggle",
        "fixed": f"f{seed}",
        "moving": "m",
        "method": "affine",
        "label": label,
        "config_hash": f"hash of {label}",
        "threads": 1,
        "seed": 0,
        "status": "done",
        "dice": dice,
        "dice_before": 0.3,
        "folds_percent": 0.0,
        "ndv_percent": 0.0,
        "seconds": 2.0,
        "cpu_seconds": 1.5,
        "peak_mib": 400,
        "machine": "one",
    }
    return row | more
