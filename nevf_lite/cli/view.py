"""`nevf view`: an interactive web page of a deformation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.apply import TransformArgument
from nevf_lite.cli.terminal import note, option

EXAMPLES = {
    "view": """Examples:
  nevf view result
  nevf view result --fixed fixed.nii.gz --moving moving.nii.gz
  nevf view result -o deformation.html --no-open"""
}
PAGE = "view.html"
RECORD = "result.json"


def view(
    transform: TransformArgument,
    output: Annotated[
        Path | None,
        option("-o --output", "FILE", "File to write the page to.", f"{PAGE} in the result folder"),
    ] = None,
    fixed: Annotated[
        Path | None,
        option("--fixed", "IMAGE", "The fixed image, for comparison.", "the one registered"),
    ] = None,
    moving: Annotated[
        Path | None,
        option("--moving", "IMAGE", "The moving image.", "the one registered"),
    ] = None,
    no_open: Annotated[
        bool, option("--no-open", None, "Write the page without opening it.")
    ] = False,
) -> None:
    """Write an animated page of the deformation and open it in the browser.

    The page shows the deforming grid and slices, which can be rotated, played and cut open. It is
    one file that needs no network and also works on a phone.
    """
    folder = transform.expanduser()
    if output is None:
        output = folder / PAGE if folder.is_dir() else Path(PAGE)
    elif not (folder.is_dir() and output.expanduser().resolve() == (folder / PAGE).resolve()):
        checks.protect_result(output, transform)
    checks.protect_inputs(output, {"fixed image": fixed, "moving image": moving})

    from nevf_lite.scans.files import suffix_of

    suffix_of(output, (".html", ".htm"), "output")

    from nevf_lite.transforms.transform import Transform
    from nevf_lite.viz.viewer.viewer import DeformationViewer

    loaded = Transform.load(transform)
    fixed = fixed or _registered(folder, "fixed")
    source = moving or _registered(folder, "moving")
    if source is None:
        warped = folder / "warped.nii.gz"
        if not (folder.is_dir() and warped.exists()):
            raise ValueError(f"moving: {transform} holds no image; name one with --moving")
        note(f"the moving image is {warped}, warped back; --moving shows the sharper original")
        source = loaded.inverse.warp_image(warped)
    DeformationViewer(loaded, source, fixed, f"Deformation: {folder.resolve().name}").save(output)
    typer.echo(str(output))
    if not no_open:
        import webbrowser

        if not webbrowser.open(output.expanduser().resolve().as_uri()):
            note(f"no browser could be started; open {output} in a browser")


def _registered(folder: Path, role: str) -> Path | None:
    """The scan that a result folder says was registered, where it still is; None otherwise."""
    record = folder / RECORD
    if not (folder.is_dir() and record.is_file()):
        return None
    name = json.loads(record.read_text(encoding="utf-8")).get("images", {}).get(role)
    return Path(name) if name and Path(name).is_file() else None
