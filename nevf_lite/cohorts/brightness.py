"""Two scans of one person made comparable, voxel by voxel, before they are registered."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage

from nevf_lite.scans.io import make_image
from nevf_lite.scans.space import Grid

#: Standard deviation of the blur of both scans before they are registered, voxels. Interpolation
#: blurs a sharp scan wherever it moves it, so that the least motion would look best.
BLUR = 1.0
#: The same of the mean by which two scans' brightness is compared, mm.
BRIGHTNESS = 12.0


def even_brightness(
    first: nib.Nifti1Image, second: nib.Nifti1Image
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Two scans on one grid without what differs slowly in their brightness; each takes half of it.

    The coils of a scanner light a head unevenly, and otherwise at each visit (Lewis and Fox 2004).
    The ratio of the two is taken where both are flat, since at an edge it is the change of shape
    that is looked for, and is averaged with a Gaussian of `BRIGHTNESS`. 0 is background.
    """
    pair = [np.squeeze(np.asarray(scan.dataobj, np.float32)) for scan in (first, second)]
    sigma = BRIGHTNESS / np.array(Grid.of(first).spacing)
    seen = (pair[0] > 0) & (pair[1] > 0)
    if not seen.any():
        return first, second
    edges = np.maximum(*(ndimage.gaussian_gradient_magnitude(values, 1.0) for values in pair))
    edges = ndimage.maximum_filter(edges, 3)
    flat = seen & (edges <= np.median(edges[seen]))
    means = [ndimage.gaussian_filter(values * flat, sigma, mode="constant") for values in pair]
    lit = np.minimum(*means) > 1e-6 * max(mean.max() for mean in means)
    ratio = np.zeros_like(pair[0])
    # a difference of logarithms changes its sign and nothing else with the order of the scans
    ratio[lit] = 0.5 * (np.log(means[0][lit]) - np.log(means[1][lit]))
    return tuple(
        make_image((values * np.exp(sign * ratio)).reshape(scan.shape), scan.affine)
        for values, sign, scan in zip(pair, (-1, 1), (first, second), strict=True)
    )


def blurred(scan: nib.Nifti1Image) -> nib.Nifti1Image:
    """A scan after a Gaussian of `BLUR` along each of its axes of more than one voxel."""
    sigma = [BLUR if n > 1 else 0.0 for n in scan.shape]
    values = ndimage.gaussian_filter(np.asarray(scan.dataobj, np.float32), sigma)
    return make_image(values, scan.affine)
