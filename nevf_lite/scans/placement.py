"""Where a NIfTI header puts its image, also when it says so twice, askew, or not at all.

A header has room for two affines, the sform and the qform, each with a code that is 0 where it is
not set. They may disagree, and programs then disagree too: nibabel, FSL and SPM take the sform,
ITK, ANTs and Slicer decide by the rule below. This package follows ITK, so that the displacement
fields it writes warp the very same files alike there.

=====================================================  =========================================
the header                                             the image lies by
=====================================================  =========================================
an sform at right angles and: no qform, or the code 1
of the sform (scanner), or both within 1e-4            the sform
any other with a qform                                 the qform
an sform with shear, no qform                          the sform; ITK cannot read such a file
no code set                                            the spacing alone, from the origin to the
                                                       left, back and top
=====================================================  =========================================

The spacing is that of the header (pixdim), an sform gives directions and origin only. Measured with
ITK 5.4, in SimpleITK 2.5 and ANTsPy 0.6. A note, one for each file, says what was taken and how far
apart the two are.
"""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from nevf_lite.scans.itk import LPS, sheared
from nevf_lite.scans.space import box_corners, right_angled

#: Millimetres per unit, by the code in xyzt_units of NIfTI; any other code is read as mm.
MM_PER_UNIT = {1: 1e3, 3: 1e-3}
#: Entries of two affines that differ by less are rounding, for ITK too.
TOLERANCE = 1e-4
#: Where nibabel's dictionary `extra` of an image has the note on its header.
HEADER_NOTE = "header note"
#: Disagreements below this many mm are not worth a note.
NOTED_MM = 0.1


def affine_of(image: SpatialImage, name: str) -> np.ndarray:
    """(4, 4), from voxels to RAS mm: where ITK would place the image if it read it from a file.

    image: of nibabel. name: for the note, which is logged once for each file where its header is at
    odds with itself; an image that this package made of it says it no more. An affine that was
    given to the image in memory stays.
    """
    affine, note = _place(image)
    before = _noted.pop(name, None)
    if note is not None and HEADER_NOTE not in image.extra:
        _noted[name] = f"{name}: {note}"
        if _noted[name] != before:  # a file may be read several times, and one note is enough
            logging.getLogger(__name__).warning("%s", _noted[name])
    return affine


def note_of(name: str) -> str | None:
    """The note on the header of the image that was last read under this name, if there is one."""
    return _noted.get(name)


#: What has been noted, by the names of the images.
_noted: dict[str, str] = {}


def _place(image: SpatialImage) -> tuple[np.ndarray, str | None]:
    """The affine, and what there is to say about it."""
    if image.affine is None:
        return np.eye(4), None
    header, affine = image.header, image.affine
    if not isinstance(header, nib.Nifti1Header):
        return affine, None
    mm = np.diag([*[MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    if not np.allclose(affine, header.get_best_affine(), atol=TOLERANCE):
        return affine, None
    forms = {kind: _form(header, kind) for kind in ("sform", "qform")}
    forms = {kind: form for kind, form in forms.items() if form is not None}
    # of an axis of one voxel, forms and spacing may say what they like
    counts = np.array([*image.shape[:3], 1, 1][:3]) > 1
    chosen, how = _choose(forms, int(header["sform_code"]), _zooms(header), counts)
    if _agree(affine, chosen, counts):
        chosen = affine  # not rounded to the header's float32
    apart = max(
        _apart(mm @ chosen, mm @ other, image.shape[:3]) for other in (affine, *forms.values())
    )
    note = None
    if apart > NOTED_MM:
        note = _NOTES[how].format(apart=apart)
    elif _has_shear(chosen):
        upright = mm @ chosen
        upright[:3, :3] = right_angled(upright)
        note = _NOTES["shear"].format(apart=_apart(mm @ chosen, upright, image.shape[:3]))
    return mm @ chosen, note


def _zooms(header) -> np.ndarray:
    """(3,): the spacing in the header; ITK takes 1 for an axis that has none."""
    zooms = np.asarray([*header.get_zooms()[:3], 1.0, 1.0][:3], dtype=np.float64)
    return np.where(zooms != 0, abs(zooms), 1.0)


def _form(header, name: str) -> np.ndarray | None:
    """The sform or qform as stored; None if its code is 0 or its numbers are none."""
    try:
        form, code = getattr(header, f"get_{name}")(coded=True)
    except ValueError:  # three numbers that are no quaternion
        return None
    return form if code and np.isfinite(form).all() else None


def _choose(
    forms: dict[str, np.ndarray], sform_code: int, zooms: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, str]:
    """What ITK takes, (4, 4) in the header's units, and its name for the note."""
    sform, qform = forms.get("sform"), forms.get("qform")
    if sform is None and qform is None:
        return np.diag([*zooms, 1.0]) * LPS, "nothing"
    if sform is None or (qform is not None and _has_shear(sform)):
        return qform, "qform"
    if qform is None and _has_shear(sform):
        return sform, "sform"
    if qform is None or sform_code == 1 or _agree(sform, qform, counts):
        return _with_spacing(sform, np.where(counts, zooms, 0.0)), "sform"
    return qform, "qform"


def _has_shear(affine: np.ndarray) -> bool:
    """Whether three axes are there and not at right angles; a 2-D header may lack the third."""
    return bool(affine[:3, :3].any(axis=0).all()) and sheared(affine)


def _agree(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> bool:
    """Whether two affines are one but for rounding, in the origin and the axes that count, (3,)."""
    columns = [*counts, True]
    return np.allclose(first[:, columns], second[:, columns], atol=TOLERANCE)


def _with_spacing(affine: np.ndarray, zooms: np.ndarray) -> np.ndarray:
    """The affine with columns of these lengths; as it is where one is 0, or the column is."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    given = (lengths > 0) & (zooms > 0)
    scale = np.where(given, zooms / np.where(given, lengths, 1.0), 1.0)
    return affine @ np.diag([*scale, 1.0])


def _apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance in mm between a voxel's places under two affines."""
    corners = box_corners((*shape, 1, 1)[:3])
    moved = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(moved, axis=1).max())


_NOTES = {
    "nothing": "its header does not say where it lies (both codes are 0); it is placed as in ITK, "
    "{apart:.1f} mm from where nibabel puts it, and which side is left is a guess",
    "sform": "its qform or its spacing lies up to {apart:.1f} mm from its sform, which is taken, "
    "as ITK and ANTs do; if that is wrong, write the right affine into both",
    "qform": "its sform lies up to {apart:.1f} mm from its qform, which is taken, as ITK and ANTs "
    "do (nibabel, FSL and SPM do not); if that is wrong, write the right affine into both",
    "shear": "its axes are off right angles by up to {apart:.1f} mm; ITK cannot read such an "
    "image, only the displacement fields that are written for it",
}
