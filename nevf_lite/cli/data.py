"""`nevf data`: list, download and prepare datasets."""

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

Data is looked for in the folder named by the environment variable NEVF_DATA, then in
the cache folder, which the environment variable NEVF_CACHE can change."""
}

app = typer.Typer(
    cls=Group,
    help="List, download and prepare brain images to register.",
    epilog=EXAMPLES["data"],
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("list", cls=Command)
def list_data(
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show which data is installed, where, and how to get the rest."""
    from nevf_lite.data import available

    datasets = available()
    if as_json:
        rows = [
            {
                "name": entry.dataset.name,
                "title": entry.dataset.title,
                "here": entry.available,
                "folder": None if entry.folder is None else str(entry.folder),
                "subjects": entry.subjects,
                "licence": entry.dataset.licence,
                "credit": entry.dataset.credit,
                "obtain": entry.dataset.obtain,
            }
            for entry in datasets
        ]
        show_json({"data": rows})
        return
    for entry in datasets:
        typer.echo(f"{entry.dataset.name}: {entry.dataset.title}")
        if entry.available:
            typer.echo(f"  here     {entry.folder or 'built in'}")
            if entry.subjects:
                typer.echo(f"  people   {_shortened(entry.subjects)}")
        else:
            typer.echo(f"  missing  {entry.dataset.obtain}")
        for name in ("licence", "credit"):
            text = f"  {name:<9}{getattr(entry.dataset, name)}"
            typer.echo(textwrap.fill(text, 100, subsequent_indent=" " * 11))


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A dataset; `nevf data list` shows all.")
]
QuietOption = Annotated[bool, option("-q --quiet", None, "Show no progress bar.")]


@app.command(cls=Command)
def fetch(
    name: NameArgument,
    yes: Annotated[bool, option("-y --yes", None, "Download without asking.")] = False,
    url: Annotated[
        str | None, option("--url", "URL", "Download from this address instead.")
    ] = None,
    trust: Annotated[
        bool, option("--trust", None, "Accept a file whose checksum has changed.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Download a dataset from its owner, after showing size and licence.

    It asks before downloading. An interrupted download continues where it stopped. NAME may also
    be `weights`, for published network weights.
    """
    from nevf_lite.data import DATASETS
    from nevf_lite.data.fetch import fetch as fetch_files

    def confirm(plan: str) -> bool:
        typer.echo(plan, err=True)
        if yes:
            return True
        try:
            return typer.confirm("Download?", err=True)
        except typer.Abort:  # no terminal to ask on
            typer.echo(err=True)
            return False

    files = fetch_files(name, confirm=confirm, url=url, trust=trust, progress=not quiet)
    if not files:
        note("nothing was downloaded; --yes downloads without asking")
        raise typer.Exit(1)
    for file in files:
        typer.echo(file)
    if name in DATASETS and name != "sample":
        note(f"next: nevf data prepare {name}")


@app.command(cls=Command)
def prepare(
    name: NameArgument,
    archive: Annotated[
        Path | None, option("--archive", "FILE", "The downloaded archive, if not in the cache.")
    ] = None,
    own_affine: Annotated[
        bool,
        option("--own-affine", None, "Compute the affine alignment instead of using Mindboggle's."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Convert downloaded data into images ready to register.

    As in the paper: 1 mm voxels, aligned to MNI152, cropped, intensities normalised.
    """
    from nevf_lite.data.prepare import prepare as prepare_files

    files = prepare_files(name, archive=archive, own_affine=own_affine, progress=not quiet)
    typer.echo(f"{len(files)} images in {files[0].parent}")


def _shortened(subjects: tuple[str, ...]) -> str:
    """At most eight subjects, and the number of all."""
    first = ", ".join(subjects[:8])
    return first if len(subjects) <= 8 else f"{first}, ... ({len(subjects)} in all)"
