"""The options of `nevf register` that say where a registration starts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nibabel as nib

    from nevf_lite.registration.problem import Start
    from nevf_lite.transforms.transform import Transform

InitMode = StrEnum("InitMode", ["compose", "warm"])
#: What predicts a start: a deformation, by the published networks at 1 mm or by the one in the
#: package at 2 mm; "predicted", the weights of the field itself.
Network = StrEnum("Network", ["symnet", "voxelmorph", "small", "predicted"])


def check_initial(
    affine: bool,
    init: Path | None,
    init_from: Network | None,
    init_mode: InitMode | None,
    resume: Path | None,
) -> None:
    """ValueError if more than one initial transform is asked for, or a mode without any."""
    given = {"--affine": affine, "--init": init, "--init-from": init_from}
    options = [name for name, value in given.items() if value]
    if init_mode is not None and init_from == "predicted":
        raise ValueError("--init-from predicted is no deformation to fit; leave --init-mode out")
    if len(options) > 1 and not (affine and init is None and init_from == "predicted"):
        raise ValueError(f"{options[0]} gives a transform to start from; leave {options[1]} out")
    if resume is not None and options:
        raise ValueError(
            f"--resume keeps the earlier result's initial transform; leave {options[0]} out"
        )


def load_initial(
    init: Path | None,
    init_from: Network | None,
    earlier: Transform | None,
    images: tuple[nib.Nifti1Image, nib.Nifti1Image],
    device: str,
) -> Transform | None:
    """The initial transform: read, predicted by a network, or that of the result to resume."""
    from nevf_lite.transforms.transform import Transform

    if init is not None:
        return Transform.load(init)
    if init_from is not None and init_from != "predicted":
        from nevf_lite.networks import load_network, predict

        name, weights = ("symnet", "small") if init_from == "small" else (init_from, "official")
        return predict(load_network(str(name), weights), *images, device=device)
    if earlier is not None and earlier.components[1:]:
        return Transform(earlier.components[1:], earlier.fixed, earlier.moving)
    return None


def load_start(init_from: Network | None) -> Start | None:
    """What makes the field to begin with, if it is to be predicted."""
    if init_from != "predicted":
        return None
    from nevf_lite.networks import predicted_start

    return predicted_start
