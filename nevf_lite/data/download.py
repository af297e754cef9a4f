"""Downloads that survive: resumed after a cut, checked against a checksum, never half a file.

What has arrived lies in `<file>.part` until it is whole. The checksum of every finished file is
written to `checksums.json` beside it: the first download is trusted (or compared with the owner's
checksum where that is known), and a later one that differs is refused.
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

from nevf_lite.files import atomic

#: Some archives turn away clients that do not look like a browser; this one says who it is.
USER_AGENT = "Mozilla/5.0 (compatible; nevf-lite; brain image registration)"
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces
PIECE = 1 << 16  # bytes at a time; a connection that breaks loses at most that much
BUSY = (429, 500, 502, 503, 504)  # HTTP answers after which it is worth trying again


class DownloadError(OSError):
    """A download that did not work, in one line that says what to do."""


def session():
    """An HTTP session that asks for the bytes as they are stored."""
    import requests

    made = requests.Session()
    made.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    return made


def download(url: str, path: Path, *, checksum: str = "", trust: bool = False, **options) -> Path:
    """Bring a file to `path`, going on where an earlier try ended; nothing to do if it is there.

    checksum: "sha256:..." or "md5:..." of the file, where its owner publishes one. trust: accept a
    file that differs from the published or recorded checksum, and record the new one. options: for
    :func:`bring`. Returns path. Raises DownloadError; what has arrived is kept for the next call,
    but a file with a wrong checksum is deleted.
    """
    path = Path(path)
    whole = path if path.is_file() else bring(url, path.with_name(path.name + ".part"), **options)
    check(whole, path, url, checksum, trust)
    whole.replace(path)
    return path


def bring(
    url: str,
    part: Path,
    *,
    span: tuple[int, int] | None = None,
    headers: dict[str, str] | None = None,
    progress: bool = True,
    attempts: int = 5,
    pause: float = 1.0,
) -> Path:
    """Fetch a file, or its bytes [start, stop), into `part`, which may hold the beginning already.

    attempts: tries in a row that bring nothing new before giving up. pause: seconds before the
    second, doubled each time. Returns part once it is whole. Raises DownloadError.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    note = part.with_name(part.name + ".json")
    failures, reason = 0, ""
    best = _size(part)
    with session() as http:
        while failures < attempts:
            if failures:
                time.sleep(min(pause * 2 ** (failures - 1), 30))
            whole, reason = _try(http, url, part, note, span, headers or {}, progress)
            if whole:
                note.unlink(missing_ok=True)
                return part
            failures = 0 if _size(part) > best else failures + 1
            best = max(best, _size(part))
    kept = f"; {_mb(_size(part))} are kept, run the command again to go on" if best else ""
    raise DownloadError(f"{url}: {reason}; {attempts} tries brought nothing new{kept}")


def _try(
    http, url: str, part: Path, note: Path, span, headers: dict, progress: bool
) -> tuple[bool, str]:
    """One request. Returns (whole, why not); raises where trying again cannot help."""
    import requests

    start, stop = span or (0, None)
    have = _size(part)
    if stop is not None and have >= stop - start:
        return True, ""
    asked = dict(headers)
    if have or span:
        asked["Range"] = f"bytes={start + have}-" + ("" if stop is None else str(stop - 1))
    validator = _read_json(note).get("validator") if have else None
    if validator:
        asked["If-Range"] = validator  # if the file has changed since, all of the new one comes
    answered = False
    try:
        with http.get(url, headers=asked, stream=True, timeout=TIMEOUT) as answer:
            answered = True
            partial, total = answer.status_code == 206, None
            if answer.status_code in BUSY:
                return False, f"the server is busy or broken (HTTP {answer.status_code})"
            if answer.status_code == 416:  # there is nothing after what we have
                if not span and _total(answer) == have:
                    return True, ""
                part.unlink(missing_ok=True)
                return False, "the file has changed on the server"
            refuse_bad_answer(answer, url, part.name.removesuffix(".part"))
            if span and not partial:
                if not validator:
                    raise DownloadError(f"{url}: this server does not give out parts of a file")
                part.unlink(missing_ok=True)
                return False, "the file has changed on the server"
            begin = have if partial else 0
            if partial and _first_byte(answer) != start + have:
                raise DownloadError(f"{url}: the server sent other bytes than were asked for")
            if length := answer.headers.get("Content-Length"):
                total = begin + int(length)
                _check_space(part, int(length))
            with disk_full(part):
                note.write_text(json.dumps({"validator": _validator(answer)}))
                _store(answer, part, begin, total, progress)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url}: the server's certificate was not accepted") from error
    except requests.exceptions.Timeout:
        return False, "the server does not answer"
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return False, "the connection broke" if answered else "the server cannot be reached"
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"{url}: {error}; check the address") from error
    size = _size(part)
    return total is None or size == total, f"only {_mb(size)} of {_mb(total or size)} arrived"


def refuse_bad_answer(answer, url: str, name: str) -> None:
    """Raise DownloadError for an answer that is not the file `name`."""
    if answer.status_code in (404, 410):
        raise DownloadError(
            f"{url}: not there any more (HTTP {answer.status_code}); its owner may have moved it: "
            "look for it on their page and give its address with --url"
        )
    if answer.status_code >= 400:
        raise DownloadError(
            f"{url}: the server refuses it (HTTP {answer.status_code}); try again later, or "
            "download it with a browser and give the file with --archive"
        )
    page = answer.headers.get("Content-Type", "").startswith("text/html")
    if page and not name.endswith((".html", ".htm")):
        raise DownloadError(
            f"{url}: a web page came instead of the file; download it with a browser and give the "
            "file with --archive"
        )


def _store(answer, part: Path, begin: int, total: int | None, progress: bool) -> None:
    """Append what comes to the part file, piece by piece."""
    from tqdm import tqdm

    with (
        part.open("ab" if begin else "wb") as out,
        tqdm(
            total=total,
            initial=begin,
            unit="B",
            unit_scale=True,
            desc=part.name.removesuffix(".part"),
            disable=not progress,
        ) as bar,
    ):
        for piece in answer.iter_content(PIECE):
            out.write(piece)
            bar.update(len(piece))


@contextlib.contextmanager
def disk_full(path: Path) -> Iterator[None]:
    """Turn the error of a full disk into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"{path}: the disk is full; free some space and run the command again"
        ) from error


def _check_space(part: Path, missing: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DownloadError(
            f"{part.parent}: {_mb(missing)} are still to come and {_mb(free)} are free; make room, "
            "or set NEVF_CACHE to a folder on another disk"
        )


def check(part: Path, path: Path, url: str, checksum: str, trust: bool) -> None:
    """Compare a whole file with the checksums of `path`, published and recorded, and record it.

    Deletes it and raises DownloadError where they differ, unless trusted.
    """
    book = path.with_name("checksums.json")
    records = _read_json(book)
    kind, _, published = checksum.partition(":")
    digests = file_digests(part, {"sha256", kind} - {""})
    known = records.get(path.name, {}).get("sha256", digests["sha256"])
    wanted = [("sha256", known)] + ([(kind, published)] if published else [])
    for name, value in wanted if not trust else ():
        if digests[name] != value:
            part.unlink()
            raise DownloadError(
                f"{path.name}: its {name} is {digests[name]}, wanted {value}; it was damaged or "
                "exchanged, and is deleted. Try again; if its owner has published a new version, "
                "accept that with --trust"
            )
    if path.name not in records or known != digests["sha256"]:
        records[path.name] = {"url": url, "bytes": part.stat().st_size, **digests}
        with atomic(book) as temporary:
            temporary.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")


def file_digests(path: Path, kinds: set[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, such as {"sha256": ...}; the file is read once."""
    hashes = {kind: hashlib.new(kind, usedforsecurity=kind != "md5") for kind in sorted(kinds)}
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            for digest in hashes.values():
                digest.update(piece)
    return {kind: digest.hexdigest() for kind, digest in hashes.items()}


def _validator(answer) -> str:
    """What names this version of the file: a strong ETag, else the date of its last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _first_byte(answer) -> int:
    """The first byte of a 206 answer, -1 if it does not say."""
    text = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else -1


def _total(answer) -> int:
    """The size of the whole file, from a Content-Range header; -1 if it does not say."""
    text = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(text) if text.isdigit() else -1


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_json(path: Path) -> dict:
    """What a small file of ours says; nothing if it is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
