"""Terminal input and output of all commands: options, help pages, errors, notes, JSON and tables.

Results go to standard output. Notes, progress and errors go to standard error, so that a pipe
carries only the result. This module does not import torch, because `nevf --help` has to be quick.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill

import typer
from typer.core import TyperCommand, TyperGroup

from nevf_lite.scans.errors import EXPECTED, describe, one_line, out_of_memory

INTERRUPTED = 130  # the exit status that shells report after Ctrl-C


def option(
    names: str,
    metavar: str | None,
    text: str,
    default: str = "",
    *,
    panel: str = "Options",
    **limits,
):
    """An option of a command.

    names: its spellings, separated by spaces. text: one line of help. default: the default in
    words, for the help page; by default the value itself is shown. panel: heading of its group on
    the help page. limits: further arguments of `typer.Option`, such as `min`.
    """
    text += f"  [default: {default}]" if default else ""
    return typer.Option(
        *names.split(),
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=not default,
        **limits,
    )


class _PlainHelp:
    """Help pages in plain text, without colours or boxes; commands keep their line breaks."""

    def format_options(self, ctx, formatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                default_panel = "Arguments" if is_argument else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or default_panel
                groups.setdefault(panel, []).append(record)
        for panel, records in groups.items():
            with formatter.section(panel):
                formatter.write_dl(records)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx, formatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            lines = self.epilog.strip().splitlines()
            for is_prose, part in groupby(lines, lambda line: line[:1].strip() != ""):
                text = "\n".join(part)
                if is_prose:  # at the width of what stands above it
                    text = fill(text, formatter.width, break_on_hyphens=False)
                formatter.write(f"{text}\n")


class Command(_PlainHelp, TyperCommand):
    """A command of `nevf`."""


class Group(_PlainHelp, TyperGroup):
    """A group of commands, listed in the order of registration under their help panels."""

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


class RootGroup(Group):
    """The command `nevf` itself. It reports every error of a command in one line."""

    def parse_args(self, ctx, args):
        ctx.meta["nevf.command"] = shlex.join(["nevf", *args])
        if any(arg == "" or (arg.startswith("--") and arg.endswith("=")) for arg in args):
            raise typer.BadParameter("an argument is empty; is a shell variable unset?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has closed the pipe, as in `nevf info | head -1`
            raise
        except EXPECTED as error:
            _fail(describe(error), 2, error)
        except KeyboardInterrupt as error:
            _fail("interrupted; nothing was written", INTERRUPTED, error)
        except Exception as error:
            # click's usage errors, --help and typer.Exit carry their exit status
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise
            if out_of_memory(error):
                _fail("memory: the computation ran out of it; choose a coarser --spacing", 2, error)
            _fail(
                f"{type(error).__name__}: {describe(error)} - this is unexpected; please "
                "report it with the output of the same command under NEVF_DEBUG=1",
                1,
                error,
            )


def _fail(line: str, status: int, error: BaseException) -> None:
    if debugging():
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(f"nevf: error: {one_line(line)}", err=True)
    raise typer.Exit(status)


def debugging() -> bool:
    """True if the environment variable NEVF_DEBUG asks for tracebacks."""
    return os.environ.get("NEVF_DEBUG", "") not in ("", "0")


@contextlib.contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Around a run that the same command continues: Ctrl-C says so, and where its results are."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"interrupted; what was finished is in {output}, the same command continues it")
        raise typer.Exit(INTERRUPTED) from None


def note_failures(failed: Sequence[tuple[str, str]]) -> None:
    """A note on each of the first five failures: (what failed, why)."""
    for name, reason in failed[:5]:
        note(f"failed: {name}: {reason}")


def note(text: str) -> None:
    """Print one line on standard error."""
    typer.echo(f"nevf: {one_line(text)}", err=True)


class LogNotes(logging.Handler):
    """Prints what the package logs as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def print_log(quiet: bool = False) -> None:
    """Print what the package logs from now on as notes; quiet: errors alone."""
    log = logging.getLogger("nevf_lite")
    if not any(isinstance(handler, LogNotes) for handler in log.handlers):
        log.addHandler(LogNotes())
    for handler in log.handlers:
        if isinstance(handler, LogNotes):
            handler.setLevel(logging.ERROR if quiet else logging.WARNING)


def show_json(document: Mapping) -> None:
    """Print one JSON document on standard output; NaN and infinity become null."""
    typer.echo(json.dumps(_finite(document), indent=1, allow_nan=False))


def _finite(value):
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with a header; columns of numbers are aligned right, columns of text left."""
    rows = list(rows)
    cells = [list(header)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_text = [any(isinstance(row[i], str | Path) for row in rows) for i in range(len(header))]
    for line in cells:
        columns = zip(line, widths, is_text, strict=True)
        typer.echo("  ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in columns).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "-"
    return "-" if value is None else str(value)
