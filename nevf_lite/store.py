"""Transforms on disk: one `.safetensors` file with the weights, and the chain as JSON beside them.

Safetensors holds plain arrays and cannot run code when it is opened, unlike a pickle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nevf_lite.fields import FeatureField, SirenField, VelocityField, VoxelField
from nevf_lite.files import atomic, existing_file
from nevf_lite.io import read_displacement
from nevf_lite.parts import Affine, Dense, Part, Velocity
from nevf_lite.space import Grid
from nevf_lite.transform import Transform

FORMAT = "nevf-transform-1"
FILE_NAME = "velocity.safetensors"


def save_transform(transform: Transform, path: str | os.PathLike) -> None:
    """Write a transform; the file appears whole or not at all."""
    tensors: dict = {}
    parts = [_describe(part, f"part{i}.", tensors) for i, part in enumerate(transform.parts)]
    chain = {
        "format": FORMAT,
        "fixed": _grid_to_dict(transform.fixed),
        "moving": _grid_to_dict(transform.moving),
        "parts": parts,
    }
    # one key: safetensors writes several in an order that changes from run to run
    metadata = {"transform": json.dumps(chain, sort_keys=True)}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_transform(path: str | os.PathLike) -> Transform:
    """Read a transform from a result folder, a `.safetensors` file or an ITK displacement field.

    A displacement field says nothing of its moving image; its own grid is taken for both.
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
        return Transform((Dense.from_mm(displacement, grid),), grid, grid)
    try:
        with safe_open(path, "pt") as file:
            chain = json.loads((file.metadata() or {}).get("transform", "{}"))
            if chain.get("format") != FORMAT:
                raise ValueError(f"transform: {path} is not a transform written by nevf_lite")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts = tuple(
            _rebuild(entry, f"part{i}.", tensors) for i, entry in enumerate(chain["parts"])
        )
        return Transform(parts, _grid_from_dict(chain["fixed"]), _grid_from_dict(chain["moving"]))
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


def _describe(part: Part, prefix: str, tensors: dict) -> dict:
    if isinstance(part, Affine):
        return {"kind": "affine", "matrix": part.matrix.tolist()}
    if isinstance(part, Dense):
        tensors[prefix + "displacement"] = part.displacement.contiguous().cpu()
        return {"kind": "dense", "grid": _grid_to_dict(part.grid)}
    for name, value in part.field.state_dict().items():
        tensors[prefix + name] = value.contiguous().cpu()
    return {
        "kind": "velocity",
        "grid": _grid_to_dict(part.grid),
        "nodes": list(part.nodes),
        "integrator": part.integrator,
        "steps": part.steps,
        "order": part.order,
        "sign": part.sign,
        "field": _describe_field(part.field),
    }


#: The fields by their names in a file; each is made again from its shape and settings.
_FIELDS = {"siren": SirenField, "features": FeatureField, "voxel": VoxelField}


def _describe_field(field: VelocityField) -> dict:
    kind = next(name for name, made in _FIELDS.items() if isinstance(field, made))
    return {"kind": kind, "shape": list(field.shape), **field.settings}


def _rebuild(entry: dict, prefix: str, tensors: dict) -> Part:
    kind = entry["kind"]
    if kind == "affine":
        return Affine(np.array(entry["matrix"]))
    if kind == "dense":
        return Dense(tensors[prefix + "displacement"], _grid_from_dict(entry["grid"]))
    field_entry = dict(entry["field"])
    field = _FIELDS[field_entry.pop("kind")](**field_entry)
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    field.load_state_dict(state)
    return Velocity(
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
