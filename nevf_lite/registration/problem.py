"""A registration problem: one pair of scans, read, aligned and sampled, ready to be optimised."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import torch

from nevf_lite.config import Config
from nevf_lite.fields import VelocityField
from nevf_lite.grid import sparse_shape
from nevf_lite.integrate import jacobian_determinant
from nevf_lite.losses import GlobalNCC
from nevf_lite.optimise import make_field
from nevf_lite.registration.channels import add_channels, check_channels, load_channels
from nevf_lite.registration.contrast import contrast_note
from nevf_lite.registration.frames import Frame
from nevf_lite.registration.masks import counting_mask
from nevf_lite.registration.warm_start import warm_start
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Component, VelocityFlow
from nevf_lite.transforms.transform import Transform

#: What to do with the part of an initial transform that is not affine: compose the field's flow
#: with it (section 2.3 of the paper), or fit the field to it before the images are compared.
INIT_MODES = ("compose", "warm")
#: Makes the field that a registration begins with, of the working lattice's shape and the config
#: with the spacing in mm, as `optimise.make_field` does.
Start = Callable[..., VelocityField]
#: Share of folded voxels in a composed initial deformation above which a note says so.
FOLDED = 1e-4
FOLDED_NOTE = (
    "The initial deformation folds {:.2g} % of the voxels, and what it folds stays folded; "
    'init_mode="warm" would not keep it.'
)


@dataclass(eq=False)
class RegistrationProblem:
    """One pair of scans, ready to be optimised.

    fixed, moving: the images as read, the first channel of each. frame: the lattice of the
    optimisation. config: the settings, with the spacing in mm filled in. device: where the
    optimisation runs. inputs: the arguments of `optimise.fit`, on that device. initial: components
    applied after the field's flow. timings: seconds of the affine start, of a warm start, of the
    preparation. notes: caveats for the user. masks: 1 where the images count, or None.
    """

    fixed: nib.Nifti1Image
    moving: nib.Nifti1Image
    frame: Frame
    config: Config
    device: torch.device
    inputs: dict
    initial: tuple[Component, ...]
    timings: dict[str, float]
    notes: list[str]
    masks: tuple[nib.Nifti1Image | None, nib.Nifti1Image | None] = (None, None)

    @classmethod
    def prepare(
        cls,
        fixed,
        moving,
        config: Config,
        device: torch.device,
        init: Transform | None = None,
        affine: bool = False,
        fixed_mask=None,
        moving_mask=None,
        resume: Transform | None = None,
        init_mode: str = "compose",
        progress: bool = False,
        fixed_lesion=None,
        moving_lesion=None,
        start: Start | None = None,
    ) -> RegistrationProblem:
        """Arguments and errors as of :func:`register`."""
        if init_mode not in INIT_MODES:
            raise ValueError(f"init_mode: wanted one of {INIT_MODES}, got {init_mode!r}")
        if init_mode == "warm" and (init is None or resume is not None):
            raise ValueError("init_mode: a warm start needs init, and no result to resume")
        if start is not None and (resume is not None or init_mode == "warm"):
            raise ValueError("start: a resumed or warm start has a field already; leave one out")
        started = time.perf_counter()
        fixed, *fixed_channels = load_channels(fixed, "fixed")
        moving, *moving_channels = load_channels(moving, "moving")
        check_channels([fixed, *fixed_channels], [moving, *moving_channels])
        timings, mask_notes = {}, []
        fixed_mask = counting_mask(fixed, fixed_mask, fixed_lesion, "fixed", mask_notes)
        moving_mask = counting_mask(moving, moving_mask, moving_lesion, "moving", mask_notes)
        if affine:
            if init is not None:
                raise ValueError("init: give either an initial transform or affine=True, not both")
            init = _affine_start(fixed, moving, fixed_mask, moving_mask, config.seed)
            timings["affine"] = time.perf_counter() - started
        elif init is not None and not isinstance(init, Transform):
            init = Transform.load(init, fixed, moving)
        frame = Frame.build(fixed, moving, init, config, fixed_mask, moving_mask, device=device)
        add_channels(frame, fixed_channels, moving_channels, config, device)
        inputs = {name: None if t is None else t.to(device) for name, t in frame.tensors.items()}
        inputs["field"] = None if resume is None else _resumed_field(resume, frame).to(device)
        inputs["coverage"] = frame.coverage
        config = replace(config, spacing=frame.spacing)
        if start is not None:
            inputs["field"] = start(frame.working.shape, config).to(device)
        timings["prepare"] = time.perf_counter() - started - timings.get("affine", 0.0)
        initial, notes = (*frame.composed, *frame.resampled), [*mask_notes, *frame.notes]
        if note := contrast_note(frame.tensors["fixed"], frame.tensors["moving"], config):
            notes.append(note)
        if init_mode == "warm" and frame.composed:
            started = time.perf_counter()
            inputs["field"], error = _warm_field(inputs, config, progress)
            inputs["initial"], initial = None, frame.resampled
            timings["warm_start"] = time.perf_counter() - started
            notes.append(f"The field started {error * frame.spacing:.2f} mm from the initial one.")
        elif inputs["initial"] is not None:
            folded = (jacobian_determinant(inputs["initial"]) <= 0).float().mean().item()
            if folded > FOLDED:
                notes.append(FOLDED_NOTE.format(100 * folded))
        masks = fixed_mask, moving_mask
        return cls(fixed, moving, frame, config, device, inputs, initial, timings, notes, masks)

    @property
    def copies(self) -> bool:
        """Whether the images agree where they are, to a ten-thousandth of their variance.

        Then whatever moves is of the method, not of the images: local NCC gains a little by moves
        at the edge of the head. The NCC of whole images and their mean squared difference do not,
        and scans that are nearly alike are compared with them.
        """
        if self.inputs["initial"] is not None or self.config.similarity in ("ncc", "mse"):
            return False
        dissimilarity = GlobalNCC(self.inputs["fixed"], self.inputs["fixed_mask"])
        return dissimilarity(self.inputs["moving"], self.inputs["moving_mask"]).item() < 1e-4

    def effective_config(self, record: dict) -> Config:
        """The config with the step L that the finest level used.

        record: of an iteration. Before the finest level the config is returned as it is.
        """
        *coarser, finest = self.config.levels
        if record["level"] < len(coarser):
            return self.config
        return replace(self.config, levels=(*coarser, replace(finest, step=record["step"])))

    def transform(self, field: VelocityField, config: Config) -> Transform:
        """The transform of a field; the field itself is moved to the CPU and frozen."""
        finest = config.levels[-1]
        velocity = VelocityFlow(
            field.cpu().eval().requires_grad_(False),
            self.frame.output,
            sparse_shape(finest.grid_shape(self.frame.working.shape), finest.step),
            config.integrator,
            config.squarings,
            config.order,
        )
        return Transform((velocity, *self.initial), self.frame.fixed, self.frame.moving)


def _warm_field(inputs: dict, config: Config, progress: bool) -> tuple[VelocityField, float]:
    """A new field, fitted to the initial displacement; and what is left, in voxels."""
    fixed = inputs["fixed"]
    field = make_field(fixed.shape[2:], config).to(fixed)
    return field, warm_start(field, inputs["initial"], fixed, config, progress)


def _affine_start(fixed, moving, fixed_mask, moving_mask, seed: int) -> Transform:
    from nevf_lite.transforms.affine import affine_register  # SimpleITK takes a second to import

    matrix = affine_register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, seed=seed
    )
    return Transform.from_affine(matrix, Grid.of(fixed), Grid.of(moving))


def _resumed_field(earlier: Transform | str, frame: Frame) -> VelocityField:
    """A copy of the field of an earlier result; ValueError if it covers another box."""
    transform = earlier if isinstance(earlier, Transform) else Transform.load(earlier)
    first = transform.components[0] if transform.components else None
    if not isinstance(first, VelocityFlow) or first.sign != 1:
        raise ValueError(
            "resume: wanted the transform of a registration, which starts with a field"
        )
    if not _same_box(frame.output, first.grid):
        raise ValueError(
            "resume: that result belongs to other images, or another initial transform"
        )
    return copy.deepcopy(first.field).requires_grad_(True).train()


def _same_box(first: Grid, second: Grid) -> bool:
    """Do the first and the last voxels of two grids coincide, to a micrometre?"""
    if first.ndim != second.ndim:
        return False
    corners = [
        [grid.to_world(np.zeros(grid.ndim)), grid.to_world(np.subtract(grid.shape, 1.0))]
        for grid in (first, second)
    ]
    return np.allclose(*corners, atol=1e-3)
