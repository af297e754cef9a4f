"""The loss: a dissimilarity of images and penalties on deformations (section 2.4 of the paper).

A similarity measure is built from the fixed image, whose statistics are computed once, and called
with the warped moving image: ``LocalNCC(fixed)(warped)`` is a scalar, lower is better. Images are
(N, C, *shape), near [0, 1]. Weights are (N, 1, *shape) or None; a voxel with zero does not count.
"""

from __future__ import annotations

import functools
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from nevf_lite.grid import box_sum, check_window, mirrored
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.kernels import find_kernel


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of (N, C, *shape) over all voxels, or weighted by (N, 1, *shape); a scalar."""
    if weight is None:
        return values.mean()
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp_min(1e-6)


class LocalNCC:
    """1 - mean squared local correlation coefficient (equation 3 of the paper; Avants et al. 2008).

    At each voxel it measures how well a window of one image is a linear function of the same window
    of the other. fixed: (N, C, *shape); channels are averaged. window: voxels along each side, odd.
    weight: masked voxels also leave the statistics of the windows. As in VoxelMorph, windows reach
    over zeros outside the image, and 1e-5 is added to the denominator, so that flat background
    counts as 0. The square, the sign and the mean over voxels are not stated in the paper.
    """

    def __init__(self, fixed: Tensor, window: int = 9, weight: Tensor | None = None) -> None:
        check_window(window)
        self.fixed, self.window, self.weight = fixed, window, weight

    @functools.cached_property
    def statistics(self) -> tuple:
        """Of the fixed image alone, so the same in every iteration."""
        return self._fixed_statistics(self.weight)

    def _fixed_statistics(self, weight: Tensor | None) -> tuple:
        image = self.fixed
        if weight is None:
            count = float(self.window ** (image.ndim - 2))
            sums = box_sum(torch.cat([image, image * image]), self.window)
        else:
            count = box_sum(weight, self.window).clamp_min(1.0)
            sums = box_sum(torch.cat([weight * image, weight * image * image]), self.window)
        total, squares = sums.chunk(2)
        return count, total, (squares - total * total / count).clamp_min(0)

    def map(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        """The squared local correlation at each voxel: (N, C, *shape), in [0, 1]."""
        weight = _product(self.weight, weight)
        if weight is self.weight:
            count, fixed_sum, fixed_variance = self.statistics
        else:
            count, fixed_sum, fixed_variance = self._fixed_statistics(weight)
        masked = warped if weight is None else weight * warped
        sums = box_sum(torch.cat([masked, masked * warped, masked * self.fixed]), self.window)
        warped_sum, squares, products = sums.chunk(3)
        cross = products - fixed_sum * warped_sum / count
        variance = (squares - warped_sum * warped_sum / count).clamp_min(0)
        return cross * cross / (fixed_variance * variance + 1e-5)

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        weights = _product(self.weight, weight)
        if weights is None:
            name, inputs = "local_ncc", (warped, self.fixed, *self.statistics[1:])
        else:
            name, inputs = "weighted_ncc", (warped, self.fixed, weights)
        if (kernel := find_kernel(name, *inputs)) is not None:
            return 1 - kernel(*inputs, self.window)
        return 1 - weighted_mean(self.map(warped, weight), weights)


class GlobalNCC:
    """1 - squared correlation over the whole image, one contrast for all; channels are averaged."""

    def __init__(self, fixed: Tensor, weight: Tensor | None = None) -> None:
        self.fixed, self.weight = fixed, weight

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        weight = _product(self.weight, weight)
        squares = []
        for a, b in zip(self.fixed.split(1, dim=1), warped.split(1, dim=1), strict=True):
            a, b = a - weighted_mean(a, weight), b - weighted_mean(b, weight)
            variances = weighted_mean(a * a, weight) * weighted_mean(b * b, weight)
            squares.append(weighted_mean(a * b, weight) ** 2 / (variances + 1e-10))
        return 1 - torch.stack(squares).mean()


class MSE:
    """Mean squared difference of intensities, for images with the same intensity scale."""

    def __init__(self, fixed: Tensor, weight: Tensor | None = None) -> None:
        self.fixed, self.weight = fixed, weight

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        return weighted_mean((self.fixed - warped) ** 2, _product(self.weight, weight))


class NMI:
    """2 - normalised mutual information (H(F) + H(M)) / H(F, M), for images of different contrast.

    The information lies in [1, 2] (Studholme et al. 1999). The `bins` bins over [0, 1] have
    Gaussian Parzen windows half a bin wide, for a gradient (Viola and Wells 1997). Channels are
    averaged: each has a histogram of its own.
    """

    def __init__(self, fixed: Tensor, bins: int = 32, weight: Tensor | None = None) -> None:
        self.fixed, self.bins, self.weight = fixed, bins, weight
        self.fixed_bins = self._soft_bins(fixed)

    def _soft_bins(self, image: Tensor) -> Tensor:
        centres = torch.linspace(0, 1, self.bins, device=image.device, dtype=image.dtype)
        values = image.movedim(1, 0).flatten(1)[..., None]  # (C, voxels, 1)
        membership = torch.exp(-0.5 * ((values - centres) * (self.bins - 1) / 0.5) ** 2)
        return membership / membership.sum(-1, keepdim=True).clamp_min(1e-12)

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        weight = _product(self.weight, weight)
        fixed_bins, moving_bins = self.fixed_bins, self._soft_bins(warped)
        if weight is not None:
            fixed_bins = fixed_bins * weight.expand_as(self.fixed[:, :1]).reshape(-1, 1)
        joint = fixed_bins.mT @ moving_bins  # (C, bins, bins)
        joint = joint / joint.sum((1, 2), keepdim=True).clamp_min(1e-12)
        marginal = _entropy(joint.sum(1)) + _entropy(joint.sum(2))
        return 2 - (marginal / _entropy(joint.flatten(1)).clamp_min(1e-12)).mean()


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


class MIND:
    """Mean squared difference of self-similarity context descriptors (Heinrich et al. 2013).

    A voxel is described by distances between the patches around it, whatever the brightness of a
    tissue: for images of different modality. radius: of a patch, in voxels. The descriptor has a
    channel for each pair of face neighbours at a right angle: 4 in 2-D, 12 in 3-D.
    """

    def __init__(self, fixed: Tensor, radius: int = 1, weight: Tensor | None = None) -> None:
        self.radius, self.weight = radius, weight
        self.fixed_descriptor = self.descriptor(fixed)

    def descriptor(self, image: Tensor) -> Tensor:
        """(N, C, *shape) to (N, C * pairs, *shape), values in (0, 1]."""
        ndim = image.ndim - 2
        neighbours = [_shift(image, axis + 2, by) for axis in range(ndim) for by in (-1, 1)]
        pairs = [(a, b) for a, b in itertools.combinations(range(2 * ndim), 2) if a // 2 != b // 2]
        window = 2 * self.radius + 1
        distances = [
            box_sum((neighbours[a] - neighbours[b]) ** 2, window) / window**ndim for a, b in pairs
        ]
        stacked = torch.stack(distances)  # (pairs, N, C, *shape)
        # as in the authors' code: relative to the smallest distance, in units of a local mean
        stacked = stacked - stacked.amin(0, keepdim=True)
        noise = stacked.mean(0, keepdim=True)
        typical = noise.detach().mean()
        noise = noise.clamp(typical * 1e-3, typical * 1e3).clamp_min(1e-10)
        return torch.exp(-stacked / noise).movedim(0, 1).flatten(1, 2)

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        weight = _product(self.weight, weight)
        if weight is not None:  # a descriptor must not reach voxels that do not count at all
            pool, side = (F.max_pool2d, F.max_pool3d)[weight.ndim - 4], 2 * self.radius + 3
            whole = weight * (1 - pool((weight == 0).to(weight), side, 1, side // 2))
            weight = torch.where((whole > 0).any(), whole, weight)  # a thin mask as it is
        return weighted_mean((self.fixed_descriptor - self.descriptor(warped)) ** 2, weight)


def _shift(image: Tensor, axis: int, by: int) -> Tensor:
    """The image shifted along an axis by some voxels; edges are repeated."""
    n = image.shape[axis]
    index = (torch.arange(n, device=image.device) + by).clamp(0, n - 1)
    return image.index_select(axis, index)


def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a if b is None else b
    return a * b


#: By the names of `Config.similarity`.
SIMILARITIES = {"lncc": LocalNCC, "ncc": GlobalNCC, "mse": MSE, "nmi": NMI, "mind": MIND}


#: The kernels at the first corner of each cell, and at all of them.
_PENALTIES = ("penalties", "corner_penalties")


def jacobian_penalty(displacement: Tensor, margin: float = 0.0, corners: bool = False) -> Tensor:
    """mean(relu(margin - det J)); with margin 0 equation 4 of the paper (Mok and Chung 2020).

    displacement: (N, ndim, *shape) in voxels. With margin 0 it is zero unless the map folds. A
    small margin keeps cells from becoming so flat that they fold on a finer grid. corners: the mean
    over the determinants at all corners of a cell. Forward differences are those at the first, and
    a cell may be turned over at another.
    """
    if (kernel := find_kernel(_PENALTIES[corners], displacement)) is not None:
        return kernel(displacement, margin)[0]
    if corners:
        return torch.stack([jacobian_penalty(u, margin) for u in mirrored(displacement)]).mean()
    return F.relu(margin - jacobian_determinant(displacement)).mean()


def smoothness(field: Tensor) -> Tensor:
    """Mean squared forward difference over voxels, components and axes: L_reg (paper, 2.4).

    field: (N, ndim, *shape) in voxels, a displacement or a velocity. The paper writes the gradient
    of the map, and a sum; at its weight of 0.1 that would outweigh the similarity by far.
    """
    if (kernel := find_kernel("penalties", field)) is not None:
        return kernel(field, 0.0)[1]
    ndim = field.ndim - 2
    return sum(field.diff(dim=axis + 2).square().mean() for axis in range(ndim)) / ndim


def penalties(
    displacement: Tensor, margin: float = 0.0, corners: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """`jacobian_penalty`, `smoothness` and the folded fraction of a displacement.

    displacement: (N, ndim, *shape) in voxels. Folded are cells with det J <= 0 by forward
    differences; no gradient.
    """
    if (kernel := find_kernel(_PENALTIES[corners], displacement)) is not None:
        return kernel(displacement, margin)
    determinant = jacobian_determinant(displacement.detach() if corners else displacement)
    folds = (determinant.detach() <= 0).float().mean()
    if corners:
        jacobian = jacobian_penalty(displacement, margin, corners)
    else:
        jacobian = F.relu(margin - determinant).mean()
    return jacobian, smoothness(displacement), folds
