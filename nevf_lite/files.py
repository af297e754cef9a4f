"""Paths that people type, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

#: All that a result folder may hold; the warped labels only where labels were given,
#: the view only where `nevf view` was asked for it.
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
#: A full disk and a full quota; Windows has no quota of this kind.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def existing_file(path: str | os.PathLike, name: str) -> Path:
    """The path, once it is known to be a readable, non-empty file.

    name: what the file is to the caller ("fixed image"), for the message. Raises FileNotFoundError
    where nothing is there, ValueError for a folder, an empty file or one we may not read.
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


def suffix_of(path: Path, known: Sequence[str], name: str) -> str:
    """The one of the known endings that the file name has, in lower case; ".nii.gz" is one ending.

    Raises ValueError with the list of what would do.
    """
    for suffix in sorted(known, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{name}: {path} should end in one of {', '.join(known)}")


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file so that nobody ever sees half of it.

    Yields a temporary path in the same folder, whose name ends as `path` does, for libraries choose
    a format by the ending. When the block ends well the file takes its final name in one step
    (os.replace); when it fails, for whatever reason, the temporary file is removed and what was at
    `path` before stays as it was.

    Raises FileNotFoundError for a folder that does not exist, ValueError if `path` is a folder, and
    OSError with one clear line for a full disk.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.parent}; create it first")
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    with disk_errors(path):
        try:
            yield temporary
            # Some libraries lose a write error; a file that is not there tells.
            if not temporary.exists():
                raise OSError(f"output: {path} could not be written; nothing was kept")
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Say in one line that a disk is full, or that a place may not be written to.

    path: what is being written. Raises OSError or PermissionError in place of the system's own;
    every other error passes as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(
                f"output: the disk is full while writing {path}; nothing was kept, free some space"
            ) from error
        if isinstance(error, PermissionError) and error.errno is not None:
            raise PermissionError(
                f"output: {path} may not be written; check the permissions of its folder"
            ) from error
        if error.errno == errno.EROFS:
            raise OSError(f"output: {path} is on a read-only disk; name another place") from error
        raise
