"""What every chapter of the book starts with: one profile, one seed, and the brains it looks at.

from nevf_lite.chapters import begin
profile = begin()
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from nevf_lite import __version__
from nevf_lite.data import Pair, available, load_pair
from nevf_lite.space import Grid

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")
PROFILES = ("fast", "full")


@dataclass(frozen=True)
class Profile:
    """How long a chapter may take: "fast", a minute on one core, or "full", as long as it wants.

    machine: what makes the outputs, in words. A notebook shows it as the one line that says so.
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

    Raises ValueError for a profile that is none of "fast" (the default) and "full".
    """
    name = os.environ.get("NEVF_PROFILE", "fast")
    if name not in PROFILES:
        raise ValueError(f"NEVF_PROFILE: wanted one of {', '.join(PROFILES)}, got {name!r}")
    torch.manual_seed(seed)
    place = "a GPU" if torch.cuda.is_available() else platform.machine()
    threads = torch.get_num_threads()
    cores = f"{threads} core{'s' if threads > 1 else ''}"
    return Profile(name, f"{cores} of {place}, with nevf_lite {__version__}")


def slices(spacing: float | None = 1.5) -> Pair:
    """Two 2-D slices: of real brains where the data are at hand, of simulated ones otherwise.

    spacing: mm. They are cut to the box of both brains and 12 mm around it.
    """
    name = "slices2d" if _have("slices2d") else "simulated"
    return _cropped(load_pair(name, spacing=spacing, ndim=2), margin_mm=12.0)


def brains(spacing: float | None = None) -> Pair:
    """Two brains in 3-D: the best real pair at hand, the simulated one otherwise."""
    for dataset in ("mindboggle", "oasis", "neurite", "sample"):
        if _have(dataset):
            return load_pair(dataset, spacing=spacing)
    return load_pair("simulated", spacing=spacing)


def tensor(image: nib.Nifti1Image | np.ndarray) -> Tensor:
    """The values of an image as the method wants them: (1, 1, *shape), float32."""
    values = np.asarray(getattr(image, "dataobj", image), dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(values))[None, None]


def results(name: str) -> pd.DataFrame:
    """A table of the book: the rows of a study that took hours, or the paper's own figures.

    name: of a file in `book/results/`, without its ending. It is read from the checkout that this
    package is used from; where there is none, as in Colab, from the repository.
    """
    import pandas as pd

    file = Path(__file__).parents[1] / "book" / "results" / f"{name}.csv"
    if file.is_file():
        return pd.read_csv(file, dtype={"fixed": str, "moving": str})
    urls = dict(entry.split(", ") for entry in metadata("nevf-lite").get_all("Project-URL"))
    raw = f"{urls['Repository']}/raw/main/book/results/{name}.csv"
    return pd.read_csv(raw, dtype={"fixed": str, "moving": str})


def _cropped(pair: Pair, margin_mm: float) -> Pair:
    """The same pair without the empty rim; both images keep one common grid."""
    brain = (np.asarray(pair.fixed_mask.dataobj) > 0) | (np.asarray(pair.moving_mask.dataobj) > 0)
    margin = np.ceil(margin_mm / np.array(Grid.of(pair.fixed).spacing)).astype(int)
    inside = np.argwhere(brain)
    low = np.maximum(inside.min(axis=0) - margin, 0)
    high = np.minimum(inside.max(axis=0) + margin + 1, brain.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shift = np.eye(4)
    shift[: len(low), 3] = low

    def cut(image: nib.Nifti1Image) -> nib.Nifti1Image:
        return nib.Nifti1Image(np.asarray(image.dataobj)[box], image.affine @ shift)

    images = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
    cuts = {name: cut(getattr(pair, name)) for name in images}
    return replace(pair, **cuts, truth=None if pair.truth is None else pair.truth[box])


def _have(dataset: str) -> bool:
    return any(found.dataset.name == dataset and found.here for found in available())
