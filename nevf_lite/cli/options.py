"""The options of `nevf register`, by the headings of its help page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nevf_lite.cli import checks
from nevf_lite.cli.assignments import SET_HELP
from nevf_lite.cli.initial import InitMode, Network
from nevf_lite.cli.inputs import DICOM_HELP
from nevf_lite.cli.settings import PRESET_HELP, SIMILARITY_HELP, Preset, Similarity
from nevf_lite.cli.terminal import option

_output = partial(option, panel="Output")
_image = partial(option, panel="Images")
_method = partial(option, panel="Method")
_initial = partial(option, panel="Initial transform")
_mask = partial(option, panel="Masks and labels")
_machine = partial(option, panel="Machine")

Fixed = Annotated[Path, typer.Argument(metavar="FIXED", help="The reference image.")]
Moving = Annotated[Path, typer.Argument(metavar="MOVING", help="The image to warp onto FIXED.")]

Output = Annotated[Path, _output("-o --output", "DIR", "Folder to write the result to.")]
AsJson = Annotated[bool, _output("--json", None, "Print result.json instead of a summary.")]
Quiet = Annotated[bool, _output("-q --quiet", None, "Print no progress, notes or summary.")]
Bids = Annotated[
    bool,
    _output(
        "--bids",
        None,
        "Write names of BIDS derivatives below DIR, sub-01/anat/sub-01_space-..., and sidecars.",
    ),
]
Space = Annotated[
    str | None,
    _output("--space", "LABEL", "Label of FIXED's space in BIDS names.", "from its file's name"),
]
Fill = Annotated[
    str | None,
    _output(
        "--fill",
        "VALUE",
        "Value of the warped image where MOVING does not reach: a number (air in CT is -1000), min "
        "or nan.",
        "0",
    ),
]

Dicom = Annotated[bool, _image("--dicom", None, f"FIXED and MOVING {DICOM_HELP}")]
FixedChannels = Annotated[
    list[Path] | None,
    _image(
        "--fixed-channel",
        "IMAGE",
        "A further channel of FIXED, such as T2 beside T1, in its space; may be repeated.",
    ),
]
MovingChannels = Annotated[
    list[Path] | None,
    _image("--moving-channel", "IMAGE", "The same channel of MOVING, in the same order."),
]

PresetName = Annotated[Preset | None, _method("--preset", None, PRESET_HELP, "default")]
SimilarityName = Annotated[
    Similarity | None, _method("--similarity", None, SIMILARITY_HELP, "the preset's, lncc")
]
Spacing = Annotated[
    float | None,
    _method("--spacing", "MM", "Finest voxel size; `fast` stops at twice it.", "the preset's"),
]
Iterations = Annotated[
    str | None,
    _method(
        "--iterations", "N,N", "Most iterations of each level, coarse to fine.", "the preset's"
    ),
]
Settings = Annotated[list[str] | None, _method("--set", "KEY=VALUE", SET_HELP)]

AffineStart = Annotated[bool, _initial("--affine", None, "Compute an affine alignment first.")]
Init = Annotated[
    Path | None,
    _initial("--init", "WARP", "Start from this transform; whatever `nevf apply` takes."),
]
InitFrom = Annotated[
    Network | None,
    _initial(
        "--init-from",
        None,
        "Start from what this network predicts; learned: from a SIREN's learned weights.",
        "none",
    ),
]
InitModeName = Annotated[
    InitMode | None,
    _initial(
        "--init-mode",
        None,
        "compose keeps the start and its folds; warm fits the field to it.",
        "compose with --init, warm with --init-from",
    ),
]
Resume = Annotated[
    Path | None,
    _initial("--resume", "DIR", "Continue an earlier result of this pair, with its settings."),
]

FixedMask = Annotated[
    Path | None,
    _mask(
        "--fixed-mask",
        "IMAGE",
        "Mask of FIXED: only nonzero voxels count; probabilities do from 0.5.",
    ),
]
MovingMask = Annotated[Path | None, _mask("--moving-mask", "IMAGE", "The same of MOVING.")]
FixedLesion = Annotated[
    Path | None,
    _mask(
        "--fixed-lesion",
        "IMAGE",
        "Lesion of FIXED: its voxels do not count (cost-function masking).",
    ),
]
MovingLesion = Annotated[Path | None, _mask("--moving-lesion", "IMAGE", "The same of MOVING.")]
FixedLabels = Annotated[
    Path | None, _mask("--fixed-labels", "IMAGE", "Labels of FIXED, for the scores.")
]
MovingLabels = Annotated[
    Path | None, _mask("--moving-labels", "IMAGE", "Labels of MOVING, for the scores.")
]
Labels = Annotated[str | None, _mask("--labels", "LIST", checks.LABELS_HELP, checks.LABELS_DEFAULT)]
LabelNames = Annotated[str | None, _mask("--label-names", "TABLE", checks.LABEL_NAMES_HELP)]

Device = Annotated[str, _machine("--device", "NAME", "Device: auto, cpu, cuda, cuda:1 or mps.")]
Backend = Annotated[
    str,
    _machine("--backend", "NAME", "Kernels: auto, numba, triton, or torch for plain PyTorch."),
]
Seed = Annotated[
    int | None,
    _machine("--seed", "N", "Seed of the field's initial weights.", "0", min=0, max=2**32 - 1),
]
Threads = Annotated[
    int | None, _machine("--threads", "N", "Number of CPU threads.", "one per core", min=1)
]
