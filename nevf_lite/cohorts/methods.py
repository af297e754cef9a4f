"""The methods paragraph of a paper, written from the settings, so that it says what was done."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import torch

from nevf_lite.config import Config, preset

FIELDS = {
    "siren": "a sine network of coordinates ({depth} layers of {width} units)",
    "time-siren": "a sine network of coordinates and time ({depth} layers of {width} units)",
    "features": "features on lattices of {lattices} voxels and a network of {width} units",
    "voxel": "a vector at each voxel",
}
SIMILARITIES = {
    "lncc": "the squared local correlation in windows of {windows} voxels",
    "ncc": "the correlation of the whole images",
    "mse": "the mean squared difference",
    "nmi": "the normalised mutual information",
    "mind": "the difference of MIND descriptors",
}
INTEGRATORS = {
    "squaring": "scaling and squaring ({squarings} squarings)",
    "midpoint-squaring": "a midpoint step, scaling and squaring ({squarings} squarings)",
    "dopri5": "the solver dopri5",
}

#: Where the Jacobian penalty looks, by `Config.corners`.
CORNERS = ("", ", at all corners of each cell")


def methods_paragraph(config: str | Config = "default", *, affine: bool = False) -> str:
    """What a paper says of registrations with these settings: plain text in one paragraph.

    config: as for `register`. affine: whether an affine alignment came before. Numbers of scans,
    and what was excluded and why, are for the author to add. Raises ValueError for an unknown
    preset.
    """
    config = preset(config)
    levels = config.levels
    words = {
        "depth": config.depth,
        "width": config.width,
        "squarings": config.squarings,
        "lattices": _listed(config.lattices),
        "windows": _listed([level.window for level in levels]),
    }
    solver = INTEGRATORS.get(config.integrator, f"{config.integrator} ({config.squarings} steps)")
    sentences = [
        f"Images were registered with nevf_lite {version('nevf-lite')} (PyTorch "
        f"{torch.__version__}), after the neural velocity field of Han et al. (2023)."
    ]
    if affine:
        sentences.append(
            "They were first aligned by an affine transform that maximises mutual information "
            "(SimpleITK)."
        )
    moving = "velocity field that changes with time" if "time" in config.field else "velocity field"
    sentences += [
        f"The deformation is the flow of a {moving}, computed by {solver.format(**words)}; the "
        f"field is represented by {FIELDS[config.field].format(**words)} and was fitted to each "
        f"pair for itself, without training.",
        f"The loss compares images by {SIMILARITIES[config.similarity].format(**words)}, with "
        f"penalties on Jacobian determinants below {config.margin:g}{CORNERS[config.corners]} "
        f"(weight {config.jacobian:g}) "
        f"and on squared gradients of the {config.smooth_target} (weight {config.smooth:g}).",
        f"Adam (betas {config.betas[0]:g} and {config.betas[1]:g}) ran for at most "
        f"{_listed([level.iterations for level in levels])} iterations on "
        f"{_grids(config)} with learning rates of {_listed([level.lr for level in levels])}, "
        f"sampling the field every {_listed([level.step for level in levels])} voxels; the seed "
        f"was {config.seed}.",
    ]
    return " ".join(sentences)


def _grids(config: Config) -> str:
    """The grids of the levels, in mm where the settings say how large a voxel is."""
    finest = config.spacing if isinstance(config.spacing, int | float) else 1
    sizes = _listed([level.factor * finest for level in config.levels])
    if config.spacing is None:
        return f"grids of {sizes} voxels of the fixed image"
    return f"grids of {sizes} mm" + (" (for a head)" if config.spacing == "auto" else "")


def _listed(numbers: Sequence[float]) -> str:
    """7; 7 and 5; 7, 5 and 3. One number stands for several equal ones."""
    words = [f"{number:g}" for number in numbers]
    if len(set(words)) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"
