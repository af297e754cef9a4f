"""Pairs of files, .img and .hdr: NIfTI in two files, and Analyze, which came before it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib

from nevf_lite.scans.files import existing_file

PAIR_SUFFIXES = (".img", ".hdr")


def load_pair(path: Path, name: str) -> nib.spatialimages.SpatialImage:
    """Open a NIfTI or Analyze pair by the name of either file; the data stay on the disk.

    Analyze has no orientation; as in SPM its x axis is taken to run to the left, unless SPM's .mat
    file lies beside it. Raises FileNotFoundError or ValueError.
    """
    for suffix in PAIR_SUFFIXES:
        existing_file(path.with_suffix(suffix), name)
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            return nib.load(path)
    except Exception as error:
        raise ValueError(f"{name}: this is neither a NIfTI nor an Analyze pair") from error


def lacks_orientation(path: Path) -> bool:
    """Whether a file is of an Analyze pair, which does not say on which side the left is."""
    header = path.with_suffix(".hdr")
    if path.suffix.lower() not in PAIR_SUFFIXES or path.with_suffix(".mat").exists():
        return False
    return header.is_file() and header.read_bytes()[344:347] not in (b"ni1", b"n+1", b"ni2")
