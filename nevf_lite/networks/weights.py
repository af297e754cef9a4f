"""Read the published weights, and read and write those of this package.

VoxelMorph "official" is Keras HDF5: `models/cvpr2018_vm2_cc.h5` in the history of
`voxelmorph/voxelmorph` (blob 593aa32d). It was trained from scans to an atlas, at 160x192x224.

SYMNet "official" is a PyTorch state dict: `SYMNet_neurite_oasis_smo30_update_80000.pth` of
`cwmok/Fast-Symmetric-Diffeomorphic-Image-Registration-with-Convolutional-Neural-Networks` (commit
e59968b1). It was trained on neurite-OASIS, whose images are 160x192x224.

VoxelMorph and SYMNet "small" are in this package. They were trained on 13 OASIS subjects at 2 mm;
`weights/README.md` is their model card, and that of "lattices", which exists as "small" only.

The addresses and checksums of the published files are in `data.sources`. No file can run code: HDF5
and safetensors hold arrays only, and PyTorch files are read with `weights_only=True`.
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
from nevf_lite.data.fetch import fetch
from nevf_lite.data.sources import SOURCES
from nevf_lite.networks.base import Network, NetworkFrame, Objective, describe
from nevf_lite.networks.lattice_net import LatticeNet
from nevf_lite.networks.symnet_net import SYMNet
from nevf_lite.networks.voxelmorph_net import VoxelMorph
from nevf_lite.scans.files import atomic, existing_file, suffix_of

FORMAT = "nevf-network-1"
NETWORKS = {"voxelmorph": VoxelMorph, "symnet": SYMNet, "lattices": LatticeNet}
OFFICIAL = {
    "voxelmorph": "voxelmorph_cvpr2018_vm2_cc.h5",
    "symnet": "symnet_neurite_oasis_smo30.pth",
}
SMALL = {
    name: Path(__file__).parent / "weights" / f"{name}_{trained}.safetensors"
    for name, trained in (("voxelmorph", "oasis_2mm"), ("symnet", "oasis_2mm"), ("lattices", "4mm"))
}
#: The frame of both official networks: 1 mm, axes to left, inferior and anterior.
OFFICIAL_FRAME = NetworkFrame(orientation="LIA", spacing=1.0)
#: The loss weights of the official training, from the authors' scripts and file names. Those of the
#: NeVF paper differ: smoothness 4.0 for both networks (section 3.3).
OFFICIAL_OBJECTIVE = {
    "voxelmorph": Objective(window=9, smooth=1.0),
    "symnet": Objective(window=5, smooth=3.0, jacobian=100.0, magnitude=0.001),
}


def load_network(name: str, weights: str | os.PathLike = "official") -> Network:
    """Load a trained network, in evaluation mode and without gradients.

    name: "voxelmorph", "symnet" or "lattices". weights: "official", "small", or the path of a file:
    Keras HDF5 (.h5, VoxelMorph "vm2"), PyTorch (.pth, the state dict of SYMNet's authors) or
    .safetensors (`save_network`).

    Official files are searched for in the folder that NEVF_WEIGHTS names, in `weights/` inside or
    beside NEVF_DATA, and in the cache. If none has them, they are downloaded (5 MB). Their checksum
    is verified. `network.record` is the training record of a .safetensors file.
    Raises ValueError for an unknown name, and for a file that is damaged, has another checksum or
    holds another network; FileNotFoundError for a path without a file; DownloadError.
    """
    if name not in NETWORKS:
        raise ValueError(f"name: wanted one of {', '.join(NETWORKS)}, got {name!r}")
    if weights == "official" and name not in OFFICIAL:
        raise ValueError(f"weights: none of {name} are published elsewhere; wanted 'small'")
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
    readers = {".safetensors": _read_safetensors, ".h5": _read_keras, ".pth": _read_pytorch}
    network = readers[suffix_of(path, tuple(readers), "weights")](path)
    if not isinstance(network, NETWORKS[name]):
        raise ValueError(f"weights: {path} holds a {type(network).__name__}, wanted {name}")
    return network.eval().requires_grad_(False)


def official_file(name: str) -> Path:
    """The path of a published file, downloaded if it is missing.

    Raises ValueError for a file with another checksum, and DownloadError.
    """
    file_name = OFFICIAL[name]
    folder = os.environ.get("NEVF_WEIGHTS")
    path = Path(folder).expanduser() / file_name if folder else None
    if path is None or not path.is_file():
        try:
            path = find_weights(file_name)
        except FileNotFoundError:
            path = next(p for p in fetch("weights") if p.name == file_name)
    source = next(source for source in SOURCES["weights"] if source.file == file_name)
    algorithm, _, expected = source.checksum.partition(":")
    digest = file_digests(path, {algorithm})[algorithm]
    if digest != expected:
        raise ValueError(
            f"weights: {path} has the {algorithm} {digest}, wanted {expected}; it is damaged or "
            "another version: delete it and run `nevf data fetch weights`"
        )
    return path


def save_network(
    network: Network, path: str | os.PathLike, record: dict | None = None, *, half: bool = False
) -> None:
    """Write a network as safetensors, with everything that `load_network` needs.

    path: must end in .safetensors. record: how it was trained, for JSON. half: store 16-bit floats,
    which are read back as 32-bit ones. Raises ValueError for another ending.
    """
    path = Path(path)
    suffix_of(path, (".safetensors",), "path")
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    metadata = {"format": FORMAT, **describe(network), "record": record or {}}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {"network": json.dumps(metadata, sort_keys=True)}))


def _read_safetensors(path: Path) -> Network:
    """A network written by `save_network`."""
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get("network", "{}"))
            if metadata.get("format") != FORMAT:
                raise ValueError(f"weights: {path} is not a network written by nevf_lite")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        architectures = {network.__name__: network for network in NETWORKS.values()}
        network = architectures[metadata["architecture"]](
            **metadata["settings"],
            frame=NetworkFrame(**metadata["frame"]),
            objective=Objective(**metadata["objective"]),
        )
    except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise _read_error(path, error) from error
    network.record = metadata["record"]
    return _load_state(network, state, path)


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
            layer, parameter = name.split("/")[-3], name.split("/")[-1].partition(":")[0]
            arrays.setdefault(layer, {})[parameter] = torch.from_numpy(item[()])

    try:
        with h5py.File(path) as file:
            file["model_weights"].visititems(collect)
        layers = [n for n in arrays if n.startswith("conv3d_")]
        layers = [*sorted(layers, key=lambda n: int(n.rpartition("_")[2])), "flow"]
        kernels = [arrays[n]["kernel"].permute(4, 3, 0, 1, 2) for n in layers]
        biases = [arrays[n]["bias"] for n in layers]
    except (OSError, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise _read_error(path, error) from error
    if len(layers) != 12:
        raise ValueError(
            f"weights: {path} has {len(layers)} convolutions, wanted the 12 of VoxelMorph's 'vm2'"
        )
    channels = [len(b) for b in biases]
    network = VoxelMorph(
        channels[:4], channels[4:11], 3, OFFICIAL_FRAME, OFFICIAL_OBJECTIVE["voxelmorph"]
    )
    names = [*(f"encoder.{i}" for i in range(4)), *(f"decoder.{i}" for i in range(7)), "flow"]
    state = {}
    for name, kernel, bias in zip(names, kernels, biases, strict=True):
        state |= {f"{name}.weight": kernel, f"{name}.bias": bias}
    return _load_state(network, state, path)


def _symnet_names() -> dict[str, str]:
    """The names of SYMNet's layers: those of its authors to those of `SYMNet`."""
    encoder = ["eninput", *(f"ec{i}" for i in range(1, 10))]
    names = {f"{n}.0": f"encoder.{i // 2}.{i % 2 * 2}" for i, n in enumerate(encoder)}
    names |= {f"dc{i + 1}.0": f"decoder.{i // 2}.{i % 2 * 2}" for i in range(8)}
    names |= {"dc9.0": "heads.0", "dc10.0": "heads.1"}
    return names | {f"up{i + 1}.0": f"up.{i}" for i in range(4)}


def _read_pytorch(path: Path) -> Network:
    """SYMNet from the state dict of its authors."""
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
        channels = len(published["eninput.0.weight"])
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise _read_error(path, error) from error
    names = _symnet_names()
    state = {}
    for name, value in published.items():
        layer, _, parameter = name.rpartition(".")
        state[f"{names.get(layer, layer)}.{parameter}"] = value
    network = SYMNet(channels, 100.0, 3, OFFICIAL_FRAME, OFFICIAL_OBJECTIVE["symnet"])
    return _load_state(network, state, path)


def _load_state(network: Network, state: dict[str, Tensor], path: Path) -> Network:
    """Load a state dict into a network; ValueError for missing, unknown and misshapen tensors."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in state.items()}
    misshapen = {n for n, shape in actual.items() if expected.get(n, shape) != shape}
    for problem, names in (
        ("lacks", expected.keys() - actual.keys()),
        ("has unknown", actual.keys() - expected.keys()),
        ("has the wrong shape for", misshapen),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (" ..." if len(names) > 3 else "")
            raise ValueError(
                f"weights: {path} {problem} {listed}; it is another network or damaged"
            )
    network.load_state_dict(state)
    return network


def _read_error(path: Path, error: Exception) -> ValueError:
    """The one-line error for a file that cannot be read."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ValueError(
        f"weights: {path} cannot be read ({reason}); it is damaged, or of another kind"
    )
