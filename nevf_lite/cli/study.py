"""`nevf study`: many pairs times many methods, resumable; and the table that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.terminal import INTERRUPTED, Command, Group, note, option, show_json, show_table

EXAMPLES = {
    "study": """Examples:
  nevf study list
  nevf study run classical.yml --workers 2
  nevf study report classical.csv --against NeVF

A study is a YAML file:
  name: classical
  spacing: 2
  pairs:
    - {dataset: mindboggle, split: test}
    - {dataset: oasis, fixed: "1008", moving: ["1011", "1012"]}
  methods:
    - {method: syn, label: "SyN [40,20,0]", iterations: [40, 20, 0]}
    - {method: nevf, label: NeVF, preset: default, trajectory: 10}"""
}

app = typer.Typer(
    cls=Group,
    help="Compare methods on many pairs of brains; interrupted, it goes on where it was.",
    epilog=EXAMPLES["study"],
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command(cls=Command)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study, a YAML file.")],
    output: Annotated[
        Path | None, option("-o --output", "FILE", "The rows.", "the study's name, .csv")
    ] = None,
    workers: Annotated[int, option("--workers", "N", "Jobs at a time on this machine.")] = 1,
    scheduler: Annotated[
        str | None,
        option("--scheduler", "ADDRESS", "Of a Dask cluster to run on, tcp://host:8786."),
    ] = None,
    batch: Annotated[
        int,
        option("--batch", "N", "NeVF's pairs at a time in one process; on a card they share it."),
    ] = 1,
    retry_failed: Annotated[
        bool, option("--retry-failed", None, "Do the jobs again that failed.")
    ] = False,
    quiet: Annotated[bool, option("-q --quiet", None, "No progress bar.")] = False,
) -> None:
    """Run a study: all that its file of rows does not hold yet.

    A row is written the moment its job is done. The exit status is 1 if jobs failed.
    """
    from nevf_lite.study import Study
    from nevf_lite.study import run as run_study

    study = Study.from_yaml(file)
    rows_file = output or Path(f"{study.name}.csv")
    try:
        rows = run_study(
            study,
            rows_file,
            workers=workers,
            scheduler=scheduler,
            batch=batch,
            retry_failed=retry_failed,
            progress=not quiet,
        )
    except KeyboardInterrupt:
        note(f"interrupted; what was finished is in {rows_file}, the same command goes on from it")
        raise typer.Exit(INTERRUPTED) from None
    keys = {job.key for job in study.jobs()}
    mine = [row for row in rows.to_dict("records") if _key(row) in keys]
    bad = [row for row in mine if row["status"] == "failed"]
    for row in bad[:5]:
        where = f"{row['dataset']} {row['fixed']} <- {row['moving']}, {row['label']}"
        note(f"failed: {where}: {row['reason']}")
    note(f"{len(mine) - len(bad)} of {len(keys)} jobs done, {len(bad)} failed; {rows_file}")
    if bad:
        raise typer.Exit(1)


def _key(row: dict) -> tuple[str, ...]:
    from nevf_lite.study.rows import KEY

    return tuple(row[name] for name in KEY)


@app.command(cls=Command)
def report(
    files: Annotated[list[Path], typer.Argument(metavar="ROWS...", help="Rows of studies, CSV.")],
    against: Annotated[
        str | None,
        option("--against", "LABEL", "Compare every method with this one, pair by pair."),
    ] = None,
    form: Annotated[
        str, option("--format", "FORMAT", "text, markdown, csv or json.", "text")
    ] = "text",
) -> None:
    """Print the table: Dice over pairs, folds, seconds, memory, and a paired test.

    csv and json hold one line a dataset and method, with every number in full.
    """
    if form not in ("text", "markdown", "csv", "json"):
        raise ValueError(f"--format: wanted text, markdown, csv or json, got {form!r}")
    import pandas as pd

    from nevf_lite.study import read_rows
    from nevf_lite.study import report as make_report

    found = make_report(pd.concat([read_rows(file) for file in files]), against)
    if form == "csv":
        typer.echo(found.table.to_csv(index=False), nl=False)
    elif form == "json":
        rows = found.table.to_dict("records")
        show_json({"against": found.against, "rows": rows, "notes": found.notes})
    elif form == "markdown":
        typer.echo(found.markdown())
    else:
        for title, header, cells in found.blocks():
            typer.echo(title)
            show_table(header, cells)
            typer.echo()
    if form in ("text", "csv"):
        for text in found.notes:
            note(text)


@app.command("list", cls=Command)
def list_methods(
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show the methods that a study may name, and whether what they need is installed."""
    from nevf_lite.study import METHODS

    found = [(m.name, m.title, m.missing or "installed") for m in METHODS.values()]
    if as_json:
        names = ("name", "title", "needs")
        show_json({"methods": [dict(zip(names, row, strict=True)) for row in found]})
    else:
        show_table(("name", "method", "needs"), found)
