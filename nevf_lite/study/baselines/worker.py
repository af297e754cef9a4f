"""The child process of a baseline: `python -P worker.py FUNCTION OPTIONS`, in a workspace.

It reads `fixed.nii` and `moving.nii` and writes its result to the same folder. It does not import
`nevf_lite`, to start fast. OPTIONS is a JSON object with the arguments of a function below. With
`exec COMMAND...` the process becomes that program instead.
"""

from __future__ import annotations

import json
import os
import sys


def die_with_parent() -> None:
    """Have this process killed when its parent dies, also after exec; only on Linux."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1  # from <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def syn(iterations, radius, gradient_step, flow_sigma, total_sigma, seed) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with ANTs."""
    import ants

    result = ants.registration(
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
    (warp,) = (path for path in result["fwdtransforms"] if path.endswith("Warp.nii.gz"))
    os.replace(warp, "warp.nii.gz")
    ants.image_write(result["warpedmovout"], "warped.nii.gz")


def dipy(iterations, radius, sigma, step_length, inverse_iterations) -> None:
    """Write `displacement.npy`, (*shape, 3), RAS mm, and `warped.npy` with DIPY."""
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
    mapping = registration.optimize(
        *volumes, static_grid2world=fixed.affine, moving_grid2world=moving.affine
    )
    np.save("displacement.npy", mapping.get_forward_field())
    np.save("warped.npy", mapping.transform(volumes[1]))


def demons(iterations, sigma, update_sigma, step_length, match, threads) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with SimpleITK."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    fixed, original = _read()
    moving = sitk.Resample(original, fixed, sitk.Transform(), sitk.sitkLinear, 0.0)
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
        level_fixed = _downsampled(fixed, factor)
        if field is None:
            field = sitk.Image(level_fixed.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(level_fixed)
        field = _resampled_field(field, level_fixed)
        if count:
            level_moving = sitk.Resample(_smoothed(moving, factor), level_fixed, sitk.Transform())
            filter_.SetNumberOfIterations(count)
            field = filter_.Execute(level_fixed, level_moving, field)
    _write(field, fixed, original)


def _read() -> tuple:
    import SimpleITK as sitk

    return tuple(sitk.ReadImage(f"{name}.nii", sitk.sitkFloat32) for name in ("fixed", "moving"))


def _write(field, fixed, moving) -> None:
    """Write `warp.nii.gz`, a field cut to the fixed grid, and `warped.nii.gz`, warped by it."""
    import SimpleITK as sitk

    field = sitk.RegionOfInterest(field, fixed.GetSize())
    sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), "warp.nii.gz")
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    sitk.WriteImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0), "warped.nii.gz")


def _smoothed(image, factor: int):
    import SimpleITK as sitk

    if factor == 1:
        return image
    return sitk.SmoothingRecursiveGaussian(image, [0.5 * factor * s for s in image.GetSpacing()])


def _downsampled(image, factor: int):
    """On a coarser grid with the same corner voxel centres, so that nothing is extrapolated."""
    import SimpleITK as sitk

    if factor == 1:
        return image
    size = [max(4, round((n - 1) / factor) + 1) for n in image.GetSize()]
    axes = zip(image.GetSpacing(), image.GetSize(), size, strict=True)
    spacing = [s * (old - 1) / (new - 1) for s, old, new in axes]
    return sitk.Resample(
        _smoothed(image, factor),
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        spacing,
        image.GetDirection(),
    )


def _resampled_field(field, like):
    """A displacement field on another grid; points that rounding puts outside take the edge."""
    import SimpleITK as sitk

    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(like)
    resample.SetUseNearestNeighborExtrapolator(True)
    return resample.Execute(field)


def greedy(command) -> None:
    """Run greedy's command, which writes `warp.nii.gz`, and write `warped.nii.gz` with it."""
    from picsl_greedy import Greedy3D

    Greedy3D().execute(command)
    Greedy3D().execute("-rf fixed.nii -rm moving.nii warped.nii.gz -r warp.nii.gz")


def elastix(parameters) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with elastix."""
    import itk

    fixed, moving = (itk.imread(f"{name}.nii", itk.F) for name in ("fixed", "moving"))
    settings = itk.ParameterObject.New()
    settings.AddParameterMap(parameters)
    warped, found = itk.elastix_registration_method(fixed, moving, parameter_object=settings)
    itk.imwrite(itk.transformix_deformation_field(moving, found), "warp.nii.gz")
    itk.imwrite(warped, "warped.nii.gz")


def fireants(**options) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with FireANTs."""
    import SimpleITK as sitk
    from fireants.io import BatchedImages, Image
    from fireants.registration.greedy import GreedyRegistration

    pair = fixed, moving = _read()
    # none of its levels is smaller than 32 voxels an axis, the finest one included
    pair = (sitk.ConstantPad(i, [0] * 3, [max(0, 32 - n) for n in i.GetSize()]) for i in pair)
    batches = (BatchedImages([Image(image, device="cpu")]) for image in pair)
    names = ("fixed_images", "moving_images")
    found = GreedyRegistration(**dict(zip(names, batches, strict=True)), **options)
    found.optimize()
    found.save_as_ants_transforms("padded.nii.gz")
    _write(sitk.ReadImage("padded.nii.gz"), fixed, moving)


def convexadam(**options) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with convexAdam."""
    import numpy as np
    import SimpleITK as sitk
    from convexAdam.convex_adam_MIND import convex_adam_pt

    fixed, moving = _read()
    # it knows no millimetres, and stretches a field whose grid does not divide that of the images
    step = np.lcm(options["grid_sp"], options["grid_sp_adam"])
    wide = sitk.ConstantPad(fixed, [0] * 3, [int(-n % step) for n in fixed.GetSize()])
    on_fixed = sitk.Resample(moving, wide, sitk.Transform(), sitk.sitkLinear, 0.0)
    arrays = [sitk.GetArrayFromImage(image) for image in (wide, on_fixed)]
    voxels = convex_adam_pt(*arrays, **options)[..., ::-1]  # components too are z, y, x in arrays
    direction = np.reshape(fixed.GetDirection(), (3, 3))
    field = sitk.GetImageFromArray((voxels * fixed.GetSpacing()) @ direction.T, isVector=True)
    field.CopyInformation(wide)
    _write(field, fixed, moving)


def syntx(reg_iterations, **options) -> None:
    """Write `warp.nii.gz` and `warped.nii.gz` with syntx."""
    import tempfile
    import types

    tempfile.tempdir = os.getcwd()  # it leaves its files in temporary folders
    # imported by parts of it that are not used here, and in no package index
    sys.modules["antstorch"] = types.ModuleType("antstorch")
    import ants
    import syntx

    fixed, moving = (ants.image_read(f"{name}.nii") for name in ("fixed", "moving"))
    # without one, it begins by moving the centres of mass onto each other
    ants.write_transform(ants.new_ants_transform(dimension=3), "identity.mat")
    found = syntx.registration(
        fixed,
        moving,
        type_of_transform="SyN",
        initial_transform=["identity.mat"],
        affine_iterations=[0] * len(reg_iterations),
        reg_iterations=reg_iterations,
        syn_metric="cc2",
        regularizer="sobolev",
        fast_smooth=True,
        in_loop_inv_steps=10,
        device="cpu",
        **options,
    )["fwdtransforms"]
    composed = ants.apply_transforms(fixed, moving, found, compose=os.path.join(os.getcwd(), ""))
    os.replace(composed, "warp.nii.gz")
    ants.image_write(ants.apply_transforms(fixed, moving, ["warp.nii.gz"]), "warped.nii.gz")


if __name__ == "__main__":
    die_with_parent()
    function, *arguments = sys.argv[1:]
    if function == "exec":
        os.execv(arguments[0], arguments)
    tools = (syn, dipy, demons, greedy, elastix, fireants, convexadam, syntx)
    {tool.__name__: tool for tool in tools}[function](**json.loads(arguments[0]))
