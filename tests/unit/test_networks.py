"""Networks: shapes, what they do to a known input, and exact millimetres out of voxels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from heads import texture, turned
from nibabel.orientations import aff2axcodes
from synthetic import affine_of, blobs

from nevf_lite.integrate import compose, scaling_and_squaring
from nevf_lite.networks import (
    Network,
    NetworkFrame,
    Objective,
    SYMNet,
    VoxelMorph,
    lattice_over,
    onto_lattice,
    predict,
)
from nevf_lite.scans.space import Grid

SMALL = {"encoder": (2, 3, 2, 3), "decoder": (3, 2, 3, 2, 2, 3, 2)}
SHAPES = {2: (48, 32), 3: (16, 32, 16)}


def tiny(name: str, ndim: int, seed: int = 0) -> Network:
    """A network of random weights whose output is some voxels."""
    torch.manual_seed(seed)
    if name == "voxelmorph":
        network = VoxelMorph(**SMALL, ndim=ndim)
        torch.nn.init.normal_(network.flow.weight, std=0.3)
        return network
    network = SYMNet(1, reach=20.0, ndim=ndim)
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.05)
    for name, value in network.named_parameters():
        if name.endswith("bias"):  # so few channels must not be shut by their rectifiers
            torch.nn.init.constant_(value, 0.3)
    return network


def images(ndim: int) -> tuple[torch.Tensor, torch.Tensor]:
    return blobs(SHAPES[ndim], 1), blobs(SHAPES[ndim], 2)


every = pytest.mark.parametrize("name", ["voxelmorph", "symnet"])
both = pytest.mark.parametrize("ndim", [2, 3])


class Constant(Network):
    """Outputs the same flow everywhere, in voxels, and remembers what it saw."""

    def __init__(self, flow, frame: NetworkFrame) -> None:
        super().__init__({"ndim": len(flow)}, frame, Objective())
        self.output = torch.nn.Parameter(torch.tensor(flow, dtype=torch.float32))

    def forward(self, fixed, moving):
        self.check(fixed, moving)
        self.seen = fixed, moving
        ones = torch.ones_like(fixed)
        return self.output.reshape(1, -1, *[1] * self.ndim).detach() * ones


@every
@both
def test_one_look_gives_a_displacement_in_voxels(name, ndim):
    """(1, ndim, *shape), not zero with these weights, the same twice."""
    network, (fixed, moving) = tiny(name, ndim), images(ndim)
    with torch.no_grad():
        first, again = network(fixed, moving), network(fixed, moving)
    assert first.shape == (1, ndim, *SHAPES[ndim])
    assert torch.equal(first, again)
    assert first.abs().max() > 0.05


@every
@both
def test_a_new_network_moves_nothing_yet(name, ndim):
    """Training starts at the identity, whatever the images."""
    torch.manual_seed(0)
    network = VoxelMorph(**SMALL, ndim=ndim) if name == "voxelmorph" else SYMNet(2, ndim=ndim)
    with torch.no_grad():
        assert network(*images(ndim)).abs().max() < 0.02


@every
@both
def test_every_weight_learns(name, ndim):
    """The loss depends on each parameter: nothing is left out of the graph."""
    network = tiny(name, ndim)
    network.loss(*images(ndim)).total.backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@every
def test_the_loss_is_of_the_displacement_it_outputs(name):
    """What training looks at is what prediction returns."""
    network, pair = tiny(name, 2), images(2)
    with torch.no_grad():
        assert torch.allclose(network.loss(*pair).displacement, network(*pair), atol=1e-6)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    """The published form of SYMNet's: three similarities and three penalties."""
    network, pair = tiny("symnet", 2), images(2)
    network.objective = Objective(window=5, smooth=4.0, jacobian=100.0, magnitude=0.001)
    terms = network.loss(*pair).numbers()
    weights = {"smoothness": 4.0, "jacobian": 100.0, "magnitude": 0.001}
    wanted = sum(weights.get(n, 1.0) * v for n, v in terms.items() if n != "loss")
    assert terms["loss"] == pytest.approx(wanted, rel=1e-5)
    assert set(terms) == {"loss", "middle", "dissimilarity", "reverse", *weights}


def test_symnet_goes_half_the_way_and_the_other_half_back():
    """phi = exp(v_moving) first, then exp(-v_fixed), from the moving image's own velocity."""
    network, (fixed, moving) = tiny("symnet", 2), images(2)
    with torch.no_grad():
        from_moving, from_fixed = network.velocities(moving, fixed)
        wanted = compose(scaling_and_squaring(from_moving), scaling_and_squaring(-from_fixed))
        assert torch.allclose(network(fixed, moving), wanted, atol=1e-6)


def test_symnet_velocities_stay_within_reach():
    """softsign: no velocity is longer than `reach` voxels a component."""
    network = tiny("symnet", 2)
    with torch.no_grad():
        for head in network.heads:
            head.weight.mul_(1e6)
        fastest = max(v.abs().max() for v in network.velocities(*images(2)))
    assert 19 < fastest <= 20


def test_voxelmorph_pads_as_tensorflow_does():
    """Stride 2 with "same": windows start at voxels 0, 2, ..., so voxel 0 sees 0, 1 and 2.

    With the usual padding of one on each side it would see -1, 0 and 1.
    """
    network = tiny("voxelmorph", 2)
    x = torch.zeros(1, 2, 16, 16)
    x[0, :, 2, 2] = 1.0  # the last voxel that the first window sees
    kernel = network.encoder[0].weight.detach()
    with torch.no_grad():
        out = network.encoder[0](F.pad(x, [0, 1, 0, 1]))[0, :, 0, 0] - network.encoder[0].bias
    assert torch.allclose(out, kernel[:, :, 2, 2].sum(1), atol=1e-6)
    seen = []
    network.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    network(*images(2))
    assert seen[0][2:] == (49, 33)


def test_voxelmorph_moves_with_the_images():
    """Images shifted by one stride give the flow shifted by one stride, away from the rim."""
    network = tiny("voxelmorph", 2)
    fixed, moving = (blobs((224, 32), seed) for seed in (1, 2))
    with torch.no_grad():
        here = network(fixed, moving)
        there = network(fixed.roll(16, 2), moving.roll(16, 2))
    assert torch.allclose(here.roll(16, 2)[:, :, 80:144], there[:, :, 80:144], atol=1e-5)
    assert not torch.allclose(here[:, :, 80:144], there[:, :, 80:144], atol=1e-3)


@every
def test_what_does_not_fit_is_named(name):
    """Sides that cannot be halved four times, wrong axes, images that differ."""
    network, (fixed, moving) = tiny(name, 2), images(2)
    with pytest.raises(ValueError, match=r"fixed: .*multiples of 16"):
        network(fixed[:, :, :40], moving[:, :, :40])
    with pytest.raises(ValueError, match=r"fixed: wanted \(N, 1, H, W\)"):
        network(fixed[None], moving[None])
    with pytest.raises(ValueError, match="moving: wanted"):
        network(fixed, moving[:, :, :32])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VoxelMorph(encoder=(1, 2)), "encoder: wanted 4"),
        (lambda: VoxelMorph(decoder=(1,) * 6 + (0,)), "decoder: wanted channels"),
        (lambda: SYMNet(0), "channels: wanted"),
        (lambda: NetworkFrame("RLS"), "orientation: wanted"),
        (lambda: NetworkFrame(spacing=0), "spacing: wanted"),
        (lambda: Objective(window=4), "window: wanted"),
        (lambda: Objective(smooth=-1), "smooth: wanted"),
    ],
)
def test_impossible_networks_are_refused(make, message):
    """Each argument by name, with what was wanted."""
    with pytest.raises(ValueError, match=message):
        make()


def test_an_image_in_the_frame_is_its_own_lattice():
    """The neurite brains: nothing is resampled, so official weights see what they were made for."""
    grid = Grid((160, 192, 224), affine_of((160, 192, 224), (1, 1, 1), "LIA", centre=(3, -7, 11)))
    assert lattice_over(grid, NetworkFrame("LIA", 1.0), 16) == grid


def test_the_mni_box_at_two_millimetres():
    """80 x 96 x 80, centred in the box, from the 1 mm image and from one resampled to 2 mm."""
    fine = Grid((160, 192, 160), affine_of((160, 192, 160), (1, 1, 1)))
    frame = NetworkFrame("RAS", 2.0)
    lattice = lattice_over(fine, frame, 16)
    assert lattice.shape == (80, 96, 80)
    assert lattice == lattice_over(fine.at_spacing(2.0), frame, 16)
    middle = lattice.to_world((np.array(lattice.shape) - 1) / 2)
    assert np.allclose(middle, fine.to_world((np.array(fine.shape) - 1) / 2))


def test_a_box_that_does_not_fit_is_padded():
    """40 mm become 48 voxels; 162 become 160, one voxel less at each end."""
    for size, wanted in ((40, 48), (162, 160), (163, 176)):
        grid = Grid((size,) * 3, affine_of((size,) * 3, (1, 1, 1)))
        assert lattice_over(grid, NetworkFrame("LPS", 1.0), 16).shape == (wanted,) * 3
    with pytest.raises(ValueError, match="spacing: at 5 mm"):
        lattice_over(Grid((30,) * 3, np.eye(4)), NetworkFrame(), 16, spacing=5)


@pytest.mark.parametrize("stored", ["RAS", "LIA", "LPS"])
@pytest.mark.parametrize("frame", ["RAS", "LIA", "LPS"])
def test_a_known_flow_becomes_the_known_millimetres(stored, frame):
    """A constant flow along the frame's axes is one translation, however images are stored."""
    shape = (30, 32, 26)
    affine = affine_of(shape, (1, 1, 1.5), "RAS", centre=(5, 4, -3))
    scan = turned(nib.Nifti1Image(texture(Grid(shape, affine).points()), affine), stored)
    other = turned(nib.Nifti1Image(texture(Grid(shape, affine).points()), affine), "PIR")
    network = Constant((1.0, -2.0, 0.5), NetworkFrame(frame, spacing=1.25))
    transform = predict(network, scan, other)
    wanted = np.zeros(3)
    for voxels, code in zip((1.0, -2.0, 0.5), frame, strict=True):
        axis = ["RL", "AP", "SI"].index(next(p for p in ("RL", "AP", "SI") if code in p))
        wanted[axis] = voxels * 1.25 * (1 if code in "RAS" else -1)
    points = np.random.default_rng(0).uniform(-20, 20, (50, 3))
    assert np.allclose(transform.points_to_moving(points) - points, wanted, atol=1e-5)
    assert aff2axcodes(transform.components[0].grid.affine) == tuple(frame)
    assert transform.fixed == Grid.of(scan) and transform.moving == Grid.of(other)


@pytest.mark.parametrize("codes", ["LIA", "LPS", "SPR"])
def test_the_network_sees_the_same_however_images_are_stored(codes):
    """Flipped and permuted copies are the same numbers on the lattice; so is another grid."""
    shape = (50, 46, 48)
    affine = affine_of(shape, (1, 1, 1), degrees=(4, -3, 5))
    scan = nib.Nifti1Image(texture(Grid(shape, affine).points()).astype(np.float32), affine)
    other = nib.Nifti1Image(scan.dataobj[3:], affine @ _shift(3))  # cut where there is no head
    network = Constant((0.0, 0.0, 0.0), NetworkFrame("LIA", spacing=1.5))
    predict(network, scan, other)
    fixed, moving = network.seen
    predict(network, turned(scan, codes), turned(other, codes))
    assert torch.allclose(network.seen[0], fixed, atol=1e-4)
    assert torch.allclose(network.seen[1], moving, atol=1e-4)
    assert torch.allclose(fixed, moving, atol=0.02)  # and both lie at the same place
    assert 0 <= fixed.min() and fixed.max() <= 1.0


def _shift(voxels: int) -> np.ndarray:
    out = np.eye(4)
    out[0, 3] = voxels
    return out


def test_spacing_of_the_call_goes_before_the_frame():
    """The same flow in voxels is twice as far at twice the spacing."""
    affine = affine_of((40, 40, 40), (1, 1, 1))
    scan = nib.Nifti1Image(texture(Grid((40, 40, 40), affine).points()), affine)
    network = Constant((1.0, 0.0, 0.0), NetworkFrame("RAS", 1.0))
    for spacing, wanted in ((None, 1.0), (2.0, 2.0)):
        moved = predict(network, scan, scan, spacing=spacing).displacement()
        assert np.allclose(moved, [wanted, 0, 0], atol=1e-5)


def test_a_slice_keeps_its_place():
    """2-D networks, and an exact translation within the slice."""
    affine = affine_of((40, 36), (1, 1), degrees=(0, 0, 30))
    data = texture(Grid((40, 36), affine).points())[..., None]
    scan = nib.Nifti1Image(data.astype(np.float32), affine)
    network = Constant((2.0, -1.0), NetworkFrame(spacing=1.0))
    moved = predict(network, scan, scan).displacement()
    assert np.allclose(moved, affine[:3, :2] @ [2.0, -1.0], atol=1e-5)


def test_images_are_scaled_to_their_range():
    """Scanner units, an offset: the network sees [0, 1] all the same."""
    affine = affine_of((32, 32, 32), (1, 1, 1))
    data = texture(Grid((32, 32, 32), affine).points())
    grid = lattice_over(Grid(data.shape, affine), NetworkFrame(), 16)
    one = onto_lattice(nib.Nifti1Image(data, affine), grid)
    two = onto_lattice(nib.Nifti1Image(700 * data + 50, affine), grid)
    assert torch.allclose(one, two, atol=1e-5)
    assert one.min() == 0 and one.max() == pytest.approx(1, abs=1e-5)


def test_wrong_images_are_refused():
    """A slice for a network of volumes."""
    affine = affine_of((40, 36), (1, 1))
    scan = nib.Nifti1Image(np.random.default_rng(0).random((40, 36, 1)), affine)
    with pytest.raises(ValueError, match="fixed: this network takes 3-D"):
        predict(Constant((0.0, 0.0, 0.0), NetworkFrame()), scan, scan)
