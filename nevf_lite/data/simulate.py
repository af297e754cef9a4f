"""A pair whose true deformation is known: one template brain, made into two people.

The moving image is the ICBM-152 template (Fonov et al. 2011) that comes inside the nilearn package;
the fixed image is the same template pulled back through a random diffeomorphism u,

    fixed(x) = template(x + u(x)),

so u is, exactly, the displacement that a registration of moving to fixed has to find. Each image
then gets its own scanner: a smooth bias field, a monotone contrast and Rician noise. Nothing is
downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from nevf_lite.grid import identity, resize, resize_field, voxel_ratio
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.space import Grid
from nevf_lite.warp import sample

#: The box of the prepared Mindboggle images: MNI152 space, 1 mm, cropped as in the paper.
MNI_BOX = Grid(
    (160, 192, 160),
    np.array([[1, 0, 0, -80], [0, 1, 0, -112], [0, 0, 1, -73], [0, 0, 0, 1]], dtype=np.float64),
)
#: Height of the axial slice of a 2-D pair, MNI mm: ventricles, thalamus and insula are all in it.
SLICE_HEIGHT = 12.0

#: Two sides of four tissues are what is counted; the thin fluid of the sulci is labelled too.
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
    """Two simulated people and the true deformation between them.

    seed: chooses the deformation and both scanners; the same seed gives the same deformation at
        every spacing. spacing: mm, 1 or more; by default 2 in 3-D and 1 in 2-D. ndim: 3, or 2 for
        an axial slice, deformed in its plane.
    Returns intensities in [0, 1] (float32), labels 1-9 (int32, LABEL_NAMES), boolean brain masks
    and the truth. Raises ValueError for another ndim or a spacing below the template's 1 mm.
    """
    if ndim not in (2, 3):
        raise ValueError(f"ndim: a simulated pair has 2 or 3 axes, got {ndim}")
    spacing = float(spacing or (2.0 if ndim == 3 else 1.0))
    if not 1.0 <= spacing <= 16.0:
        raise ValueError(f"spacing: wanted 1 mm (the template's own) to 16 mm, got {spacing:g}")
    fine, volumes = template(ndim, spacing)
    grid = fine if spacing == 1.0 else fine.at_spacing(spacing)
    random = np.random.default_rng([seed, ndim])
    # The deformation is made at 2 mm whatever is asked for, so that a seed means one anatomy.
    coarse = fine.at_spacing(2.0)
    displacement = _diffeomorphism(coarse, resize(volumes, coarse.shape), random)
    truth = resize_field(displacement, grid.shape)
    if float(jacobian_determinant(truth).min()) <= 0:
        raise ValueError(f"seed: the deformation of seed {seed} folds; take another seed")
    people = []
    for displaced in (truth, torch.zeros_like(truth)):  # the fixed person, then the moving one
        positions = identity(grid.shape) + displaced
        # read from 1 mm voxels, so that both images are equally sharp
        parts = sample(volumes, positions * voxel_ratio(grid.shape, fine.shape, like=positions))
        signal, shares = parts[0, 0].numpy(), parts[0, 1:].numpy()
        image = _scan(signal, shares.sum(axis=0), grid, random)
        people.append((image, _label(shares, positions[0], grid)))
    (fixed, fixed_labels), (moving, moving_labels) = people
    voxels = np.moveaxis(truth[0].numpy().astype(np.float64), 0, -1)
    return Simulation(
        grid=grid,
        fixed=fixed,
        moving=moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_mask=fixed_labels > 0,
        moving_mask=moving_labels > 0,
        truth=(voxels @ grid.directions.T).astype(np.float32),
    )


@lru_cache(maxsize=2)
def template(ndim: int = 3, spacing: float = 1.0) -> tuple[Grid, torch.Tensor]:
    """The ICBM-152 (2009a, symmetric, nonlinear) brain in MNI_BOX, or an axial slice of it.

    Returns the 1 mm grid and a tensor (1, 6, *shape) in [0, 1]: the T1 intensity, then the share of
    each voxel that is ventricle, cortex, deep grey, white matter and sulcal fluid; all smoothed for
    being read every `spacing` mm. Raises ModuleNotFoundError without nilearn, FileNotFoundError if
    a release of nilearn no longer carries the template.
    """
    t1, grey, white = (_embedded(name) for name in ("t1", "gm", "wm"))
    grid, volumes = MNI_BOX, np.stack([t1, *_tissues(t1 > 0, grey, white)])
    if ndim == 2:
        index = int(round(SLICE_HEIGHT - grid.affine[2, 3]))
        affine = grid.affine.copy()
        affine[2, 3] = SLICE_HEIGHT
        grid, volumes = Grid(grid.shape[:2], affine), volumes[..., index]
    if spacing > 1:  # the blur of grid.downsample, without throwing voxels away
        sigma = 0.5 * np.sqrt(spacing**2 - 1)
        volumes = np.stack([ndimage.gaussian_filter(v, sigma, truncate=3) for v in volumes])
    return grid, torch.from_numpy(np.ascontiguousarray(volumes, dtype=np.float32))[None]


def _embedded(name: str) -> np.ndarray:
    """One volume of the template inside nilearn, cropped to MNI_BOX and scaled to [0, 1]."""
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
    # Both have 1 mm voxels on whole millimetres: cropping and padding are all it takes.
    offset = np.rint(np.linalg.solve(image.affine, MNI_BOX.affine)[:3, 3]).astype(int)
    out = np.zeros(MNI_BOX.shape, np.float32)
    low, high = np.maximum(offset, 0), np.minimum(offset + MNI_BOX.shape, volume.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset, strict=True))
    out[target] = volume[source]
    return out


def _tissues(brain: np.ndarray, grey: np.ndarray, white: np.ndarray) -> list[np.ndarray]:
    """Shares of ventricle, cortex, deep grey, white matter and sulcal fluid, each (*shape,).

    Ventricles and the deep nuclei are what is fluid or grey in two boxes of MNI space around them.
    """
    grey, white = np.where(brain, grey, 0), np.where(brain, white, 0)
    fluid = np.clip(brain - grey - white, 0, 1)
    axes = np.ogrid[tuple(slice(n) for n in brain.shape)]
    x, y, z = (i + o for i, o in zip(axes, MNI_BOX.affine[:3, 3], strict=True))  # MNI mm
    ventricle = _soft((abs(x) < 38) & (y > -52) & (y < 38) & (z > -14) & (z < 32))
    nuclei = _soft((abs(x) < 32) & (y > -34) & (y < 22) & (z > -12) & (z < 22))
    return [fluid * ventricle, grey * (1 - nuclei), grey * nuclei, white, fluid * (1 - ventricle)]


def _soft(inside: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(inside.astype(np.float32), 1.5)


def _label(shares: np.ndarray, positions: torch.Tensor, grid: Grid) -> np.ndarray:
    """The tissue with the largest share, left or right by where it was read in the template.

    shares: (5, *shape). positions: (ndim, *shape), voxels. A voxel mostly outside the brain is 0.
    """
    tissue = np.argmax(shares, axis=0)
    right = grid.to_world(np.moveaxis(positions.numpy(), 0, -1))[..., 0] >= 0
    label = np.where(tissue == 4, 9, tissue + 1 + 4 * right)
    return np.where(shares.sum(axis=0) >= 0.5, label, 0).astype(np.int32)


def _diffeomorphism(grid: Grid, volumes: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """exp of a random velocity, (1, ndim, *grid.shape) in voxels.

    People differ at every scale: the whole head is wider or longer (waves of 40 mm), lobes grow
    (22 mm), folds shift (14 mm), and ventricles and sulci widen or close with age, which is a flow
    along the gradient of the fluid. The velocity fades out towards the faces of the box and is
    6.5 mm at its fastest, about what an affine alignment leaves between real people.
    """
    ndim, size = grid.ndim, grid.spacing
    velocity = np.zeros((ndim, *grid.shape))
    for scale, amplitude in ((40.0, 2.2), (22.0, 1.6), (14.0, 0.7)):  # mm, mm (root mean square)
        noise = random.standard_normal((ndim, *grid.shape))
        waves = np.stack([ndimage.gaussian_filter(n, scale / 2 / np.array(size)) for n in noise])
        velocity += amplitude * waves / waves.std()
    fluid = (volumes[0, 1] + volumes[0, 5]).numpy().astype(np.float64)
    slope = np.stack(np.gradient(ndimage.gaussian_filter(fluid, 7.0 / np.array(size)), *size))
    ageing = random.choice([-1.0, 1.0]) * random.uniform(4.0, 6.0)
    velocity += ageing * slope / np.linalg.norm(slope, axis=0).max()
    for axis, n in enumerate(grid.shape):
        ramp = np.minimum(np.arange(n), np.arange(n)[::-1]) * size[axis] / 12.0
        shape = [1] * (ndim + 1)
        shape[axis + 1] = n
        velocity *= np.reshape(np.sin(np.pi / 2 * np.clip(ramp, 0, 1)) ** 2, shape)
    velocity *= 6.5 / np.linalg.norm(velocity, axis=0).max()
    voxels = velocity / np.reshape(size, (ndim, *[1] * ndim))
    return scaling_and_squaring(torch.from_numpy(voxels.astype(np.float32))[None])


def _scan(
    signal: np.ndarray, brain: np.ndarray, grid: Grid, random: np.random.Generator
) -> np.ndarray:
    """What a scanner makes of it: contrast, bias field and Rician noise.

    brain: the share of each voxel that is brain; the noise fades out with it, as in skull-stripped
    images that have been resampled, and it is exactly zero further out.
    """
    signal = np.clip(signal, 0, 1) ** random.uniform(0.75, 1.5)
    noise = random.standard_normal(grid.shape)
    waves = ndimage.gaussian_filter(noise, 30.0 / np.array(grid.spacing))
    signal = signal * np.exp(0.08 * waves / waves.std())
    real, imaginary = 0.008 * brain * random.standard_normal((2, *grid.shape))
    measured = np.hypot(signal + real, imaginary) * (brain > 0.05)
    return (measured / measured.max()).astype(np.float32)
