"""Other registration tools behind one call, each an optional extra.

Each is a function `(fixed, moving, *, spacing=None, threads=1, seed=0, **options)` of two nibabel
images: skull-stripped, intensities roughly in [0, 1], affinely aligned in world coordinates.
spacing is that of the working grid in mm (None: that of each image). It returns a `Transform` from
fixed to moving in RAS mm between the original images, so that all tools are evaluated alike.
"""

from __future__ import annotations

from collections.abc import Callable

from nevf_lite.study.baselines.convexadam import convexadam
from nevf_lite.study.baselines.demons import demons
from nevf_lite.study.baselines.dipy_syn import dipy_syn
from nevf_lite.study.baselines.elastix import elastix
from nevf_lite.study.baselines.fireants import fireants
from nevf_lite.study.baselines.greedy import greedy
from nevf_lite.study.baselines.niftyreg import niftyreg
from nevf_lite.study.baselines.syn import syn
from nevf_lite.study.baselines.syntx import syntx
from nevf_lite.transforms.transform import Transform

__all__ = [
    "BASELINES",
    "convexadam",
    "demons",
    "dipy_syn",
    "elastix",
    "fireants",
    "greedy",
    "niftyreg",
    "syn",
    "syntx",
]

BASELINES: dict[str, Callable[..., Transform]] = {
    "syn": syn,
    "niftyreg": niftyreg,
    "dipy": dipy_syn,
    "demons": demons,
    "greedy": greedy,
    "elastix": elastix,
    "fireants": fireants,
    "convexadam": convexadam,
    "syntx": syntx,
}
