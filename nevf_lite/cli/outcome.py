"""The end of a registration command: the result folder, its summary, and notes on the progress."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nevf_lite.cli.terminal import INTERRUPTED, note, show_json
from nevf_lite.config import Config
from nevf_lite.scans.files import disk_errors, unfinished_folder

if TYPE_CHECKING:
    from nevf_lite.cli.bids import BidsNames
    from nevf_lite.registration.register import Registration


def write_outcome(
    registration: Registration,
    folder: Path,
    *,
    title: str,
    command: str,
    as_json: bool = False,
    quiet: bool = False,
    bids: BidsNames | None = None,
    summary_lines: Sequence[tuple[str, str]] = (),
    **scoring,
) -> None:
    """Write the result folder and print a summary, or result.json.

    bids: names below the folder, instead of those of a result folder. summary_lines: further lines
    of the summary, (name, value). scoring: labels and metrics, see `Registration.save`. Raises
    typer.Exit(130) if the registration was interrupted by Ctrl-C, after the result has been
    written.
    """
    with _ignored_interrupts():
        if not quiet:
            interrupted = registration.stopped == "interrupted"
            prefix = "interrupted; the best field so far is kept; " if interrupted else ""
            for text in (*registration.notes, prefix + "writing the result"):
                note(text)
        with _destination(folder, bids) as destination:
            document = registration.save(destination, title=title, command=command, **scoring)
    if as_json:
        show_json(document)
    elif not quiet:
        report = "report.html" if bids is None else bids.names["report.html"]
        _show_summary(title, folder, folder / report, document, summary_lines)
    if document["stopped"] == "interrupted":
        raise typer.Exit(INTERRUPTED)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C inside the block: a second one would lose the result of the first."""

    def explain(*_) -> None:
        note("the result is being written; please wait")

    previous = signal.signal(signal.SIGINT, explain)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def _destination(folder: Path, bids: BidsNames | None) -> Iterator[Path]:
    """Where the result is written: the folder itself, or a hidden place in it until it is named."""
    if bids is None:
        yield folder
        return
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder) as hidden:
            yield hidden
            bids.place(hidden, folder)


def _show_summary(
    title: str,
    folder: Path,
    report: Path,
    document: dict,
    summary_lines: Sequence[tuple[str, str]],
) -> None:
    """Print the main scores, the time and the path of the report."""
    metrics, lines = document["metrics"], []
    if metrics.get("dice_after") is not None:
        count = len(document["dice"])
        change = f"{metrics['dice_before']:.3f} -> {metrics['dice_after']:.3f}"
        lines.append(("Dice", f"{change}, mean of {count} structure{'s' * (count != 1)}"))
    if None not in (metrics.get("hd95_before_mm"), metrics.get("hd95_after_mm")):
        change = f"{metrics['hd95_before_mm']:.2f} -> {metrics['hd95_after_mm']:.2f} mm"
        lines.append(("HD95", change))
    lines += summary_lines
    lines.append(("Folds", f"{metrics['folds_percent']:.4f} % of voxels"))
    run = f"{document['iterations']} iterations on {document['device']}"
    if document["stopped"] == "interrupted":
        run += ", interrupted"
    lines += [
        ("Time", f"{document['seconds']:.1f} s, {run}"),
        ("Result", f"{folder}/"),
        ("Report", report),
    ]
    typer.echo(title)
    for name, value in lines:
        typer.echo(f"  {name:<12}{value}")


def log_levels(config: Config) -> Callable[[dict], None]:
    """A callback for `register` that prints a line at the start of each level, for log files."""
    started: set[int] = set()

    def show(record: dict) -> None:
        if record["level"] not in started:
            started.add(record["level"])
            note(
                f"level {record['level'] + 1} of {len(config.levels)}: loss {record['loss']:.4f} "
                f"after {record['seconds']:.1f} s"
            )

    return show
