"""The registration tools of the field behind one call, each an optional extra.

Every one is a function `(fixed, moving, *, spacing=None, threads=1, seed=0, **options)` of two
nibabel images, skull-stripped, roughly in [0, 1] and already affinely aligned in the world. spacing
is the mm of the grid to work at (None: each image's own). It returns a `Transform` from fixed to
moving in RAS mm between the two images as given, so that one evaluation serves all.
"""

from __future__ import annotations

from collections.abc import Callable

from nevf_lite.study.baselines.demons import demons
from nevf_lite.study.baselines.dipy_syn import dipy_syn
from nevf_lite.study.baselines.greedy import greedy
from nevf_lite.study.baselines.niftyreg import niftyreg
from nevf_lite.study.baselines.syn import syn
from nevf_lite.transform import Transform

__all__ = ["BASELINES", "demons", "dipy_syn", "greedy", "niftyreg", "syn"]

BASELINES: dict[str, Callable[..., Transform]] = {
    "syn": syn,
    "niftyreg": niftyreg,
    "dipy": dipy_syn,
    "demons": demons,
    "greedy": greedy,
}
