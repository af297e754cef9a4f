"""From a finished registration to its folder and the lines that people read; and on the way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nevf_lite.cli.terminal import INTERRUPTED, note, show_json
from nevf_lite.config import Config

if TYPE_CHECKING:
    from nevf_lite.registration import Registration


def write(
    registration: Registration,
    folder: Path,
    *,
    title: str,
    command: str,
    as_json: bool = False,
    quiet: bool = False,
    more: Sequence[tuple[str, str]] = (),
    **extra,
) -> None:
    """Write the result folder and say what came of it; extra goes to `Registration.save`.

    more: further lines of the summary, (name, value). Raises typer.Exit(130) after a Ctrl-C, the
    result written.
    """
    with _unhurried():
        if not quiet:
            stopped = registration.stopped == "interrupted"
            kept = "interrupted; the best field so far is kept; " if stopped else ""
            for text in (*registration.notes, kept + "writing the result"):
                note(text)
        document = registration.save(folder, title=title, command=command, **extra)
    if as_json:
        show_json(document)
    elif not quiet:
        show_summary(title, folder, document, more)
    if document["stopped"] == "interrupted":
        raise typer.Exit(INTERRUPTED)


@contextlib.contextmanager
def _unhurried() -> Iterator[None]:
    """Ctrl-C does not stop what is inside: an impatient second one would lose the result."""

    def explain(*_) -> None:
        note("the result is being written; a moment")

    before = signal.signal(signal.SIGINT, explain)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show_summary(
    title: str, folder: Path, document: dict, more: Sequence[tuple[str, str]] = ()
) -> None:
    """The few numbers that people look for first, and where the rest is."""
    found, lines = document["metrics"], []
    if found.get("dice_after") is not None:
        count = len(document["dice"])
        change = f"{found['dice_before']:.3f} -> {found['dice_after']:.3f}"
        lines.append(("Dice", f"{change}, mean of {count} structure{'s' * (count != 1)}"))
    if None not in (found.get("hd95_before_mm"), found.get("hd95_after_mm")):
        change = f"{found['hd95_before_mm']:.2f} -> {found['hd95_after_mm']:.2f} mm"
        lines.append(("HD95", change))
    lines += more
    lines.append(("Folds", f"{found['folds_percent']:.4f} % of voxels"))
    how = f"{document['iterations']} iterations on {document['device']}"
    if document["stopped"] == "interrupted":
        how += ", interrupted"
    lines += [
        ("Time", f"{document['seconds']:.1f} s, {how}"),
        ("Result", f"{folder}/"),
        ("Report", folder / "report.html"),
    ]
    typer.echo(title)
    for name, value in lines:
        typer.echo(f"  {name:<12}{value}")


def log_levels(config: Config) -> Callable[[dict], None]:
    """A callback for `register` that writes a line at the start of each level, for log files."""
    started: set[int] = set()

    def show(record: dict) -> None:
        if record["level"] not in started:
            started.add(record["level"])
            note(
                f"level {record['level'] + 1} of {len(config.levels)}: loss {record['loss']:.4f} "
                f"after {record['seconds']:.1f} s"
            )

    return show


def set_threads(count: int) -> None:
    """CPU threads of torch; our own kernels follow it."""
    import torch

    torch.set_num_threads(count)
