"""Archives from other servers: remote reads by HTTP range, and safe unpacking."""

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

from nevf_lite.data.download import download_part, report_full_disk, verify_checksum
from nevf_lite.data.http import (
    CHUNK_SIZE,
    TIMEOUT,
    DownloadError,
    check_response,
    open_session,
    total_size,
)

#: What the standard library raises for a damaged archive.
DAMAGED_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)
MAX_MEMBERS = 200_000


class RemoteFile(io.RawIOBase):
    """A read-only, seekable file on a web server, read by HTTP range requests.

    Wrapped in io.BufferedReader it lets tarfile and zipfile read one member of a large archive.
    Raises DownloadError where the server does not support range requests.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._session = open_session()
        self._position = 0
        self.size = self._read_range(0, 1)[1]

    def _read_range(self, start: int, stop: int, attempts: int = 3) -> tuple[bytes, int]:
        """The bytes [start, stop), and the size of the complete file in bytes."""
        import requests

        headers = {"Range": f"bytes={start}-{stop - 1}"}
        try:
            with self._session.get(
                self.name, headers=headers, timeout=TIMEOUT, stream=True
            ) as response:
                check_response(response, self.name, "part of an archive")
                total = total_size(response)
                if response.status_code != 206 or total < 0:
                    raise DownloadError(
                        f"{self.name}: this server does not give out parts of a file; download all "
                        "of it and give the file with --archive"
                    )
                return response.content, total
        except requests.exceptions.RequestException as error:
            if attempts > 1:
                return self._read_range(start, stop, attempts - 1)
            raise DownloadError(
                f"{self.name}: the server does not answer or the connection broke; try again"
            ) from error

    def readinto(self, buffer) -> int:
        stop = min(self._position + len(buffer), self.size)
        if stop <= self._position:
            return 0
        data, _ = self._read_range(self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._session.close()
        super().close()


def download_member(
    url: str, member: str, path: Path, *, checksum: str = "", trust: bool = False, **options
) -> Path:
    """Download one member of a remote .zip to `path`, resuming an earlier attempt.

    member: the end of its name in the archive. checksum, trust, options: for
    `download.download`. The member is compared with the archive's CRC-32 as well.
    Returns path. Raises DownloadError.
    """
    part = path.with_name(path.name + ".part")
    if path.is_file():
        part = path
    else:
        info, start = _locate_member(url, member)
        packed = path.with_name(path.name + ".packed.part")
        download_part(url, packed, byte_range=(start, start + info.compress_size), **options)
        with report_full_disk(part):
            intact = _decompress(packed, part, info)
        packed.unlink()
        if not intact:
            part.unlink(missing_ok=True)
            raise DownloadError(f"{url}: {member} arrived damaged and is deleted; try again")
    verify_checksum(part, path, url, checksum, trust)
    part.replace(path)
    return path


def _locate_member(url: str, member: str) -> tuple[zipfile.ZipInfo, int]:
    """The entry of a member in a remote .zip, and the offset of its compressed data in bytes."""
    with io.BufferedReader(RemoteFile(url), 1 << 16) as remote:
        try:
            with zipfile.ZipFile(remote) as archive:
                entries = [i for i in archive.infolist() if i.filename.endswith(member)]
                if len(entries) != 1:
                    raise DownloadError(f"{url}: there is no single {member} in it any more")
                info = entries[0]
                remote.seek(info.header_offset)
                header = remote.read(30)
        except DAMAGED_ARCHIVE as error:
            raise DownloadError(f"{url}: it is not a readable .zip archive") from error
    if header[:4] != b"PK\x03\x04" or info.compress_type not in (0, 8) or info.flag_bits & 1:
        raise DownloadError(f"{url}: {member} is stored in a way that this program cannot read")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return info, info.header_offset + 30 + lengths


def _decompress(packed: Path, part: Path, info: zipfile.ZipInfo) -> bool:
    """Decompress a member (stored or deflated) to `part`. Do its size and CRC-32 match `info`?"""
    crc, decoder = 0, zlib.decompressobj(-15) if info.compress_type else None
    remaining = info.file_size + 1  # one byte more than declared shows that there are too many
    with packed.open("rb") as source, part.open("wb") as target:
        while remaining > 0 and (chunk := source.read(CHUNK_SIZE)):
            while chunk and remaining > 0:
                try:
                    data = decoder.decompress(chunk, remaining) if decoder else chunk
                except zlib.error:
                    return False
                chunk = decoder.unconsumed_tail if decoder else b""
                crc = zlib.crc32(data, crc)
                remaining -= len(data)
                target.write(data)
    return remaining == 1 and crc == info.CRC


def unpack(
    archive: Path | BinaryIO,
    folder: Path,
    select: Callable[[str], str | None],
    *,
    max_bytes: int,
    is_complete: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Unpack selected files of a tar archive (plain, gz, bz2 or xz) and return their paths.

    archive: a path or an open file. select: maps a member's name to its path under `folder`, or to
    None to skip it. max_bytes: the most bytes to write in all. is_complete: called after each
    file; True stops. Only regular files are written; links, devices and folders are skipped.
    Raises ValueError for an archive that is damaged, that has absolute names or names with "..", or
    that is too large.
    """
    is_stream = hasattr(archive, "read")
    name = getattr(archive, "name", "") if is_stream else archive
    written, paths = 0, []
    try:
        with tarfile.open(**{"fileobj" if is_stream else "name": archive}, mode="r:*") as tar:
            for count, member in enumerate(tar):
                _refuse_unsafe(member.name, name)
                if count > MAX_MEMBERS:
                    raise ValueError(f"archive: {name} has more than {MAX_MEMBERS} members")
                target = select(member.name)
                if target is None or not member.isreg():
                    continue
                written += member.size
                if written > max_bytes:
                    raise ValueError(
                        f"archive: {name} unpacks to more than the {max_bytes / 1e9:.1f} GB "
                        "expected; nothing more was unpacked, do not use it"
                    )
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with (
                    tar.extractfile(member) as source,
                    report_full_disk(path),
                    path.open("wb") as stream,
                ):
                    shutil.copyfileobj(source, stream, CHUNK_SIZE)
                if path.stat().st_size != member.size:
                    raise EOFError("a member is cut short")
                paths.append(path)
                if is_complete():
                    break
    except DAMAGED_ARCHIVE as error:
        raise ValueError(
            f"archive: {name} is damaged or cut short; delete it and fetch it again"
        ) from error
    return paths


def _refuse_unsafe(member: str, archive) -> None:
    """Raise ValueError for a member whose name points outside the target folder."""
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
        raise ValueError(
            f"archive: {archive} holds the name {member!r}, which points out of its folder; "
            "nothing more was unpacked, do not use it"
        )
