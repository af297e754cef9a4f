"""The start of every chapter of the book: its profile, its seed and its pair of brain images.

from nevf_lite.chapters import begin
profile = begin()
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from nevf_lite import __version__
from nevf_lite.data import Pair, available, load_pair
from nevf_lite.data.splits import TRAIN
from nevf_lite.scans.space import Grid

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")
PROFILES = ("fast", "full")


@dataclass(frozen=True)
class Profile:
    """How long a chapter may run: "fast", a minute on one core, or "full", without a limit.

    name: "fast" or "full". machine: the processor and the version that make the outputs, in words.
    A notebook shows the profile as one line of text.
    """

    name: str
    machine: str

    def pick(self, fast: Value, full: Value) -> Value:
        """The value for this profile."""
        return fast if self.name == "fast" else full

    def __str__(self) -> str:
        return f"Profile {self.name}; the outputs below were made on {self.machine}."

    def _repr_html_(self) -> str:
        return f'<p class="nevf-profile"><small>{self}</small></p>'

    def __repr__(self) -> str:
        return str(self)


def begin(seed: int = 0) -> Profile:
    """Set the seed and read the profile from the environment variable NEVF_PROFILE.

    seed: for torch. Raises ValueError for a profile other than "fast" (the default) and "full".
    """
    name = os.environ.get("NEVF_PROFILE", "fast")
    if name not in PROFILES:
        raise ValueError(f"NEVF_PROFILE: wanted one of {', '.join(PROFILES)}, got {name!r}")
    torch.manual_seed(seed)
    processor = "a GPU" if torch.cuda.is_available() else platform.machine()
    threads = torch.get_num_threads()
    cores = f"{threads} core{'s' if threads > 1 else ''}"
    return Profile(name, f"{cores} of {processor}, with nevf_lite {__version__}")


def slices(spacing: float | None = 1.5) -> Pair:
    """Two 2-D slices: of real brains if the dataset is on this machine, else simulated.

    spacing: mm. The slices are cropped to the bounding box of both brains with a margin of 12 mm.
    """
    name = "slices2d" if _is_available("slices2d") else "simulated"
    return _crop(load_pair(name, spacing=spacing, ndim=2), margin_mm=12.0)


@dataclass(frozen=True)
class People:
    """Slices of several people on one grid: of each an image and its labels, and what is known.

    name: the dataset. images: float32 in [0, 1]. labels: int32. label_names, protocol, licence,
    credit: as of a `Pair`.
    """

    name: str
    images: tuple[nib.Nifti1Image, ...]
    labels: tuple[nib.Nifti1Image, ...]
    label_names: dict[int, str]
    protocol: tuple[int, ...]
    licence: str
    credit: str


def people(
    count: int = 8, spacing: float | None = 2.0, names: Sequence[str] = TRAIN["mindboggle"]
) -> People:
    """2-D slices of several people if the dataset is on this machine, else simulated.

    count: how many of the names, 2 to all. spacing: mm. names: by default those of the train split.
    All are cropped to the box of all brains, with a margin of 12 mm.
    """
    if not 2 <= count <= len(names):
        raise ValueError(f"count: wanted 2 to {len(names)}, got {count}")
    if _is_available("slices2d"):
        pairs = [load_pair("slices2d", n, n, spacing=spacing) for n in names[:count]]
    else:
        seeds = range(1, count + 1)
        pairs = [load_pair("simulated", seed=s, spacing=spacing, ndim=2) for s in seeds]
    first = pairs[0]
    masks = np.stack([np.asarray(p.fixed_mask.dataobj) > 0 for p in pairs])
    crop = _cropping(masks.any(axis=0), Grid.of(first.fixed), margin_mm=12.0)
    return People(
        name=first.name.split()[0],
        images=tuple(crop(p.fixed) for p in pairs),
        labels=tuple(crop(p.fixed_labels) for p in pairs),
        label_names=first.label_names,
        protocol=first.protocol,
        licence=first.licence,
        credit=first.credit,
    )


def brains(spacing: float | None = None) -> Pair:
    """Two brains in 3-D: the first real dataset on this machine, else the simulated pair.

    spacing: mm; None for the dataset's own. The order is mindboggle, oasis, neurite, sample.
    """
    for dataset in ("mindboggle", "oasis", "neurite", "sample"):
        if _is_available(dataset):
            return load_pair(dataset, spacing=spacing)
    return load_pair("simulated", spacing=spacing)


def tensor(image: nib.Nifti1Image | np.ndarray) -> Tensor:
    """The values of an image as the tensor of the method: (1, 1, *shape), float32."""
    values = np.asarray(getattr(image, "dataobj", image), dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(values))[None, None]


def results(name: str) -> pd.DataFrame:
    """A table of the book: the rows of a long study, or the numbers published in the paper.

    name: of a file in `book/results/`, without its ending. It is read from the checkout that
    contains this package. Without a checkout, as in Colab, it is read from the repository's URL.
    Rows have the labels of `study.names.true_labels`.
    """
    import pandas as pd

    from nevf_lite.study.names import true_labels

    source = Path(__file__).parents[1] / "book" / "results" / f"{name}.csv"
    if not source.parent.is_dir():
        urls = dict(entry.split(", ") for entry in metadata("nevf-lite").get_all("Project-URL"))
        source = f"{urls['Repository']}/raw/main/book/results/{name}.csv"
    table = pd.read_csv(source, dtype={"fixed": str, "moving": str})
    return true_labels(table) if "config_hash" in table else table


def scored(*studies: str) -> pd.DataFrame:
    """The rows of several studies that are done, of pairs of the test split, each job once.

    studies: names as of `results`; one without any row yet is left out. Raises ValueError if none
    of the studies has a row.
    """
    import pandas as pd

    from nevf_lite.study.claims import of_test_split
    from nevf_lite.study.rows import KEY

    found = []
    for name in studies:
        with suppress(FileNotFoundError, HTTPError):
            rows = results(name)
            found.append(rows[rows["status"] == "done"])
    if not found:
        raise ValueError(f"studies: none of {', '.join(studies)} has rows")
    rows = of_test_split(pd.concat(found, ignore_index=True))
    return rows.drop_duplicates([*KEY, "label"], keep="last")


def _crop(pair: Pair, margin_mm: float) -> Pair:
    """Crop a pair to the bounding box of both brains; the images keep a common grid.

    margin_mm: kept around the box.
    """
    brain = (np.asarray(pair.fixed_mask.dataobj) > 0) | (np.asarray(pair.moving_mask.dataobj) > 0)
    crop = _cropping(brain, Grid.of(pair.fixed), margin_mm)
    names = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
    cropped = {name: crop(getattr(pair, name)) for name in names}
    return replace(pair, **cropped, truth=None if pair.truth is None else pair.truth[crop.box])


@dataclass(frozen=True)
class _Crop:
    box: tuple[slice, ...]

    def __call__(self, image: nib.Nifti1Image) -> nib.Nifti1Image:
        shift = np.eye(4)
        shift[: len(self.box), 3] = [part.start for part in self.box]
        return nib.Nifti1Image(np.asarray(image.dataobj)[self.box], image.affine @ shift)


def _cropping(brain: np.ndarray, grid: Grid, margin_mm: float) -> _Crop:
    """What crops images of a grid to the bounding box of a brain, with a margin around it."""
    margin = np.ceil(margin_mm / np.array(grid.spacing)).astype(int)
    voxels = np.argwhere(brain)
    low = np.maximum(voxels.min(axis=0) - margin, 0)
    high = np.minimum(voxels.max(axis=0) + margin + 1, brain.shape)
    return _Crop(tuple(slice(a, b) for a, b in zip(low, high, strict=True)))


def _is_available(name: str) -> bool:
    return any(local.dataset.name == name and local.available for local in available())
