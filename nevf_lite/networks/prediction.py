"""Registration with a trained network, and the study methods `voxelmorph` and `symnet`."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from nevf_lite.networks.base import Network
from nevf_lite.networks.lattice import lattice_over, onto_lattice
from nevf_lite.networks.refinement import refine as refine_network
from nevf_lite.networks.weights import load_network
from nevf_lite.registration.frames import choose_device
from nevf_lite.scans.io import load_image
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import DisplacementField
from nevf_lite.transforms.transform import Transform


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
    """Register two images with a network in one forward pass.

    NeVF can start from the result: it is the initial deformation of the paper's section 2.3.

    fixed, moving: paths, nibabel images or arrays, skull-stripped and affinely aligned in the
    world. Their grids, spacings and orientations may differ, because each is resampled onto the
    network's lattice (see `lattice_over`). spacing: mm of that lattice; None for the spacing that
    the network was trained at. refine: iterations of test-time refinement. lr: its learning rate.
    device: "auto", "cpu", "cuda"... progress: show a bar of the refinement. watch: called at each
    iteration of the refinement with its record and a function that returns the transform at that
    iteration.
    Returns the transform from fixed to moving: one `DisplacementField` on the lattice, continued by
    its edge values outside. The network is not changed. Raises ValueError for input that cannot be
    used.
    """
    fixed, moving = load_image(fixed, "fixed"), load_image(moving, "moving")
    fixed_grid, moving_grid = Grid.of(fixed), Grid.of(moving)
    for name, grid in (("fixed", fixed_grid), ("moving", moving_grid)):
        if grid.ndim != network.ndim:
            raise ValueError(
                f"{name}: this network takes {network.ndim}-D images, got {grid.ndim}-D"
            )
    if refine < 0:
        raise ValueError(f"refine: wanted 0 or more iterations, got {refine!r}")
    lattice = lattice_over(fixed_grid, network.frame, network.stride, spacing)
    target_device = choose_device(device)
    inputs = [onto_lattice(image, lattice).to(target_device) for image in (fixed, moving)]
    original_device = next(network.parameters()).device

    def as_transform(displacement: Tensor) -> Transform:
        component = DisplacementField(displacement.detach().float().cpu(), lattice)
        return Transform((component,), fixed_grid, moving_grid)

    def report(record: dict, displacement: Tensor) -> None:
        if watch is not None:
            watch(record, lambda: as_transform(displacement))

    try:
        predictor = network.to(target_device)
        if refine:
            predictor = refine_network(
                predictor, *inputs, iterations=refine, lr=lr, progress=progress, callback=report
            )
        with torch.no_grad():
            return as_transform(predictor(*inputs))
    finally:
        network.to(original_device)


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
    """VoxelMorph (Balakrishnan et al., CVPR 2018), a baseline of the NeVF paper (3.3).

    weights: "official" (trained from scans to an atlas, at 1 mm), "small" (of this package, at
    2 mm) or a file, see `load_network`. threads: number of CPU threads. seed: unused, because
    nothing is random; every method of a study accepts it. The other arguments are those of
    :func:`predict`. Official weights take about 14 s on one core for a 160x192x224 image.
    Raises ValueError for fewer than one thread, and what `load_network` and :func:`predict` raise.
    """
    return _predict_with(
        "voxelmorph",
        weights,
        threads,
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
    """Register with SYMNet (Mok and Chung, CVPR 2020), a baseline of the NeVF paper (3.3).

    Arguments as for :func:`voxelmorph`. The official weights were trained on neurite-OASIS. An
    OASIS subject was very probably among their training subjects, so their scores on OASIS are not
    scores on unseen subjects.
    """
    return _predict_with(
        "symnet",
        weights,
        threads,
        fixed,
        moving,
        spacing=spacing,
        refine=refine,
        lr=lr,
        device=device,
        progress=progress,
        watch=watch,
    )


def _predict_with(
    name: str, weights: str | os.PathLike, threads: int, fixed, moving, **options
) -> Transform:
    """`predict` with a named network's weights, on a number of CPU threads."""
    if threads < 1:
        raise ValueError(f"threads: wanted 1 or more, got {threads!r}")
    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return predict(load_network(name, weights), fixed, moving, **options)
    finally:
        torch.set_num_threads(previous)
