"""Studies: pairs of brains times methods, one row per job, resumable, on one machine or many.

    from nevf_lite.study import Study, report, run
    rows = run(Study.from_yaml("classical.yml"), "classical.csv", workers=2)
    print(report(rows, against="SyN"))

`plan` lists the jobs of a study and `methods` the methods. `process` and `job` run a job in a
process of its own, `run` runs all jobs, `rows` stores their results and `report` makes the table.
"""

from nevf_lite.study.methods import METHODS, Method, register_with
from nevf_lite.study.plan import MethodSpec, PairSpec, Study
from nevf_lite.study.report import Report, report
from nevf_lite.study.rows import read_rows
from nevf_lite.study.run import run

__all__ = [
    "METHODS",
    "Method",
    "MethodSpec",
    "PairSpec",
    "Report",
    "Study",
    "read_rows",
    "register_with",
    "report",
    "run",
]
