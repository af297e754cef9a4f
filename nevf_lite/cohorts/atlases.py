"""Labels of a scan from several labelled ones: register each atlas, then let them vote.

`joint_fusion` weighs the atlases at each voxel as in Wang et al. (2013, IEEE TPAMI 35:611): two
that look alike around it will be wrong alike, so the votes of near copies count less.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from tqdm import tqdm

from nevf_lite.config import Config
from nevf_lite.grid import box_sum
from nevf_lite.registration.register import register
from nevf_lite.scans.io import load_image, load_labels, make_image
from nevf_lite.scans.readers import space_code
from nevf_lite.scans.space import Grid

METHODS = ("joint", "majority")
#: Voxels whose weights are computed at a time: bounds the memory of their patches.
BLOCK = 20_000


def labels_from_atlases(
    scan,
    atlases: Sequence[tuple],
    config: str | Config = "default",
    *,
    method: str = "joint",
    affine: bool = False,
    progress: bool = False,
    **options,
) -> nib.Nifti1Image:
    """Label a scan by atlases: a nibabel image on its grid, int32.

    scan: as for `register`. atlases: (image, labels) of each, paths or images. config, affine,
    options: of each registration, in which the scan is the fixed image. method: "joint", see
    `joint_fusion`, or "majority", see `majority_vote`. progress: a bar on standard error. Raises
    ValueError for no atlas, another method, and labels that are not on the grid of their image, and
    what `register` raises.
    """
    if method not in METHODS:
        raise ValueError(f"method: wanted one of {METHODS}, got {method!r}")
    if not atlases:
        raise ValueError("atlases: wanted one or more (image, labels), got none")
    fixed = load_image(scan, "scan")
    pairs = []
    for number, (image, labels) in enumerate(atlases, start=1):
        image = load_image(image, f"atlas {number}")
        labels = load_labels(labels, f"labels {number}")
        if Grid.of(labels) != Grid.of(image):
            raise ValueError(f"labels {number}: they are not on the grid of their image")
        pairs.append((image, labels))
    images, votes = [], []
    for image, labels in tqdm(pairs, unit="atlas", disable=not progress):
        result = register(fixed, image, config, affine=affine, progress=False, **options)
        images.append(np.asarray(result.warped.dataobj))
        votes.append(np.asarray(result.transform.warp_labels(labels).dataobj))
    if method == "majority":
        fused = majority_vote(votes)
    else:
        fused = joint_fusion(np.asarray(fixed.dataobj), images, votes)
    return make_image(fused, fixed.affine, space_code(fixed))


def majority_vote(votes: Sequence[np.ndarray]) -> np.ndarray:
    """The most frequent label at each voxel, the smallest at a tie.

    votes: label maps on one grid, (*shape), whole numbers. Returns (*shape), int32.
    """
    votes = np.stack([np.asarray(v, np.int32) for v in votes])
    counts = np.stack([(votes == vote).sum(axis=0) for vote in votes])
    most = counts == counts.max(axis=0)
    return np.where(most, votes, np.iinfo(np.int32).max).min(axis=0)


def joint_fusion(
    target: np.ndarray,
    images: Sequence[np.ndarray],
    votes: Sequence[np.ndarray],
    *,
    patch: int = 2,
    search: int = 1,
    alpha: float = 0.1,
    beta: float = 2.0,
) -> np.ndarray:
    """Joint label fusion (Wang et al. 2013): (*shape), int32.

    target: the image to label, (*shape). images, votes: the atlases' images and labels on its grid,
    after registration. patch: half the side of the patches that are compared, in voxels. search:
    how many voxels away from its own place an atlas may offer a better patch, by correlation, whose
    label it then votes for. alpha: added to the diagonal of M, so that weights stay moderate. beta:
    how sharply a difference in intensity is taken for one in labels. The defaults are the authors',
    but for their search of 3: after a good registration 1 does as well, and is quicker.

    Patches are compared after their mean is removed and their standard deviation made 1. With the
    absolute differences d_i of the target's and atlas i's patch, M_ij = (d_i . d_j / size)^beta
    estimates how likely both are wrong, and the weights minimise that of the vote:
    w = M^-1 1 / (1' M^-1 1). With them each atlas votes for the labels of its whole patch, and the
    votes of overlapping patches are added, as in the authors' program. Where all atlases agree,
    nothing is computed. Raises ValueError for other shapes.
    """
    target = np.asarray(target, np.float32)
    arrays = [np.asarray(a) for a in (*images, *votes)]
    if len(images) != len(votes) or any(a.shape != target.shape for a in arrays):
        raise ValueError("images, votes: wanted as many of each, all of the target's shape")
    target, *images = (i / max(float(np.std(i)), 1e-12) for i in (target, *images))
    images = [np.asarray(i, np.float32) for i in images]
    numbers, votes = np.unique(np.stack(votes), return_inverse=True)
    votes = votes.reshape(len(images), *target.shape)
    doubtful = _differs(votes, search)
    place = np.where(doubtful, doubtful.cumsum().reshape(target.shape) - 1, -1)
    support = np.zeros((int(doubtful.sum()), len(numbers)), np.float32)
    offers = [_best_offsets(target, image, patch, search) for image in images]
    offsets, neighbours = (_offsets(radius, target.ndim) for radius in (search, patch))
    limits = np.array(target.shape) - 1
    centres = np.argwhere(maximum_filter(doubtful, 2 * patch + 1))
    for start in range(0, len(centres), BLOCK):
        index = centres[start : start + BLOCK]
        own = _patches(target, index, neighbours)
        chosen = [np.clip(index + offsets[offer[tuple(index.T)]], 0, limits) for offer in offers]
        differences = [
            np.abs(own - _patches(image, there, neighbours))
            for image, there in zip(images, chosen, strict=True)
        ]
        weights = _weights(np.stack(differences, axis=1), alpha, beta)
        # an atlas votes with its whole patch, so each voxel is decided by all patches that hold it
        for step in neighbours:
            voter = index + step
            inside = ((voter >= 0) & (voter <= limits)).all(axis=1)
            to = place[tuple(np.clip(voter, 0, limits).T)]
            inside &= to >= 0
            for labels, there, weight in zip(votes, chosen, weights.T, strict=True):
                vote = labels[tuple(np.clip(there + step, 0, limits)[inside].T)]
                np.add.at(support, (to[inside], vote), weight[inside])
    fused = votes[0].astype(np.int32)
    fused[doubtful] = support.argmax(axis=1)
    return numbers[fused].astype(np.int32)


def _offsets(radius: int, ndim: int) -> np.ndarray:
    """All steps within a cube about a voxel, (K, ndim), nearest first, so the voxel itself."""
    steps = np.array(list(itertools.product(range(-radius, radius + 1), repeat=ndim)))
    return steps[np.argsort((steps**2).sum(axis=1), kind="stable")]


def _differs(votes: np.ndarray, search: int) -> np.ndarray:
    """The voxels where not every vote within the search is the same, (*shape) boolean."""
    size = 2 * search + 1
    low = minimum_filter(votes.min(axis=0), size)
    return low != maximum_filter(votes.max(axis=0), size)


def _best_offsets(target: np.ndarray, image: np.ndarray, patch: int, search: int) -> np.ndarray:
    """At each voxel the number of the step to the image's patch that correlates best, (*shape)."""
    window = 2 * patch + 1
    volumes = [torch.from_numpy(v)[None, None] for v in (target, image)]
    (t_sum, t_var), (i_sum, i_var) = (_moments(v, window) for v in volumes)
    best = torch.full_like(volumes[0], -2.0)
    chosen = torch.zeros(volumes[0].shape, dtype=torch.int16)
    count = float(window**target.ndim)
    for number, offset in enumerate(_offsets(search, target.ndim)):
        ahead, behind = _shifts(offset, target.shape)
        product = torch.zeros_like(volumes[0])
        product[ahead] = volumes[0][ahead] * volumes[1][behind]
        cross = box_sum(product, window)[ahead] - t_sum[ahead] * i_sum[behind] / count
        correlation = cross / (t_var[ahead] * i_var[behind] + 1e-8).sqrt()
        better = correlation > best[ahead] + 1e-6
        best[ahead] = torch.where(better, correlation, best[ahead])
        chosen[ahead] = torch.where(better, torch.tensor(number, dtype=torch.int16), chosen[ahead])
    return chosen[0, 0].numpy()


def _moments(volume: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    total, squares = box_sum(volume, window), box_sum(volume * volume, window)
    return total, (squares - total * total / window ** (volume.ndim - 2)).clamp_min(0)


def _shifts(offset: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple, tuple]:
    """Slices of (1, 1, *shape): the voxels whose neighbour at the offset exists, and it."""
    here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, shape, strict=True))
    there = tuple(slice(max(0, o), n + min(0, o)) for o, n in zip(offset, shape, strict=True))
    return (..., *here), (..., *there)


def _patches(volume: np.ndarray, index: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Standardised patches about voxels: (P, K) for index (P, ndim); the edge is repeated."""
    at = np.clip(index[:, None] + neighbours, 0, np.array(volume.shape) - 1)
    values = volume[tuple(np.moveaxis(at, -1, 0))]
    values = values - values.mean(axis=1, keepdims=True)
    return values / np.maximum(values.std(axis=1, keepdims=True), 1e-6)


def _weights(differences: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """(P, N) from the absolute differences (P, N, K) of each atlas's patch; they sum to 1."""
    matrix = (differences @ differences.transpose(0, 2, 1) / differences.shape[2]) ** beta
    count = differences.shape[1]
    ones = np.ones((len(matrix), count, 1))
    solved = np.linalg.solve(matrix.astype(np.float64) + alpha * np.eye(count), ones)[..., 0]
    return solved / solved.sum(axis=1, keepdims=True)
