"""The datasets: licences, credits, how to obtain them, and the folders they are loaded from."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

# Label tables of the package. Columns: index, name, original_ids (of FreeSurfer or the owner).
TABLES = Path(__file__).parent / "tables"

_MARCUS = (
    "Images: OASIS, Marcus et al., Open Access Series of Imaging Studies (OASIS): cross-sectional "
    "MRI data in young, middle aged, nondemented and demented older adults, J. Cogn. Neurosci. "
    "19:1498-1507, 2007 (grants P50 AG05681, P01 AG03991, R01 AG021910, P50 MH071616, U24 "
    "RR021382, R01 MH56584)."
)
_KLEIN = (
    "Labels: Klein and Tourville, 101 labeled brain images and a consistent human cortical "
    "labeling protocol, Front. Neurosci. 6:171, 2012 (Mindboggle-101, OASIS-TRT-20)."
)
_NEURITE = (
    "Processing and labels: neurite-OASIS, Hoopes, Hoffmann, Fischl, Guttag and Dalca, HyperMorph: "
    "amortized hyperparameter learning for image registration, IPMI 2021."
)
_OASIS_TERMS = "OASIS data-use terms (research, with acknowledgement, no re-identification)"
_MINDBOGGLE_TERMS = "Labels CC BY-NC-SA 3.0 (Mindboggle-101, 2012); images: " + _OASIS_TERMS


@dataclass(frozen=True)
class Dataset:
    """One collection of brain images.

    folders: names of its folder under a data folder, first choice first. ndims: numbers of axes.
    pair: the default (fixed, moving). protocol: the labels whose Dice is averaged; empty for every
    label with a name. table: name of its label table in TABLES. licence, credit: shown wherever its
    images are. obtain: how to obtain it. freesurfer_ids: the label maps hold FreeSurfer's numbers.
    directions: the directions of the array's axes ("LA": left, anterior), for files whose headers
    have the sign of an axis wrong.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    ndims: tuple[int, ...]
    pair: tuple[str, ...]
    protocol: tuple[int, ...]
    table: str
    licence: str
    credit: str
    obtain: str
    freesurfer_ids: bool = False
    directions: str = ""


#: Cortical regions of the DKT31 protocol, FreeSurfer's numbers: 31 left (1000s), 31 right (2000s).
DKT31 = tuple(side + i for side in (1000, 2000) for i in range(1, 36) if i not in (1, 4, 32, 33))

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "mindboggle",
            "Mindboggle-101, the OASIS-TRT-20 brains: manual cortex, MNI152, 160x192x160, 1 mm",
            ("mindboggle",),
            (3,),
            ("trt02", "trt01"),
            tuple(range(1, 63)),
            "mindboggle",
            _MINDBOGGLE_TERMS,
            f"{_KLEIN} {_MARCUS}",
            "run `nevf data fetch mindboggle` and `nevf data prepare mindboggle` (408 MB), or set "
            "NEVF_DATA",
        ),
        Dataset(
            "oasis",
            "OASIS, manual labels of MICCAI 2012 as 35 structures, MNI152, 160x192x160, 1 mm",
            ("oasis",),
            (3,),
            ("1001", "1000"),
            tuple(range(1, 36)),
            "oasis",
            "Labels CC BY-NC, Neuromorphometrics, Inc. under academic subscription; images: "
            + _OASIS_TERMS,
            "Labels: MICCAI 2012 Grand Challenge and Workshop on Multi-Atlas Labeling, provided by "
            f"Neuromorphometrics, Inc. under academic subscription. {_MARCUS}",
            "its labels come by agreement with Neuromorphometrics, Inc.: set NEVF_DATA to a copy, "
            "or use `nevf data fetch neurite`, which has the same structures",
        ),
        Dataset(
            "neurite",
            "neurite-OASIS: 414 OASIS scans, 35 FreeSurfer structures, 160x192x224, 1 mm",
            ("neurite",),
            (3,),
            ("OAS1_0001", "OAS1_0002"),
            tuple(range(1, 36)),
            "neurite",
            _OASIS_TERMS,
            f"{_NEURITE} {_MARCUS}",
            "run `nevf data fetch neurite` and `nevf data prepare neurite` (6.6 GB; one pair of it "
            "comes with `nevf data fetch sample`), or set NEVF_DATA",
        ),
        Dataset(
            "slices2d",
            "One axial slice (118) of each OASIS-TRT-20 brain in a common space, 216x291, 1 mm",
            ("slices2d",),
            (2,),
            ("trt02", "trt01"),
            DKT31,
            "mindboggle",
            _MINDBOGGLE_TERMS,
            f"{_KLEIN} {_MARCUS}",
            "set NEVF_DATA to a copy, or use `nevf data fetch neurite2d` (24 MB) for other slices",
            freesurfer_ids=True,
            directions="LA",  # the headers say LP; the labels show that axis 1 runs to anterior
        ),
        Dataset(
            "neurite2d",
            "neurite-OASIS, one coronal slice (109) of 414 scans, 24 structures, 160x192, 1 mm",
            ("neurite2d",),
            (2,),
            ("OAS1_0001", "OAS1_0002"),
            (),
            "neurite2d",
            _OASIS_TERMS,
            f"{_NEURITE} {_MARCUS}",
            "run `nevf data fetch neurite2d` and `nevf data prepare neurite2d` (24 MB)",
        ),
        Dataset(
            "sample",
            "Two scans of neurite-OASIS: the small real pair, 160x192x224, 1 mm",
            ("sample", "neurite"),
            (3,),
            ("OAS1_0001", "OAS1_0002"),
            tuple(range(1, 36)),
            "neurite",
            _OASIS_TERMS,
            f"{_NEURITE} {_MARCUS}",
            "run `nevf data fetch sample` (about 6 MB), or set NEVF_DATA",
        ),
        Dataset(
            "simulated",
            "The ICBM-152 template and a random known diffeomorphism of it; nothing to download",
            (),
            (3, 2),
            (),
            (),
            "",
            "ICBM-152 2009: use, copy, modify and distribute for any purpose with the copyright "
            "notice (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, McGill University",
            "Template: Fonov et al., Unbiased average age-appropriate atlases for pediatric "
            "studies, NeuroImage 54:313-327, 2011; as carried by nilearn.",
            "it comes with nilearn",
        ),
    )
}


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated table with a header line."""
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def cache_folder() -> Path:
    """The folder for downloads: NEVF_CACHE, or the platform's cache folder. It may not exist."""
    from platformdirs import user_cache_path

    setting = os.environ.get("NEVF_CACHE")
    return Path(setting).expanduser() if setting else user_cache_path("nevf_lite", appauthor=False)


def data_folders() -> list[Path]:
    """The existing folders that hold datasets, first choice first: NEVF_DATA, then the cache."""
    setting = os.environ.get("NEVF_DATA")
    folders = ([Path(setting).expanduser()] if setting else []) + [cache_folder() / "data"]
    return [folder for folder in folders if folder.is_dir()]


def find_weights(name: str) -> Path:
    """The file of published network weights called `name`.

    Searched for in `weights/` inside and beside each data folder. Raises FileNotFoundError that
    says what to run.
    """
    for folder in (*data_folders(), cache_folder() / "data"):
        for candidate in (folder / "weights" / name, folder.parent / "weights" / name):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(f"weights: {name} is not here; run `nevf data fetch weights`")
