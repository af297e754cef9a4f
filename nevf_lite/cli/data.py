"""`nevf data`: the brains that are here, and how to have more of them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.terminal import Command, Group, note, option, show_json

EXAMPLES = {
    "data": """Examples:
  nevf data list
  nevf data fetch sample
  nevf data fetch mindboggle --yes && nevf data prepare mindboggle

Data is looked for in the folder that the variable NEVF_DATA names, then in the cache,
which NEVF_CACHE may move to another disk."""
}

app = typer.Typer(
    cls=Group,
    help="List, fetch and prepare brains to register.",
    epilog=EXAMPLES["data"],
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("list", cls=Command)
def list_data(
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show what data there is, where, and how to have the rest."""
    from nevf_lite.data import available

    found = available()
    if as_json:
        rows = [
            {
                "name": one.dataset.name,
                "title": one.dataset.title,
                "here": one.here,
                "folder": None if one.folder is None else str(one.folder),
                "subjects": one.subjects,
                "licence": one.dataset.licence,
                "credit": one.dataset.credit,
                "obtain": one.dataset.obtain,
            }
            for one in found
        ]
        show_json({"data": rows})
        return
    for one in found:
        typer.echo(f"{one.dataset.name}: {one.dataset.title}")
        if one.here:
            typer.echo(f"  here     {one.folder or 'always'}")
            if one.subjects:
                typer.echo(f"  people   {_shortened(one.subjects)}")
        else:
            typer.echo(f"  missing  {one.dataset.obtain}")
        for name in ("licence", "credit"):
            text = f"  {name:<9}{getattr(one.dataset, name)}"
            typer.echo(textwrap.fill(text, 100, subsequent_indent=" " * 11))


Name = Annotated[str, typer.Argument(metavar="NAME", help="See `nevf data list`.")]
Quiet = Annotated[bool, option("-q --quiet", None, "No progress bar.")]


@app.command(cls=Command)
def fetch(
    name: Name,
    yes: Annotated[bool, option("-y --yes", None, "Do not ask before downloading.")] = False,
    url: Annotated[str | None, option("--url", "URL", "Another address of it.")] = None,
    trust: Annotated[
        bool, option("--trust", None, "Accept a file whose checksum has changed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download from the owner; shows size and licence, then asks.

    A download that was cut goes on where it ended. NAME may also be `weights`: published network
    weights.
    """
    from nevf_lite.data import DATASETS
    from nevf_lite.data.fetch import fetch as bring

    def agree(plan: str) -> bool:
        typer.echo(plan, err=True)
        if yes:
            return True
        try:
            return typer.confirm("Download?", err=True)
        except typer.Abort:  # nobody there to ask
            typer.echo(err=True)
            return False

    files = bring(name, confirm=agree, url=url, trust=trust, progress=not quiet)
    if not files:
        note("nothing was downloaded; --yes downloads without asking")
        raise typer.Exit(1)
    for file in files:
        typer.echo(file)
    if name in DATASETS and name != "sample":
        note(f"next: nevf data prepare {name}")


@app.command(cls=Command)
def prepare(
    name: Name,
    archive: Annotated[
        Path | None, option("--archive", "FILE", "The archive, if it lies somewhere else.")
    ] = None,
    own_affine: Annotated[
        bool,
        option("--own-affine", None, "Align Mindboggle's brains here, not as published."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make what was fetched ready to load.

    As in the paper: 1 mm, aligned to MNI152, cropped, intensities normalised.
    """
    from nevf_lite.data.prepare import prepare as make

    files = make(name, archive=archive, own_affine=own_affine, progress=not quiet)
    typer.echo(f"{len(files)} images in {files[0].parent}")


def _shortened(subjects: tuple[str, ...]) -> str:
    some = ", ".join(subjects[:8])
    return some if len(subjects) <= 8 else f"{some}, ... ({len(subjects)} in all)"
