"""Two commits of this repository in turn: what a preset cost and found then, and what it does now.

    python -m benchmarks.commits OLD [NEW] [--presets fast default] [--rounds 2] [--record]

Each commit is checked out into a folder of its own and registers trt02 <- trt01 (if NEVF_DATA has
it) in a process of one thread, the commits in turn. Seconds are of `register` alone, its kernels
compiled before. `--record` writes the rows to book/results/commits.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.record import load_average
from benchmarks.registration import PAIR, RESULTS, missing_data
from nevf_lite.data import load_pair
from nevf_lite.scans.io import make_image
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.study.environment import with_threads
from nevf_lite.study.provenance import machine

ROOT = Path(__file__).parents[1]
#: Run with the package of either commit, so with no more than both have: the pair, the folder for
#: the warped labels, and the presets.
CHILD = """
import json, sys, time
import numpy as np
import torch
torch.set_num_threads(1)
from nevf_lite import load_pair, register
*who, folder = sys.argv[1:5]
pair = load_pair(*who)
register(pair.fixed, pair.moving, "fast", progress=False)
for preset in sys.argv[5:]:
    clock, cpu = time.perf_counter(), time.process_time()
    result = register(pair.fixed, pair.moving, preset, progress=False)
    spent = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    warped = result.transform.warp_labels(pair.moving_labels)
    np.save(f"{folder}/{preset}.npy", np.asarray(warped.dataobj))
    print(json.dumps({"preset": preset, **spent}), flush=True)
"""


def main() -> None:
    options = make_parser().parse_args()
    if reason := missing_data():
        sys.exit(f"benchmarks: {reason}")
    commits = [_git("rev-parse", "--short", name) for name in (options.old, options.new)]
    before, rows = load_average(), []
    with contextlib.ExitStack() as stack:
        folders = {commit: stack.enter_context(checked_out(commit)) for commit in commits}
        for number in range(options.rounds):
            for commit, folder in folders.items():
                for row in run(folder, options.presets):
                    date = _git("show", "-s", "--format=%cs", commit)
                    rows.append({"commit": commit, "date": date, "round": number, **row})
                    print(rows[-1], flush=True)
    table = pd.DataFrame(rows).assign(machine=machine(), load=before)
    means = table.pivot_table(["cpu_seconds", "dice"], "preset", "commit", sort=False)
    print(means.round(4).to_string())
    if options.record:
        table.round(4).to_csv(RESULTS / "commits.csv", index=False)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.commits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="HEAD")
    parser.add_argument("--presets", nargs="+", default=["fast", "default"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write book/results/commits.csv")
    return parser


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The files of a commit in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def run(tree: Path, presets: list[str]) -> list[dict]:
    """Seconds and Dice of each preset with the package in `tree`."""
    pair = load_pair(PAIR.dataset, PAIR.fixed, PAIR.moving)
    environment = with_threads(1) | {"PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as folder:
        who = [PAIR.dataset, PAIR.fixed, PAIR.moving, folder]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *who, *presets],
            capture_output=True, text=True, cwd=tree, env=environment,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"benchmarks: {tree.name} failed: {done.stderr.strip()[-500:]}")
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for row in rows:
            labels = make_image(np.load(f"{folder}/{row['preset']}.npy"), pair.fixed_labels.affine)
            row["dice"] = mean_dice(pair.fixed_labels, labels, pair.protocol)
    return rows


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"benchmarks: git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
