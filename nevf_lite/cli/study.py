"""`nevf study`: compare methods on many pairs, and print the table of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.terminal import (
    Command,
    Group,
    note,
    note_failures,
    option,
    resumable,
    show_json,
    show_table,
)

EXAMPLES = {
    "study": """Examples:
  nevf study list
  nevf study run classical.yml --workers 2
  nevf study report classical.csv --against "SyN [40,20,0]"

A study is a YAML file:
  name: classical
  spacing: 2
  pairs:
    - {dataset: mindboggle, split: test}
    - {dataset: oasis, fixed: "1008", moving: ["1011", "1012"]}
  methods:
    - {method: syn, label: "SyN [40,20,0]", iterations: [40, 20, 0]}
    - {method: nevf, preset: default, trajectory: 10}"""
}

app = typer.Typer(
    cls=Group,
    help="Compare registration methods on many pairs of brains; can be resumed.",
    epilog=EXAMPLES["study"],
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command(cls=Command)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the study.")],
    output: Annotated[
        Path | None,
        option("-o --output", "FILE", "CSV file of the scores.", "the study's name with .csv"),
    ] = None,
    workers: Annotated[
        int, option("--workers", "N", "Number of jobs run at the same time on this machine.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        option("--scheduler", "ADDRESS", "Dask scheduler to run on, such as tcp://host:8786."),
    ] = None,
    batch: Annotated[
        int,
        option("--batch", "N", "Pairs that nevf registers at once in one process, to share a GPU."),
    ] = 1,
    retry_failed: Annotated[bool, option("--retry-failed", None, "Run failed jobs again.")] = False,
    quiet: Annotated[bool, option("-q --quiet", None, "Show no progress bar.")] = False,
) -> None:
    """Run the jobs of a study that its CSV file does not hold yet.

    A job is one pair and one method. Its row is written to the CSV file as soon as it is done. The
    exit status is 1 if jobs failed.
    """
    from nevf_lite.study import Study
    from nevf_lite.study import run as run_study

    study = Study.from_yaml(file)
    rows_file = output or Path(f"{study.name}.csv")
    with resumable(rows_file):
        rows = run_study(
            study,
            rows_file,
            workers=workers,
            scheduler=scheduler,
            batch=batch,
            retry_failed=retry_failed,
            progress=not quiet,
        )
    keys = {job.key for job in study.jobs()}
    records = [row for row in rows.to_dict("records") if _key(row) in keys]
    failed = [row for row in records if row["status"] == "failed"]
    named = "{dataset} {fixed} <- {moving}, {label}"
    note_failures([(named.format(**row), row["reason"]) for row in failed])
    note(
        f"{len(records) - len(failed)} of {len(keys)} jobs done, {len(failed)} failed; {rows_file}"
    )
    if failed:
        raise typer.Exit(1)


def _key(row: dict) -> tuple[str, ...]:
    """The job of a row, as in `Job.key`."""
    from nevf_lite.study.rows import KEY

    return tuple(row[name] for name in KEY)


@app.command(cls=Command)
def report(
    files: Annotated[
        list[Path], typer.Argument(metavar="ROWS...", help="CSV files of `nevf study run`.")
    ],
    against: Annotated[
        str | None,
        option("--against", "LABEL", "Method to compare every other one with, pair by pair."),
    ] = None,
    table_format: Annotated[
        str, option("--format", "FORMAT", "Output format: text, markdown, csv or json.", "text")
    ] = "text",
) -> None:
    """Print a table of Dice, folds, time and memory, and paired differences.

    The formats csv and json have one row per dataset and method, with all digits.
    """
    if table_format not in ("text", "markdown", "csv", "json"):
        raise ValueError(f"--format: wanted text, markdown, csv or json, got {table_format!r}")
    import pandas as pd

    from nevf_lite.study import read_rows
    from nevf_lite.study import report as summarise

    summary = summarise(pd.concat([read_rows(file) for file in files]), against)
    if table_format == "csv":
        typer.echo(summary.table.to_csv(index=False), nl=False)
    elif table_format == "json":
        rows = summary.table.to_dict("records")
        show_json({"against": summary.against, "rows": rows, "notes": summary.notes})
    elif table_format == "markdown":
        typer.echo(summary.markdown())
    else:
        for title, header, cells in summary.blocks():
            typer.echo(title)
            show_table(header, cells)
            typer.echo()
    if table_format in ("text", "csv"):
        for text in summary.notes:
            note(text)


@app.command("list", cls=Command)
def list_methods(
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show the methods of a study and whether they are installed."""
    from nevf_lite.study import METHODS

    rows = [(m.name, m.title, m.missing or "installed") for m in METHODS.values()]
    if as_json:
        names = ("name", "title", "needs")
        show_json({"methods": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        show_table(("name", "method", "needs"), rows)
