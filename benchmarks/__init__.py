"""Speed and memory, measured: `python -m benchmarks` prints, `--json` is for machines."""
