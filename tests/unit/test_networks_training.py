"""Training and test-time refinement: the loss falls, runs can be resumed, nobody is let in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from synthetic import blobs, motion

from nevf_lite.data import TEST_ATLASES, TEST_SCANS, TRAIN
from nevf_lite.descent import NonFiniteLoss
from nevf_lite.networks import (
    NetworkFrame,
    Objective,
    SYMNet,
    Training,
    VoxelMorph,
    predict,
    refine,
    train,
)
from nevf_lite.warp import warp

SHAPE = (48, 32)
SHORT = Training(steps=6, lr=2e-3, every=2)


def network(name: str = "voxelmorph"):
    torch.manual_seed(0)
    objective = Objective(window=5, smooth=0.1)
    if name == "symnet":
        return SYMNet(2, reach=50.0, ndim=2, objective=replace(objective, jacobian=100.0))
    return VoxelMorph((4,) * 4, (4,) * 7, ndim=2, objective=objective)


def people(count: int = 4) -> dict[str, torch.Tensor]:
    """One image, moved by up to three voxels in as many ways."""
    still = blobs(SHAPE, 3, sigma=3.0)
    return {f"synthetic{i}": warp(still, motion(SHAPE, 3.0, seed=i)) for i in range(count)}


every = pytest.mark.parametrize("name", ["voxelmorph", "symnet"])


@every
def test_training_lowers_the_loss(name):
    """On pairs of made-up people, without showing it anything but images."""
    record = train(network(name), people(2), Training(steps=60, lr=1e-2, every=20))
    curve = [entry["dissimilarity"] for entry in record["loss_curve"]]
    assert len(curve) == 3 and curve[-1] < curve[0] - 0.01, curve


def test_training_goes_on_where_it_stopped(tmp_path):
    """Interrupted after three of six steps, the last of them lost: the same weights at the end."""
    whole = network()
    record = train(whole, people(), SHORT)

    def stop(step: dict) -> None:
        if step["step"] == 2:
            raise KeyboardInterrupt

    halves = network()
    with pytest.raises(KeyboardInterrupt):
        train(halves, people(), SHORT, tmp_path / "c.pt", callback=stop)
    resumed = network()
    again = train(resumed, people(), SHORT, tmp_path / "c.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert again["loss_curve"] == record["loss_curve"]
    assert again["seconds"] > 0  # of both parts


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """Other people, another rate, a damaged file; more steps are fine."""
    path = tmp_path / "c.pt"
    train(network(), people(), SHORT, path)
    with pytest.raises(ValueError, match=r"checkpoint: .*its training differ"):
        train(network(), people(), replace(SHORT, lr=1e-3), path)
    with pytest.raises(ValueError, match=r"checkpoint: .*its subjects differ"):
        train(network(), people(3), SHORT, path)
    assert train(network(), people(), replace(SHORT, steps=8), path)["steps"] == 8
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="checkpoint: .*cannot be read"):
        train(network(), people(), SHORT, path)


def test_the_record_says_what_was_done():
    """Everything that decides the weights, as JSON."""
    record = json.loads(json.dumps(train(network(), people(), SHORT)))
    assert record["subjects"] == sorted(people())
    assert record["training"] == {
        "steps": 6,
        "lr": 2e-3,
        "decay": 0.1,
        "flips": True,
        "every": 2,
        "seed": 0,
    }
    assert record["architecture"] == "VoxelMorph" and record["objective"]["window"] == 5
    assert [entry["step"] for entry in record["loss_curve"]] == [2, 4, 6]
    assert record["shape"] == list(SHAPE) and "torch" in record["versions"]
    rates = [entry["lr"] for entry in record["loss_curve"]]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.5 * rates[0]


@pytest.mark.parametrize("dataset", sorted(TRAIN))
def test_nobody_of_the_test_split_is_learned_from(dataset):
    """Every one of them is refused by name, under either of their names; so are strangers."""
    blank = torch.rand(1, 1, *SHAPE)
    for person in (*TEST_ATLASES[dataset], *TEST_SCANS[dataset], "OAS1_0001"):
        with pytest.raises(ValueError, match=rf"images: {person} are not in the `train` split"):
            train(network(), {**people(), person: blank}, SHORT)
    train(network(), dict.fromkeys(TRAIN[dataset][:2], blank), replace(SHORT, steps=1))


def test_impossible_trainings_are_refused():
    """Each argument by name; a single image; a learning rate that leaves all numbers."""
    for wrong in (
        {"steps": 0},
        {"lr": 0},
        {"decay": 2},
        {"every": 0},
        {"steps": 1.5},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Training(**wrong)
    with pytest.raises(ValueError, match="at least two"):
        train(network(), people(1), SHORT)
    broken = network()
    broken.flow.weight.data[:] = torch.nan
    with pytest.raises(NonFiniteLoss, match="a third of the learning rate"):
        train(broken, people(), SHORT)


def test_pairs_are_mirrored_half_of_the_time():
    """Left to right along the axis that was named, both images of a pair together."""
    seen = []

    class Watched(VoxelMorph):
        def loss(self, fixed, moving):
            seen.append((fixed, moving))
            return super().loss(fixed, moving)

    images = {f"synthetic{i}": torch.rand(1, 1, *SHAPE) for i in range(2)}
    for flips, axis in ((True, 0), (True, 1), (False, 0)):
        seen.clear()
        torch.manual_seed(0)
        watched = Watched((1,) * 4, (1,) * 7, ndim=2)
        train(watched, images, Training(steps=30, flips=flips), mirror_axis=axis)
        mirrored = 0
        for pair in seen:
            straight = [any(torch.equal(x, i) for i in images.values()) for x in pair]
            turned = [any(torch.equal(x.flip(axis + 2), i) for i in images.values()) for x in pair]
            assert all(straight) or all(turned)
            assert not torch.equal(*pair)
            mirrored += all(turned)
        assert mirrored == 0 if not flips else 5 <= mirrored <= 25


@every
def test_refinement_fits_one_pair_and_leaves_the_network_alone(name):
    """The loss falls, the best network comes back, and the one given is as it was."""
    given, (fixed, moving) = network(name), list(people().values())[:2]
    before = {k: v.clone() for k, v in given.state_dict().items()}
    records = []
    better = refine(
        given,
        fixed,
        moving,
        25,
        lr=1e-2,
        progress=False,
        callback=lambda record, displacement: records.append((record, displacement)),
    )
    with torch.no_grad():
        losses = [net.loss(fixed, moving).total.item() for net in (given, better)]
    seen = [record["loss"] for record, _ in records]
    assert [record["iteration"] for record, _ in records] == list(range(25))
    assert seen[0] == pytest.approx(losses[0], rel=1e-4)
    assert losses[1] < losses[0] - 0.003 and losses[1] <= min(seen) + 1e-5
    assert records[0][1].shape == (1, 2, *SHAPE)
    seconds = [record["seconds"] for record, _ in records]
    assert seconds == sorted(seconds)
    for key, value in given.state_dict().items():
        assert torch.equal(before[key], value), key
    assert not any(p.requires_grad for p in better.parameters())


def test_refinement_that_makes_it_worse_is_undone():
    """At a learning rate that is far too high the given weights come back."""
    given, (fixed, moving) = network(), list(people().values())[:2]
    given = refine(given, fixed, moving, 10, lr=3e-3, progress=False)
    after = refine(given, fixed, moving, 3, lr=0.9, progress=False)
    for key, value in given.state_dict().items():
        assert torch.equal(after.state_dict()[key], value), key


def test_refinement_checks_what_it_is_given():
    """Iterations, learning rate, shapes, a loss that is no number."""
    fixed, moving = list(people().values())[:2]
    for wrong in ({"iterations": -1}, {"lr": 0}):
        options = {"iterations": 1, "progress": False, **wrong}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            refine(network(), fixed, moving, **options)
    with pytest.raises(ValueError, match="moving: wanted"):
        refine(network(), fixed, moving[:, :, :16], 1)
    broken = network()
    broken.flow.weight.data[:] = torch.nan
    with pytest.raises(NonFiniteLoss, match="iteration 0"):
        refine(broken, fixed, moving, 1, progress=False)


def test_prediction_with_refinement(tmp_path):
    """`predict(refine=N)` tells of each iteration, can make its transform, and changes nothing."""
    fixed, moving = (image[0, 0].numpy() for image in list(people().values())[:2])
    given = network()
    given.frame = NetworkFrame(spacing=1.0)
    plain = predict(given, fixed, moving)
    seen = []
    refined = predict(
        given,
        fixed,
        moving,
        refine=5,
        lr=3e-3,
        watch=lambda record, now: seen.append((record["iteration"], now())),
    )
    assert [iteration for iteration, _ in seen] == list(range(5))
    first, last = (t.displacement() for t in (seen[0][1], refined))
    assert abs(first - plain.displacement()).max() < 1e-4
    assert abs(last - first).max() > 1e-3
    assert abs(predict(given, fixed, moving).displacement() - plain.displacement()).max() == 0
    with pytest.raises(ValueError, match="refine: wanted 0 or more"):
        predict(given, fixed, moving, refine=-1)
