"""Download data and weights from where their owners publish them: `nevf data fetch`.

`plan` describes the files and their terms; `fetch` downloads them into the cache.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from nevf_lite.data.archives import RemoteFile, download_member, unpack
from nevf_lite.data.catalogue import DATASETS, cache_folder
from nevf_lite.data.download import download, verify_checksum
from nevf_lite.data.http import DownloadError
from nevf_lite.data.prepare import NEURITE_3D, prepare_neurite
from nevf_lite.data.sources import SOURCES, Source, folder_of


def plan(name: str, url: str | None = None) -> str:
    """What `fetch(name)` would download: files, sizes, addresses, folders and terms, as text."""
    lines = []
    for source in _sources(name):
        lines += [
            f"{source.file}: about {source.size / 1e6:,.0f} MB",
            f"  from     {url or source.urls[0]}",
            f"  to       {folder_of(name)}",
            f"  owner    {source.homepage}",
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
    """Download a dataset's archive, or published weights, into the cache.

    name: "mindboggle", "neurite", "neurite2d", "sample" (prepared for load_pair as well) or
        "weights". confirm: called with the plan; nothing is fetched unless it returns True. url:
        another address of the same file. trust: see `download.download`. progress, pause: see
        `download.download_part`.
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
        files.append(_download_from_any((url,) if url else source.urls, path, options))
    return files


def _sources(name: str) -> tuple[Source, ...]:
    """The files of a dataset or of the weights. Raises ValueError where nothing is published."""
    if name not in SOURCES:
        hint = f": {DATASETS[name].obtain}" if name in DATASETS else ""
        raise ValueError(f"name: wanted one of {', '.join(SOURCES)}, got {name!r}{hint}")
    return SOURCES[name]


def _download_from_any(urls: tuple[str, ...], path: Path, options: dict) -> Path:
    """Download from the first address that works. Raises the DownloadError of the last one."""
    for url in urls[:-1]:
        try:
            return download(url, path, **options)
        except DownloadError:
            continue
    return download(urls[-1], path, **options)


def _fetch_sample(url: str, trust: bool, progress: bool) -> list[Path]:
    """Read the first two subjects of the neurite-OASIS archive and prepare them for load_pair."""
    subjects: dict[str, set[str]] = {}  # subject to the kinds of file read

    def select(member: str) -> str | None:
        match = re.search(NEURITE_3D, member)
        if not match or (len(subjects) == 2 and match["subject"] not in subjects):
            return None
        subjects.setdefault(match["subject"], set()).add(match["kind"])
        return f"{match['subject']}/{match['kind']}.nii.gz"

    def is_complete() -> bool:
        return len(subjects) == 2 and all(len(kinds) == 2 for kinds in subjects.values())

    downloads = folder_of("sample")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=downloads) as staging:
        with io.BufferedReader(RemoteFile(url), 1 << 14) as remote:
            files = unpack(remote, Path(staging), select, max_bytes=10**8, is_complete=is_complete)
        if not is_complete():
            raise DownloadError(f"{url}: two whole subjects were not found in it; use --url")
        for file in files:  # no checksum of these is published: the first download is trusted
            verify_checksum(file, downloads / f"{file.parent.name}_{file.name}", url, "", trust)
        folder = cache_folder() / "data" / "sample"
        return prepare_neurite(Path(staging), folder, "neurite", progress)
