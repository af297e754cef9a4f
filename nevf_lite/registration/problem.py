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
from nevf_lite.optimise import make_field
from nevf_lite.registration.frames import Frame
from nevf_lite.registration.warm_start import warm_start
from nevf_lite.scans.io import load_image
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import Component, VelocityFlow
from nevf_lite.transforms.transform import Transform

#: What to do with the part of an initial transform that is not affine: compose the field's flow
#: with it (section 2.3 of the paper), or fit the field to it before the images are compared.
INIT_MODES = ("compose", "warm")
#: Share of folded voxels in a composed initial deformation above which a note says so.
FOLDED = 1e-4
FOLDED_NOTE = (
    "The initial deformation folds {:.2g} % of the voxels, and what it folds stays folded; "
    'init_mode="warm" would not keep it.'
)


#: Makes the field that a registration begins with: of the config, with the spacing in mm, and of
#: the fixed and the moving image and their masks (or None) on the working lattice. Returns it and
#: the config to go on with.
Start = Callable[..., tuple[VelocityField, Config]]
_IMAGES = ("fixed", "moving", "fixed_mask", "moving_mask")


@dataclass(eq=False)
class RegistrationProblem:
    """One pair of scans, ready to be optimised.

    fixed, moving: the images as read. frame: the lattice of the optimisation. config: the settings,
    with the spacing in mm filled in. device: where the optimisation runs. inputs: the arguments of
    `optimise.fit`, on that device. initial: components applied after the field's flow. timings:
    seconds of the affine start, of a warm or other start, of the preparation. notes: caveats for
    the user.
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
        start: Start | None = None,
        progress: bool = False,
    ) -> RegistrationProblem:
        """Arguments and errors as of :func:`register`."""
        if init_mode not in INIT_MODES:
            raise ValueError(f"init_mode: wanted one of {INIT_MODES}, got {init_mode!r}")
        if init_mode == "warm" and (init is None or resume is not None):
            raise ValueError("init_mode: a warm start needs init, and no result to resume")
        if start is not None and resume is not None:
            raise ValueError("start: a resumed result has a field already; leave one of them out")
        started = time.perf_counter()
        fixed, moving = load_image(fixed, "fixed"), load_image(moving, "moving")
        timings = {}
        if affine:
            if init is not None:
                raise ValueError("init: give either an initial transform or affine=True, not both")
            init = _affine_start(fixed, moving, fixed_mask, moving_mask, config.seed)
            timings["affine"] = time.perf_counter() - started
        elif init is not None and not isinstance(init, Transform):
            init = Transform.load(init)
        frame = Frame.build(fixed, moving, init, config, fixed_mask, moving_mask, device=device)
        inputs = {name: None if t is None else t.to(device) for name, t in frame.tensors.items()}
        inputs["field"] = None if resume is None else _resumed_field(resume, frame).to(device)
        config = replace(config, spacing=frame.spacing)
        timings["prepare"] = time.perf_counter() - started - timings.get("affine", 0.0)
        initial, notes = (*frame.composed, *frame.resampled), list(frame.notes)
        if start is not None:
            if frame.composed:
                raise ValueError("start: it can follow an affine init only, got a deformation")
            started = time.perf_counter()
            inputs["field"], config = start(config, *(inputs[name] for name in _IMAGES))
            timings["start"] = time.perf_counter() - started
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
        return cls(fixed, moving, frame, config, device, inputs, initial, timings, notes)

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
