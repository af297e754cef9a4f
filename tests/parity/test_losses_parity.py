"""Losses against what others published, written out here from their formulas in float64.

VoxelMorph's and SYMNet's local correlation, SYMNet's Jacobian penalty and smoothness, MIND-SSC as
in Heinrich's papers, and NumPy's correlation and entropy. None of it shares code with the package.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, uniform_filter

from nevf_lite.losses import MIND, NMI, GlobalNCC, LocalNCC, jacobian_penalty, smoothness

both = pytest.mark.parametrize("shape", [(26, 23), (15, 13, 14)], ids=["2d", "3d"])


def scans(shape, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two images in [0, 1] that have something, but not everything, in common."""
    rng = np.random.default_rng(seed)
    a, b = (uniform_filter(rng.random(shape), 3, mode="reflect") for _ in range(2))
    return a, np.clip(0.5 * a + 0.5 * b, 0, 1)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


def field(shape, seed: int = 1, amplitude: float = 1.5) -> np.ndarray:
    """A rough displacement that folds here and there: (ndim, *shape) voxels."""
    rng = np.random.default_rng(seed)
    return amplitude * rng.standard_normal((len(shape), *shape))


@both
@pytest.mark.parametrize("window", [5, 9])
def test_local_ncc_is_voxelmorphs(shape, window):
    """Sums by convolution with ones, zeros outside, eps 1e-5: theirs is minus the mean, ours 1 -.

    Balakrishnan et al. 2019, with the variances as their released loss expands them.
    """
    i, j = scans(shape)
    ones, n = np.ones((window,) * len(shape)), window ** len(shape)

    def total(x):
        return convolve(x, ones, mode="constant")

    mean_i, mean_j = total(i) / n, total(j) / n
    cross = total(i * j) - mean_j * total(i) - mean_i * total(j) + mean_i * mean_j * n
    variance_i = total(i * i) - 2 * mean_i * total(i) + mean_i**2 * n
    variance_j = total(j * j) - 2 * mean_j * total(j) + mean_j**2 * n
    published = -np.mean(cross**2 / (variance_i * variance_j + 1e-5))
    assert LocalNCC(tensor(i), window)(tensor(j)).item() == pytest.approx(1 + published, abs=1e-9)
    single = LocalNCC(tensor(i).float(), window)(tensor(j).float()).item()
    assert single == pytest.approx(1 + published, abs=1e-4)


@both
def test_jacobian_penalty_is_symnets(shape):
    """mean(relu(-det)) with the determinant from forward differences at each cell's lower corner.

    Mok and Chung 2020; numpy's determinant of the differences of x + u.
    """
    u = field(shape)
    phi = u + np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    corner = tuple(slice(0, -1) for _ in shape)
    columns = []
    for axis in range(len(shape)):
        step = np.diff(phi, axis=axis + 1)
        columns.append(step[(slice(None), *corner[:axis], slice(None), *corner[axis + 1 :])])
    determinant = np.linalg.det(np.moveaxis(np.stack(columns), (0, 1), (-1, -2)))
    published = np.maximum(-determinant, 0).mean()
    found = jacobian_penalty(torch.from_numpy(u)[None]).item()
    assert published > 0.05 and found == pytest.approx(published, rel=1e-9)


@both
def test_smoothness_is_symnets(shape):
    """The mean over axes of the mean squared forward difference."""
    u = field(shape)
    published = np.mean([np.mean(np.diff(u, axis=a + 1) ** 2) for a in range(len(shape))])
    assert smoothness(torch.from_numpy(u)[None]).item() == pytest.approx(published, rel=1e-12)


@both
def test_global_ncc_is_numpys(shape):
    """1 minus the squared Pearson correlation, over all voxels or over a mask."""
    i, j = scans(shape)
    correlation = np.corrcoef(i.ravel(), j.ravel())[0, 1]
    loss = GlobalNCC(tensor(i))(tensor(j)).item()
    assert loss == pytest.approx(1 - correlation**2, abs=2e-5)  # its eps is 1e-10
    mask = i > np.median(i)
    inside = np.corrcoef(i[mask], j[mask])[0, 1]
    loss = GlobalNCC(tensor(i), weight=tensor(mask.astype(float)))(tensor(j)).item()
    assert loss == pytest.approx(1 - inside**2, abs=1e-4)


@both
def test_nmi_is_the_entropies_of_the_soft_histogram(shape):
    """(H(F) + H(M)) / H(F, M) of Studholme et al. 1999, natural logarithms, by numpy."""
    i, j = scans(shape)
    bins = np.linspace(0, 1, 32)

    def soft(x):
        weights = np.exp(-0.5 * ((x.reshape(-1, 1) - bins) / (0.5 * (bins[1] - bins[0]))) ** 2)
        return weights / weights.sum(1, keepdims=True)

    joint = soft(i).T @ soft(j) / i.size

    def entropy(p):
        return -(p[p > 0] * np.log(p[p > 0])).sum()

    published = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
    assert NMI(tensor(i))(tensor(j)).item() == pytest.approx(2 - published, abs=1e-6)
    # of an image with itself and of unrelated noise: the two ends of the scale
    noise = np.random.default_rng(3).random((60, 60))
    assert NMI(tensor(noise))(tensor(noise)).item() < 0.5
    assert NMI(tensor(noise))(tensor(noise[::-1].copy())).item() > 0.85


@both
def test_mind_is_the_self_similarity_context(shape):
    """Heinrich et al. 2013: patch distances between face neighbours at a right angle.

    exp(-(D - min D) / V), V the mean over the pairs, guarded between 0.001 and 1000 of its own
    mean. Compared away from the rim, where their code and ours continue the image differently.
    """
    i, j = scans(shape)

    def descriptor(image):
        around = [np.roll(image, s, axis) for axis in range(len(shape)) for s in (1, -1)]
        pairs = [
            uniform_filter((around[a] - around[b]) ** 2, 3)
            for a, b in itertools.combinations(range(2 * len(shape)), 2)
            if a // 2 != b // 2
        ]
        distance = np.stack(pairs) - np.min(pairs, axis=0)
        spread = distance.mean(0)
        return np.exp(-distance / np.clip(spread, 1e-3 * spread.mean(), 1e3 * spread.mean()))

    middle = (slice(None), *[slice(3, -3)] * len(shape))
    expected = descriptor(i)[middle]
    found = MIND(tensor(i)).descriptor(tensor(i))[0].numpy()[middle]
    assert found.shape[0] == math.comb(2 * len(shape), 2) - len(shape)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-9)
    # only descriptors that reach no voxel outside the mask are compared
    seen = (slice(None), *[slice(5, -5)] * len(shape))
    difference = ((descriptor(i) - descriptor(j)) ** 2)[seen].mean()
    weight = np.zeros(shape)
    weight[middle[1:]] = 1
    loss = MIND(tensor(i), weight=tensor(weight))(tensor(j)).item()
    assert loss == pytest.approx(difference, rel=1e-9)
