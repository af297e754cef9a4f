"""How much memory a registration will need, predicted before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import psutil
import torch

from nevf_lite.config import Config, Level
from nevf_lite.fields import FEATURES_PER_NODE
from nevf_lite.grid import sparse_shape
from nevf_lite.kernels import find_kernel
from nevf_lite.kernels.memory import KEEP_LIMIT, SIREN_BLOCK

#: Floats per voxel held at once besides the squarings' displacements: images, window sums and
#: products of the local NCC, Jacobian terms, their gradients, and what the allocator keeps for the
#: next iteration. Fitted to the resident set on the CPU at 2 and 1 mm (`make bench` prints both).
VOXEL_ARRAYS = 132
#: The same where the CPU kernels compute the local NCC, the penalties and the squarings.
FAST_VOXEL_ARRAYS = 18
#: More of them where images have weights, masks or scans that end inside the head; and where no
#: kernel knows weights, so that plain torch computes the local NCC.
WEIGHT_ARRAYS, PLAIN_WEIGHT_ARRAYS = 8, 32
#: More of them where the CPU's kernel of a SIREN computes its activations again; and how often it
#: holds those that it keeps. Freed blocks lie between arrays that live longer, so that an iteration
#: does not always find room where the last one had it: from run to run a quarter more or less.
RECOMPUTING_ARRAYS, PIECES = 16, 2
#: Evaluations of the velocity in one step of a solver. "dopri5" takes about three steps.
EVALUATIONS = {"euler": 1, "midpoint": 2, "rk4": 4, "dopri5": 7}


#: Bytes of the libraries while the field is fitted, and with those of the report.
FITTING, LIBRARIES = 410_000_000, 545_000_000
#: Bytes a voxel of the fixed and of the moving image while the map, its files and the report with
#: its viewer are made, and while those of the inverse are. Fitted to the resident set of whole
#: processes on heads of 2 and 1 mm and on images of 176^3 and 240^3 voxels.
FORWARD, INVERSE = (156, 4), (48, 32)


def predict_process(
    config: Config,
    working: Sequence[int],
    fixed: Sequence[int],
    moving: Sequence[int],
    weighted: bool = False,
) -> int:
    """Peak resident bytes of a process that registers two images on the CPU and writes the result.

    working: shape of the finest grid. fixed, moving: shapes of the images, at whose resolution the
    result is. weighted: whether an image has a mask or a lesion, or ends inside the head.
    """
    voxels = np.array([math.prod(fixed), math.prod(moving)])
    fitting = predict_memory(config, working, weighted=weighted)
    fitting += int(8 * voxels.sum())  # the images and their copies
    return max(FITTING + fitting, _writing(voxels))


def predict_memory(
    config: Config, shape: Sequence[int], device="cpu", weighted: bool = False
) -> int:
    """Peak bytes of `optimise.fit` on the finest grid `shape`, with the current backend.

    It is the largest of the levels. weighted: whether an image has a mask.
    """
    return max(_level_bytes(config, shape, level, device, weighted) for level in config.levels)


def _level_bytes(config: Config, shape: Sequence[int], level: Level, device, weighted: bool) -> int:
    grid = level.grid_shape(shape)
    voxels, points, ndim = math.prod(grid), math.prod(sparse_shape(grid, level.step)), len(grid)
    if config.patch is not None:  # the cubes with what the windows reach around them
        side = [min(config.patch, n) for n in grid]
        voxels = points = config.patches * math.prod(n + level.window - 1 for n in side)
    # per point each sine layer stores its input to the sine and the sine itself
    floats_per_point = {
        "siren": 2 * config.width * config.depth,
        "time-siren": 2 * config.width * config.depth,
        "features": 3 * (FEATURES_PER_NODE * len(config.lattices) + config.width),
        "voxel": ndim,
    }[config.field]
    steps, evaluations = config.squarings, 1
    if config.order == "continuous" and not config.adjoint:  # all evaluations of a point are kept
        steps = 3 if config.integrator == "dopri5" else config.squarings
        evaluations = EVALUATIONS[config.integrator] * steps
    points_alive, arrays = evaluations * points, 0
    point = torch.empty(1, ndim, device=device, requires_grad=config.order == "continuous")
    if config.field in ("siren", "time-siren"):  # the other fields evaluate all points at once
        if find_kernel("siren", point) is None or config.bfloat16:
            # a layer's gradient on its way back, the cosine it is multiplied by, and the product
            floats_per_point += 3 * config.width
            if config.bfloat16:  # half of each number, but for the first layer's
                floats_per_point = floats_per_point / 2 + config.width
            points_alive = min(points_alive, config.chunk or points_alive)
        elif config.chunk or points * floats_per_point > KEEP_LIMIT:
            points_alive, arrays = min(points_alive, SIREN_BLOCK), RECOMPUTING_ARRAYS
        else:
            points_alive *= PIECES
    velocity = torch.empty(1, ndim, *[2] * ndim, device=device)
    if find_kernel("squaring", velocity) is None or config.similarity != "lncc":
        arrays, floats_per_step = arrays + VOXEL_ARRAYS, ndim
    else:
        kernel = find_kernel("weighted_ncc", *[velocity[:, :1]] * 3)
        arrays, floats_per_step = arrays + FAST_VOXEL_ARRAYS, ndim + 2
        if weighted:
            arrays += PLAIN_WEIGHT_ARRAYS if kernel is None else WEIGHT_ARRAYS
    integrated = voxels if config.order == "upsample-integrate" else points
    # each squaring stores its displacement; a solver stores about twelve arrays a step
    by_squaring = {"squaring": steps, "midpoint-squaring": steps + 2}
    stored = floats_per_step * by_squaring.get(config.integrator, 12 * steps)
    return int(4 * (points_alive * floats_per_point + integrated * stored + voxels * arrays))


def available_memory(device: torch.device) -> int:
    """Bytes that are free: on the GPU for CUDA, otherwise in the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check_memory(
    config: Config, shape: Sequence[int], device: torch.device, weighted: bool = False
) -> None:
    """Raise MemoryError if a registration on the grid `shape` would not fit.

    weighted: whether an image has a mask. The message names a step L and a spacing that would fit.
    """
    free, needed = available_memory(device), predict_memory(config, shape, device, weighted)
    if needed <= free:
        return
    hints = []
    for step in range(2, 9):
        if _with_step(config, shape, step, device, weighted) <= free:
            hints.append(f"step L = {step}")
            break
    for coarser in (1.25, 1.5, 2, 2.5, 3, 4, 6, 8):
        smaller = [max(8, math.ceil(n / coarser)) for n in shape]
        if predict_memory(config, smaller, device, weighted) <= free:
            hints.append(f"a spacing {coarser:g} times coarser")
            break
    advice = " or ".join(hints) or "a much smaller image"
    raise MemoryError(
        f"memory: {tuple(shape)} voxels need about {needed / 2**30:.1f} GiB and {device} has "
        f"{free / 2**30:.1f} GiB free; {advice} would fit"
    )


def check_result_memory(fixed: Sequence[int], moving: Sequence[int]) -> None:
    """Raise MemoryError if the result of images of these shapes could not be made and written."""
    voxels = np.array([math.prod(fixed), math.prod(moving)])
    needed = _writing(voxels) - psutil.Process().memory_info().rss
    free = available_memory(torch.device("cpu"))
    if needed > free:
        raise MemoryError(
            f"memory: the result on {tuple(fixed)} and {tuple(moving)} voxels needs about "
            f"{needed / 2**30:.1f} GiB more and {free / 2**30:.1f} GiB are free; crop the images "
            "or resample them to larger voxels"
        )


def _writing(voxels: np.ndarray) -> int:
    """Peak bytes while a result is written. voxels: of the fixed and of the moving image, (2,)."""
    return LIBRARIES + max(int(voxels @ stage) for stage in (FORWARD, INVERSE))


def check_memory_of_many(config: Config, shapes: Sequence[Sequence[int]], device) -> None:
    """Raise MemoryError if registrations on these grids would not fit at the same time."""
    free, needed = available_memory(device), 0
    for number, shape in enumerate(shapes):
        needed += predict_memory(config, shape, device)
        if needed > free:
            raise MemoryError(
                f"memory: {len(shapes)} pairs at once need more than the {free / 2**30:.1f} GiB "
                f"that {device} has free; {number} at a time would fit"
            )


def _with_step(config: Config, shape: Sequence[int], step: int, device, weighted: bool) -> int:
    levels = tuple(replace(level, step=max(level.step, step)) for level in config.levels)
    return predict_memory(replace(config, levels=levels), shape, device, weighted)
