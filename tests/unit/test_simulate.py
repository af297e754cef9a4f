"""The simulated pair: is its truth true, is it invertible, and is it the same every time?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from nevf_lite.data.simulate import LABEL_NAMES, PROTOCOL, simulate, template
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.warp import sample, warp

CASES = [(2, 1.0), (3, 4.0)]


@pytest.fixture(scope="module")
def made():
    """Each case once: seed 0, a 2-D slice at 1 mm and a volume at 4 mm."""
    return {ndim: simulate(0, spacing, ndim) for ndim, spacing in CASES}


def in_voxels(simulation) -> torch.Tensor:
    """The truth, (1, ndim, *shape), in voxels."""
    ndim = simulation.grid.ndim
    steps = simulation.truth @ np.linalg.pinv(simulation.grid.directions).T
    return torch.from_numpy(np.moveaxis(steps, -1, 0)[None, :ndim].astype(np.float32))


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))[None, None]


@pytest.mark.parametrize(("ndim", "spacing"), CASES)
def test_truth_points_from_the_fixed_to_the_moving_image(made, ndim, spacing):
    """The sign and the units of the truth: fixed(x) looks like moving(x + u), not moving(x - u)."""
    s = made[ndim]
    inside = s.fixed_mask

    def likeness(displacement):
        pulled = warp(tensor(s.moving), displacement)[0, 0].numpy()
        return np.corrcoef(pulled[inside], s.fixed[inside])[0, 1]

    u = in_voxels(s)
    before, right, wrong = likeness(0 * u), likeness(u), likeness(-u)
    assert right > before + 0.08 and before > wrong + 0.05
    assert right > 0.82  # bias field, contrast and noise account for the rest


@pytest.mark.parametrize(("ndim", "spacing"), CASES)
def test_truth_is_exact_in_the_template(made, ndim, spacing):
    """What the fixed person is made of lies in the template exactly where the truth says."""
    s = made[ndim]
    fine, volumes = template(ndim, spacing)
    world = s.grid.points() + s.truth
    positions = torch.from_numpy(np.moveaxis(fine.to_voxels(world), -1, 0)[None].copy()).float()
    shares = sample(volumes, positions)[0, 1:].numpy()
    tissue = np.argmax(shares, axis=0)
    expected = np.where(tissue == 4, 9, tissue + 1 + 4 * (world[..., 0] >= 0))
    agree = (expected == s.fixed_labels)[s.fixed_mask].mean()
    assert agree > 0.999
    assert mean_dice(s.fixed_labels, s.moving_labels, PROTOCOL) < 0.9


@pytest.mark.parametrize(("ndim", "spacing"), CASES)
def test_the_deformation_is_a_plausible_diffeomorphism(made, ndim, spacing):
    """No fold anywhere, and an amplitude like that between people after an affine alignment."""
    s = made[ndim]
    determinant = jacobian_determinant(in_voxels(s))
    assert 0.05 < float(determinant.min()) < 0.9 and float(determinant.max()) > 1.2
    length = np.linalg.norm(s.truth, axis=-1)
    assert 5 < length.max() < 9
    assert 1.5 < length[s.fixed_mask].mean() < 4
    if ndim == 2:
        assert not s.truth[..., 2].any()  # a slice is deformed in its plane


def test_the_same_seed_gives_the_same_bytes(made):
    """Results in the book are compared with committed ones: nothing may depend on the hour."""
    again, other = simulate(0, 1.0, 2), simulate(1, 1.0, 2)
    for name in ("fixed", "moving", "fixed_labels", "truth"):
        assert getattr(again, name).tobytes() == getattr(made[2], name).tobytes()
        assert getattr(other, name).tobytes() != getattr(made[2], name).tobytes()


def test_a_seed_is_one_anatomy_at_every_spacing(made):
    """Coarse and fine registrations of one pair must have the same truth to be compared."""
    coarse, fine = simulate(0, 3.0, 2), made[2]
    positions = fine.grid.to_voxels(coarse.grid.points())
    at = torch.from_numpy(np.moveaxis(positions, -1, 0)[None].copy()).float()
    field = torch.from_numpy(np.moveaxis(fine.truth, -1, 0)[None].copy())
    read = np.moveaxis(sample(field, at, padding="border")[0].numpy(), 0, -1)
    assert np.abs(read - coarse.truth).mean() < 0.02  # mm: linear interpolation of curved fields


@pytest.mark.parametrize(("ndim", "spacing"), CASES)
def test_images_and_labels(made, ndim, spacing):
    """Intensities in [0, 1], zero outside the brain; every label occurs, left on the left."""
    s = made[ndim]
    for image, labels, mask in (
        (s.fixed, s.fixed_labels, s.fixed_mask),
        (s.moving, s.moving_labels, s.moving_mask),
    ):
        assert image.dtype == np.float32 and labels.dtype == np.int32
        assert image.min() == 0 and image.max() == 1
        assert not image[~ndimage.binary_dilation(mask, iterations=3)].any()
        assert set(np.unique(labels)) == {0, *LABEL_NAMES}
    x = s.grid.points()[..., 0]
    for number in PROTOCOL:
        side = np.sign(np.median(x[s.moving_labels == number]))
        assert LABEL_NAMES[number].startswith("Left" if side < 0 else "Right")


@pytest.mark.parametrize(
    ("arguments", "word"), [({"ndim": 4}, "ndim"), ({"spacing": 0.5}, "spacing")]
)
def test_what_cannot_be_simulated(arguments, word):
    """One clear line that names the argument."""
    with pytest.raises(ValueError, match=f"^{word}: "):
        simulate(0, **arguments)
