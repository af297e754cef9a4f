"""Train the small networks and the start of the SIREN that come with the package.

    python data_scripts/train_networks.py voxelmorph             # train; run again to resume
    python data_scripts/train_networks.py voxelmorph --export    # score, write weights and record

VoxelMorph and SYMNet are trained on images of the OASIS set (NEVF_DATA) at 2 mm, in the MNI box,
without labels. The labels of four pairs of the same split are used for the final scores. "lattices"
and "siren" are trained on Mindboggle too, at 4 and 2 mm, without the four names of VALIDATION. Only
people of the `train` split are used. On one core a step takes about 1 s (VoxelMorph, lattices) and
2 s (SYMNet, SIREN). Checkpoints are written every 50 steps, of the SIREN every 10.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from nevf_lite.config import PRESETS, Level
from nevf_lite.data import TRAIN, load_pair
from nevf_lite.data.catalogue import cache_folder
from nevf_lite.descent import NonFiniteLoss
from nevf_lite.networks.base import Network, NetworkFrame, Objective
from nevf_lite.networks.lattice import lattice_over, onto_lattice
from nevf_lite.networks.lattice_net import LatticeNet
from nevf_lite.networks.meta_learning import Reptile, learn_start
from nevf_lite.networks.prediction import predict
from nevf_lite.networks.starts import SIREN_WEIGHTS, predicted_start, save_siren
from nevf_lite.networks.symnet_net import SYMNet
from nevf_lite.networks.training import Training, train
from nevf_lite.networks.voxelmorph_net import VoxelMorph
from nevf_lite.networks.weights import SMALL, load_network, save_network
from nevf_lite.registration.register import register
from nevf_lite.scans.files import atomic
from nevf_lite.scans.space import Grid
from nevf_lite.scores.deformation import folds
from nevf_lite.scores.metrics import mean_dice
from nevf_lite.transforms.transform import Transform

FRAME = NetworkFrame(orientation="RAS", spacing=2.0)
#: Settings of the NeVF paper (section 3.3), for the record. In the few steps of RUNS a
#: learning rate of 1e-4 stays near the identity. The rate of RUNS is ten times as high and falls
#: to a tenth along a cosine.
PAPER = {"lr": 1e-4, "smooth": 4.0, "jacobian": 100.0, "magnitude": 0.001}
RUNS = {
    "voxelmorph": Training(steps=800, lr=1e-3),
    "symnet": Training(steps=900, lr=1e-3),
    "lattices": Training(steps=1400, lr=1e-3),
    "siren": Reptile(steps=100),
}
#: People of the `train` split whom "lattices" and "siren" have not seen.
VALIDATION = ("trt07", "trt08", "1006", "1007")
#: What the SIREN should be good after: 20 iterations at 4 mm.
FEW = replace(PRESETS["siren"], levels=(Level(2, 20),), patience=20)
#: Fixed and moving subjects for the scores of the trained networks; all are in the training set.
PAIRS = (("1001", "1000"), ("1004", "1003"), ("1101", "1007"), ("1113", "1110"))
#: The pairs for the score of the SIREN's start; neither person was learned from.
UNSEEN = (("1006", "1007"), ("1007", "1006"))
MAX_BYTES = 1_000_000  # of a weights file in the package


def new_network(name: str) -> Network:
    """A small network, with half of the published network's channels or slightly more."""
    if name == "voxelmorph":
        # 1.0 is VoxelMorph's own weight for local NCC. The NeVF paper trains both networks with
        # 4.0 (section 3.3).
        loss = Objective(window=9, smooth=1.0)
        return VoxelMorph((8, 16, 16, 16), (16, 16, 16, 16, 16, 8, 8), frame=FRAME, objective=loss)
    if name == "lattices":
        return LatticeNet(passes=(3,), frame=NetworkFrame(spacing=4.0))
    return SYMNet(4, reach=50.0, frame=FRAME)


def training_images(
    frame: NetworkFrame, stride: int, datasets: Sequence[str], without: Sequence[str] = ()
) -> dict[str, torch.Tensor]:
    """The images of the `train` split of some data sets on a network's lattice, by subject."""
    images = {}
    for dataset in datasets:
        subjects = [subject for subject in TRAIN[dataset] if subject not in without]
        for fixed, moving in zip(subjects, (*subjects[1:], subjects[0]), strict=True):
            image = load_pair(dataset, fixed, moving).fixed
            images[fixed] = onto_lattice(image, lattice_over(Grid.of(image), frame, stride))
    return images


def run(name: str, training: Training, checkpoint: Path) -> tuple[Network, dict]:
    """Train a network, from its checkpoint if there is one; returns the network and its record."""
    torch.manual_seed(training.seed)
    network = new_network(name).to(memory_format=torch.channels_last_3d)  # 1.5 times as fast
    both = name == "lattices"
    datasets, without = (tuple(TRAIN), VALIDATION) if both else (("oasis",), ())
    images = training_images(network.frame, network.stride, datasets, without)
    print(f"{name}: {len(images)} subjects, {training}", flush=True)
    with tqdm(total=training.steps, mininterval=60, unit="step") as bar:

        def show(record: dict) -> None:
            bar.update(record["step"] + 1 - bar.n)
            if (record["step"] + 1) % training.every == 0:
                bar.set_postfix_str(" ".join(f"{k} {v:.4f}" for k, v in record.items()))
                bar.refresh()

        return network, train(network, images, training, checkpoint, callback=show)


def learn_siren(reptile: Reptile, checkpoint: Path) -> None:
    """Learn the start of the SIREN, and write its weights and its record into the package."""
    images = training_images(FRAME, 16, tuple(TRAIN), VALIDATION)
    with tqdm(total=reptile.steps, mininterval=60, unit="step") as bar:
        field, record = learn_start(
            FEW, images, reptile, checkpoint, callback=lambda record: bar.update()
        )
    save_siren(field, SIREN_WEIGHTS, FRAME.spacing, record)
    write_record(SIREN_WEIGHTS, {**record, "commit": _commit(), "scores": score(by_siren, UNSEEN)})


def by_siren(fixed, moving) -> Transform:
    """Register as `siren` does at 4 mm, in half of its iterations, from the learned start."""
    config = replace(PRESETS["siren"], levels=(Level(2, 50),))
    return register(fixed, moving, config, start=predicted_start, progress=False).transform


def write_record(path: Path, record: dict) -> None:
    """Write a training record beside the weights."""
    with atomic(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def export(name: str, network: Network, record: dict) -> None:
    """Score a network on PAIRS and write its weights and its record into the package."""
    path = SMALL[name]
    if name == "lattices":  # a pass is the same in voxels at 4 and at 2 mm
        coarse, network = network, LatticeNet(passes=(3, 1), frame=FRAME)
        network.load_state_dict(coarse.state_dict())
    save_network(network, path, record, half=True)
    record = {**record, "paper": PAPER, "commit": _commit()}
    record["scores"] = score(partial(predict, load_network(name, path)))
    save_network(network, path, record, half=True)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, wanted at most {MAX_BYTES}")
    write_record(path, record)
    for row in record["scores"]["pairs"]:
        print(row)
    print(record["scores"]["mean"], path, path.stat().st_size, "bytes")


def score(register_pair: Callable[..., Transform], pairs: Sequence = PAIRS) -> dict:
    """Dice of the 35 structures at 1 mm, folds and seconds, for each pair and their mean."""
    rows = []
    for fixed, moving in pairs:
        pair = load_pair("oasis", fixed, moving)
        started = time.perf_counter()
        transform = register_pair(pair.fixed, pair.moving)
        seconds = time.perf_counter() - started
        identity = Transform.identity(transform.fixed, transform.moving)
        before, after = (
            mean_dice(pair.fixed_labels, t.warp_labels(pair.moving_labels), pair.protocol)
            for t in (identity, transform)
        )
        rows.append(
            {
                "fixed": fixed,
                "moving": moving,
                "dice_before": round(before, 4),
                "dice_after": round(after, 4),
                "folds_percent": round(100 * folds(transform.voxel_displacement()).forward, 4),
                "seconds": round(seconds, 1),
            }
        )
    columns = [key for key in rows[0] if key not in ("fixed", "moving")]
    mean = {key: round(sum(row[key] for row in rows) / len(rows), 4) for key in columns}
    return {"pairs": rows, "mean": mean}


def _commit() -> str:
    """The commit of the repository that holds this script; "unknown" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", choices=sorted(RUNS))
    parser.add_argument("--steps", type=int, help="one pair each; the rate decays over them")
    parser.add_argument(
        "--lr", type=float, help="Adam's learning rate, of the SIREN the share of Reptile"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "training")
    parser.add_argument(
        "--export", action="store_true", help="when trained: score it and write the weights"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    default = RUNS[options.network]
    changes = {"steps": options.steps or default.steps, "seed": options.seed}
    if options.lr:
        changes["rate" if options.network == "siren" else "lr"] = options.lr
    training = replace(default, **changes)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = options.folder / f"{options.network}.pt"
        if options.network == "siren":
            return learn_siren(training, checkpoint)
        network, record = run(options.network, training, checkpoint)
        if options.export:
            export(options.network, network, record)
    except (OSError, ValueError, NonFiniteLoss) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
