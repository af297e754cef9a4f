"""A template: the image in the middle of a group of scans, in intensity and in shape.

The recipe is that of ANTs (Avants et al. 2010, antsMultivariateTemplateConstruction2). In each
round all scans are registered to the template as it stands; the new template is their mean in its
space, sharpened, and then moved along the mean of the deformations, until that mean vanishes. Here
the deformations are flows, so their mean is that of the velocities, which is exact: exp of the mean
velocity leads from the template to the mean shape (Arsigny et al. 2006).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.linalg import expm, logm
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from nevf_lite.cohorts.velocities import mean_velocity
from nevf_lite.config import Config, preset
from nevf_lite.registration.folder import write_run
from nevf_lite.registration.register import register
from nevf_lite.scans.files import written_together
from nevf_lite.scans.io import load_image, make_image, save_image
from nevf_lite.scans.readers import space_code
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Affine
from nevf_lite.transforms.transform import Transform

#: Standard deviation in voxels of the blur whose difference from the image is its detail.
DETAIL = 1.0


@dataclass(frozen=True)
class Template:
    """A template and how it was found.

    image: float32, in [0, 1]. transforms: from the template before its last step to each scan.
    history: for each round, shape_mm, the root mean square length of the mean displacement in the
    foreground, which falls to the noise of the registrations (0.5 mm for eight slices); and
    spread, the mean standard deviation of the warped scans there, a share of the range of
    intensities, which falls as they agree better. run: what repeats it, for result.json: scans,
    start (paths, or None of what was no file), config and the other arguments.
    """

    image: nib.Nifti1Image
    transforms: tuple[Transform, ...]
    history: tuple[dict[str, float], ...]
    run: Mapping = field(default_factory=dict)

    def save(self, folder: str | os.PathLike, command: str = "") -> None:
        """Write template.nii.gz, to_NN.safetensors from it to each scan, and result.json.

        command: what repeats this, for result.json.
        """
        folder = Path(folder).expanduser()
        image, code = np.asarray(self.image.dataobj), space_code(self.image)
        earlier = [path.name for path in folder.glob("to_[0-9]*.safetensors")]  # of more scans
        with written_together(folder, earlier) as staging:
            save_image(staging / "template.nii.gz", image, Grid.of(self.image), code)
            for number, transform in enumerate(self.transforms):
                transform.save(staging / f"to_{number:02d}.safetensors")
            write_run(staging, {**self.run, "history": self.history}, command)


def build_template(
    scans: Sequence,
    config: str | Config = "fast",
    *,
    rounds: int = 4,
    start=None,
    affine: bool = False,
    step: float = 1.0,
    sharpen: float = 0.25,
    callback: Callable[[dict], None] | None = None,
    progress: bool = False,
    **options,
) -> Template:
    """Build a template from two or more scans.

    scans: whatever `register` takes, of one contrast. config: of each registration. rounds: each
    registers every scan once. start: the first template, whose grid the template has; by default
    the mean of the scans on the first one's grid. affine: align each scan with an affine transform
    before each registration; needed where they are not aligned yet, and the mean affine counts as
    shape. step: share of the mean velocity that the template moves along, at most 1; ANTs, whose
    mean is of displacements, takes 0.25. sharpen: detail that is added to the mean, as a share of
    it; 0 for none. callback: called with each round's entry of `history`. progress: a bar on
    standard error. options: of `register`.

    Raises ValueError for fewer than two scans, or arguments out of range, and what `register`
    raises.
    """
    if len(scans) < 2:
        raise ValueError(f"scans: wanted two or more, got {len(scans)}")
    if rounds < 1 or not 0 < step <= 1 or sharpen < 0:
        raise ValueError("wanted rounds >= 1, 0 < step <= 1 and sharpen >= 0")
    loaded = [load_image(s, f"scan {i + 1}") for i, s in enumerate(scans)]
    first = None if start is None else load_image(start, "start")
    run = {
        "scans": [image.get_filename() for image in loaded],
        "start": first and first.get_filename(),
        "config": preset(config).to_dict(),
        "rounds": rounds,
        "affine": affine,
        "step": step,
        "sharpen": sharpen,
    }
    images = [_scaled(image) for image in loaded]
    if first is None:
        grid = Grid.of(images[0])
        on_grid = [Transform.identity(grid, Grid.of(i)).warp_image(i) for i in images]
        mean = np.mean([np.asarray(i.dataobj) for i in on_grid], 0)
        template = make_image(mean, grid.affine, space_code(images[0]))
    else:
        template = _scaled(first)
        grid = Grid.of(template)
    history: list[dict[str, float]] = []
    for number in range(rounds):
        transforms, total, squares = [], np.zeros(grid.shape), np.zeros(grid.shape)
        bar = tqdm(images, f"round {number + 1}", unit="scan", disable=not progress, leave=False)
        for image in bar:
            result = register(template, image, config, affine=affine, progress=False, **options)
            transforms.append(result.transform)
            warped = np.asarray(result.warped.dataobj, np.float64)
            total += warped
            squares += warped**2
        mean = total / len(images)
        update = mean_shape(transforms, grid, step)
        spread = np.sqrt(np.clip(squares / len(images) - mean**2, 0, None))
        head = mean > 0.05
        lengths = np.linalg.norm(update.displacement()[head], axis=-1) / step
        entry = {
            "round": number + 1,
            "shape_mm": float(np.sqrt(np.mean(lengths**2))),
            "spread": float(spread[head].mean()),
        }
        history.append(entry)
        if callback is not None:
            callback(entry)
        sharp = _sharpened(mean, sharpen)
        template = update.inverse.warp_image(make_image(sharp, grid.affine), like=template)
    return Template(template, tuple(transforms), tuple(history), run)


def mean_shape(transforms: Sequence[Transform], grid: Grid, step: float = 1.0) -> Transform:
    """The transform from a grid towards the mean of the shapes that several transforms lead to.

    transforms: of registrations with the grid as the fixed one, each a velocity flow and perhaps an
    affine transform after it. step: how far, 1 for all the way. The velocities are averaged, and
    the logarithms of the affine matrices.
    """
    velocity = mean_velocity([t.components[0] for t in transforms], grid, step)
    logs = []
    for transform in transforms:
        matrix = np.eye(4)
        for component in transform.components[1:]:
            if not isinstance(component, Affine):
                raise ValueError("transforms: wanted a flow and affine transforms, no other")
            matrix = component.matrix @ matrix
        logs.append(logm(matrix).real)
    return Transform((velocity, Affine(expm(step * np.mean(logs, axis=0)))), grid, grid)


def _scaled(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The image with its darkest value at 0 and a mean of its foreground at 0.5, near [0, 1].

    The scans then count alike, whatever the scanners' units are; a few bright voxels change
    nothing.
    """
    values = np.asarray(image.dataobj, np.float32)
    values = values - np.percentile(values, 0.1)
    foreground = values[values > 0.06 * np.percentile(values, 99.5)]
    scaled = np.clip(0.5 * values / foreground.mean(), 0, 1)
    return make_image(scaled, image.affine, space_code(image))


def _sharpened(image: np.ndarray, share: float) -> np.ndarray:
    """The image plus a share of its detail (unsharp masking), without new negative values."""
    detail = image - gaussian_filter(image, DETAIL)
    return np.clip(image + share * detail, 0, None).astype(np.float32)
