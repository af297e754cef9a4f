"""Transforms on disk: one `.safetensors` file of arrays, with the chain as JSON in its header.

Safetensors holds plain arrays. Unlike a pickle it cannot run code when it is opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nevf_lite.continuous import TimeSirenField
from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.scans.files import atomic, existing_file
from nevf_lite.scans.io import read_displacement
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine, Component, DisplacementField, VelocityFlow

FORMAT = "nevf-transform-1"
FILE_NAME = "velocity.safetensors"


def save_chain(
    path: str | os.PathLike, components: Sequence[Component], fixed: Grid, moving: Grid
) -> None:
    """Write a chain of components between two grids; the file appears whole or not at all."""
    tensors: dict = {}
    entries = [_describe(c, f"part{i}.", tensors) for i, c in enumerate(components)]
    chain = {
        "format": FORMAT,
        "fixed": _grid_to_dict(fixed),
        "moving": _grid_to_dict(moving),
        "parts": entries,
    }
    # one key: safetensors writes several in an order that changes from run to run
    metadata = {"transform": json.dumps(chain, sort_keys=True)}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_chain(path: str | os.PathLike) -> tuple[tuple[Component, ...], Grid, Grid]:
    """Read a chain from a result folder, a `.safetensors` file or an ITK displacement field.

    Returns the components, the fixed grid and the moving grid. A displacement field does not record
    its moving image, so its own grid is taken for both.
    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if not (path / FILE_NAME).exists():
            raise FileNotFoundError(
                f"transform: there is no {FILE_NAME} in {path}; name the folder that "
                "`nevf register -o` wrote"
            )
        path = path / FILE_NAME
    path = existing_file(path, "transform")
    if path.suffix != ".safetensors":
        displacement, affine = read_displacement(path)
        grid = Grid(displacement.shape[:-1], affine)
        return (DisplacementField.from_mm(displacement, grid),), grid, grid
    try:
        with safe_open(path, "pt") as file:
            chain = json.loads((file.metadata() or {}).get("transform", "{}"))
            if chain.get("format") != FORMAT:
                raise ValueError(f"transform: {path} is not a transform written by nevf_lite")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        components = tuple(
            _rebuild(entry, f"part{i}.", tensors) for i, entry in enumerate(chain["parts"])
        )
        return components, _grid_from_dict(chain["fixed"]), _grid_from_dict(chain["moving"])
    except (
        SafetensorError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        json.JSONDecodeError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"transform: {path} is damaged ({reason}); register again") from error


def _describe(component: Component, prefix: str, tensors: dict) -> dict:
    if isinstance(component, Affine):
        return {"kind": "affine", "matrix": component.matrix.tolist()}
    if isinstance(component, DisplacementField):
        tensors[prefix + "displacement"] = component.displacement.contiguous().cpu()
        return {"kind": "dense", "grid": _grid_to_dict(component.grid)}
    for name, value in component.field.state_dict().items():
        tensors[prefix + name] = value.contiguous().cpu()
    return {
        "kind": "velocity",
        "grid": _grid_to_dict(component.grid),
        "nodes": list(component.nodes),
        "integrator": component.integrator,
        "steps": component.steps,
        "order": component.order,
        "sign": component.sign,
        "field": _describe_field(component.field),
    }


#: Velocity fields by their names in a file. Each is rebuilt from its shape and settings.
_FIELDS = {
    "siren": SirenField,
    "features": FeatureField,
    "voxel": VoxelField,
    "time-siren": TimeSirenField,
}


def _describe_field(field: VelocityField) -> dict:
    kind = next(name for name, cls in _FIELDS.items() if type(field) is cls)
    return {"kind": kind, "shape": list(field.shape), **field.settings}


def _rebuild(entry: dict, prefix: str, tensors: dict) -> Component:
    kind = entry["kind"]
    if kind == "affine":
        return Affine(np.array(entry["matrix"]))
    if kind == "dense":
        return DisplacementField(tensors[prefix + "displacement"], _grid_from_dict(entry["grid"]))
    field_entry = dict(entry["field"])
    field = _FIELDS[field_entry.pop("kind")](**field_entry)
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    field.load_state_dict(state)
    return VelocityFlow(
        field,
        _grid_from_dict(entry["grid"]),
        tuple(entry["nodes"]),
        entry["integrator"],
        entry["steps"],
        entry["order"],
        entry["sign"],
    )


def _grid_to_dict(grid: Grid) -> dict:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid_from_dict(entry: dict) -> Grid:
    return Grid(tuple(entry["shape"]), np.array(entry["affine"]))
