"""Downloads over connections that break, from servers that lie, of archives that are traps."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from local_server import always, cut_after, running

from nevf_lite.data.archives import RemoteFile, download_member, unpack
from nevf_lite.data.download import DownloadError, download, file_digests

BODY = os.urandom(300_000)
QUICK = {"progress": False, "pause": 0.0}


@pytest.fixture
def server():
    with running() as started:
        started.files["/brains.tar"] = BODY
        yield started


def get(server, folder, name="/brains.tar", **options):
    return download(server.url(name), folder / "brains.tar", **{**QUICK, **options})


def left_behind(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"brains.tar", "checksums.json"}


def test_a_file_arrives_whole_and_its_checksum_is_recorded(server, tmp_path):
    """The plain case; asking again brings nothing over the network."""
    path = get(server, tmp_path)
    assert path.read_bytes() == BODY and not left_behind(tmp_path)
    record = json.loads((tmp_path / "checksums.json").read_text())["brains.tar"]
    assert record["sha256"] == file_digests(path, {"sha256"})["sha256"]
    assert (record["bytes"], record["url"]) == (len(BODY), server.url("/brains.tar"))
    get(server, tmp_path)
    assert len(server.requests) == 1


def test_a_broken_connection_is_resumed(server, tmp_path):
    """Cut three times in the middle: each try goes on where the last one stopped."""
    server.troubles = [cut_after(70_000, times=3)]
    assert get(server, tmp_path).read_bytes() == BODY
    starts = [int(asked.strip("bytes=-") or 0) for _, asked in server.requests]
    assert len(starts) == 4 and starts[1] > 50_000 and starts == sorted(starts)


def test_a_later_call_goes_on_after_a_failed_one(server, tmp_path):
    """What had arrived when we gave up is not fetched again."""
    server.troubles = [cut_after(140_000, times=1), always(503)]
    with pytest.raises(DownloadError, match=r"HTTP 503.*0\.1 MB are kept, run"):
        get(server, tmp_path, attempts=2)
    arrived = (tmp_path / "brains.tar.part").stat().st_size
    assert arrived > 100_000 and not (tmp_path / "brains.tar").exists()
    server.troubles = []
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.requests[-1][1] == f"bytes={arrived}-"


def test_two_versions_of_a_file_are_never_mixed(server, tmp_path):
    """The owner replaces the file between two tries: the new one is fetched from its beginning."""
    server.troubles = [cut_after(140_000, times=1), always(503)]
    with pytest.raises(DownloadError):
        get(server, tmp_path, attempts=1)
    server.troubles = []
    server.files["/brains.tar"] = new = os.urandom(200_000)
    assert get(server, tmp_path).read_bytes() == new


def test_a_server_without_ranges_starts_over(server, tmp_path):
    """Resuming is asked for and not granted: the file still comes out right."""
    server.ranges = False
    server.troubles = [cut_after(100_000, times=1)]
    assert get(server, tmp_path).read_bytes() == BODY


def test_a_truncated_file_is_not_taken_for_whole(server, tmp_path):
    """A server that always stops short ends in one line, not in a short file."""
    server.ranges = False
    server.troubles = [cut_after(100_000, times=99)]
    with pytest.raises(DownloadError, match="tries brought nothing new") as caught:
        get(server, tmp_path, attempts=3)
    assert not (tmp_path / "brains.tar").exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (always(404), "not there any more .HTTP 404.*--url"),
        (always(403), "refuses it .HTTP 403.*browser"),
        (always(200), "a web page came instead"),
        (always(500), "busy or broken .HTTP 500"),
    ],
)
def test_answers_that_are_no_file(server, tmp_path, trouble, words):
    """One line with what to do; nothing that looks like the file is left."""
    server.troubles = [trouble]
    with pytest.raises(DownloadError, match=words):
        get(server, tmp_path, attempts=2)
    assert not (tmp_path / "brains.tar").exists()


def test_a_server_that_does_not_answer(server, tmp_path, monkeypatch):
    """Silence ends after the timeout; a refused connection too."""
    import nevf_lite.data.download as module

    monkeypatch.setattr(module, "TIMEOUT", (0.2, 0.2))
    server.troubles = [lambda *request: time.sleep(0.6)]
    with pytest.raises(DownloadError, match="does not answer"):
        get(server, tmp_path, attempts=1)
    with pytest.raises(DownloadError, match="cannot be reached"):
        download("http://127.0.0.1:9/x", tmp_path / "x", attempts=1, **QUICK)
    with pytest.raises(DownloadError, match="check the address"):
        download("nowhere", tmp_path / "x", **QUICK)


def test_a_wrong_checksum_refuses_the_file(server, tmp_path):
    """Published checksums are binding, unless the user says otherwise."""
    right = "md5:" + file_digests(get(server, tmp_path), {"md5"})["md5"]
    (tmp_path / "brains.tar").unlink()
    with pytest.raises(DownloadError, match="its md5 is .*wanted 00.*--trust"):
        get(server, tmp_path, checksum="md5:" + "00" * 16)
    assert not (tmp_path / "brains.tar").exists() and not left_behind(tmp_path)
    get(server, tmp_path, checksum=right)
    get(server, tmp_path, checksum="md5:" + "00" * 16, trust=True)


def test_trust_on_first_use(server, tmp_path):
    """Another file under the same name is refused later, and so is damage on our own disk."""
    path = get(server, tmp_path)
    path.write_bytes(BODY[:-1] + b"?")
    with pytest.raises(DownloadError, match="its sha256 is .*deleted"):
        get(server, tmp_path)
    server.files["/brains.tar"] = new = os.urandom(1000)
    with pytest.raises(DownloadError, match="its sha256 is"):
        get(server, tmp_path)
    assert get(server, tmp_path, trust=True).read_bytes() == new
    get(server, tmp_path)  # the new one is the recorded one now


def test_a_full_disk(server, tmp_path, monkeypatch):
    """Known before it starts where the server tells the size; else when it happens."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DownloadError, match=r"0\.3 MB are still to come.*NEVF_CACHE"):
            get(server, tmp_path)

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda p, mode="r", **k: Full() if mode == "wb" else opened(p, mode, **k)
    )
    with pytest.raises(DownloadError, match="the disk is full; free some space"):
        get(server, tmp_path)


def tar_of(*members: tuple[tarfile.TarInfo | str, bytes], mode: str = "w") -> bytes:
    """A tar archive of (name or TarInfo, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for info, content in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def everything(name: str) -> str:
    return name.replace("/", "_").lstrip("._")


@pytest.mark.parametrize("name", ["../../escape", "a/../../escape", "/usr/escape", "C:\\escape"])
def test_names_that_point_out_of_the_folder_are_refused(tmp_path, name):
    """An archive that tries this is not what it says: it is refused, and nothing escapes."""
    (tmp_path / "bad.tar").write_bytes(tar_of((name, b"x")))
    with pytest.raises(ValueError, match="points out of its folder"):
        unpack(tmp_path / "bad.tar", tmp_path / "out", everything, max_bytes=100)
    assert not (tmp_path / "out").exists()


def test_only_ordinary_files_are_written(tmp_path):
    """Links, devices, pipes and folders in an archive are passed over."""
    members = [
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (special("hard", tarfile.LNKTYPE, "good"), b""),
        (special("device", tarfile.CHRTYPE), b""),
        (special("pipe", tarfile.FIFOTYPE), b""),
        (special("folder", tarfile.DIRTYPE), b""),
        ("good", b"content"),
    ]
    (tmp_path / "mixed.tar.gz").write_bytes(tar_of(*members, mode="w:gz"))
    paths = unpack(tmp_path / "mixed.tar.gz", tmp_path / "out", everything, max_bytes=100)
    assert [p.name for p in paths] == ["good"] == [p.name for p in (tmp_path / "out").iterdir()]


def test_an_archive_that_unpacks_to_too_much_is_stopped(tmp_path):
    """A small archive of zeros can fill a disk; what is expected is known beforehand."""
    (tmp_path / "bomb.tar.gz").write_bytes(tar_of(("a", bytes(5_000_000)), mode="w:gz"))
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out", everything, max_bytes=4_000_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_archive(tmp_path, mode, keep):
    """Cut short at any place, it ends in one line."""
    whole = tar_of(("a", os.urandom(50_000)), ("b", os.urandom(50_000)), mode=mode)
    (tmp_path / "cut.tar").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match="damaged or cut short.*fetch it again"):
        unpack(tmp_path / "cut.tar", tmp_path / "out", everything, max_bytes=10**6)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_member_of_a_large_zip(server, tmp_path, packing):
    """Only the member's own bytes travel, they resume, and the archive's CRC vouches for them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr("release/other.bin", os.urandom(400_000))
        archive.writestr("release/brains.tar", BODY)
    server.files["/release.zip"] = whole = out.getvalue()
    url = server.url("/release.zip")
    path = download_member(url, "/brains.tar", tmp_path / "brains.tar", **QUICK)
    assert path.read_bytes() == BODY and not left_behind(tmp_path)
    spans = [asked.removeprefix("bytes=").split("-") for _, asked in server.requests]
    assert sum(int(b) - int(a) + 1 for a, b in spans) < len(BODY) + 200_000 < len(whole)
    assert download_member(url, "/brains.tar", path, **QUICK) == path  # there already

    path.unlink()
    at = whole.index(BODY[1000:1100]) if packing == zipfile.ZIP_STORED else len(whole) - 100_000
    server.files["/release.zip"] = whole[:at] + b"damage" + whole[at + 6 :]
    with pytest.raises(DownloadError, match="arrived damaged"):
        download_member(url, "/brains.tar", path, **QUICK)
    assert not path.exists() and not left_behind(tmp_path)
    with pytest.raises(DownloadError, match="no single /absent"):
        download_member(url, "/absent", path, **QUICK)
    with pytest.raises(DownloadError, match="not a readable .zip"):
        download_member(server.url("/brains.tar"), "/x", path, **QUICK)
    server.ranges = False
    with pytest.raises(DownloadError, match="does not give out parts"):
        download_member(url, "/brains.tar", path, **QUICK)


def test_a_remote_file_reads_like_a_local_one(server):
    """Seek and read anywhere, from either end, as zipfile and tarfile do."""
    with io.BufferedReader(RemoteFile(server.url("/brains.tar")), 4096) as remote:
        assert remote.seek(-10, io.SEEK_END) == len(BODY) - 10
        assert remote.read() == BODY[-10:] and remote.read(5) == b""
        remote.seek(123_456)
        assert remote.read(9_000) == BODY[123_456:132_456]
        remote.seek(-1_000, io.SEEK_CUR)
        assert remote.read(1_000) == BODY[131_456:132_456]
    with pytest.raises(DownloadError, match="HTTP 404"):
        RemoteFile(server.url("/nothing"))
