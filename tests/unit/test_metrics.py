"""Metrics against SimpleITK, brute force and fields folded by hand."""

from __future__ import annotations

import itertools
import math
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nevf_lite.grid import identity
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.scans.io import load_labels
from nevf_lite.scores.deformation import _simplices, folds, inverse_consistency
from nevf_lite.scores.metrics import dice, hd95, mean_dice, parse_labels, tre


def blobs(seed: int, shape=(24, 20, 16), count: int = 5) -> np.ndarray:
    """A label map of smooth random regions."""
    random = np.random.default_rng(seed)
    seeds = random.uniform(0, 1, (count, len(shape))) * shape
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    nearest = np.linalg.norm(points[..., None, :] - seeds, axis=-1)
    return np.where(nearest.min(-1) < 7, nearest.argmin(-1) + 1, 0)


# ----------------------------------------------------------------------------------------- Dice


@pytest.mark.parametrize("shape", [(24, 20, 16), (30, 25)])
def test_dice_is_that_of_simpleitk(shape):
    """The same overlap as ITK's LabelOverlapMeasures, structure by structure."""
    fixed, warped = blobs(0, shape), blobs(1, shape)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(warped))
    ours = dice(fixed, warped)
    assert set(ours) == {1, 2, 3, 4, 5}
    for label, value in ours.items():
        assert value == pytest.approx(measure.GetDiceCoefficient(label), abs=1e-12)


def test_dice_of_structures_that_are_missing():
    """Absent from both is skipped, present in one counts 0, background is not a structure."""
    fixed, warped = np.array([[0, 1, 1], [2, 2, 0]]), np.array([[0, 1, 0], [3, 3, 0]])
    assert dice(fixed, warped) == {1: pytest.approx(2 / 3), 2: 0.0, 3: 0.0}
    assert dice(fixed, warped, [1, 7]) == {1: pytest.approx(2 / 3)}
    assert dice(fixed, warped, [0]) == {0: pytest.approx(4 / 5)}
    assert mean_dice(fixed, warped) == pytest.approx(2 / 9)
    with pytest.raises(ValueError, match="none occurs"):
        mean_dice(fixed, warped, [8, 9])


def test_dice_of_large_and_negative_values():
    """FreeSurfer's four digits, 32-bit values and negative ones take another path, same answer."""
    fixed, warped = blobs(0), blobs(1)
    plain = list(dice(fixed, warped).values())
    for scale, offset in ((1000, 35), (400_000_000, 1), (-3, -1)):
        other = [np.where(m > 0, m * scale + offset, 0) for m in (fixed, warped)]
        assert sorted(dice(*other).values()) == sorted(plain)


def test_labels_must_belong_together():
    """Shapes, places and fractions are checked; nibabel images and tensors are taken too."""
    fixed, warped = blobs(0), blobs(1)
    images = [nib.Nifti1Image(m.astype(np.int32), np.eye(4)) for m in (fixed, warped)]
    expected = dice(fixed, warped)
    assert dice(*images) == dice(*map(torch.from_numpy, (fixed, warped))) == expected
    with pytest.raises(ValueError, match="shapes"):
        dice(fixed, warped[1:])
    with pytest.raises(ValueError, match="whole"):
        dice(fixed, warped + 0.5)
    moved = nib.Nifti1Image(images[1].dataobj, np.diag([1, 1, 2, 1]))
    with pytest.raises(ValueError, match="different grids"):
        dice(images[0], moved)


@pytest.mark.parametrize("count", [3, 60])
def test_dice_looks_at_a_map_once_for_all_structures(monkeypatch, count):
    """Both maps and where they agree are counted once each, without sorting their voxels."""
    fixed, warped = blobs(0, count=count), blobs(1, count=count)
    counted = Mock(wraps=np.bincount)
    monkeypatch.setattr(np, "bincount", counted)
    monkeypatch.setattr(np, "unique", Mock(side_effect=AssertionError("sorted")))
    assert len(dice(fixed, warped)) > count / 2
    assert counted.call_count == 3


def test_real_labels_start_at_the_known_overlap(nevf_data):
    """Mindboggle trt02 and trt01, affinely aligned: the measured 0.347."""
    maps = [load_labels(nevf_data / "mindboggle" / f"trt{i}_seg.nii.gz") for i in ("02", "01")]
    assert mean_dice(*maps, parse_labels("1-62")) == pytest.approx(0.347, abs=5e-4)


# ----------------------------------------------------------------------------------------- HD95


def brute_force_hd95(fixed, warped, spacing, label) -> float:
    """Every surface voxel against every other, in float64."""
    surfaces = []
    for volume in (fixed, warped):
        mask = np.pad(volume == label, 1)
        points = [
            at
            for at in np.argwhere(mask)
            if not all(
                mask[tuple(at + step * (np.arange(mask.ndim) == axis))]
                for axis in range(mask.ndim)
                for step in (-1, 1)
            )
        ]
        surfaces.append(np.array(points) * spacing)
    a, b = surfaces
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return max(np.percentile(distances.min(axis), 95) for axis in (0, 1))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((24, 20, 16), (1, 1, 1)), ((24, 20, 16), (0.7, 1.2, 3)), ((30, 25), (2, 1))],
)
def test_hd95_is_that_of_brute_force(shape, spacing):
    """In 2-D and 3-D, anisotropic too, with structures that touch the edge of the image."""
    fixed, warped = blobs(2, shape), blobs(3, shape)
    ours = hd95(fixed, warped, spacing)
    assert len(ours) == 5
    for label, value in ours.items():
        assert value == pytest.approx(brute_force_hd95(fixed, warped, spacing, label), abs=1e-9)


def test_hd95_by_hand():
    """Two points 3 voxels of 2 mm apart; a structure in one map only; one in neither."""
    fixed, warped = np.zeros((9, 5), int), np.zeros((9, 5), int)
    fixed[1, 2], warped[4, 2] = 1, 1
    fixed[8, 4] = 2
    assert hd95(fixed, warped, (2, 1), [1, 2, 3]) == {1: 6.0, 2: math.inf}
    assert hd95(fixed, fixed) == {1: 0.0, 2: 0.0}
    assert hd95(fixed, warped, (2, 1), []) == {}
    images = [nib.Nifti1Image(m.astype(np.int32), np.diag([3, 1, 1, 1.0])) for m in (fixed, warped)]
    assert hd95(*images, labels=[1]) == {1: 9.0}
    with pytest.raises(ValueError, match="spacing"):
        hd95(fixed, warped, (1, 1, 1))


def test_hd95_ignores_a_twentieth():
    """One stray voxel in a hundred moves the maximum, not the 95th percentile."""
    fixed = np.zeros((120, 40), int)
    fixed[5:105, 5] = 1
    warped = fixed.copy()
    warped[50, 35] = 1
    assert hd95(fixed, warped) == {1: 0.0}


def test_tre():
    """Distances of points that correspond, one each."""
    a = np.array([[0, 0, 0], [1, 2, 3.0]])
    np.testing.assert_allclose(tre(a, a + [[3, 4, 0], [0, 0, 0]]), [5, 0])
    with pytest.raises(ValueError, match="points"):
        tre(a, a[:1])


# ---------------------------------------------------------------------------------------- folds


def at_rest(ndim: int, n: int = 7) -> torch.Tensor:
    return torch.zeros(1, ndim, *[n] * ndim, dtype=torch.float64)


@pytest.mark.parametrize("ndim", [2, 3])
def test_identity_and_smooth_maps_do_not_fold(ndim):
    """At rest, sheared and stretched: no folds by any count, although volumes change."""
    for matrix in (torch.eye(ndim), torch.eye(ndim) + 0.3 * torch.ones(ndim, ndim).triu(1)):
        linear = torch.einsum(
            "ij,nj...->ni...", matrix.double() * 1.4, identity([7] * ndim).double()
        )
        result = folds(linear - identity([7] * ndim))
        assert (result.forward, result.central, result.any, result.volume) == (0, 0, 0, 0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_mirrored_map_is_all_fold(ndim):
    """x -> -x along one axis: every cell is turned over, and its whole volume counts."""
    u = at_rest(ndim)
    u[:, 0] = -2 * identity([7] * ndim)[:, 0]
    result = folds(u)
    assert (result.forward, result.central, result.any) == (1, 1, 1)
    assert result.volume_fraction == pytest.approx(1)
    assert result.volume == pytest.approx(6**ndim)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_volume_of_a_stretched_mirror(ndim, scale):
    """The non-diffeomorphic volume is the volume covered wrongly, so it scales with the map."""
    u = at_rest(ndim)
    u[:, 0] = -(1 + scale) * identity([7] * ndim)[:, 0]
    assert folds(u).volume == pytest.approx(scale * 6**ndim)


def test_a_vertex_pushed_through_one_triangle():
    """By hand, in 2-D: the middle vertex moved by (a, b) with a, b > 0 past the diagonal of a cell.

    A vertex moved to (0.7, 0.7) of its upper cell, whose far diagonal is x + y = 1, turns over the
    one triangle of that cell that it spans with its two neighbours, seen from itself (forward
    differences): determinant (1 - 0.7)(1 - 0.7) - 0.7 * 0.7 = -0.4.
    """
    u = at_rest(2)
    u[0, :, 3, 3] = 0.7
    result = folds(u)
    cells = 36
    assert result.forward == pytest.approx(1 / cells)
    assert result.any == pytest.approx(1 / cells)
    assert result.volume == pytest.approx(0.4 / 4)  # half a determinant, tiled twice
    assert result.central == 0  # central differences do not look at the voxel itself


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
def test_forward_differences_miss_what_another_corner_sees(signs):
    """The same vertex pushed into each of the four cells around it: only one is a forward fold."""
    u = at_rest(2)
    u[0, 0, 3, 3], u[0, 1, 3, 3] = 0.7 * signs[0], 0.7 * signs[1]
    result = folds(u)
    assert result.forward == pytest.approx((1 / 36) if signs == (1, 1) else 0)
    assert result.any == pytest.approx(1 / 36)
    assert result.volume == pytest.approx(0.1)


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_the_same_in_three_dimensions(signs):
    """A vertex pushed 0.4 of the diagonal into one of eight cells passes its neighbours' plane.

    The corner tetrahedron has determinant 1 - 3 * 0.4 = -0.2; the tetrahedron in the middle, which
    the vertex also belongs to, stays upright.
    """
    u = at_rest(3)
    u[0, :, 3, 3, 3] = 0.4 * torch.tensor(signs)
    result = folds(u)
    assert result.forward == pytest.approx((1 / 216) if signs == (1, 1, 1) else 0)
    assert result.any == pytest.approx(1 / 216)
    assert result.volume == pytest.approx(0.2 / 12)
    assert result.central == 0


def test_only_the_tetrahedron_in_the_middle_folds():
    """Liu's middle tetrahedra see a fold that none of the eight corner stencils does.

    One cell by hand. Its corners 101 and 011 sink from height 1 to -0.1, so the tetrahedron that
    they span with 000 and 110 is turned over: determinant 2 * (-0.1). The corners 100 and 010 sink
    to -1, out of their way, so each corner still sees its three neighbours the right way round.
    """
    u = torch.zeros(1, 3, 2, 2, 2, dtype=torch.float64)
    u[0, 2, 1, 0, 1] = u[0, 2, 0, 1, 1] = -1.1
    u[0, 2, 1, 0, 0] = u[0, 2, 0, 1, 0] = -1.0
    *corners, even, odd = (float(det) for det in _simplices(u))
    assert len(corners) == 8 and min(corners) > 0
    assert even == pytest.approx(-0.2) and odd > 0


def mirrored_determinants(u: torch.Tensor):
    """The ground floor's forward differences, seen in every mirror: another way to all corners."""
    ndim = u.shape[1]
    for axes in itertools.chain.from_iterable(
        itertools.combinations(range(ndim), k) for k in range(ndim + 1)
    ):
        mirrored = u.flip([axis + 2 for axis in axes]).clone()
        mirrored[:, list(axes)] *= -1
        yield jacobian_determinant(mirrored).flip([axis + 1 for axis in axes])


@pytest.mark.parametrize("ndim", [2, 3])
def test_corner_stencils_are_forward_differences_in_a_mirror(ndim):
    """All 2^ndim stencils agree with the one that training penalises, on a wild field."""
    u = torch.randn(2, ndim, *[8] * ndim, generator=torch.Generator().manual_seed(1)).double()
    stencils = torch.stack(list(mirrored_determinants(u)))
    result = folds(u)
    assert result.forward == pytest.approx(float((jacobian_determinant(u) <= 0).double().mean()))
    corners = float(stencils.clamp(max=0).sum()) / -(4 if ndim == 2 else 12)
    if ndim == 2:  # in 3-D the two tetrahedra in the middle come on top
        assert result.volume == pytest.approx(corners)
        assert result.any == pytest.approx(float((stencils <= 0).any(0).double().mean()))
    else:
        assert corners < result.volume < 2 * corners
        assert result.any >= float((stencils <= 0).any(0).double().mean())


@pytest.mark.parametrize("ndim", [2, 3])
def test_signed_volumes_tile_the_box(ndim):
    """With the rim at rest the signed simplices add up to the box, whatever the inside does.

    So the volume turned over is counted once: what is negative is exactly what is covered twice.
    """
    u = torch.randn(1, ndim, *[6] * ndim, generator=torch.Generator().manual_seed(2)).double()
    inside = torch.zeros_like(u)
    inner = (..., *[slice(1, -1)] * ndim)
    inside[inner] = u[inner]
    total = sum(float(det.sum()) for det in _simplices(inside)) / (2 * math.factorial(ndim))
    assert total == pytest.approx(5**ndim)


def test_folds_refuses_what_is_no_field():
    """Wrong number of components, or an axis of one voxel."""
    for shape in ((1, 3, 8, 8), (1, 2, 8, 8, 8), (1, 2, 1, 8), (2, 8, 8)):
        with pytest.raises(ValueError, match="displacement"):
            folds(torch.zeros(shape))


@pytest.mark.parametrize("ndim", [2, 3])
def test_inverse_consistency(ndim):
    """exp(-v) undoes exp(v) inside the grid; a field without its inverse does not."""
    x = identity([20] * ndim)
    velocity = torch.stack([1.5 * torch.sin(x[:, (i + 1) % ndim] / 4) for i in range(ndim)], 1)
    there, back = scaling_and_squaring(velocity), scaling_and_squaring(-velocity)
    inner = (..., *[slice(4, -4)] * ndim)
    error = inverse_consistency(there, back)
    assert error.shape == (1, *[20] * ndim) and error[inner].mean() < 0.02
    alone = inverse_consistency(there, torch.zeros_like(back))
    torch.testing.assert_close(alone, there.norm(dim=1))


# --------------------------------------------------------------------------------- label ranges


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1-3,7", (1, 2, 3, 7)), (" 5 , 2-2", (2, 5)), ("3,1-4", (1, 2, 3, 4)), ("0", (0,))],
)
def test_parse_labels(text, numbers):
    """Ranges, single numbers and blanks; sorted, each once."""
    assert parse_labels(text) == numbers


@pytest.mark.parametrize("text", ["", "1-", "-3", "a", "5-2", "1,,2", "1-3-5", "1.5", "0-99999999"])
def test_parse_labels_names_the_bad_part(text):
    """One line with the text that came and an example."""
    with pytest.raises(ValueError, match="labels: .*1-62,70"):
        parse_labels(text)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 300), min_size=1))
def test_parse_labels_reads_back_what_is_listed(numbers):
    """Any set of numbers, written out, is read back."""
    assert parse_labels(",".join(map(str, numbers))) == tuple(sorted(numbers))
