"""`nevf view`: a deformation to turn and to play, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.apply import Source
from nevf_lite.cli.terminal import note, option

EXAMPLES = {
    "view": """Examples:
  nevf view result
  nevf view result --fixed fixed.nii.gz --moving moving.nii.gz
  nevf view result -o deformation.html --no-open"""
}
PAGE = "view.html"


def view(
    transform: Source,
    output: Annotated[
        Path | None,
        option("-o --output", "FILE", "Where to write the page.", f"{PAGE} in the result folder"),
    ] = None,
    fixed: Annotated[
        Path | None, option("--fixed", "IMAGE", "The fixed image, to compare with.", "not shown")
    ] = None,
    moving: Annotated[
        Path | None,
        option("--moving", "IMAGE", "The moving image.", "the warped one, taken back"),
    ] = None,
    no_open: Annotated[
        bool, option("--no-open", None, "Write the page and do not open it.")
    ] = False,
) -> None:
    """Write a page that shows the deformation in motion, and open it in the browser.

    One file with everything inside: a lattice and slices that can be turned, played and cut open,
    also on a phone and without a network.
    """
    folder = transform.expanduser()
    if output is None:
        output = folder / PAGE if folder.is_dir() else Path(PAGE)
    elif not (folder.is_dir() and output.expanduser().resolve() == (folder / PAGE).resolve()):
        checks.keep_result(output, transform)
    checks.keep_inputs(output, {"fixed image": fixed, "moving image": moving})

    from nevf_lite.files import suffix_of

    suffix_of(output, (".html", ".htm"), "output")

    from nevf_lite.transform import Transform
    from nevf_lite.viz.viewer import DeformationViewer

    loaded = Transform.load(transform)
    source = moving
    if source is None:
        warped = folder / "warped.nii.gz"
        if not (folder.is_dir() and warped.exists()):
            raise ValueError(f"moving: {transform} holds no scan; name one with --moving")
        note(f"the moving scan is {warped} taken back; --moving shows the sharper original")
        source = loaded.inverse.warp_image(warped)
    DeformationViewer(loaded, source, fixed, f"Deformation: {folder.resolve().name}").save(output)
    typer.echo(str(output))
    if not no_open:
        import webbrowser

        if not webbrowser.open(output.expanduser().resolve().as_uri()):
            note(f"no browser could be opened; open {output} in one")
