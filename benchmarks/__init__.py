"""Measurements of speed and memory: `python -m benchmarks` prints them, as JSON with `--json`.

`operations` has what is measured and `counts` the bytes and operations it needs. `kernel`,
`iteration`, `registration` and `ceilings` measure, each in a child process. `record` stores runs,
and `__main__` runs all of them.
"""
