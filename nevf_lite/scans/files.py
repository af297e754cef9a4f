"""Checks of paths that users type, and files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

#: All files that a result folder may hold. Warped labels are written only if labels were passed,
#: the view only by `nevf view`.
RESULT_FILES = (
    "warped.nii.gz",
    "warp.nii.gz",
    "inverse_warp.nii.gz",
    "jacobian.nii.gz",
    "warped_labels.nii.gz",
    "velocity.safetensors",
    "result.json",
    "report.html",
    "view.html",
)
#: Error numbers of a full disk and a full quota; Windows has no EDQUOT.
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def existing_file(path: str | os.PathLike, name: str) -> Path:
    """The path, checked to be a readable, non-empty file.

    name: what the file is to the caller ("fixed image"), for the message.
    Raises FileNotFoundError for a missing file, ValueError for a folder, an empty file or one
    without read permission.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            raise ValueError(f"{name}: {path} is a folder; name a file in it")
        if not path.exists():
            raise FileNotFoundError(f"{name}: there is no file {path}; check the path")
        if not path.is_file():
            raise ValueError(f"{name}: {path} is not an ordinary file")
        if path.stat().st_size == 0:
            raise ValueError(f"{name}: {path} is empty (0 bytes); copy or download it again")
        if not os.access(path, os.R_OK):
            raise ValueError(f"{name}: {path} may not be read; check its permissions")
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{name}: {path} cannot be opened ({error.strerror})") from error
    return path


def suffix_of(path: Path, suffixes: Sequence[str], name: str) -> str:
    """The ending of the file name, in lower case; ".nii.gz" is one ending.

    suffixes: the accepted endings. Raises ValueError with their list for any other.
    """
    for suffix in sorted(suffixes, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{name}: {path} should end in one of {', '.join(suffixes)}")


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

    Yields a temporary path in the same folder. Its name ends as `path` does, because libraries
    choose a format by the ending. When the block succeeds, the file is renamed to `path` in one
    step (os.replace). When the block fails, the temporary file is removed and `path` is unchanged.

    Raises FileNotFoundError for a folder that does not exist, ValueError if `path` is a folder, and
    OSError with a one-line message for a full disk.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.parent}; create it first")
    clear_leftovers(path.parent)
    # the end of a name alone: with a prefix a long one would be too long
    temporary = path.with_name(_unfinished() + secrets.token_hex(4) + path.name[-16:])
    with disk_errors(path):
        try:
            yield temporary
            # Some libraries do not report a write error; then the file is missing.
            if not temporary.exists():
                raise OSError(f"output: {path} could not be written; nothing was kept")
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder in a folder, for files that are moved when all are there; removed after."""
    clear_leftovers(folder)
    with tempfile.TemporaryDirectory(prefix=_unfinished(), dir=folder) as hidden:
        yield Path(hidden)


@contextlib.contextmanager
def written_together(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """A hidden folder for the files of a result, which are moved to `folder` when all are there.

    names: of the files that an earlier result may have left; those that were not written again
    belong to no result, and are removed. A folder that was made for nothing is removed too. Raises
    as `disk_errors` does.
    """
    is_new = not folder.exists()
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with unfinished_folder(folder) as staging:
                yield staging
                written = sorted(path.name for path in staging.iterdir())
                for name in written:
                    os.replace(staging / name, folder / name)
                for name in set(names).difference(written):
                    (folder / name).unlink(missing_ok=True)
    except BaseException:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed on this machine left unfinished in a folder."""
    for path in folder.glob(".writing-*-*-*"):
        _, machine, process, *_ = path.name.split("-")
        if machine == _MACHINE and process.isdigit() and not psutil.pid_exists(int(process)):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _unfinished() -> str:
    """The beginning of the names of what this process is writing: it says whose they are."""
    return f".writing-{_MACHINE}-{os.getpid()}-"


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors of a full disk or of missing permissions into one-line messages.

    path: what is being written. Raises OSError or PermissionError instead of the system's error;
    every other error passes unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise OSError(
                f"output: the disk is full while writing {path}; nothing was kept, free some space"
            ) from error
        if isinstance(error, PermissionError) and error.errno is not None:
            raise PermissionError(
                f"output: {path} may not be written; check the permissions of its folder"
            ) from error
        if error.errno == errno.EROFS:
            raise OSError(f"output: {path} is on a read-only disk; name another folder") from error
        raise
