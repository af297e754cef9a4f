"""Which voxels count: masks, and lesions that must not count (cost-function masking).

Without cost-function masking a registration shrinks a lesion to make it look like healthy tissue
(Brett et al. 2001). Where a lesion is, the images are not compared, and the smoothness of the field
alone carries the deformation across.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np

from nevf_lite.scans.io import make_image
from nevf_lite.scans.masks import load_mask
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform


def counting_mask(
    image: nib.Nifti1Image, mask, lesion, name: str, notes: list[str]
) -> nib.Nifti1Image | None:
    """1 where an image counts: inside its mask and outside its lesion; None where all of it does.

    mask, lesion: what `scans.masks.load_mask` takes, or None. With a lesion the result lies on the
    image's own grid; beyond the lesion's grid there is none. name: "fixed" or "moving". notes: gets
    lines for the user. Raises ValueError for a lesion that leaves nothing.
    """
    mask = None if mask is None else load_mask(mask, f"{name}_mask", notes)
    if lesion is None:
        return mask
    lesion = load_mask(lesion, f"{name}_lesion", notes)
    grid = Grid.of(image)
    for other, role in ((mask, "mask"), (lesion, "lesion")):
        if other is not None and other.ndim != image.ndim:
            raise ValueError(f"{name}_{role}: wanted {image.ndim} axes, got {other.ndim}")
    lesioned = _on_grid(lesion, grid)
    counted = ~lesioned if mask is None else _on_grid(mask, grid) & ~lesioned
    if not counted.any():
        raise ValueError(f"{name}_lesion: it leaves no voxel of the {name} image")
    if not lesioned.any():
        notes.append(f"The lesion of the {name} image is empty on that image's grid.")
    else:
        volume = lesioned.sum() * np.prod(grid.spacing) / (1000 if grid.ndim == 3 else 100)
        unit = "ml" if grid.ndim == 3 else "cm2"
        size = f"{volume:.3g}" if volume < 1000 else f"{volume:.0f}"
        notes.append(
            f"{size} {unit} of the {name} image are lesion and do not count; the field is "
            "smooth across."
        )
    return make_image(counted.astype(np.uint8), image.affine)


def _on_grid(mask: nib.Nifti1Image, grid: Grid) -> np.ndarray:
    """A mask at the voxels of a grid, boolean; not set beyond its own grid."""
    warped = Transform.identity(grid, Grid.of(mask)).warp_labels(mask)
    return np.asarray(warped.dataobj) != 0
