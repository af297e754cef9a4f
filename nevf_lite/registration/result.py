"""The outcome of a registration: the transform, how it was found, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import nibabel as nib

from nevf_lite.config import Config
from nevf_lite.registration.folder import write_result_folder
from nevf_lite.transforms.transform import Transform


@dataclass(frozen=True)
class Registration:
    """The outcome of :func:`nevf_lite.registration.register.register`.

    transform: fixed to moving. fixed, moving: the images as read. config: as it was used, with the
    spacing and the finest level's step filled in. history: one record for each iteration, see
    `optimise.Fit`. timings: seconds of the affine start, the preparation and the optimisation.
    stopped: "finished" or "interrupted". device: where it ran. notes: caveats for the user.
    backend: of the fast kernels, see `kernels`. masks: 1 where the fixed and the moving image
    counted, or None.
    """

    transform: Transform
    fixed: nib.Nifti1Image
    moving: nib.Nifti1Image
    config: Config
    history: list[dict]
    timings: dict[str, float]
    stopped: str
    device: str
    notes: list[str] = field(default_factory=list)
    backend: str = "auto"
    masks: tuple[nib.Nifti1Image | None, nib.Nifti1Image | None] = (None, None)

    @cached_property
    def warped(self) -> nib.Nifti1Image:
        """The moving image on the fixed image's grid, linearly interpolated."""
        return self.transform.warp_image(self.moving, like=self.fixed)

    def save(self, folder, fill: float | None = None, **extra) -> dict:
        """Write the result folder and return what result.json holds.

        fill: the value of warped.nii.gz where the moving image does not reach, as for
        `Transform.warp_image`. extra: labels to score with, a title and the like, see
        `folder.write_result_folder`.
        """
        run = {
            "timings": self.timings,
            "seconds": sum(self.timings.values()),
            "iterations": len(self.history),
            "stopped": self.stopped,
            "notes": self.notes,
            "config": self.config.to_dict(),
            "seed": self.config.seed,
            "device": self.device,
            "backend": self.backend,
        }
        warped = (
            self.warped
            if fill is None
            else self.transform.warp_image(self.moving, like=self.fixed, fill=fill)
        )
        images = (self.fixed, self.moving, warped)
        extra = {"masks": self.masks, "fill": fill, **extra}
        return write_result_folder(folder, self.transform, images, self.history, run, **extra)

    def view(self):
        """The deformation to turn and to play, in a notebook or a page; see `viz.viewer`."""
        from nevf_lite.viz.viewer.viewer import DeformationViewer

        return DeformationViewer(self.transform, self.moving, self.fixed)
