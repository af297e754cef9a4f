"""What a scan shows: its head, and whether the scan ends inside it.

Beyond its own grid a scan shows nothing, which is not the same as black. Where the head ends before
the grid does, what lies beyond is background, as it would be on a larger grid. Where the grid ends
first, the head is cut: what lies beyond was not seen, and must not count.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation

from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

#: Share of the intensity range above which a voxel is tissue, whatever noise and blur surround it;
#: and share of the largest section of tissue above which the section at a face is a cut. Brains
#: that were fitted to a box graze its faces with up to one per cent.
TISSUE, CUT = 0.2, 0.03
#: Overlap of the two heads, as a Dice, below which a note recommends an affine start; and the
#: distance of their centres above which it does, as a share of the size of the head.
LITTLE_OVERLAP, FAR_APART = 0.6, 0.25
AFFINE_HINT = "an affine start (affine=True, or --affine) would probably help."
UNSEEN_NOTE = (
    "The moving image ends inside the head: {:.0f} % of the fixed head lies beyond it, where "
    "nothing is compared and the map only goes on smoothly."
)


@dataclass(frozen=True, eq=False)
class Scan:
    """An image in canonical orientation (axes closest to RAS+), and its intensity range.

    low, high: the intensities that become 0 and 1. Copies of an image that are stored flipped
    become the same array here, so they register alike, bit for bit.
    """

    data: np.ndarray
    grid: Grid
    low: float
    high: float

    @classmethod
    def of(cls, image: nib.Nifti1Image) -> Scan:
        """The intensity range ignores a few very bright or dark voxels."""
        data, grid = canonical(image)
        data = np.ascontiguousarray(data, dtype=np.float32)
        low = float(np.percentile(data, 0.1))
        bright = data[data > low]
        high = float(np.percentile(bright, 99.9)) if bright.size else float(data.max())
        if high <= low:
            low, high = float(data.min()), float(data.max())
        return cls(data, grid, low, high)

    @cached_property
    def bright(self) -> np.ndarray:
        """The foreground, boolean: brighter than 2 % of the intensity range."""
        return self._above(0.02)

    def _above(self, share: float) -> np.ndarray:
        return self.data > self.low + share * (self.high - self.low)

    @cached_property
    def cut(self) -> np.ndarray:
        """Whether the head is cut off at the first and the last voxel of each axis: (ndim, 2)."""
        tissue = self._above(TISSUE)
        sections = [profile(tissue, axis) for axis in range(self.grid.ndim)]
        return np.array([s[[0, -1]] > CUT * s.max() for s in sections])

    @property
    def centre(self) -> np.ndarray:
        """The centre of the head, (1, 3) RAS mm."""
        return self.grid.to_world(centre(self.bright)[None])

    def resample(self, transform: Transform, lattice: Grid) -> np.ndarray:
        """The image scaled to [0, 1] and pulled back through a transform onto a lattice."""
        scaled = np.clip((self.data - self.low) / (self.high - self.low), 0, 1)
        return transform.pull_back(scaled, self.grid, lattice)

    def head(self, transform: Transform, lattice: Grid) -> np.ndarray:
        """The foreground on a lattice, boolean."""
        return transform.pull_back(self.bright, self.grid, lattice) > 0.5

    def seen(self, transform: Transform, lattice: Grid) -> np.ndarray | None:
        """The points of a lattice that the scan shows, boolean; None where it shows the whole head.

        Background is shown as well, within the grid of the scan.
        """
        if not self.cut.any():
            return None
        everywhere = np.broadcast_to(np.float32(1), self.grid.shape)
        inside = transform.pull_back(everywhere, self.grid, lattice) > 0.999
        return None if inside.all() else inside

    def beyond_cuts(self, millimetres: float) -> Grid:
        """The grid of the scan, longer by some millimetres at the faces that cut the head."""
        added = np.ceil(millimetres / np.array(self.grid.spacing)).astype(int)[:, None] * self.cut
        affine = self.grid.affine.copy()
        affine[:3, 3] = self.grid.to_world(-added[:, 0].astype(float))
        return Grid(tuple(np.array(self.grid.shape) + added.sum(axis=1)), affine)

    def bounds(self, transform: Transform, lattice: Grid) -> tuple[np.ndarray, np.ndarray]:
        """The box around the scan's grid, in voxels of a lattice: its first and last corner."""
        corners = np.array(list(itertools.product(*((0, n - 1) for n in self.grid.shape))), float)
        voxels = lattice.to_voxels(transform.points_to_fixed(self.grid.to_world(corners)))
        return voxels.min(axis=0), voxels.max(axis=0)


def check_alignment(
    scans: tuple[Scan, Scan],
    heads: tuple[np.ndarray, np.ndarray],
    resampling: Transform,
    fine: Grid,
    notes: list[str],
) -> None:
    """Notes for heads that lie apart, or of which the moving scan shows a part only.

    scans, heads: fixed and moving; the heads on the lattice `fine`. What one of the scans does not
    show is no sign of heads that lie apart. Raises ValueError for heads that do not overlap.
    """
    fixed, moving = heads
    transforms = Transform.identity(fine), resampling
    shown = [scan.seen(t, fine) for scan, t in zip(scans, transforms, strict=True)]
    whole = fixed.sum()
    for inside in shown:
        if inside is not None:
            fixed, moving = fixed & inside, moving & inside
    if not (fixed & moving).any():
        raise ValueError(
            "moving: it does not overlap the fixed image in the world; compute an affine first "
            "(affine=True, or --affine)"
        )
    if shown[1] is not None and fixed.sum() < 0.99 * whole:
        notes.append(UNSEEN_NOTE.format(100 * (1 - fixed.sum() / whole)))
    if shown[0] is None and shown[1] is None:
        centres = [scans[0].centre, resampling.points_to_fixed(scans[1].centre)]
    else:
        centres = [fine.to_world(centre(head)) for head in (fixed, moving)]
    apart = float(np.linalg.norm(centres[0] - centres[1]))
    size = (fixed.sum() * np.prod(fine.spacing)) ** (1 / fine.ndim)
    overlap = 2 * (fixed & moving).sum() / (fixed.sum() + moving.sum())
    if overlap < LITTLE_OVERLAP:
        notes.append("The two heads overlap little before registration; " + AFFINE_HINT)
    elif apart > FAR_APART * size:
        notes.append(f"The heads' centres lie {apart:.0f} mm apart; " + AFFINE_HINT)


def canonical(image: nib.Nifti1Image) -> tuple[np.ndarray, Grid]:
    """An image's data with axes closest to RAS+, and their grid."""
    grid, change = Grid.of(image).canonical()
    return apply_orientation(np.asarray(image.dataobj), change), grid


def profile(head: np.ndarray, axis: int) -> np.ndarray:
    """Voxels of the head in each section across an axis."""
    return head.sum(axis=tuple(other for other in range(head.ndim) if other != axis))


def centre(head: np.ndarray) -> np.ndarray:
    """The centre of a head, (ndim,) voxels."""
    profiles = [profile(head, axis) for axis in range(head.ndim)]
    return np.array([np.arange(len(p)) @ p / p.sum() for p in profiles])
