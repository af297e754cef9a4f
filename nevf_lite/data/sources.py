"""Where data and weights are published: addresses, sizes, checksums, terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nevf_lite.data.catalogue import DATASETS, cache_folder

_MGH = "https://surfer.nmr.mgh.harvard.edu/ftp/data/neurite/data/"
_GITHUB = "https://raw.githubusercontent.com/"


@dataclass(frozen=True)
class Source:
    """One file to fetch.

    file: its name in the cache. urls: its addresses, tried in this order. size: bytes; rounded for
    archives. homepage: the owner's page. licence, credit: one line each. checksum: for
    `download.download`; empty where the owner publishes none. member: the end of the file's name
    in the .zip at the address; empty if the address is the file itself. headers: for the request.
    """

    file: str
    urls: tuple[str, ...]
    size: int
    homepage: str
    licence: str
    credit: str
    checksum: str = ""
    member: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def _dataset_source(
    name: str, file: str, url: str, size: int, homepage: str, checksum: str = "", member: str = ""
) -> Source:
    """The file of a dataset, with the licence and the credit of its catalogue entry."""
    dataset = DATASETS[name]
    return Source(file, (url,), size, homepage, dataset.licence, dataset.credit, checksum, member)


_NEURITE_PAGE = "https://github.com/adalca/medical-datasets/blob/master/neurite-oasis.md"
SOURCES: dict[str, tuple[Source, ...]] = {
    # One member (408 MB) of the project's 5.2 GB release on Zenodo.
    "mindboggle": (
        _dataset_source(
            "mindboggle",
            "OASIS-TRT-20_volumes.tar.gz",
            "https://zenodo.org/records/22070005/files/Mindboggle101_release3.zip?download=1",
            408_000_000,
            "https://mindboggle.info/data (also https://osf.io/nhtur)",
            member="/OASIS-TRT-20_volumes.tar.gz",
        ),
    ),
    "neurite": (
        _dataset_source(
            "neurite",
            "neurite-oasis.v1.0.tar",
            _MGH + "neurite-oasis.v1.0.tar",
            6_600_000_000,
            _NEURITE_PAGE,
            "md5:081392a8150ff99ab7a64a9ded377835",
        ),
    ),
    "neurite2d": (
        _dataset_source(
            "neurite2d",
            "neurite-oasis.2d.v1.0.tar",
            _MGH + "neurite-oasis.2d.v1.0.tar",
            24_000_000,
            _NEURITE_PAGE,
            "md5:c9ae5864f250c7e4b8d83a104e51ae8e",
        ),
    ),
    # Two subjects, read from the 6.6 GB archive by HTTP range requests.
    "sample": (
        _dataset_source(
            "sample", "sample", _MGH + "neurite-oasis.v1.0.tar", 6_000_000, _NEURITE_PAGE
        ),
    ),
    "weights": (
        Source(
            "symnet_neurite_oasis_smo30.pth",
            (
                _GITHUB + "cwmok/Fast-Symmetric-Diffeomorphic-Image-Registration-with-"
                "Convolutional-Neural-Networks/e59968b103503f7b3c307bd4fd93648d0f8980c1/Model/"
                "SYMNet_neurite_oasis_smo30_update_80000.pth",
            ),
            3_464_633,
            "https://github.com/cwmok/Fast-Symmetric-Diffeomorphic-Image-Registration-with-"
            "Convolutional-Neural-Networks",
            "MIT",
            "SYMNet: Mok and Chung, Fast symmetric diffeomorphic image registration with "
            "convolutional neural networks, CVPR 2020.",
            "sha256:e27a7eebedf6c0dd9a6823e5f65986ec2b11998f60eef68b45ff978c3efa3f79",
        ),
        Source(
            "voxelmorph_cvpr2018_vm2_cc.h5",
            (  # the file is in the repository's history, not on its main branch
                "https://api.github.com/repos/voxelmorph/voxelmorph/git/blobs/"
                "593aa32d21a1cf2a859e2689e09f4e346903a0be",
                _GITHUB + "voxelmorph/voxelmorph/94539fb98215fd4610c8bd8c5b2bf44b951e608b/models/"
                "cvpr2018_vm2_cc.h5",
            ),
            1_278_136,
            "https://github.com/voxelmorph/voxelmorph",
            "Apache-2.0 (the repository's)",
            "VoxelMorph: Balakrishnan et al., An unsupervised learning model for deformable "
            "medical image registration, CVPR 2018.",
            "sha256:ab94aceb10a5462f695d018adef4f7d3e558cc0d76a392c76e7f78f0d98d6b61",
            headers={"Accept": "application/vnd.github.raw+json"},
        ),
    ),
}


def folder_of(name: str) -> Path:
    """The folder of the cache that `fetch(name)` writes to."""
    return cache_folder() / ("weights" if name == "weights" else "downloads")
