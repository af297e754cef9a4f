"""The child's side of the baselines: `python -P worker.py JOB OPTIONS`, in the folder of a bench.

It reads `fixed.nii` and `moving.nii`, leaves its result beside them, and imports nothing of ours:
it starts in the time its own library needs. OPTIONS is a JSON object, the arguments of a function
below; the job "exec" becomes another program instead, whose command follows.
"""

from __future__ import annotations

import json
import os
import sys


def die_with_parent() -> None:
    """A study that is killed must not leave its tools running; Linux only, kept through exec."""
    if sys.platform == "linux":
        import ctypes
        import signal

        set_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def syn(iterations, radius, gradient_step, flow_sigma, total_sigma, seed) -> None:
    """Leaves `warp.nii.gz` and ANTs' own `warped.nii.gz`."""
    import ants

    found = ants.registration(
        fixed=ants.image_read("fixed.nii"),
        moving=ants.image_read("moving.nii"),
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        syn_metric="CC",
        syn_sampling=radius,
        reg_iterations=iterations,
        grad_step=gradient_step,
        flow_sigma=flow_sigma,
        total_sigma=total_sigma,
        random_seed=seed,
        outprefix=os.path.join(os.getcwd(), "syn"),
    )
    (warp,) = (path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz"))
    os.replace(warp, "warp.nii.gz")
    ants.image_write(found["warpedmovout"], "warped.nii.gz")


def dipy(iterations, radius, sigma, step_length, inverse_iterations) -> None:
    """Leaves `displacement.npy`, (*shape, 3), RAS mm, and DIPY's own `warped.npy`."""
    import nibabel as nib
    import numpy as np
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    fixed, moving = nib.load("fixed.nii"), nib.load("moving.nii")
    volumes = [np.asarray(image.dataobj, dtype=np.float32) for image in (fixed, moving)]
    registration = SymmetricDiffeomorphicRegistration(
        CCMetric(3, sigma_diff=sigma, radius=radius),
        level_iters=iterations,
        step_length=step_length,
        inv_iter=inverse_iterations,
    )
    found = registration.optimize(
        *volumes, static_grid2world=fixed.affine, moving_grid2world=moving.affine
    )
    np.save("displacement.npy", found.get_forward_field())
    np.save("warped.npy", found.transform(volumes[1]))


def demons(iterations, sigma, update_sigma, step_length, match, threads) -> None:
    """Leaves `warp.nii.gz` and SimpleITK's own `warped.nii.gz`."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    fixed = sitk.ReadImage("fixed.nii", sitk.sitkFloat32)
    whole = sitk.ReadImage("moving.nii", sitk.sitkFloat32)
    moving = sitk.Resample(whole, fixed, sitk.Transform(), sitk.sitkLinear, 0.0)
    if match:
        moving = sitk.HistogramMatching(moving, fixed, 1024, 7, True)
    filter_ = sitk.DiffeomorphicDemonsRegistrationFilter()
    filter_.SetStandardDeviations(sigma)
    filter_.SetSmoothDisplacementField(sigma > 0)
    filter_.SetUpdateFieldStandardDeviations(update_sigma)
    filter_.SetSmoothUpdateField(update_sigma > 0)
    filter_.SetMaximumUpdateStepLength(step_length)
    field = None
    for level, count in enumerate(iterations):
        factor = 2 ** (len(iterations) - 1 - level)
        small = _shrunk(fixed, factor)
        if field is None:
            field = sitk.Image(small.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(small)
        field = _onto(field, small)
        if count:
            seen = sitk.Resample(_smoothed(moving, factor), small, sitk.Transform())
            filter_.SetNumberOfIterations(count)
            field = filter_.Execute(small, seen, field)
    sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), "warp.nii.gz")
    transform = sitk.DisplacementFieldTransform(field)
    sitk.WriteImage(sitk.Resample(whole, fixed, transform, sitk.sitkLinear, 0.0), "warped.nii.gz")


def _smoothed(image, factor: int):
    import SimpleITK as sitk

    if factor == 1:
        return image
    return sitk.SmoothingRecursiveGaussian(image, [0.5 * factor * s for s in image.GetSpacing()])


def _shrunk(image, factor: int):
    """Over the same box, corner voxel centres kept: no part of the box is ever extrapolated."""
    import SimpleITK as sitk

    if factor == 1:
        return image
    old = image.GetSize()
    size = [max(4, round((n - 1) / factor) + 1) for n in old]
    pairs = zip(image.GetSpacing(), old, size, strict=True)
    spacing = [s * (a - 1) / (b - 1) for s, a, b in pairs]
    return sitk.Resample(
        _smoothed(image, factor),
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        spacing,
        image.GetDirection(),
    )


def _onto(field, like):
    """A displacement at another resolution; what rounding puts outside is taken from the edge."""
    import SimpleITK as sitk

    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(like)
    resample.SetUseNearestNeighborExtrapolator(True)
    return resample.Execute(field)


def greedy(command) -> None:
    """Leaves what the command says; greedy's own `-r` mode makes `warped.nii.gz`."""
    from picsl_greedy import Greedy3D

    Greedy3D().execute(command)
    Greedy3D().execute("-rf fixed.nii -rm moving.nii warped.nii.gz -r warp.nii.gz")


if __name__ == "__main__":
    die_with_parent()
    job, *rest = sys.argv[1:]
    if job == "exec":
        os.execv(rest[0], rest)
    {"syn": syn, "dipy": dipy, "demons": demons, "greedy": greedy}[job](**json.loads(rest[0]))
