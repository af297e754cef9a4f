"""What an image remembers of its file: where that lies, and what its header left in doubt."""

from __future__ import annotations

import os

import nibabel as nib

from nevf_lite.scans.placement import HEADER_NOTE, note_of


def remember(image: nib.Nifti1Image, source, name: str) -> nib.Nifti1Image:
    """The image, with the file that it was read from as its `get_filename()`, and with the note.

    source: a path, or an image that may itself remember. name: under which it was read.
    """
    path = source if isinstance(source, str | os.PathLike) else None
    if path := path or getattr(source, "get_filename", lambda: None)():
        image.file_map["image"].filename = os.path.abspath(os.path.expanduser(path))
    if note := note_of(name) or getattr(source, "extra", {}).get(HEADER_NOTE):
        image.extra[HEADER_NOTE] = note
    return image


def header_notes(*images: nib.Nifti1Image) -> list[str]:
    """The notes on the headers of these images, where there are any."""
    return [note for image in images if (note := image.extra.get(HEADER_NOTE))]
