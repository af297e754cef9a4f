"""Weights on disk: nothing is lost, and what is not right is refused in one line."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from synthetic import blobs

from nevf_lite.data.fetch import SOURCES
from nevf_lite.networks import (
    NetworkFrame,
    Objective,
    SYMNet,
    VoxelMorph,
    load_network,
    save_network,
    weights,
)

SMALL = {"encoder": (2, 3, 2, 3), "decoder": (3, 2, 3, 2, 2, 3, 2)}


def voxelmorph(**options) -> VoxelMorph:
    torch.manual_seed(1)
    return VoxelMorph(**SMALL, **options)


def keras_file(path, network: VoxelMorph, first: int = 97, leave_out: str = ""):
    """The network as Keras 2 stores one: kernels (D, H, W, in, out), layers numbered on from 97."""
    h5py = pytest.importorskip("h5py")
    layers = [*network.encoder, *network.decoder]
    names = [f"conv3d_{first + i}" for i in range(len(layers))] + ["flow"]
    with h5py.File(path, "w") as file:
        for name, layer in zip(names, [*layers, network.flow], strict=True):
            if name == leave_out:
                continue
            inner = "flow_33" if name == "flow" else name
            kernel = layer.weight.detach().permute(2, 3, 4, 1, 0).numpy()
            file[f"model_weights/{name}/{inner}/kernel:0"] = kernel
            file[f"model_weights/{name}/{inner}/bias:0"] = layer.bias.detach().numpy()
    return path


def test_our_files_give_the_same_network_back(tmp_path):
    """Every weight bit for bit, the frame, the objective and the record."""
    frame, objective = NetworkFrame("LIA", 2.0), Objective(window=5, smooth=2.0)
    network = voxelmorph(frame=frame, objective=objective)
    save_network(network, tmp_path / "n.safetensors", {"steps": 3})
    back = load_network("voxelmorph", tmp_path / "n.safetensors")
    assert (back.frame, back.objective, back.record) == (frame, objective, {"steps": 3})
    for name, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    assert not back.training and not any(p.requires_grad for p in back.parameters())
    before = (tmp_path / "n.safetensors").read_bytes()
    save_network(back, tmp_path / "n.safetensors", {"steps": 3})
    assert (tmp_path / "n.safetensors").read_bytes() == before  # the same every time


def test_half_precision_halves_the_file(tmp_path):
    """16-bit floats on disk, 32-bit ones in memory, equal to three digits."""
    network = SYMNet(2, ndim=2)
    save_network(network, tmp_path / "whole.safetensors")
    save_network(network, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    back = load_network("symnet", tmp_path / "half.safetensors")
    for name, value in network.state_dict().items():
        assert back.state_dict()[name].dtype == torch.float32
        assert torch.allclose(back.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_keras_kernels_arrive_where_they_belong(tmp_path):
    """Layers in the order of their numbers (99 before 100), kernels turned, channels read off."""
    network = voxelmorph()
    torch.nn.init.normal_(network.flow.weight)
    back = load_network("voxelmorph", keras_file(tmp_path / "k.h5", network))
    pair = blobs((16, 16, 32), 1), blobs((16, 16, 32), 2)
    with torch.no_grad():
        assert torch.equal(back(*pair), network(*pair))
    assert back.settings == {**{k: list(v) for k, v in SMALL.items()}, "ndim": 3}
    assert back.frame == NetworkFrame("LIA", 1.0)


def test_symnet_state_dicts_arrive_where_they_belong(tmp_path):
    """The authors' names; the number of channels is read off the weights."""
    network = SYMNet(2)
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.1)
    theirs = {}
    for layer, ours in weights._symnet_names().items():
        for what in ("weight", "bias"):
            if f"{ours}.{what}" in network.state_dict():
                theirs[f"{layer}.{what}"] = network.state_dict()[f"{ours}.{what}"]
    assert len(theirs) == len(network.state_dict())
    torch.save(theirs, tmp_path / "s.pth")
    back = load_network("symnet", tmp_path / "s.pth")
    pair = blobs((16, 16, 32), 1), blobs((16, 16, 32), 2)
    with torch.no_grad():
        assert torch.equal(back(*pair), network(*pair))
    torch.save({k: v for k, v in theirs.items() if k != "ec3.0.bias"}, tmp_path / "s.pth")
    with pytest.raises(ValueError, match=r"s\.pth lacks encoder\.1\.2\.bias"):
        load_network("symnet", tmp_path / "s.pth")
    torch.save({**theirs, "more.weight": torch.ones(1)}, tmp_path / "s.pth")
    with pytest.raises(ValueError, match=r"has unknown more\.weight"):
        load_network("symnet", tmp_path / "s.pth")
    torch.save({**theirs, "ec3.0.bias": torch.ones(1)}, tmp_path / "s.pth")
    with pytest.raises(ValueError, match=r"wrong shape for encoder\.1\.2\.bias"):
        load_network("symnet", tmp_path / "s.pth")


def test_a_layer_that_is_missing_from_keras(tmp_path):
    """Neither a convolution nor the flow may be left out."""
    with pytest.raises(ValueError, match="11 convolutions, wanted the 12"):
        load_network("voxelmorph", keras_file(tmp_path / "a.h5", voxelmorph(), 1, "conv3d_3"))
    with pytest.raises(ValueError, match="cannot be read"):
        load_network("voxelmorph", keras_file(tmp_path / "b.h5", voxelmorph(), 1, "flow"))


@pytest.mark.parametrize("kind", ["h5", "pth", "safetensors"])
@pytest.mark.parametrize("keep", [0.5, 0.0], ids=["truncated", "rubbish"])
def test_damaged_files_are_refused(tmp_path, kind, keep):
    """Half a file, or something else under the name: one line with the path."""
    name, path = "voxelmorph", tmp_path / f"n.{kind}"
    if kind == "h5":
        keras_file(path, voxelmorph())
    elif kind == "pth":
        name = "symnet"
        torch.save({"eninput.0.weight": torch.ones(500)}, path)
    else:
        save_network(voxelmorph(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))] or b"not weights at all" * 20)
    with pytest.raises(ValueError, match=rf"weights: .*n\.{kind}") as caught:
        load_network(name, path)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    """A state dict may hold tensors only."""

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code of a weights file was run",))

    torch.save({"eninput.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="cannot be read"):
        load_network("symnet", tmp_path / "evil.pth")


def test_the_wrong_network_is_refused(tmp_path):
    """SYMNet's weights for VoxelMorph, and names that are none."""
    save_network(SYMNet(1, ndim=2), tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match="holds a SYMNet, wanted voxelmorph"):
        load_network("voxelmorph", tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match="name: wanted one of voxelmorph, symnet"):
        load_network("vit")
    with pytest.raises(FileNotFoundError, match="weights"):
        load_network("symnet", tmp_path / "nowhere.pth")


def test_official_weights_are_checked_before_use(tmp_path, monkeypatch):
    """NEVF_WEIGHTS comes first, and a file with another checksum is not opened."""
    file = weights.OFFICIAL["symnet"]
    (tmp_path / file).write_bytes(b"something else")
    monkeypatch.setenv("NEVF_WEIGHTS", str(tmp_path))
    digest = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {digest}, wanted e27a7eeb"):
        load_network("symnet")


def test_official_weights_are_fetched_where_they_are_missing(tmp_path, monkeypatch):
    """Nothing here, nothing in the cache: `data.fetch` is asked, and what comes is checked."""
    for name in ("NEVF_WEIGHTS", "NEVF_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path))
    asked = []

    def bring(name):
        asked.append(name)
        paths = [tmp_path / source.file for source in SOURCES[name]]
        for path in paths:
            path.write_bytes(b"x")
        return paths

    monkeypatch.setattr(weights, "fetch", bring)
    with pytest.raises(ValueError, match="sha256"):
        load_network("voxelmorph")
    assert asked == ["weights"]


def test_weights_that_do_not_come_with_it_say_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setitem(weights.SMALL, "symnet", tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="train_networks.py symnet"):
        load_network("symnet", "small")


def test_small_weights_come_with_their_record():
    """What is in the package loads, is small, and learned from nobody of the test split."""
    from nevf_lite.data import TRAIN

    path = weights.SMALL["voxelmorph"]
    network = load_network("voxelmorph", "small")
    assert path.stat().st_size <= 1_000_000
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert network.record == record
    assert set(record["subjects"]) == set(TRAIN["oasis"])
    scored = {row[side] for row in record["scores"]["pairs"] for side in ("fixed", "moving")}
    assert scored <= set(TRAIN["oasis"])
    assert record["scores"]["mean"]["dice_after"] > record["scores"]["mean"]["dice_before"]
