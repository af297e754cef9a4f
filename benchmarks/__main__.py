"""Speed and memory against plain torch and against the peers, in one run and as ratios.

    python -m benchmarks [--quick] [--json] [--record] [--threads N] [--device cpu]

Each kernel, forward and backward, at 4, 2 and 1 mm; whole iterations; whole registrations against
SyN, greedy, NiftyReg and DIPY on trt02 <- trt01 (where NEVF_DATA has it); and the machine's own
limits. `--quick` leaves out 1 mm, torch.compile and the registrations. With `--json` each line is
one object: case, backend, seconds, reference_seconds, ratio, peak_mib, predicted_mib where there
is one, cpu_seconds and cpu_ratio, which other work on the machine disturbs less. `--record` adds
the run to the file of this machine in benchmarks/runs/ and, if it is whole, makes it the book's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import record, registration
from benchmarks.clock import Times
from benchmarks.kernel import FAST, rates
from benchmarks.operations import OPERATIONS, SPACINGS
from nevf_lite.study.process import THREADS

#: Whole iterations: the default's finest level as a grid of each spacing, and the issue's own.
ITERATIONS = (("default", 4), ("default", 2), ("default", 1), ("siren", 1))
ROUNDS = 2  # of the backends, in turn


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    run = record.about(options.threads, options.device)
    run["quick"] = options.quick
    if not options.json:
        print(f"{run['machine']}; {options.threads} threads, load {run['load']}")
        print(HEADER, flush=True)
    run["ceilings"] = _in_process(
        "ceilings", options, device=options.device, threads=options.threads
    )
    run["cases"] = []
    for case in cases(options):
        if ceiling := attainable(case, run["ceilings"]):
            case["of_ceiling"] = ceiling
        run["cases"].append(case)
        print(json.dumps(case) if options.json else row(case), flush=True)
    run["load_after"] = record.busy()
    said = ", ".join(f"{name} {value:.3g}/s" for name, value in run["ceilings"].items())
    print(f"ceilings (bytes, flops): {said}", file=sys.stderr)
    if options.record:
        print(f"recorded in {record.append(run).name}", file=sys.stderr)
        if any(case["kind"] == "registration" for case in run["cases"]):
            record.write_table(run)  # the chapter wants all of it


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--quick", action="store_true", help="kernels and iterations at 4 and 2 mm")
    found.add_argument("--json", action="store_true", help="one JSON object a case")
    found.add_argument("--record", action="store_true", help="keep the run")
    found.add_argument("--long", action="store_true", help="also the peers' longest budgets")
    found.add_argument("--threads", type=int, default=torch.get_num_threads())
    found.add_argument("--device", default="cpu", help="cpu or cuda")
    return found


def cases(options: argparse.Namespace) -> Iterator[dict]:
    """All cases of a run, as they come."""
    spacings = [s for s in SPACINGS if s > 1 or not options.quick]
    for operation in OPERATIONS:
        for spacing in spacings:
            yield from _in_process(
                "kernel",
                options,
                operation=operation,
                spacing=spacing,
                device=options.device,
                threads=options.threads,
                compiled=not options.quick,
            )
    for setting, spacing in ITERATIONS:
        if spacing in spacings:
            yield from iterations(setting, spacing, options)
    if options.quick:
        return
    if reason := registration.missing():
        print(f"benchmarks: {reason}", file=sys.stderr)
        return
    yield from registration.cases(options.threads, options.long)


def iterations(setting: str, spacing: float, options: argparse.Namespace) -> list[dict]:
    """Plain torch and the fast backend in turn, each in a process of its own."""
    names = ("torch", FAST.get(options.device.partition(":")[0], "auto"))
    found, times = {}, {name: Times() for name in names}
    for _ in range(ROUNDS):
        for name in names:
            case = _in_process(
                "iteration",
                options,
                setting=setting,
                spacing=spacing,
                backend=name,
                device=options.device,
                threads=options.threads,
            )
            times[name].add(case.pop("wall"), case.pop("cpu"))
            found[name] = case
    return [{**found[name], **rates(times[name], times["torch"])} for name in names]


def attainable(case: dict, ceilings: dict) -> float | None:
    """How much of what the machine could do at best a kernel reaches: least seconds over its own.

    Above 1 where its data lie in the cache.
    """
    if not case.get("bytes") or not case.get("seconds"):
        return None
    least = max(case["bytes"] / ceilings["bandwidth"], case["flops"] / ceilings["flops"])
    return float(f"{least / case['seconds']:.3g}")


def _in_process(module: str, options: argparse.Namespace, **given) -> dict | list[dict]:
    """What `python -m benchmarks.MODULE` prints, as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(given)]
    environment = os.environ | {name: str(options.threads) for name in THREADS}
    root = str(Path(__file__).parents[1])
    answer = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    if answer.returncode:
        sys.exit(f"benchmarks: {module} {given} failed: {answer.stderr.strip()[-500:]}")
    return json.loads(answer.stdout.splitlines()[-1])


HEADER = (
    f"{'case':<34}{'backend':<14}{'seconds':>10}{'reference':>11}{'ratio':>7}{'(cpu)':>7}"
    f"{'MiB':>8}{'predicted':>10}{'ceiling':>9}"
)


def row(case: dict) -> str:
    """One line of the table; what is not known is left blank."""

    def cell(key: str, width: int, form: str) -> str:
        value = case.get(key)
        return " " * width if value is None else f"{value:>{width}{form}}"

    line = f"{case['case']:<34}{case['backend']:<14}"
    line += cell("seconds", 10, ".4f") + cell("reference_seconds", 11, ".4f")
    line += cell("ratio", 7, ".2f") + cell("cpu_ratio", 7, ".2f") + cell("peak_mib", 8, ".0f")
    line += cell("predicted_mib", 10, ".0f") + cell("of_ceiling", 9, ".3f")
    if case.get("dice"):
        line += f"  Dice {case['dice']:.4f}"
    return f"{line}  {case['note']}" if case.get("note") else line


if __name__ == "__main__":
    main()
