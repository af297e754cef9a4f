"""Speed and memory relative to plain torch and to other registration tools.

    python -m benchmarks [--quick] [--json] [--record] [--threads N] [--device cpu]

Measures each kernel, forward and backward, at 4, 2 and 1 mm; whole iterations; whole registrations
against SyN, greedy, NiftyReg and DIPY on trt02 <- trt01 (if NEVF_DATA has it); and the limits of
the machine. `--quick` leaves out 1 mm, torch.compile and the registrations. With `--json` each line
is one object: case, backend, seconds, reference_seconds, ratio, peak_mib, predicted_mib if there is
one, cpu_seconds and cpu_ratio, which other work on the machine disturbs less. `--record` adds the
run to the file of this machine in benchmarks/runs/ and, if it is complete, to the book.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import record, registration
from benchmarks.clock import Times
from benchmarks.counts import Count
from benchmarks.kernel import FAST, timing_columns
from benchmarks.operations import OPERATIONS, SPACINGS
from nevf_lite.study.environment import with_threads

#: Setting and spacing in mm of the whole iterations.
ITERATIONS = (("default", 4), ("default", 2), ("default", 1), ("siren", 1))
ROUNDS = 2  # of all backends, in turn


def main(arguments: list[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)
    run = record.describe_run(options.threads, options.device)
    run["quick"] = options.quick
    if not options.json:
        print(f"{run['machine']}; {options.threads} threads, load {run['load']}")
        print(HEADER, flush=True)
    run["ceilings"] = _in_process(
        "ceilings", options, device=options.device, threads=options.threads
    )
    run["cases"] = []
    for measurement in measurements(options):
        if fraction := ceiling_fraction(measurement, run["ceilings"]):
            measurement["of_ceiling"] = fraction
        run["cases"].append(measurement)
        print(json.dumps(measurement) if options.json else table_line(measurement), flush=True)
    run["load_after"] = record.load_average()
    ceilings = ", ".join(f"{name} {value:.3g}/s" for name, value in run["ceilings"].items())
    print(f"ceilings (bytes, flops): {ceilings}", file=sys.stderr)
    if options.record:
        print(f"recorded in {record.append(run).name}", file=sys.stderr)
        if any(measurement["kind"] == "registration" for measurement in run["cases"]):
            record.write_table(run)  # the chapter draws the registrations too


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="kernels and iterations at 4 and 2 mm")
    parser.add_argument("--json", action="store_true", help="one JSON object per measurement")
    parser.add_argument("--record", action="store_true", help="store the run")
    parser.add_argument(
        "--long", action="store_true", help="also the longest settings of other tools"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def measurements(options: argparse.Namespace) -> Iterator[dict]:
    """All measurements of a run, each as soon as it is made."""
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
    if reason := registration.missing_data():
        print(f"benchmarks: {reason}", file=sys.stderr)
        return
    yield from registration.measurements(options.threads, options.long)


def iterations(setting: str, spacing: float, options: argparse.Namespace) -> list[dict]:
    """Measure plain torch and the fast backend in turn, each in a child process."""
    names = ("torch", FAST.get(options.device.partition(":")[0], "auto"))
    latest, times = {}, {name: Times() for name in names}
    for _ in range(ROUNDS):
        for name in names:
            measurement = _in_process(
                "iteration",
                options,
                setting=setting,
                spacing=spacing,
                backend=name,
                device=options.device,
                threads=options.threads,
            )
            times[name].add(measurement.pop("wall"), measurement.pop("cpu"))
            latest[name] = measurement
    return [{**latest[name], **timing_columns(times[name], times["torch"])} for name in names]


def ceiling_fraction(measurement: dict, ceilings: dict) -> float | None:
    """The least seconds that a kernel needs on this machine over the seconds measured.

    It exceeds 1 if the data of the kernel fit into the cache. None for anything but a kernel.
    """
    if not measurement.get("bytes") or not measurement.get("seconds"):
        return None
    count = Count(measurement["bytes"], measurement["flops"])
    least = count.seconds(ceilings["bandwidth"], ceilings["flops"])
    return float(f"{least / measurement['seconds']:.3g}")


def _in_process(module: str, options: argparse.Namespace, **arguments) -> dict | list[dict]:
    """The JSON that `python -m benchmarks.MODULE ARGUMENTS` prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(arguments)]
    environment = with_threads(options.threads)
    root = str(Path(__file__).parents[1])
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    if result.returncode:
        sys.exit(f"benchmarks: {module} {arguments} failed: {result.stderr.strip()[-500:]}")
    return json.loads(result.stdout.splitlines()[-1])


HEADER = (
    f"{'case':<34}{'backend':<14}{'seconds':>10}{'reference':>11}{'ratio':>7}{'(cpu)':>7}"
    f"{'MiB':>8}{'predicted':>10}{'ceiling':>9}"
)


def table_line(measurement: dict) -> str:
    """One line of the table; unknown values are blank."""

    def cell(key: str, width: int, spec: str) -> str:
        value = measurement.get(key)
        return " " * width if value is None else f"{value:>{width}{spec}}"

    line = f"{measurement['case']:<34}{measurement['backend']:<14}"
    line += cell("seconds", 10, ".4f") + cell("reference_seconds", 11, ".4f")
    line += cell("ratio", 7, ".2f") + cell("cpu_ratio", 7, ".2f") + cell("peak_mib", 8, ".0f")
    line += cell("predicted_mib", 10, ".0f") + cell("of_ceiling", 9, ".3f")
    if measurement.get("dice"):
        line += f"  Dice {measurement['dice']:.4f}"
    return f"{line}  {measurement['note']}" if measurement.get("note") else line


if __name__ == "__main__":
    main()
