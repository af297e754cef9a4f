"""Fetching data and weights from their owners: `nevf data fetch`.

Nothing here is a copy of ours: each address below is where the owner, or the archive the owner
chose, gives the file out. `plan` says what would come and on whose terms; `fetch` brings it.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nevf_lite.data.archives import RemoteFile, download_member, unpack
from nevf_lite.data.catalogue import DATASETS, cache_folder
from nevf_lite.data.download import DownloadError, check, download

_MGH = "https://surfer.nmr.mgh.harvard.edu/ftp/data/neurite/data/"
_GITHUB = "https://raw.githubusercontent.com/"


@dataclass(frozen=True)
class Source:
    """One file to fetch.

    file: its name in the cache. urls: where it is, tried in this order. size: bytes, for the plan.
    checksum: as `download.download` wants it; empty where no owner publishes one.
    member: the file is this member of the .zip at the address. headers: for the request.
    """

    file: str
    urls: tuple[str, ...]
    size: int
    home: str
    licence: str
    credit: str
    checksum: str = ""
    member: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def _of(dataset: str, file: str, url: str, size: int, home: str, checksum="", member="") -> Source:
    terms = DATASETS[dataset]
    return Source(file, (url,), size, home, terms.licence, terms.credit, checksum, member)


_NEURITE_HOME = "https://github.com/adalca/medical-datasets/blob/master/neurite-oasis.md"
SOURCES: dict[str, tuple[Source, ...]] = {
    # One member (408 MB) of the 5.2 GB release that the Mindboggle project keeps on Zenodo.
    "mindboggle": (
        _of(
            "mindboggle",
            "OASIS-TRT-20_volumes.tar.gz",
            "https://zenodo.org/records/22070005/files/Mindboggle101_release3.zip?download=1",
            408_000_000,
            "https://mindboggle.info/data (also https://osf.io/nhtur)",
            member="/OASIS-TRT-20_volumes.tar.gz",
        ),
    ),
    "neurite": (
        _of(
            "neurite",
            "neurite-oasis.v1.0.tar",
            _MGH + "neurite-oasis.v1.0.tar",
            6_600_000_000,
            _NEURITE_HOME,
            "md5:081392a8150ff99ab7a64a9ded377835",
        ),
    ),
    "neurite2d": (
        _of(
            "neurite2d",
            "neurite-oasis.2d.v1.0.tar",
            _MGH + "neurite-oasis.2d.v1.0.tar",
            24_000_000,
            _NEURITE_HOME,
            "md5:c9ae5864f250c7e4b8d83a104e51ae8e",
        ),
    ),
    # Two subjects read out of the 6.6 GB archive by HTTP ranges.
    "sample": (_of("sample", "sample", _MGH + "neurite-oasis.v1.0.tar", 6_000_000, _NEURITE_HOME),),
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
            (  # the file left the repository's main branch; its history still gives it out
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


def plan(name: str, url: str | None = None) -> str:
    """What `fetch(name)` would do, for a person to agree to: files, sizes, terms, places."""
    lines = []
    for source in _sources(name):
        lines += [
            f"{source.file}: about {source.size / 1e6:,.0f} MB",
            f"  from     {url or source.urls[0]}",
            f"  to       {folder_of(name)}",
            f"  owner    {source.home}",
            f"  licence  {source.licence}",
            f"  credit   {source.credit}",
        ]
    return "\n".join(lines)


def fetch(
    name: str,
    *,
    confirm: Callable[[str], bool] = lambda text: True,
    url: str | None = None,
    trust: bool = False,
    progress: bool = True,
    pause: float = 1.0,
) -> list[Path]:
    """Bring a dataset's archive, or published weights, into the cache.

    name: "mindboggle", "neurite", "neurite2d", "sample" (whose files come out ready to load) or
        "weights". confirm: shown the plan; nothing is fetched unless it returns True. url: another
        address of the same file. trust, progress, pause: see `download.download`.
    Returns the files, none if not confirmed. Raises ValueError for an unknown name, DownloadError.
    """
    sources = _sources(name)
    if url and len(sources) > 1:
        raise ValueError(f"url: {name} is {len(sources)} files, so one address does not do")
    if not confirm(plan(name, url)):
        return []
    options = {"progress": progress, "pause": pause}
    if name == "sample":
        return _fetch_sample(url or sources[0].urls[0], trust, progress)
    files = []
    for source in sources:
        path = folder_of(name) / source.file
        options |= {"checksum": source.checksum, "trust": trust}
        if source.member and not url:
            files.append(download_member(source.urls[0], source.member, path, **options))
            continue
        options["headers"] = source.headers
        files.append(_first_that_works((url,) if url else source.urls, path, options))
    return files


def folder_of(name: str) -> Path:
    """The folder of the cache that `fetch(name)` writes to."""
    return cache_folder() / ("weights" if name == "weights" else "downloads")


def _sources(name: str) -> tuple[Source, ...]:
    if name not in SOURCES:
        why = f": {DATASETS[name].obtain}" if name in DATASETS else ""
        raise ValueError(f"name: wanted one of {', '.join(SOURCES)}, got {name!r}{why}")
    return SOURCES[name]


def _first_that_works(urls: tuple[str, ...], path: Path, options: dict) -> Path:
    for url in urls[:-1]:
        try:
            return download(url, path, **options)
        except DownloadError:
            continue  # the next address may still have it; the last one tells what is wrong
    return download(urls[-1], path, **options)


def _fetch_sample(url: str, trust: bool, progress: bool) -> list[Path]:
    """The first two whole subjects of the neurite-OASIS archive, made ready to load."""
    from nevf_lite.data.prepare import NEURITE_3D, prepare_neurite

    subjects: dict[str, set[str]] = {}

    def wanted(member: str) -> str | None:
        found = re.search(NEURITE_3D, member)
        if not found or (len(subjects) == 2 and found["subject"] not in subjects):
            return None
        subjects.setdefault(found["subject"], set()).add(found["kind"])
        return f"{found['subject']}/{found['kind']}.nii.gz"

    def enough() -> bool:
        return len(subjects) == 2 and all(len(kinds) == 2 for kinds in subjects.values())

    downloads = folder_of("sample")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=downloads) as staged:
        with io.BufferedReader(RemoteFile(url), 1 << 14) as remote:
            files = unpack(remote, Path(staged), wanted, most_bytes=10**8, enough=enough)
        if not enough():
            raise DownloadError(f"{url}: two whole subjects were not found in it; use --url")
        for file in files:  # nobody publishes their checksums: the first download is trusted
            check(file, downloads / f"{file.parent.name}_{file.name}", url, "", trust)
        folder = cache_folder() / "data" / "sample"
        return prepare_neurite(Path(staged), folder, "neurite", progress)
