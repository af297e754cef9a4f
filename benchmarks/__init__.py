"""Speed and memory, measured: `python -m benchmarks` prints, `--json` is for machines.

`operations` and `counts` say what is measured and what it needs; `kernel`, `iteration`,
`registration` and `ceilings` measure, each in a process of its own; `record` keeps runs, and
`__main__` does them all.
"""
