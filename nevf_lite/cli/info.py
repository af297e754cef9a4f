"""`nevf info`: devices, versions and data of this machine, and the memory a registration needs."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli.inputs import image_source
from nevf_lite.cli.settings import Preset
from nevf_lite.cli.terminal import option, show_json, show_table
from nevf_lite.config import PRESETS, preset

EXAMPLES = {
    "info": """Examples:
  nevf info
  nevf info --image fixed.nii.gz --preset default --spacing 1"""
}
#: Voxels of 1 mm around a brain, as in the prepared datasets.
DEFAULT_SHAPE = (160, 192, 160)
GIB = 2**30


def info(
    image: Annotated[
        Path | None,
        option("--image", "FIXED", "Predict memory for this image.", "160x192x160 voxels of 1 mm"),
    ] = None,
    preset_name: Annotated[
        Preset | None, option("--preset", None, "Predict memory for this preset.", "all")
    ] = None,
    spacing: Annotated[
        float | None,
        option("--spacing", "MM", "Finest voxel size; `fast` stops at twice it.", "the preset's"),
    ] = None,
    masks: Annotated[
        bool,
        option("--masks", None, "With a mask or a lesion, or a scan that ends inside the head."),
    ] = False,
    dicom: Annotated[
        bool, option("--dicom", None, "FIXED is a folder of DICOM files, or one file of a series.")
    ] = False,
    as_json: Annotated[bool, option("--json", None, "Print one JSON document.")] = False,
) -> None:
    """Show devices, versions, installed data and the memory needed."""
    from nevf_lite.registration.folder import versions

    names = list(PRESETS) if preset_name is None else [str(preset_name)]
    document = {
        "devices": _devices(),
        "versions": versions(),
        "data": _data(),
        "memory": _memory(image, names, spacing, dicom, masks),
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
            (f"  {d['name']}", d["subjects"], d["folder"] or ("built in" if d["here"] else "-"))
            for d in document["data"]
        ],
    )
    typer.echo("\nMemory that a registration needs, with its result")
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

    from nevf_lite.registration.memory import available_memory

    devices = [
        ("cpu", f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    ]
    for index in range(torch.cuda.device_count()):
        devices.append((f"cuda:{index}", torch.cuda.get_device_name(index)))
    if torch.backends.mps.is_available():
        devices.append(("mps", "Apple GPU"))
    return [
        {"name": name, "what": what, "free_bytes": available_memory(torch.device(name))}
        for name, what in devices
    ]


def _data() -> list[dict]:
    from nevf_lite.data import available

    return [
        {
            "name": entry.dataset.name,
            "here": entry.available,
            "folder": None if entry.folder is None else str(entry.folder),
            "subjects": len(entry.subjects),
        }
        for entry in available()
    ]


def _memory(
    image: Path | None, names: list[str], spacing: float | None, dicom: bool, masks: bool
) -> list[dict]:
    import numpy as np

    from nevf_lite.registration.frames import choose_device, choose_spacing
    from nevf_lite.registration.memory import available_memory, predict_process
    from nevf_lite.scans.io import load_image
    from nevf_lite.scans.space import Grid

    if image is None:
        grid = Grid(DEFAULT_SHAPE, np.eye(4))
    else:
        grid = Grid.of(load_image(image_source(image, "image", dicom), "image"))
    free = available_memory(choose_device("auto"))
    rows = []
    for name in names:
        config = preset(name) if spacing is None else preset(name, spacing=spacing)
        millimetres = choose_spacing(config.spacing, grid)
        shape = grid.at_spacing(millimetres).shape
        needed = predict_process(config, shape, grid.shape, grid.shape, masks)
        rows.append(
            {
                "preset": name,
                "spacing_mm": millimetres,
                "shape": shape,
                "bytes": needed,
                "fits": needed <= free,
            }
        )
    return rows
