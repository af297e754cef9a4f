"""What the optimisation minimises: values against direct computation, bounds, invariances.

Agreement with other people's published formulas is in tests/parity.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from synthetic import SHAPES, blobs, motion

from nevf_lite.losses import (
    MIND,
    MSE,
    NMI,
    SIMILARITIES,
    GlobalNCC,
    LocalNCC,
    box_sum,
    jacobian_penalty,
    smoothness,
    weighted_mean,
)
from nevf_lite.scores.deformation import folds
from nevf_lite.warp import warp

both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
precise = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
every = pytest.mark.parametrize("name", list(SIMILARITIES))
DOUBLE = torch.float64


def disc(shape, radius: float = 0.6, dtype=DOUBLE) -> torch.Tensor:
    """A mask of an ellipse, (1, 1, *shape)."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return torch.from_numpy(sum(a**2 for a in axes) < radius).to(dtype)[None, None]


def windows(image: np.ndarray, window: int) -> np.ndarray:
    """(*shape, window^ndim): every voxel's window, zeros outside."""
    padded = np.pad(image, window // 2)
    view = sliding_window_view(padded, (window,) * image.ndim)
    return view.reshape(*image.shape, -1)


def direct_local_ncc(fixed, warped, window: int, weight=None) -> np.ndarray:
    """Squared correlation of each window about its own (weighted) mean, in float64, two passes."""
    f, m = windows(fixed, window), windows(warped, window)
    w = np.ones_like(f) if weight is None else windows(weight, window)
    count = np.maximum(w.sum(-1, keepdims=True), 1)
    f = f - (w * f).sum(-1, keepdims=True) / count
    m = m - (w * m).sum(-1, keepdims=True) / count
    cross = (w * f * m).sum(-1)
    return cross**2 / ((w * f * f).sum(-1) * (w * m * m).sum(-1) + 1e-5)


@both
@precise
@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_local_ncc_is_the_direct_computation(shape, dtype, window, masked):
    """Box sums against explicit windows: what every Dice in every table rests on."""
    fixed, warped = blobs(shape, seed=1, dtype=DOUBLE), blobs(shape, seed=2, dtype=DOUBLE)
    mask = disc(shape) if masked else None
    expected = direct_local_ncc(
        fixed[0, 0].numpy(),
        warped[0, 0].numpy(),
        window,
        None if mask is None else mask[0, 0].numpy(),
    )
    mean = expected.mean() if mask is None else expected[mask[0, 0].bool().numpy()].mean()
    weight = None if mask is None else mask.to(dtype)
    loss = LocalNCC(fixed.to(dtype), window, weight)
    tolerance = 2e-3 if dtype == torch.float32 else 1e-9
    inside = slice(None) if mask is None else mask[0, 0].bool()
    got = loss.map(warped.to(dtype))[0, 0]
    np.testing.assert_allclose(got[inside], expected[inside], atol=tolerance)
    assert loss(warped.to(dtype)).item() == pytest.approx(1 - mean, abs=tolerance / 10)


@both
def test_a_moving_weight_joins_the_fixed_one(shape):
    """A weight given with the call masks as one given at the start, and both multiply."""
    fixed, warped = blobs(shape, seed=1, dtype=DOUBLE), blobs(shape, seed=2, dtype=DOUBLE)
    a, b = disc(shape, 0.8), torch.roll(disc(shape, 0.8), 2, -1)
    for kind in SIMILARITIES.values():
        together = kind(fixed, weight=a * b)(warped)
        torch.testing.assert_close(kind(fixed)(warped, a * b), together)
        torch.testing.assert_close(kind(fixed, weight=a)(warped, b), together)


@every
@both
def test_what_is_masked_does_not_count(name, shape):
    """Painting over the masked part of the moving image changes neither loss nor gradient.

    MIND describes a voxel by its neighbours, so there the mask must be wider than the lesion.
    """
    fixed, warped = blobs(shape, seed=1, dtype=DOUBLE), blobs(shape, seed=2, dtype=DOUBLE)
    hole = torch.zeros_like(fixed, dtype=torch.bool)
    hole[(..., *[slice(n // 2 - 1, n // 2 + 1) for n in shape])] = True
    margin = hole.double()
    if name == "mind":
        margin = (box_sum(margin, 5) > 0.5).double()
    loss = SIMILARITIES[name](fixed, weight=1 - margin)
    results = []
    for image in (warped, warped.masked_fill(hole, 0.9)):
        image = image.requires_grad_()
        value = loss(image)
        (grad,) = torch.autograd.grad(value, image)
        results.append((value, grad.masked_fill(hole, 0)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@both
@precise
def test_local_ncc_stays_between_zero_and_one(shape, dtype):
    """Cancellation must not push a squared correlation far above 1, nor below 0."""
    over = 1e-3 if dtype == torch.float32 else 1e-9
    for seed in range(5):
        fixed = blobs(shape, seed=seed, dtype=dtype)
        for warped in (blobs(shape, seed=seed + 10, dtype=dtype), 1 - fixed, fixed, fixed + 1):
            for weight in (None, disc(shape, dtype=dtype), 0.05 * disc(shape, dtype=dtype)):
                values = LocalNCC(fixed, 5, weight).map(warped)
                assert values.min() >= 0 and values.max() <= 1 + over


@every
@both
@precise
def test_constant_images_give_finite_numbers(name, shape, dtype):
    """A window of background has no variance: 0 / 0 must not reach the field's weights."""
    flat, textured = torch.full((1, 1, *shape), 0.4, dtype=dtype), blobs(shape, dtype=dtype)
    for fixed, warped in ((flat, textured), (textured, flat), (flat, flat), (0 * flat, 0 * flat)):
        warped = warped.clone().requires_grad_()
        value = SIMILARITIES[name](fixed)(warped)
        value.backward()
        assert value.isfinite() and warped.grad.isfinite().all()
        nothing = SIMILARITIES[name](fixed, weight=torch.zeros_like(fixed))(warped)
        assert nothing.isfinite()


@pytest.mark.parametrize("kind", [LocalNCC, GlobalNCC])
@both
def test_correlation_ignores_brightness_and_contrast(kind, shape):
    """Scanners differ by gain and offset, and CT bone is dark where MR bone is bright.

    Away from the rim for the local one, whose windows there hold zeros that have no gain.
    """
    fixed, warped = blobs(shape, seed=1, dtype=DOUBLE), blobs(shape, seed=2, dtype=DOUBLE)
    loss = kind(fixed)
    for gain, offset in ((2.0, 0.0), (0.5, 0.3), (-1.0, 1.0)):
        changed = gain * warped + offset
        if kind is GlobalNCC:
            assert loss(changed).item() == pytest.approx(loss(warped).item(), abs=1e-6)
            continue
        loss = kind(fixed, 5)
        middle = (0, 0, *[slice(2, -2)] * len(shape))
        torch.testing.assert_close(
            loss.map(changed)[middle], loss.map(warped)[middle], rtol=0, atol=0.02
        )


def test_perfect_similarity_is_zero():
    """The same image: local correlation 1 wherever there is texture, global 1, no difference."""
    image = blobs((40, 40), seed=3, sigma=1.5, dtype=DOUBLE) + 0.0
    assert LocalNCC(image, 5)(image) < 0.05
    assert GlobalNCC(image)(image) < 1e-6
    assert MSE(image)(image) == 0 and MIND(image)(image) == 0


@both
def test_channels_are_averaged(shape):
    """Two channels count as the mean of their losses, masked or not, by every similarity."""
    a, b = blobs(shape, seed=1, dtype=DOUBLE), blobs(shape, seed=2, dtype=DOUBLE)
    x, y = blobs(shape, seed=3, dtype=DOUBLE), blobs(shape, seed=4, dtype=DOUBLE)
    for weight in (None, disc(shape)):
        for kind in SIMILARITIES.values():
            pair = kind(torch.cat([a, b], 1), weight=weight)(torch.cat([x, y], 1))
            single = (kind(a, weight=weight)(x) + kind(b, weight=weight)(y)) / 2
            # the noise guard of MIND is a mean over all channels
            torch.testing.assert_close(
                pair, single, rtol=1e-9 if kind is not MIND else 1e-3, atol=0
            )


@pytest.mark.parametrize("window", [0, 4, -3])
def test_even_windows_are_refused(window):
    """An even window has no centre, and would shift the loss by half a voxel."""
    with pytest.raises(ValueError, match="window: wanted an odd number"):
        LocalNCC(torch.rand(1, 1, 9, 9), window)


@both
def test_box_sum_is_its_own_adjoint(shape):
    """<S a, b> = <a, S b>: the hand-written backward pass, for windows over the whole image too."""
    a, b = torch.rand(2, 1, 1, *shape, dtype=DOUBLE)
    for window in (3, 9, 31):
        torch.testing.assert_close((box_sum(a, window) * b).sum(), (a * box_sum(b, window)).sum())
    total = box_sum(a, 2 * max(shape) + 1)
    torch.testing.assert_close(total, a.sum().expand_as(total))


@both
def test_weighted_mean(shape):
    """Ones are the plain mean; channels share the weight; no weight at all is 0, not NaN."""
    values = torch.rand(1, 3, *shape, dtype=DOUBLE)
    weight = disc(shape)
    torch.testing.assert_close(weighted_mean(values, torch.ones_like(weight)), values.mean())
    expected = values[weight.bool().expand_as(values)].mean()
    torch.testing.assert_close(weighted_mean(values, weight), expected)
    assert weighted_mean(values, 0 * weight) == 0


@both
@pytest.mark.parametrize("name", ["lncc", "ncc", "mse", "nmi", "mind"])
def test_every_similarity_is_best_when_aligned(name, shape):
    """A shifted copy scores worse than the image itself, more so the further it is shifted."""
    image = blobs(shape, seed=5, dtype=DOUBLE)
    moving = {"mse": image, "lncc": 0.6 * image}.get(name, 1 - 0.7 * image)
    loss = SIMILARITIES[name](image)
    step = torch.zeros(1, len(shape), *shape, dtype=DOUBLE)
    step[:, 0] = 1
    losses = [loss(warp(moving, k * step, padding="border")).item() for k in (0, 0.5, 1, 2)]
    assert losses == sorted(losses) and losses[3] > losses[0] + 0.5 * (losses[2] - losses[0])


@both
def test_nmi_sees_through_any_contrast(shape):
    """A contrast that is no function one could invert still has its minimum at alignment."""
    image = blobs(shape, seed=6, dtype=DOUBLE)
    other = (image * 2 - 0.8) ** 2  # dark and bright tissue alike, grey between
    shifts = [-2, -1, 0, 1, 2]
    losses = [NMI(image)(torch.roll(other, s, 2)).item() for s in shifts]
    assert np.argmin(losses) == 2 and all(0 <= v <= 1 for v in losses)
    assert NMI(image)(torch.rand_like(image)) > losses[2] + 0.1


@both
def test_mind_does_not_depend_on_contrast(shape):
    """Gain, offset, inversion change nothing; a monotone curve little beside one voxel's shift."""
    image = blobs(shape, seed=7, dtype=DOUBLE) * 0.9 + 0.05
    loss = MIND(image)
    shifted = loss(torch.roll(image, 1, 2)).item()
    for changed in (3 * image, image + 0.4, 1 - image, -0.2 * image + 5):
        assert loss(changed).item() < 1e-6 * shifted
    for curve in (image**0.7, image**1.4):
        assert loss(curve).item() < 0.35 * shifted
    assert loss.descriptor(image).shape[1] == {2: 4, 3: 12}[len(shape)]


@both
def test_jacobian_penalty_is_zero_until_the_map_folds(shape):
    """A smooth motion costs nothing; a mirrored axis has det -1 everywhere and costs 1."""
    assert jacobian_penalty(motion(shape, 1.0, dtype=DOUBLE)) == 0
    x = torch.arange(shape[0], dtype=DOUBLE).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    mirror = torch.zeros(1, len(shape), *shape, dtype=DOUBLE)
    mirror[:, 0] = -2 * x
    assert jacobian_penalty(mirror).item() == pytest.approx(1)
    flattened = mirror / 2  # not folded, but a finer integration may: what the margin is for
    assert jacobian_penalty(flattened).item() == 0
    assert jacobian_penalty(flattened, margin=0.2).item() == pytest.approx(0.2)
    assert jacobian_penalty(0 * mirror, margin=0.2) == 0


@both
def test_corners_see_what_forward_differences_miss(shape):
    """A voxel pushed over the diagonal of its cell: the edges at the first corner do not move."""
    u = torch.zeros(1, len(shape), *[2] * len(shape), dtype=DOUBLE)
    u[..., *[-1] * len(shape)] = -1.5
    assert jacobian_penalty(u) == 0
    assert jacobian_penalty(u, corners=True) > 0


def test_at_all_corners_the_penalty_is_the_area_that_is_turned_over():
    """Liu et al. (IJCV 2024): the triangles at the corners tile a cell twice."""
    u = motion((9, 8), 6.0, sigma=1.0, rim=True, dtype=DOUBLE)
    found = folds(u).volume_fraction
    assert found > 0.001
    assert jacobian_penalty(u, corners=True).item() == pytest.approx(found)


@both
def test_smoothness_is_the_mean_squared_slope(shape):
    """A slope of s along one axis in one component: s^2 over components and axes, any grid size."""
    ramp = torch.arange(shape[1], dtype=DOUBLE).view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
    field = torch.full((1, len(shape), *shape), 3.0, dtype=DOUBLE)
    assert smoothness(field) == 0
    field[:, 0] = 0.5 * ramp
    assert smoothness(field).item() == pytest.approx(0.25 / len(shape) ** 2)


def options(name: str) -> list[dict]:
    return [{"window": 3}, {"window": 5}] if name == "lncc" else [{}]


@every
@pytest.mark.parametrize("shape", [(7, 6), (5, 4, 5)], ids=["2d", "3d"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_gradients_of_every_similarity(name, shape, masked):
    """gradcheck in float64, with and without a weight, which hand-written backwards need most."""
    generator = torch.Generator().manual_seed(0)
    fixed = torch.rand(1, 2, *shape, dtype=DOUBLE, generator=generator)
    warped = torch.rand(1, 2, *shape, dtype=DOUBLE, generator=generator).requires_grad_()
    weight = disc(shape, 1.1) if masked else None
    for choice in options(name):
        loss = SIMILARITIES[name](fixed, weight=weight, **choice)
        assert torch.autograd.gradcheck(loss, warped)
        assert torch.autograd.gradcheck(lambda w, f=loss: f(w, disc(shape, 1.3)), warped)


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 4)], ids=["2d", "3d"])
@pytest.mark.parametrize(
    "penalty",
    [
        jacobian_penalty,
        partial(jacobian_penalty, margin=0.3),
        partial(jacobian_penalty, margin=0.3, corners=True),
        smoothness,
    ],
)
def test_gradients_of_the_penalties(penalty, shape):
    """gradcheck in float64, on a field with folds, where the Jacobian penalty is awake."""
    field = motion(shape, 3.0, sigma=0.5, rim=True, dtype=DOUBLE).requires_grad_()
    assert penalty(field) > 0
    assert torch.autograd.gradcheck(penalty, field)


def test_local_ncc_of_a_large_bright_image_in_float32():
    """Sums over 729 voxels in float32 still find the correlation of a faint texture."""
    fixed, warped = (0.9 + 0.1 * blobs((20, 20, 20), seed=s, dtype=DOUBLE) for s in (1, 2))
    exact = LocalNCC(fixed)(warped).item()
    rough = LocalNCC(fixed.float())(warped.float()).item()
    assert math.isclose(rough, exact, abs_tol=2e-3)
