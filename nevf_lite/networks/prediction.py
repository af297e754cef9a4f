"""From a trained network to a `Transform`; the methods `voxelmorph` and `symnet`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nevf_lite.frames import choose_device
from nevf_lite.io import load_image
from nevf_lite.networks.base import Network
from nevf_lite.networks.lattice import lattice_over, onto_lattice
from nevf_lite.networks.refinement import refine as refine_network
from nevf_lite.networks.weights import load_network
from nevf_lite.parts import Dense
from nevf_lite.space import Grid
from nevf_lite.transform import Transform


def predict(
    network: Network,
    fixed,
    moving,
    *,
    spacing: float | None = None,
    refine: int = 0,
    lr: float = 1e-4,
    device: str = "auto",
    progress: bool = False,
    watch: Callable[[dict, Callable[[], Transform]], None] | None = None,
) -> Transform:
    """Register two brains with a network: one look at both, and a map between their worlds.

    fixed, moving: paths, nibabel images or arrays, skull-stripped and affinely aligned in the
    world; grids, spacings and orientations may differ, for both are brought onto the network's
    lattice (see `lattice_over`). spacing: mm of that lattice, None for what the network was trained
    at; anything else is beyond its training. refine: iterations of test-time refinement, with
    learning rate lr. device: "auto", "cpu", "cuda"... watch: is given each record of the refinement
    and a function that makes the transform of that moment.
    Returns the transform from fixed to moving: one dense displacement on the lattice, continued by
    its edge outside. The network itself is not changed. Raises ValueError for input that cannot be
    used.
    """
    fixed, moving = load_image(fixed, "fixed"), load_image(moving, "moving")
    own, other = Grid.of(fixed), Grid.of(moving)
    for name, grid in (("fixed", own), ("moving", other)):
        if grid.ndim != network.ndim:
            raise ValueError(
                f"{name}: this network takes {network.ndim}-D images, got {grid.ndim}-D"
            )
    if refine < 0:
        raise ValueError(f"refine: wanted 0 or more iterations, got {refine!r}")
    lattice = lattice_over(own, network.frame, network.stride, spacing)
    place = choose_device(device)
    seen = [onto_lattice(image, lattice).to(place) for image in (fixed, moving)]
    home = next(network.parameters()).device

    def as_transform(displacement: Tensor) -> Transform:
        return Transform((Dense(displacement.detach().float().cpu(), lattice),), own, other)

    def report(record: dict, displacement: Tensor) -> None:
        if watch is not None:
            watch(record, lambda: as_transform(displacement))

    try:
        used = network.to(place)
        if refine:
            used = refine_network(
                used, *seen, iterations=refine, lr=lr, progress=progress, callback=report
            )
        with torch.no_grad():
            return as_transform(used(*seen))
    finally:
        network.to(home)


def voxelmorph(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    weights: str | os.PathLike = "official",
    refine: int = 0,
    lr: float = 1e-4,
    device: str = "auto",
    progress: bool = False,
    watch: Callable[[dict, Callable[[], Transform]], None] | None = None,
) -> Transform:
    """VoxelMorph (Balakrishnan et al., CVPR 2018), with the published weights or others.

    weights: "official" (trained from scans to an atlas, at 1 mm), "small" (ours, at 2 mm) or a
    file, see `load_network`. threads: of the CPU. seed: taken for the sake of the call that all
    methods share; nothing here is random. The rest as for :func:`predict`. Official weights take
    about 14 s on one core for a 160x192x224 image.
    """
    return _method("voxelmorph", weights, threads)(
        fixed,
        moving,
        spacing=spacing,
        refine=refine,
        lr=lr,
        device=device,
        progress=progress,
        watch=watch,
    )


def symnet(
    fixed,
    moving,
    *,
    spacing: float | None = None,
    threads: int = 1,
    seed: int = 0,
    weights: str | os.PathLike = "official",
    refine: int = 0,
    lr: float = 1e-4,
    device: str = "auto",
    progress: bool = False,
    watch: Callable[[dict, Callable[[], Transform]], None] | None = None,
) -> Transform:
    """SYMNet (Mok and Chung, CVPR 2020), with the published weights or others.

    Arguments as for :func:`voxelmorph`. The published weights were trained on neurite-OASIS, so
    they have very probably seen whichever OASIS brain they are shown: say so beside any number.
    """
    return _method("symnet", weights, threads)(
        fixed,
        moving,
        spacing=spacing,
        refine=refine,
        lr=lr,
        device=device,
        progress=progress,
        watch=watch,
    )


def _method(name: str, weights: str | os.PathLike, threads: int) -> Callable[..., Transform]:
    if threads < 1:
        raise ValueError(f"threads: wanted 1 or more, got {threads!r}")

    def run(fixed, moving, **options) -> Transform:
        with _threads(threads):
            return predict(load_network(name, weights), fixed, moving, **options)

    return run


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
