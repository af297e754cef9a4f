"""A simulated pair with a known deformation between its two images.

The moving image is the ICBM-152 template (Fonov et al. 2011), which the nilearn package contains.
The fixed image is the same template, pulled back through a random diffeomorphism u,

    fixed(x) = template(x + u(x)),

so u is exactly the displacement that registers moving to fixed. Each image then gets a bias field,
a monotone contrast and Rician noise of its own. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from nevf_lite.grid import antialiasing_sigma, identity, resize, resize_field, voxel_ratio
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.scans.space import Grid
from nevf_lite.warp import sample

#: The box of the prepared Mindboggle images: MNI152 space, 1 mm. (The paper's is 162x192x144.)
MNI_BOX = Grid(
    (160, 192, 160),
    np.array([[1, 0, 0, -80], [0, 1, 0, -112], [0, 0, 1, -73], [0, 0, 0, 1]], dtype=np.float64),
)
#: Height of the axial slice of a 2-D pair, MNI mm. It cuts ventricles, thalamus and insula.
SLICE_HEIGHT = 12.0

#: Labels 1-8, four tissues on two sides, are the protocol. Label 9 is the thin fluid of the sulci.
TISSUES = ("Ventricle", "Cortex", "Deep-Grey", "White-Matter")
LABEL_NAMES = {
    i + 1 + 4 * side: f"{('Left', 'Right')[side]}-{tissue}"
    for side in (0, 1)
    for i, tissue in enumerate(TISSUES)
} | {9: "Sulcal-CSF"}
PROTOCOL = tuple(range(1, 9))


@dataclass(frozen=True)
class Simulation:
    """Arrays on one grid; `truth` is the pull-back displacement, (*shape, 3), in RAS mm."""

    grid: Grid
    fixed: np.ndarray
    moving: np.ndarray
    fixed_labels: np.ndarray
    moving_labels: np.ndarray
    fixed_mask: np.ndarray
    moving_mask: np.ndarray
    truth: np.ndarray


def simulate(seed: int = 0, spacing: float | None = None, ndim: int = 3) -> Simulation:
    """Simulate two brain images and the true deformation between them.

    seed: of the deformation, the contrasts, the bias fields and the noise. The same seed gives the
        same deformation at every spacing. spacing: mm, 1 to 16; by default 2 in 3-D and 1 in 2-D.
        ndim: 3, or 2 for an axial slice, deformed in its plane.
    Returns intensities in [0, 1] (float32), labels 1-9 (int32, LABEL_NAMES), boolean brain masks
    and the truth. Raises ValueError for another ndim or spacing, or a seed whose deformation folds.
    """
    if ndim not in (2, 3):
        raise ValueError(f"ndim: a simulated pair has 2 or 3 axes, got {ndim}")
    spacing = float(spacing or (2.0 if ndim == 3 else 1.0))
    if not 1.0 <= spacing <= 16.0:
        raise ValueError(f"spacing: wanted 1 mm (the template's own) to 16 mm, got {spacing:g}")
    fine, volumes = template(ndim, spacing)
    grid = fine if spacing == 1.0 else fine.at_spacing(spacing)
    rng = np.random.default_rng([seed, ndim])
    # The deformation is always made at 2 mm, so that a seed gives the same anatomy at any spacing.
    coarse = fine.at_spacing(2.0)
    displacement = _random_diffeomorphism(coarse, resize(volumes, coarse.shape), rng)
    truth = resize_field(displacement, grid.shape)
    if float(jacobian_determinant(truth).min()) <= 0:
        raise ValueError(f"seed: the deformation of seed {seed} folds; take another seed")
    scans = []
    for field in (truth, torch.zeros_like(truth)):  # of the fixed and of the moving image
        positions = identity(grid.shape) + field
        # both images are sampled from 1 mm voxels, so that they are equally sharp
        sampled = sample(volumes, positions * voxel_ratio(grid.shape, fine.shape, like=positions))
        signal, fractions = sampled[0, 0].numpy(), sampled[0, 1:].numpy()
        image = _simulate_scan(signal, fractions.sum(axis=0), grid, rng)
        scans.append((image, _label_tissues(fractions, positions[0], grid)))
    (fixed, fixed_labels), (moving, moving_labels) = scans
    in_voxels = np.moveaxis(truth[0].numpy().astype(np.float64), 0, -1)
    return Simulation(
        grid=grid,
        fixed=fixed,
        moving=moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_mask=fixed_labels > 0,
        moving_mask=moving_labels > 0,
        truth=(in_voxels @ grid.directions.T).astype(np.float32),
    )


@lru_cache(maxsize=2)
def template(ndim: int = 3, spacing: float = 1.0) -> tuple[Grid, torch.Tensor]:
    """The ICBM-152 (2009a, symmetric, nonlinear) brain in MNI_BOX, or an axial slice of it.

    ndim: 3, or 2 for the slice. spacing: mm between the samples that will be taken; the volumes are
    smoothed against aliasing at it.
    Returns the 1 mm grid and a tensor (1, 6, *shape) in [0, 1]: the T1 intensity, then the fraction
    of each voxel that is ventricle, cortex, deep grey, white matter and sulcal fluid. Raises
    ModuleNotFoundError without nilearn, FileNotFoundError if the installed nilearn lacks the
    template.
    """
    t1, grey, white = (_load_template_volume(name) for name in ("t1", "gm", "wm"))
    grid, volumes = MNI_BOX, np.stack([t1, *_tissue_fractions(t1 > 0, grey, white)])
    if ndim == 2:
        index = int(round(SLICE_HEIGHT - grid.affine[2, 3]))
        affine = grid.affine.copy()
        affine[2, 3] = SLICE_HEIGHT
        grid, volumes = Grid(grid.shape[:2], affine), volumes[..., index]
    if spacing > 1:
        sigma = antialiasing_sigma(spacing)
        volumes = np.stack([ndimage.gaussian_filter(v, sigma, truncate=3) for v in volumes])
    return grid, torch.from_numpy(np.ascontiguousarray(volumes, dtype=np.float32))[None]


def _load_template_volume(name: str) -> np.ndarray:
    """One volume of nilearn's template ("t1", "gm" or "wm"), in MNI_BOX and scaled to [0, 1]."""
    import nibabel
    import nilearn

    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: this nilearn ({nilearn.__version__}) does not carry the ICBM-152 template; "
            "install nilearn 0.10 or newer"
        )
    image = nibabel.load(path)
    volume = np.asanyarray(image.dataobj).astype(np.float32) / 255.0
    # The volume and the box have 1 mm voxels on whole millimetres, so no interpolation is needed.
    offset = np.rint(np.linalg.solve(image.affine, MNI_BOX.affine)[:3, 3]).astype(int)
    box = np.zeros(MNI_BOX.shape, np.float32)
    low, high = np.maximum(offset, 0), np.minimum(offset + MNI_BOX.shape, volume.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset, strict=True))
    box[target] = volume[source]
    return box


def _tissue_fractions(brain: np.ndarray, grey: np.ndarray, white: np.ndarray) -> list[np.ndarray]:
    """Fractions of ventricle, cortex, deep grey, white matter and sulcal fluid, each (*shape,).

    Fluid is ventricle inside a box of MNI space around the ventricles, and grey matter is deep grey
    inside a box around the deep nuclei.
    """
    grey, white = np.where(brain, grey, 0), np.where(brain, white, 0)
    fluid = np.clip(brain - grey - white, 0, 1)
    axes = np.ogrid[tuple(slice(n) for n in brain.shape)]
    x, y, z = (i + o for i, o in zip(axes, MNI_BOX.affine[:3, 3], strict=True))  # MNI mm
    ventricle = _soft_mask((abs(x) < 38) & (y > -52) & (y < 38) & (z > -14) & (z < 32))
    nuclei = _soft_mask((abs(x) < 32) & (y > -34) & (y < 22) & (z > -12) & (z < 22))
    return [fluid * ventricle, grey * (1 - nuclei), grey * nuclei, white, fluid * (1 - ventricle)]


def _soft_mask(inside: np.ndarray) -> np.ndarray:
    """A boolean mask as weights in [0, 1] with a smooth edge."""
    return ndimage.gaussian_filter(inside.astype(np.float32), 1.5)


def _label_tissues(fractions: np.ndarray, positions: torch.Tensor, grid: Grid) -> np.ndarray:
    """Labels, int32: the tissue with the largest fraction, left or right by template position.

    fractions: (5, *shape). positions: in the template, (ndim, *shape), voxels of grid. A voxel
    that is mostly outside the brain is 0.
    """
    tissue = np.argmax(fractions, axis=0)
    right = grid.to_world(np.moveaxis(positions.numpy(), 0, -1))[..., 0] >= 0
    label = np.where(tissue == 4, 9, tissue + 1 + 4 * right)
    return np.where(fractions.sum(axis=0) >= 0.5, label, 0).astype(np.int32)


def _random_diffeomorphism(
    grid: Grid, volumes: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """The exponential of a random velocity: a displacement, (1, ndim, *grid.shape), voxels.

    volumes: of `template`, on the grid. The velocity is a sum of random fields at three scales:
    40 mm (width and length of the head), 22 mm (lobes) and 14 mm (folds). A flow along the gradient
    of the fluid is added, which widens or narrows ventricles and sulci as ageing does. The velocity
    falls to zero at the faces of the box. Its greatest length is 6.5 mm, about the displacement
    that remains between real subjects after affine alignment.
    """
    ndim, spacing = grid.ndim, np.array(grid.spacing)
    velocity = np.zeros((ndim, *grid.shape))
    for scale, amplitude in ((40.0, 2.2), (22.0, 1.6), (14.0, 0.7)):  # mm, mm (root mean square)
        noise = rng.standard_normal((ndim, *grid.shape))
        smooth = np.stack([ndimage.gaussian_filter(n, scale / 2 / spacing) for n in noise])
        velocity += amplitude * smooth / smooth.std()
    fluid = (volumes[0, 1] + volumes[0, 5]).numpy().astype(np.float64)
    gradient = np.stack(np.gradient(ndimage.gaussian_filter(fluid, 7.0 / spacing), *spacing))
    ageing = rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 6.0)
    velocity += ageing * gradient / np.linalg.norm(gradient, axis=0).max()
    for axis, n in enumerate(grid.shape):
        ramp = np.minimum(np.arange(n), np.arange(n)[::-1]) * spacing[axis] / 12.0
        shape = [1] * (ndim + 1)
        shape[axis + 1] = n
        velocity *= np.reshape(np.sin(np.pi / 2 * np.clip(ramp, 0, 1)) ** 2, shape)
    velocity *= 6.5 / np.linalg.norm(velocity, axis=0).max()
    in_voxels = velocity / np.reshape(spacing, (ndim, *[1] * ndim))
    return scaling_and_squaring(torch.from_numpy(in_voxels.astype(np.float32))[None])


def _simulate_scan(
    signal: np.ndarray, brain: np.ndarray, grid: Grid, rng: np.random.Generator
) -> np.ndarray:
    """Add a random contrast, a bias field and Rician noise to an image; float32 in [0, 1].

    signal: (*shape). brain: the fraction of each voxel that is brain. The noise is proportional to
    it, as in skull-stripped images that have been resampled, and the background is exactly zero.
    """
    signal = np.clip(signal, 0, 1) ** rng.uniform(0.75, 1.5)
    noise = rng.standard_normal(grid.shape)
    smooth = ndimage.gaussian_filter(noise, 30.0 / np.array(grid.spacing))
    signal = signal * np.exp(0.08 * smooth / smooth.std())
    real, imaginary = 0.008 * brain * rng.standard_normal((2, *grid.shape))
    measured = np.hypot(signal + real, imaginary) * (brain > 0.05)
    return (measured / measured.max()).astype(np.float32)
