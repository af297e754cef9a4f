"""What every command shares: errors in one line, notes, tables, help that reads well anywhere.

Results go to standard output; notes, progress and errors go to standard error, so that a pipe
carries nothing but the result. Nothing here imports torch: `nevf --help` has to be quick.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer
from typer.core import TyperCommand, TyperGroup

INTERRUPTED = 130  # the exit status shells give to Ctrl-C
#: What bad input, a bad machine or a bad choice of settings raises; one line says what to do.
EXPECTED = (ValueError, OSError, MemoryError, FloatingPointError)


def option(
    names: str,
    metavar: str | None,
    text: str,
    default: str = "",
    *,
    panel: str = "Options",
    **limits,
):
    """An option of a command, with one line of help; default: what holds without it, in words."""
    text += f"  [default: {default}]" if default else ""
    return typer.Option(
        *names.split(),
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=not default,
        **limits,
    )


class _Help:
    """Plain text, the same in a terminal, a pipe and a file: options in groups, examples as is."""

    def format_options(self, ctx, formatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or usual
                groups.setdefault(panel, []).append(record)
        for panel, records in groups.items():
            with formatter.section(panel):
                formatter.write_dl(records)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx, formatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(f"{self.epilog.strip()}\n")


class Command(_Help, TyperCommand):
    """A command of `nevf`."""


class Group(_Help, TyperGroup):
    """A group of commands, listed in their order under the panel that each of them names."""

    def list_commands(self, ctx) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx, formatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            panel = command.rich_help_panel
            panel = panel if isinstance(panel, str) else "Commands"
            short = command.short_help or (command.help or "").strip().split("\n")[0]
            groups.setdefault(panel, []).append((name, short))
        for panel, rows in groups.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


class Nevf(Group):
    """The whole command line: whatever goes wrong below ends here, in one line."""

    def parse_args(self, ctx, args):
        ctx.meta["nevf.command"] = shlex.join(["nevf", *args])
        if any(arg == "" or (arg.startswith("--") and arg.endswith("=")) for arg in args):
            raise typer.BadParameter("one of the words is empty; is a shell variable not set?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has gone, as in `nevf info | head -1`
            raise
        except EXPECTED as error:
            _fail(describe(error), 2, error)
        except KeyboardInterrupt as error:
            _fail("interrupted; nothing was written", INTERRUPTED, error)
        except Exception as error:
            # what ends the program on purpose (usage, --help, a refusal) carries its exit status
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise
            if out_of_memory(error):
                _fail("memory: it ran out on the way; choose a coarser --spacing", 2, error)
            _fail(
                f"{type(error).__name__}: {describe(error)} - this should not happen; please "
                "report it with what the same command prints under NEVF_DEBUG=1",
                1,
                error,
            )


def _fail(line: str, status: int, error: BaseException) -> None:
    if debugging():
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(f"nevf: error: {one_line(line)}", err=True)
    raise typer.Exit(status)


def debugging() -> bool:
    """Does the user want tracebacks?"""
    return os.environ.get("NEVF_DEBUG", "") not in ("", "0")


def describe(error: BaseException) -> str:
    """The message of an error; the operating system's own ones begin with the file."""
    if isinstance(error, OSError) and error.strerror and len(error.args) > 1:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """No line breaks, and nothing that a file's name could make a terminal do."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def out_of_memory(error: BaseException) -> bool:
    """torch says so with a RuntimeError, on the card and on the CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def note(text: str) -> None:
    """A line for people, on standard error."""
    typer.echo(f"nevf: {one_line(text)}", err=True)


def show_json(document: Mapping) -> None:
    """One JSON document on standard output. It knows no NaN and no infinity: they become null."""
    typer.echo(json.dumps(_finite(document), indent=1, allow_nan=False))


def _finite(value):
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a header; a column of numbers stands at the right, one of words at the left."""
    rows = list(rows)
    cells = [list(header)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    words = [any(isinstance(row[i], str | Path) for row in rows) for i in range(len(header))]
    for line in cells:
        columns = zip(line, widths, words, strict=True)
        typer.echo("  ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in columns).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "-"
    return "-" if value is None else str(value)
