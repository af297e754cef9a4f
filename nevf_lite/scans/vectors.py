"""What the vectors of another tool's field mean: displacements or positions, in RAS or in LPS.

=========================================  =====================================================
the header of a NIfTI field                its vectors
=========================================  =====================================================
intent 1007 (vector), no name              displacements in LPS: ITK, ANTs
intent 1006 (displacement vector)          displacements in RAS: Slicer, surfa, ITK since 5.3
1007 and the name `Mapping`                positions in RAS: SPM's y_*.nii
1007 and the name `NREG_TRANS`             NiftyReg: positions, or displacements, in RAS
=========================================  =====================================================

ITK reads the first two alike. Every other field is refused, with the way out, and so are vectors
that look like positions although the header calls them displacements: a wrong sign or a wrong kind
of vector gives a smooth, plausible map.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nevf_lite.scans.itk import LPS, sheared
from nevf_lite.scans.space import Grid

RAS = np.ones(3)
DISPLACEMENT, VECTOR = 1006, 1007
#: Intents of FSL: fields and coefficients of fnirt and topup.
FSL = (2006, 2007, 2008, 2009, 2016, 2017, 2018)
#: The slopes of a vector's components against the voxel's own coordinates that tell a position from
#: a displacement, whose slopes are the stretching of the map less 1.
POSITION_SLOPES = (0.75, 1.3)
SET_INTENT = (
    "image.header.set_intent('vector') in nibabel if they are displacements in LPS mm as of ITK, "
    "'dispvect' if in RAS mm"
)


def check_intent(header, name: str) -> None:
    """ValueError for a NIfTI field whose header does not say what its vectors mean."""
    _meaning(header, name)


def to_displacement(vectors: np.ndarray, affine: np.ndarray, header, name: str) -> np.ndarray:
    """Displacements in RAS mm, (*shape, 3), of the vectors of a NIfTI file.

    vectors: (*shape, 2 or 3) as stored; NaN where a field of positions has none, and is continued
    by the nearest one. affine: (4, 4), RAS mm. Raises ValueError for vectors that are not finite or
    not what the header says.
    """
    positions, signs = _meaning(header, name)
    vectors = in_space(vectors) * signs.astype(np.float32)
    grid = Grid(vectors.shape[:-1], affine)
    if positions:
        vectors = _filled(vectors - grid.points().astype(np.float32))
    return checked(vectors, grid, name)


def for_itk(displacement: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (X, Y, Z, 3) in LPS mm that ITK takes for a displacement, and their affine, RAS mm.

    displacement: (*grid.shape, 3) float32, RAS mm. That of a slice is doubled, because to ITK a
    single slice has no place in space. A grid with shear, which ITK cannot hold, is exchanged for
    the smallest at right angles that covers it.
    """
    if sheared(grid.affine):
        upright = grid.at_right_angles()
        positions = np.moveaxis(grid.to_voxels(upright.points()), -1, 0)
        components = [
            ndimage.map_coordinates(component, positions, order=1, mode="nearest")
            for component in np.moveaxis(displacement, -1, 0)
        ]
        displacement, grid = np.stack(components, axis=-1), upright
    if grid.ndim == 2:
        displacement = np.stack([displacement, displacement], axis=2)
    return displacement * LPS[:3].astype(np.float32), grid.affine


def in_space(vectors: np.ndarray) -> np.ndarray:
    """(*shape, 3) of vectors with two or three components; those of a slice lie in it."""
    with np.errstate(over="ignore"):  # what overflows is not finite, and is refused as such
        vectors = np.asarray(vectors, dtype=np.float32)
    missing = 3 - vectors.shape[-1]
    return np.pad(vectors, [(0, 0)] * (vectors.ndim - 1) + [(0, missing)]) if missing else vectors


def checked(displacement: np.ndarray, grid: Grid, name: str) -> np.ndarray:
    """The displacement, (*shape, 3) in RAS mm. ValueError if it is not finite or holds positions.

    A position grows as fast as the coordinate, a displacement of a registration does not: it would
    double, or point-mirror, the size of the brain.
    """
    if not np.isfinite(displacement).all():
        raise ValueError(f"{name}: some vectors are NaN or infinite; write the field again")
    coarse = np.meshgrid(*(np.arange(0, n, max(1, n // 32)) for n in grid.shape), indexing="ij")
    points = grid.to_world(np.stack(coarse, axis=-1)).reshape(-1, 3)
    vectors = displacement[tuple(coarse)].reshape(-1, 3).astype(np.float64)
    points, vectors = points - points.mean(axis=0), vectors - vectors.mean(axis=0)
    wide = np.ptp(points, axis=0) > 4 * min(grid.spacing)
    slopes = (points * vectors).sum(axis=0)[wide] / (points**2).sum(axis=0)[wide]
    low, high = POSITION_SLOPES
    if wide.any() and ((abs(slopes) > low) & (abs(slopes) < high)).all():
        raise ValueError(
            f"{name}: its vectors are positions, or they double the size of the image, and the "
            "header calls them displacements; subtract the position of each voxel and save it again"
        )
    return displacement


def _meaning(header, name: str) -> tuple[bool, np.ndarray]:
    """Whether the vectors of a NIfTI file are positions, and the signs that turn them to RAS."""
    intent = int(header["intent_code"])
    label = bytes(header["intent_name"]).partition(b"\0")[0].decode("latin-1").strip()
    if intent in FSL:
        raise ValueError(
            f"{name}: a warp of FSL, which counts from the corners of two images; convert it first "
            "with wb_command -convert-warpfield -from-fnirt WARP SOURCE -to-itk OUT.nii.gz"
        )
    if label.startswith("NREG_TRANS"):
        kind = int(np.nan_to_num(float(header["intent_p1"]), nan=-1))
        if kind in (0, 1):
            return kind == 0, RAS
        raise ValueError(
            f"{name}: control points or velocities of NiftyReg, not a field; convert them first "
            "with reg_transform -ref FIXED -disp FILE OUT.nii.gz"
        )
    if intent == DISPLACEMENT:
        return False, RAS
    if intent == VECTOR and label == "Mapping":
        return True, RAS
    if intent == VECTOR and not label:
        return False, LPS[:3]
    if intent == VECTOR:
        raise ValueError(f"{name}: vectors of an unknown kind, {label!r}; set {SET_INTENT}")
    raise ValueError(
        f"{name}: the header does not say what its vectors are (intent {intent}); set {SET_INTENT}"
    )


def _filled(displacement: np.ndarray) -> np.ndarray:
    """(*shape, 3): voxels whose vector is NaN get that of the nearest other voxel."""
    missing = np.isnan(displacement).any(axis=-1)
    if not missing.any() or missing.all():
        return displacement
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return displacement[tuple(nearest)]
