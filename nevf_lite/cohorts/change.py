"""How volumes differ: maps of log |J|, and two scans of one person compared half-way.

The determinant |J| of a transform is a ratio of volumes, moving to fixed, at each point of the
fixed space: 0.9 means that a cubic millimetre there is 0.9 of one in the moving scan. Its logarithm
treats growth and shrinkage alike, and changes sign when the two scans change places.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.linalg import expm, logm

from nevf_lite.cohorts.brightness import blurred, even_brightness
from nevf_lite.cohorts.velocities import mean_velocity
from nevf_lite.config import Config, preset
from nevf_lite.integrate import determinant
from nevf_lite.registration.folder import write_run
from nevf_lite.registration.register import register
from nevf_lite.scans.files import written_together
from nevf_lite.scans.io import load_image, load_labels, make_image, save_image
from nevf_lite.scans.readers import space_code
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine
from nevf_lite.transforms.transform import Transform

_DEFAULT = preset("default")
#: The preset "default" for two scans of one person. One scanner made both, so their intensities can
#: be compared everywhere: NCC of the whole head finds more of a small change than local NCC. What
#: is left between them is the change that is looked for, and not noise: no level is spared, steps
#: are a quarter as long, and the penalty on gradients is a small one.
CONFIG = preset(
    _DEFAULT,
    levels=tuple(replace(level, lr=0.25 * level.lr) for level in _DEFAULT.levels),
    similarity="ncc",
    smooth=0.02,
    noise_ceiling=1.0,
)
#: The images that `Change.save` writes.
IMAGES = ("first", "second", "log_jacobian")
#: |J| below this counts as this: a fold has no logarithm.
SMALLEST = 1e-3


def log_jacobian(transform: Transform, affine: bool = True) -> nib.Nifti1Image:
    """log |J| at each voxel of the fixed grid, a nibabel image, float32.

    affine: with the volume change of the transform's affine parts, so that it is the change in mm;
    or without it, which is what is left of it once the scans are scaled alike. Central differences
    of the whole map, so both are on the voxels, and a reversed map gives the other sign there.
    """
    displacement = transform.voxel_displacement().double()
    ndim, axes = transform.fixed.ndim, tuple(range(2, transform.fixed.ndim + 2))
    gradients = [g.clone() for g in torch.gradient(displacement, dim=axes)]
    for axis, gradient in enumerate(gradients):
        gradient[:, axis] += 1
    values = determinant([g.unbind(1) for g in gradients])[0].clamp_min(SMALLEST).log()
    if not affine:
        values = values - _log_affine(transform, ndim)
    return make_image(values.float().numpy(), transform.fixed.affine)


def _log_affine(transform: Transform, ndim: int) -> float:
    """The logarithm of the volume change of a transform's affine parts; of the area, in 2-D."""
    plane = transform.fixed.directions
    for component in transform.components:
        if isinstance(component, Affine):
            plane = component.matrix[:3, :3] @ plane
    areas = [np.linalg.det(p.T @ p) for p in (plane, transform.fixed.directions)]
    return 0.5 * float(np.log(areas[0] / areas[1]))


@dataclass(frozen=True)
class Change:
    """What happened between two scans of a person, seen from half-way between them.

    to_first, to_second: transforms from the middle to each scan. first, second: the scans, there.
    log_jacobian: log of volume in the second scan over volume in the first, on the middle grid.
    Exchanging the scans exchanges the first four, and changes the sign of log_jacobian. run: what
    repeats it, for result.json: scans (paths, or None of what was no file), config, rigid.
    """

    to_first: Transform
    to_second: Transform
    first: nib.Nifti1Image
    second: nib.Nifti1Image
    log_jacobian: nib.Nifti1Image
    run: Mapping = field(default_factory=dict)

    @property
    def between(self) -> Transform:
        """From the first scan to the second."""
        return self.to_first.inverse.compose(self.to_second)

    def volumes(
        self, labels, which: Iterable[int] | None = None
    ) -> dict[int, tuple[float, float, float]]:
        """Volumes of structures in the two scans, mm^3 (mm^2 in 2-D), and the change in percent.

        labels: integer image, on the middle grid: see `middle_labels`. which: all but 0, if None.
        The change is that of the mean of both volumes, 200 (b - a) / (b + a). Returns label to
        (first, second, change). Raises ValueError for labels on another grid.
        """
        image = load_labels(labels, "labels")
        if Grid.of(image) != self.to_first.fixed:
            raise ValueError("labels: wanted them on the middle grid; use `middle_labels` first")
        values = np.asarray(image.dataobj)
        cell = float(np.prod(self.to_first.fixed.spacing))
        each = [
            cell * np.exp(np.asarray(log_jacobian(t).dataobj, np.float64))
            for t in (self.to_first, self.to_second)
        ]
        numbers = np.unique(values[values != 0]).tolist() if which is None else map(int, which)
        found = {}
        for label in numbers:
            a, b = (float(voxels[values == label].sum()) for voxels in each)
            if a + b > 0:
                found[label] = (a, b, 200 * (b - a) / (b + a))
        return found

    def middle_labels(self, labels, of: str = "first") -> nib.Nifti1Image:
        """Labels of the "first" or the "second" scan, in the middle, by nearest neighbour."""
        if of not in ("first", "second"):
            raise ValueError(f"of: wanted 'first' or 'second', got {of!r}")
        return (self.to_first if of == "first" else self.to_second).warp_labels(labels)

    def save(self, folder: str | os.PathLike, command: str = "", **results) -> None:
        """Write first.nii.gz and second.nii.gz (in the middle), log_jacobian.nii.gz, result.json,
        and to_first.safetensors and to_second.safetensors.

        command: what repeats this, results: what else was found, both for result.json.
        """
        folder = Path(folder).expanduser()
        grid = self.to_first.fixed
        with written_together(folder, ()) as staging:
            for name in IMAGES:
                image = getattr(self, name)
                data, code = np.asarray(image.dataobj), space_code(image)
                save_image(staging / f"{name}.nii.gz", data, grid, code)
            self.to_first.save(staging / "to_first.safetensors")
            self.to_second.save(staging / "to_second.safetensors")
            write_run(staging, {**self.run, **results}, command)


def longitudinal(
    first,
    second,
    config: str | Config = CONFIG,
    *,
    rigid: bool = True,
    options: Mapping | None = None,
) -> Change:
    """Compare two scans of one person, without a bias to either.

    first, second: as for `register`. rigid: undo the motion of the head first. options: further
    arguments of `register`, such as device and seed.

    A registration of the second scan to the first resamples the second alone, and measures in the
    shape of the first; both show as change where there is none (Reuter et al. 2012). Here each scan
    is resampled once, half-way between them. There they are registered in both directions; the
    velocity is half the difference of the two, so that it changes its sign with the order of the
    scans, and its halves lead from the middle to each scan.

    Before it, a slow difference of brightness is taken out, and both are blurred by a voxel, see
    `cohorts.brightness`. Of ventricles that grow by 6, 11 or 28 % in a simulated slice of 1 mm, or
    shrink by 11 %, 95 to 103 % is found, also where one scan is 10 % brighter on one side. The
    settings are for scans of one scanner and sequence; for others use similarity="lncc", which
    finds nine tenths of a change. Raises what `register` raises.
    """
    images = [load_image(first, "first"), load_image(second, "second")]
    half = _half_motion(*images) if rigid else np.eye(4)
    halves = [np.linalg.inv(half), half]  # from the middle to the first scan, and to the second
    grids = [Grid.of(image) for image in images]
    middle = _middle_grid(grids, halves)
    there = [
        Transform.from_affine(matrix, middle, grid).warp_image(image)
        for matrix, grid, image in zip(halves, grids, images, strict=True)
    ]
    there = [blurred(scan) for scan in even_brightness(*there)]
    flows = []
    for fixed, moving in (there, there[::-1]):
        result = register(fixed, moving, config, **{"progress": False, **(options or {})})
        flows.append(result.transform.components[0])
    velocity = mean_velocity([flows[0], flows[1].inverse], middle)
    to_first, to_second = (
        Transform((replace(velocity, sign=sign), Affine(matrix)), middle, grid)
        for sign, matrix, grid in zip((-0.5, 0.5), halves, grids, strict=True)
    )
    to_each = to_first, to_second
    logs = [np.asarray(log_jacobian(t).dataobj) for t in to_each]
    arrays = [np.asarray(t.warp_image(i).dataobj) for t, i in zip(to_each, images, strict=True)]
    codes = [space_code(image) for image in images]
    code = codes[0] if codes[0] == codes[1] else 1  # half-way between two in MNI is in MNI
    found = (make_image(a, middle.affine, code) for a in (*arrays, logs[1] - logs[0]))
    run = {
        "scans": [image.get_filename() for image in images],
        "config": preset(config).to_dict(),
        "rigid": rigid,
    }
    return Change(*to_each, *found, run)


def _half_motion(first: nib.Nifti1Image, second: nib.Nifti1Image) -> np.ndarray:
    """(4, 4): half of the rigid motion from the first scan to the second, the same both ways."""
    from nevf_lite.transforms.affine import affine_register  # SimpleITK takes a second to import

    forward = affine_register(first, second, kind="rigid")
    backward = affine_register(second, first, kind="rigid")
    return expm(0.25 * (logm(forward).real - logm(backward).real))


def _middle_grid(grids: list[Grid], halves: list[np.ndarray]) -> Grid:
    """A grid of cubic voxels in RAS around both scans, which does not depend on their order.

    halves: from the middle to each scan. A 2-D grid is the one that both scans lie on.
    """
    if grids[0].ndim == 2:
        if grids[0] != grids[1]:
            raise ValueError("second: wanted the grid of the first, since both are slices")
        return grids[0]
    corners = []
    for grid, half in zip(grids, halves, strict=True):
        index = np.stack(np.meshgrid(*([0, n - 1] for n in grid.shape), indexing="ij"), -1)
        world = grid.to_world(index.reshape(-1, 3))
        corners.append(Affine(half).inverse.map(world))
    low = np.minimum(corners[0].min(axis=0), corners[1].min(axis=0))
    high = np.maximum(corners[0].max(axis=0), corners[1].max(axis=0))
    spacing = min(min(grid.spacing) for grid in grids)
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing - 1e-3) + 1)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = low
    return Grid(shape, affine)
