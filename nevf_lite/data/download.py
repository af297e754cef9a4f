"""Downloads that resume after a broken connection and are compared with a checksum.

The bytes received lie in `<file>.part` until the file is complete. The checksum of every complete
file is recorded in `checksums.json` beside it. The first download is trusted, or compared with the
owner's checksum where one is published. A later file with another checksum is refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from nevf_lite.data.http import (
    CHUNK_SIZE,
    RETRY_STATUS,
    TIMEOUT,
    DownloadError,
    check_response,
    first_byte,
    open_session,
    total_size,
    validator,
)
from nevf_lite.scans.files import atomic


def download(url: str, path: Path, *, checksum: str = "", trust: bool = False, **options) -> Path:
    """Download a file to `path`, resuming an earlier attempt; an existing file is only verified.

    checksum: "sha256:..." or "md5:..." of the file, where its owner publishes one. trust: accept a
    file that differs from the published or recorded checksum, and record the new one. options: for
    :func:`download_part`.
    Returns path. Raises DownloadError. After an error the bytes received are kept for the next
    call, but a file with a wrong checksum is deleted.
    """
    path = Path(path)
    complete = path
    if not path.is_file():
        complete = path.with_name(path.name + ".part")
        download_part(url, complete, **options)
    verify_checksum(complete, path, url, checksum, trust)
    complete.replace(path)
    return path


def download_part(
    url: str,
    part: Path,
    *,
    byte_range: tuple[int, int] | None = None,
    headers: dict[str, str] | None = None,
    progress: bool = True,
    attempts: int = 5,
    pause: float = 1.0,
) -> None:
    """Download a file, or a range of its bytes, to `part`, which may hold the first bytes already.

    byte_range: the bytes [start, stop). headers: for the request. progress: show a bar. attempts:
    requests in a row without a new byte before giving up. pause: seconds before the second
    request, doubled for each further one. Raises DownloadError.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    validator_file = part.with_name(part.name + ".json")
    failures, reason = 0, ""
    largest = _size(part)
    with open_session() as session:
        while failures < attempts:
            if failures:
                time.sleep(min(pause * 2 ** (failures - 1), 30))
            complete, reason = _request(
                session, url, part, validator_file, byte_range, headers or {}, progress
            )
            if complete:
                validator_file.unlink(missing_ok=True)
                return
            failures = 0 if _size(part) > largest else failures + 1
            largest = max(largest, _size(part))
    hint = f"; {_mb(_size(part))} are kept, run the command again to go on" if largest else ""
    raise DownloadError(f"{url}: {reason}; {attempts} tries brought nothing new{hint}")


def _request(
    session,
    url: str,
    part: Path,
    validator_file: Path,
    byte_range: tuple[int, int] | None,
    headers: dict[str, str],
    progress: bool,
) -> tuple[bool, str]:
    """Make one request. Returns (complete, reason if not); raises where a retry cannot help."""
    import requests

    start, stop = byte_range or (0, None)
    received = _size(part)
    if stop is not None and received >= stop - start:
        return True, ""
    headers = dict(headers)
    if received or byte_range:
        headers["Range"] = f"bytes={start + received}-" + ("" if stop is None else str(stop - 1))
    version = _read_json(validator_file).get("validator") if received else None
    if version:
        headers["If-Range"] = version  # a file that has changed since is sent from its first byte
    connected = False
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            connected = True
            partial, total = response.status_code == 206, None
            if response.status_code in RETRY_STATUS:
                return False, f"the server is busy or broken (HTTP {response.status_code})"
            if response.status_code == 416:  # the range starts at or after the end of the file
                if not byte_range and total_size(response) == received:
                    return True, ""
                part.unlink(missing_ok=True)
                return False, "the file has changed on the server"
            check_response(response, url, part.name.removesuffix(".part"))
            if byte_range and not partial:
                if not version:
                    raise DownloadError(f"{url}: this server does not give out parts of a file")
                part.unlink(missing_ok=True)
                return False, "the file has changed on the server"
            offset = received if partial else 0
            if partial and first_byte(response) != start + received:
                raise DownloadError(f"{url}: the server sent other bytes than were asked for")
            if length := response.headers.get("Content-Length"):
                total = offset + int(length)
                _check_space(part, int(length))
            with report_full_disk(part):
                validator_file.write_text(json.dumps({"validator": validator(response)}))
                _append(response, part, offset, total, progress)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url}: the server's certificate was not accepted") from error
    except requests.exceptions.Timeout:
        return False, "the server does not answer"
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return False, "the connection broke" if connected else "the server cannot be reached"
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"{url}: {error}; check the address") from error
    size = _size(part)
    return total is None or size == total, f"only {_mb(size)} of {_mb(total or size)} arrived"


def _append(response, part: Path, offset: int, total: int | None, progress: bool) -> None:
    """Write the body of a response to the part file, after its first `offset` bytes."""
    from tqdm import tqdm

    with (
        part.open("ab" if offset else "wb") as stream,
        tqdm(
            total=total,
            initial=offset,
            unit="B",
            unit_scale=True,
            desc=part.name.removesuffix(".part"),
            disable=not progress,
        ) as bar,
    ):
        for chunk in response.iter_content(CHUNK_SIZE):
            stream.write(chunk)
            bar.update(len(chunk))


@contextlib.contextmanager
def report_full_disk(path: Path) -> Iterator[None]:
    """Turn the OSError of a full disk into a DownloadError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"{path}: the disk is full; free some space and run the command again"
        ) from error


def _check_space(part: Path, missing: int) -> None:
    """Raise DownloadError if fewer than `missing` bytes are free."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DownloadError(
            f"{part.parent}: {_mb(missing)} are still to come and {_mb(free)} are free; make room, "
            "or set NEVF_CACHE to a folder on another disk"
        )


def verify_checksum(part: Path, path: Path, url: str, checksum: str, trust: bool) -> None:
    """Compare a complete file with the published and the recorded checksum, and record its own.

    part: the file to read, `path` itself or its .part file. path: final name, the record's key.
    url: written to the record. checksum, trust: see :func:`download`. Deletes the file and raises
    DownloadError where a checksum differs, unless trusted.
    """
    record_file = path.with_name("checksums.json")
    records = _read_json(record_file)
    kind, _, published = checksum.partition(":")
    digests = file_digests(part, {"sha256", kind} - {""})
    recorded = records.get(path.name, {}).get("sha256", digests["sha256"])
    expected = [("sha256", recorded)] + ([(kind, published)] if published else [])
    for name, value in expected if not trust else ():
        if digests[name] != value:
            part.unlink()
            raise DownloadError(
                f"{path.name}: its {name} is {digests[name]}, wanted {value}; it was damaged or "
                "exchanged, and is deleted. Try again; if its owner has published a new version, "
                "accept that with --trust"
            )
    if path.name not in records or recorded != digests["sha256"]:
        records[path.name] = {"url": url, "bytes": part.stat().st_size, **digests}
        with atomic(record_file) as temporary:
            temporary.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")


def file_digests(path: Path, kinds: set[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, such as {"sha256": ...}; the file is read once."""
    hashes = {kind: hashlib.new(kind, usedforsecurity=kind != "md5") for kind in sorted(kinds)}
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_SIZE):
            for digest in hashes.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in hashes.items()}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_json(path: Path) -> dict:
    """The object in a JSON file; {} if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
