"""Weights on disk: the published ones as their owners store them, ours as safetensors.

| weights | file | learned from |
|---|---|---|
| VoxelMorph "official" | Keras HDF5, `models/cvpr2018_vm2_cc.h5` in the history of
`voxelmorph/voxelmorph` (blob 593aa32d) | scans to an atlas, 160x192x224 |
| SYMNet "official" | PyTorch, `SYMNet_neurite_oasis_smo30_update_80000.pth` of
`cwmok/Fast-Symmetric-Diffeomorphic-Image-Registration-with-Convolutional-Neural-Networks`
(commit e59968b1) | neurite-OASIS, 160x192x224 |
| VoxelMorph "small" | in this package, see `weights/README.md` | 13 people of OASIS at 2 mm |

The addresses and checksums of the published files are in `data.fetch`. Both files were read and
their checksums computed from copies of them; downloading them from these addresses could not be
tried where this was written. Nothing in a file is ever
run: HDF5 and safetensors hold arrays only, and PyTorch's are read with `weights_only=True`.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nevf_lite.data.catalogue import find_weights
from nevf_lite.data.download import file_digests
from nevf_lite.data.fetch import SOURCES, fetch
from nevf_lite.files import atomic, existing_file, suffix_of
from nevf_lite.networks.base import Network, NetworkFrame, Objective, describe
from nevf_lite.networks.symnet_net import SYMNet
from nevf_lite.networks.voxelmorph_net import VoxelMorph

FORMAT = "nevf-network-1"
NETWORKS = {"voxelmorph": VoxelMorph, "symnet": SYMNet}
OFFICIAL = {
    "voxelmorph": "voxelmorph_cvpr2018_vm2_cc.h5",
    "symnet": "symnet_neurite_oasis_smo30.pth",
}
SMALL = {
    name: Path(__file__).parent / "weights" / f"{name}_oasis_2mm.safetensors" for name in NETWORKS
}
#: Both saw brains of 1 mm, left to right, top to bottom, back to front.
OFFICIAL_FRAME = NetworkFrame(orientation="LIA", spacing=1.0)
#: What the published weights were trained with, by the scripts and names of their owners.
OFFICIAL_OBJECTIVE = {
    "voxelmorph": Objective(window=9, smooth=1.0),
    "symnet": Objective(window=5, smooth=3.0, jacobian=100.0, magnitude=0.001),
}


def load_network(name: str, weights: str | os.PathLike = "official") -> Network:
    """A trained network, ready to predict: in evaluation mode, without gradients.

    name: "voxelmorph" or "symnet". weights: "official", "small", or the path of a file: Keras HDF5
    (.h5, VoxelMorph "vm2"), PyTorch (.pth, SYMNet's authors' state dict) or our .safetensors.
    Official files are looked for in the folder that NEVF_WEIGHTS names, in `weights/` inside or
    beside NEVF_DATA, and in the cache; else they are fetched from their owners (5 MB) and compared
    with their checksums. `network.record` says how ours were trained.
    Raises ValueError for an unknown name, and for a file that is damaged, has another checksum or
    holds another network; FileNotFoundError; DownloadError.
    """
    if name not in NETWORKS:
        raise ValueError(f"name: wanted one of {', '.join(NETWORKS)}, got {name!r}")
    if weights == "official":
        path = official_file(name)
    elif weights == "small":
        path = SMALL[name]
        if not path.is_file():
            raise ValueError(
                f"weights: no small weights of {name} come with this version; make them with "
                f"`python data_scripts/train_networks.py {name} --export`"
            )
    else:
        path = existing_file(weights, "weights")
    kind = suffix_of(path, (".safetensors", ".h5", ".pth"), "weights")
    network = {".safetensors": _read_ours, ".h5": _read_keras, ".pth": _read_symnet}[kind](path)
    if not isinstance(network, NETWORKS[name]):
        raise ValueError(f"weights: {path} holds a {type(network).__name__}, wanted {name}")
    return network.eval().requires_grad_(False)


def official_file(name: str) -> Path:
    """The published file, found or fetched; ValueError if it is not, byte for byte, that file."""
    file = OFFICIAL[name]
    named = os.environ.get("NEVF_WEIGHTS")
    path = Path(named).expanduser() / file if named else None
    if path is None or not path.is_file():
        try:
            path = find_weights(file)
        except FileNotFoundError:
            path = next(p for p in fetch("weights") if p.name == file)
    source = next(source for source in SOURCES["weights"] if source.file == file)
    kind, _, wanted = source.checksum.partition(":")
    found = file_digests(path, {kind})[kind]
    if found != wanted:
        raise ValueError(
            f"weights: {path} has the {kind} {found}, wanted {wanted}; it is damaged or another "
            "version: delete it and run `nevf data fetch weights`"
        )
    return path


def save_network(
    network: Network, path: str | os.PathLike, record: dict | None = None, *, half: bool = False
) -> None:
    """Write a network as safetensors, with all that is needed to use it again.

    path: should end in .safetensors. record: how it was trained, for JSON. half: store 16-bit
    floats, which are read back as 32-bit ones.
    """
    path = Path(path)
    suffix_of(path, (".safetensors",), "path")
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    about = {"format": FORMAT, **describe(network), "record": record or {}}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {"network": json.dumps(about, sort_keys=True)}))


def _read_ours(path: Path) -> Network:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("network", "{}"))
            if about.get("format") != FORMAT:
                raise ValueError(f"weights: {path} is not a network written by nevf_lite")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        kinds = {kind.__name__: kind for kind in NETWORKS.values()}
        network = kinds[about["architecture"]](
            **about["settings"],
            frame=NetworkFrame(**about["frame"]),
            objective=Objective(**about["objective"]),
        )
    except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise _damaged(path, error) from error
    network.record = about["record"]
    return _filled(network, state, path)


def _read_keras(path: Path) -> Network:
    """VoxelMorph from Keras: layers conv3d_N in the order of N, then flow; channels last."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(
            'weights: Keras files are read with h5py; pip install "nevf-lite[networks]"'
        ) from error
    arrays: dict[str, dict[str, Tensor]] = {}

    def collect(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):  # model_weights/conv3d_245/conv3d_245/kernel:0
            layer, what = name.split("/")[-3], name.split("/")[-1].partition(":")[0]
            arrays.setdefault(layer, {})[what] = torch.from_numpy(item[()])

    try:
        with h5py.File(path) as file:
            file["model_weights"].visititems(collect)
        layers = [n for n in arrays if n.startswith("conv3d_")]
        layers = [*sorted(layers, key=lambda n: int(n.rpartition("_")[2])), "flow"]
        kernels = [arrays[n]["kernel"].permute(4, 3, 0, 1, 2) for n in layers]
        biases = [arrays[n]["bias"] for n in layers]
    except (OSError, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    if len(layers) != 12:
        raise ValueError(
            f"weights: {path} has {len(layers)} convolutions, wanted the 12 of VoxelMorph's 'vm2'"
        )
    channels = [len(b) for b in biases]
    network = VoxelMorph(
        channels[:4], channels[4:11], 3, OFFICIAL_FRAME, OFFICIAL_OBJECTIVE["voxelmorph"]
    )
    ours = [*(f"encoder.{i}" for i in range(4)), *(f"decoder.{i}" for i in range(7)), "flow"]
    state = {}
    for name, kernel, bias in zip(ours, kernels, biases, strict=True):
        state |= {f"{name}.weight": kernel, f"{name}.bias": bias}
    return _filled(network, state, path)


def _symnet_names() -> dict[str, str]:
    """The authors' names of SYMNet's layers to ours."""
    encoder = ["eninput", *(f"ec{i}" for i in range(1, 10))]
    names = {f"{n}.0": f"encoder.{i // 2}.{i % 2 * 2}" for i, n in enumerate(encoder)}
    names |= {f"dc{i + 1}.0": f"decoder.{i // 2}.{i % 2 * 2}" for i in range(8)}
    names |= {"dc9.0": "heads.0", "dc10.0": "heads.1"}
    return names | {f"up{i + 1}.0": f"up.{i}" for i in range(4)}


def _read_symnet(path: Path) -> Network:
    try:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
        channels = len(theirs["eninput.0.weight"])
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise _damaged(path, error) from error
    names = _symnet_names()
    state = {}
    for name, value in theirs.items():
        layer, _, what = name.rpartition(".")
        state[f"{names.get(layer, layer)}.{what}"] = value
    network = SYMNet(channels, 100.0, 3, OFFICIAL_FRAME, OFFICIAL_OBJECTIVE["symnet"])
    return _filled(network, state, path)


def _filled(network: Network, state: dict[str, Tensor], path: Path) -> Network:
    """The network with these weights, once it is known that they are all there and fit."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for what, names in (
        ("lacks", wanted.keys() - found.keys()),
        ("has unknown", found.keys() - wanted.keys()),
        ("has the wrong shape for", {n for n in found if wanted.get(n, found[n]) != found[n]}),
    ):
        if names:
            some = ", ".join(sorted(names)[:3]) + (" ..." if len(names) > 3 else "")
            raise ValueError(f"weights: {path} {what} {some}; it is another network or damaged")
    network.load_state_dict(state)
    return network


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ValueError(
        f"weights: {path} cannot be read ({reason}); it is damaged, or of another kind"
    )
