"""Seconds per iteration and peak memory of one pair at 4, 2 and 1 mm, against plain torch.

    python -m benchmarks [--quick] [--json] [--device cpu]

Each case runs in a process of its own, so that its peak memory is its own. `--quick` leaves out
1 mm. With `--json` each line is one object: case, backend, seconds, reference_seconds, ratio,
peak_mib, predicted_mib.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

CASE = Path(__file__).with_name("iteration.py")
SPACINGS = (4, 2, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out 1 mm")
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    options = parser.parse_args()
    if not options.json:
        print(
            f"{'case':<24}{'backend':<9}{'s / it':>9}{'torch':>9}{'ratio':>7}"
            f"{'peak MiB':>10}{'predicted':>11}"
        )
    for spacing in SPACINGS[:2] if options.quick else SPACINGS:
        reference = measure(spacing, "torch", options.device)
        for backend in ("torch", "auto"):
            case = reference if backend == "torch" else measure(spacing, backend, options.device)
            case["reference_seconds"] = reference["seconds"]
            case["ratio"] = round(reference["seconds"] / case["seconds"], 2)
            print(json.dumps(case) if options.json else row(case), flush=True)


def measure(spacing: float, backend: str, device: str) -> dict:
    """One case in a fresh process: what `iteration.py` prints."""
    command = [sys.executable, str(CASE), str(spacing), backend, device]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"benchmarks: {spacing} mm, {backend} failed: {answer.stderr.strip()[-500:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def row(case: dict) -> str:
    return (
        f"{case['case']:<24}{case['backend']:<9}{case['seconds']:>9.3f}"
        f"{case['reference_seconds']:>9.3f}{case['ratio']:>7.2f}"
        f"{case['peak_mib']:>10.0f}{case['predicted_mib']:>11.0f}"
    )


if __name__ == "__main__":
    main()
