"""`nevf info`: what this machine has, and what it will need."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.register import Preset
from nevf_lite.cli.terminal import option, show_json, show_table
from nevf_lite.config import PRESETS, preset

EXAMPLES = {
    "info": """Examples:
  nevf info
  nevf info --image fixed.nii.gz --preset default --spacing 1"""
}
#: A brain as most people have it: the box of the paper, in voxels of 1 mm.
USUAL = (160, 192, 160)
GIB = 2**30


def info(
    image: Annotated[
        Path | None,
        option("--image", "FIXED", "Predict for this image.", "160x192x160 voxels of 1 mm"),
    ] = None,
    settings: Annotated[Preset | None, option("--preset", None, "Predict for it.", "all")] = None,
    spacing: Annotated[
        float | None, option("--spacing", "MM", "Resolution to optimise at.", "the preset's")
    ] = None,
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show devices, versions, the data found, the memory needed."""
    names = list(PRESETS) if settings is None else [str(settings)]
    document = {
        "devices": _devices(),
        "versions": _versions(),
        "data": _data(),
        "memory": _memory(image, names, spacing),
    }
    if as_json:
        show_json(document)
        return
    typer.echo("Devices")
    show_table(
        ["  name", "what", "free GiB"],
        [(f"  {d['name']}", d["what"], d["free_bytes"] / GIB) for d in document["devices"]],
    )
    typer.echo("\nVersions")
    for package, version in document["versions"].items():
        typer.echo(f"  {package:<12}{version}")
    typer.echo("\nData")
    show_table(
        ["  name", "subjects", "where"],
        [
            (f"  {d['name']}", d["subjects"], d["folder"] or ("comes along" if d["here"] else "-"))
            for d in document["data"]
        ],
    )
    typer.echo("\nMemory that a registration needs at most")
    show_table(
        ["  preset", "spacing mm", "voxels", "GiB", "fits"],
        [
            (
                f"  {m['preset']}",
                m["spacing_mm"],
                " x ".join(map(str, m["shape"])),
                m["bytes"] / GIB,
                "yes" if m["fits"] else "no",
            )
            for m in document["memory"]
        ],
    )


def _devices() -> list[dict]:
    import torch

    from nevf_lite.memory import available_memory

    found = [
        ("cpu", f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    ]
    for index in range(torch.cuda.device_count()):
        found.append((f"cuda:{index}", torch.cuda.get_device_name(index)))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple's graphics processor"))
    return [
        {"name": name, "what": what, "free_bytes": available_memory(torch.device(name))}
        for name, what in found
    ]


def _versions() -> dict[str, str]:
    from nevf_lite.result import versions

    return versions()


def _data() -> list[dict]:
    from nevf_lite.data import available

    return [
        {
            "name": found.dataset.name,
            "here": found.here,
            "folder": None if found.folder is None else str(found.folder),
            "subjects": len(found.subjects),
        }
        for found in available()
    ]


def _memory(image: Path | None, names: list[str], spacing: float | None) -> list[dict]:
    import numpy as np

    from nevf_lite.frames import choose_device, choose_spacing
    from nevf_lite.io import load_image
    from nevf_lite.memory import available_memory, predict_memory
    from nevf_lite.space import Grid

    whole = Grid(USUAL, np.eye(4)) if image is None else Grid.of(load_image(image, "image"))
    free = available_memory(choose_device("auto"))
    found = []
    for name in names:
        config = preset(name) if spacing is None else preset(name, spacing=spacing)
        millimetres = choose_spacing(config.spacing, whole)
        shape = whole.at_spacing(millimetres).shape
        needed = predict_memory(config, shape)
        found.append(
            {
                "preset": name,
                "spacing_mm": millimetres,
                "shape": shape,
                "bytes": needed,
                "fits": needed <= free,
            }
        )
    return found
