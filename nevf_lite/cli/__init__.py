"""The command line `nevf`, one module per command.

Heavy libraries such as torch are imported inside the commands, so that `nevf --help` is quick.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from nevf_lite import __version__
from nevf_lite.cli import apply, batch, cohorts, data, demo, evaluate, info, register, study, view
from nevf_lite.cli.terminal import Command, RootGroup, debugging, print_log

__all__ = ["app", "main"]

EXAMPLES = """Examples:
  nevf demo
  nevf register fixed.nii.gz moving.nii.gz -o result
  nevf apply result moving_labels.nii.gz -o labels_on_fixed.nii.gz

Help for one command: nevf register --help"""

app = typer.Typer(
    name="nevf",
    cls=RootGroup,
    help="Register brain images with a neural velocity field: smooth, invertible, in millimetres.",
    epilog=EXAMPLES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(f"nevf {__version__}")
        raise typer.Exit()
    print_log()
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


for _panel, _module, _names in (
    ("Register", register, ("register",)),
    ("Register", demo, ("demo",)),
    ("Use a result", apply, ("apply", "invert", "compose")),
    ("Use a result", evaluate, ("evaluate",)),
    ("Use a result", view, ("view",)),
    ("Many scans", batch, ("batch",)),
    ("Many scans", cohorts, ("labels", "template", "change")),
    ("Machine and data", info, ("info",)),
):
    for _name in _names:
        app.command(cls=Command, rich_help_panel=_panel, epilog=_module.EXAMPLES[_name])(
            getattr(_module, _name)
        )
app.add_typer(data.app, name="data", rich_help_panel="Machine and data")
app.add_typer(study.app, name="study", rich_help_panel="Compare methods")


def _open_closed_streams() -> None:
    """Let standard streams that the caller closed (`2>&-`) swallow what is written to them.

    Otherwise Python has none, and the next file that is opened gets their number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def main() -> None:
    """The console script `nevf`."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names may hold characters that the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions and not debugging():
        warnings.simplefilter("ignore")  # warnings of libraries are for programmers
    app(prog_name="nevf")
