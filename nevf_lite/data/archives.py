"""Archives from elsewhere: read over the network without fetching all of it, unpacked with care."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from nevf_lite.data.download import (
    PIECE,
    TIMEOUT,
    DownloadError,
    bring,
    check,
    disk_full,
    refuse_bad_answer,
    session,
)

#: What a damaged archive makes the standard library raise.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)
MOST_MEMBERS = 200_000


class RemoteFile(io.RawIOBase):
    """A file on a web server, read and sought in like one on disk, by HTTP ranges.

    Wrapped in io.BufferedReader it lets tarfile and zipfile find one member of a large archive.
    Raises DownloadError where the server does not give out parts of a file.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._http = session()
        self._at = 0
        self.size = self._get(0, 1)[1]

    def _get(self, start: int, stop: int, attempts: int = 3) -> tuple[bytes, int]:
        """The bytes [start, stop), and the size of the whole file."""
        import requests

        asked = {"Range": f"bytes={start}-{stop - 1}"}
        try:
            with self._http.get(self.name, headers=asked, timeout=TIMEOUT, stream=True) as answer:
                refuse_bad_answer(answer, self.name, "part of an archive")
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if answer.status_code != 206 or not total.isdigit():
                    raise DownloadError(
                        f"{self.name}: this server does not give out parts of a file; download all "
                        "of it and give the file with --archive"
                    )
                return answer.content, int(total)
        except requests.exceptions.RequestException as error:
            if attempts > 1:
                return self._get(start, stop, attempts - 1)
            raise DownloadError(
                f"{self.name}: the server does not answer or the connection broke; try again"
            ) from error

    def readinto(self, buffer) -> int:
        stop = min(self._at + len(buffer), self.size)
        if stop <= self._at:
            return 0
        data, _ = self._get(self._at, stop)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._http.close()
        super().close()


def download_member(
    url: str, member: str, path: Path, *, checksum: str = "", trust: bool = False, **options
) -> Path:
    """Bring one member of a .zip on a web server to `path`, resumed like any other download.

    member: the end of its name in the archive. checksum, trust, options: for
    `download.download`. What comes is compared with the archive's CRC-32 as well.
    Raises DownloadError.
    """
    part = path.with_name(path.name + ".part")
    if path.is_file():
        part = path
    else:
        info, start = _locate(url, member)
        packed = path.with_name(path.name + ".packed.part")
        bring(url, packed, span=(start, start + info.compress_size), **options)
        with disk_full(part):
            intact = _inflate(packed, part, info)
        packed.unlink()
        if not intact:
            part.unlink(missing_ok=True)
            raise DownloadError(f"{url}: {member} arrived damaged and is deleted; try again")
    check(part, path, url, checksum, trust)
    part.replace(path)
    return path


def _locate(url: str, member: str) -> tuple[zipfile.ZipInfo, int]:
    """The entry of a member in a remote .zip, and the first byte of its packed data."""
    with io.BufferedReader(RemoteFile(url), 1 << 16) as remote:
        try:
            with zipfile.ZipFile(remote) as archive:
                found = [i for i in archive.infolist() if i.filename.endswith(member)]
                if len(found) != 1:
                    raise DownloadError(f"{url}: there is no single {member} in it any more")
                remote.seek(found[0].header_offset)
                header = remote.read(30)
        except DAMAGED as error:
            raise DownloadError(f"{url}: it is not a readable .zip archive") from error
    info = found[0]
    if header[:4] != b"PK\x03\x04" or info.compress_type not in (0, 8) or info.flag_bits & 1:
        raise DownloadError(f"{url}: {member} is stored in a way that this program cannot read")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return info, info.header_offset + 30 + lengths


def _inflate(packed: Path, part: Path, info: zipfile.ZipInfo) -> bool:
    """Unpack a member's bytes (stored or deflated) into a file. Is it what the archive promised?"""
    crc, decoder = 0, zlib.decompressobj(-15) if info.compress_type else None
    left = info.file_size + 1  # one byte more than promised is enough to know
    with packed.open("rb") as source, part.open("wb") as target:
        while left > 0 and (piece := source.read(PIECE)):
            while piece and left > 0:
                try:
                    out = decoder.decompress(piece, left) if decoder else piece
                except zlib.error:
                    return False
                piece = decoder.unconsumed_tail if decoder else b""
                crc = zlib.crc32(out, crc)
                left -= len(out)
                target.write(out)
    return left == 1 and crc == info.CRC


def unpack(
    archive: Path | BinaryIO,
    folder: Path,
    wanted: Callable[[str], str | None],
    *,
    most_bytes: int,
    enough: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Take the wanted files out of a tar archive: plain, gz, bz2 or xz; a path or an open file.

    wanted: from a member's name to its path under `folder`, or None to leave it. enough: asked
    after each file, whether to stop. most_bytes: refuse to write more in all, whatever the archive
    promises. Only ordinary files are written, under names that `wanted` made; links, devices and
    folders never are. Returns their paths. Raises ValueError for an archive that is damaged, that
    has absolute names or names with "..", or that is too large.
    """
    opened = {"fileobj" if hasattr(archive, "read") else "name": archive}
    name = getattr(archive, "name", "") if "fileobj" in opened else archive
    written, paths = 0, []
    try:
        with tarfile.open(**opened, mode="r:*") as tar:
            for count, member in enumerate(tar):
                _refuse_unsafe(member.name, name)
                if count > MOST_MEMBERS:
                    raise ValueError(f"archive: {name} has more than {MOST_MEMBERS} members")
                target = wanted(member.name)
                if target is None or not member.isreg():
                    continue
                written += member.size
                if written > most_bytes:
                    raise ValueError(
                        f"archive: {name} unpacks to more than the {most_bytes / 1e9:.1f} GB "
                        "expected; nothing more was unpacked, do not use it"
                    )
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, disk_full(path), path.open("wb") as out:
                    shutil.copyfileobj(source, out, PIECE)
                if path.stat().st_size != member.size:
                    raise EOFError("a member is cut short")
                paths.append(path)
                if enough():
                    break
    except DAMAGED as error:
        raise ValueError(
            f"archive: {name} is damaged or cut short; delete it and fetch it again"
        ) from error
    return paths


def _refuse_unsafe(member: str, archive) -> None:
    """Raise ValueError for a name that points out of the folder it is unpacked into."""
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
        raise ValueError(
            f"archive: {archive} holds the name {member!r}, which points out of its folder; "
            "nothing more was unpacked, do not use it"
        )
