"""One pair between being given and being fitted: what `register` settles beforehand."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import torch

from nevf_lite.config import Config
from nevf_lite.fields import VelocityField
from nevf_lite.frames import Frame
from nevf_lite.grid import sparse_shape
from nevf_lite.io import load_image
from nevf_lite.optimise import level_shape
from nevf_lite.parts import Velocity
from nevf_lite.space import Grid
from nevf_lite.transform import Transform


@dataclass(eq=False)
class Case:
    """One pair, ready to be fitted.

    fixed, moving: the images as read. frame: where the optimisation happens. config: with the
    spacing filled in. inputs: the arguments of `optimise.fit`, on the device. timings: so far.
    """

    fixed: nib.Nifti1Image
    moving: nib.Nifti1Image
    frame: Frame
    config: Config
    place: torch.device
    inputs: dict
    timings: dict[str, float]

    @classmethod
    def prepare(
        cls,
        fixed,
        moving,
        config: Config,
        place: torch.device,
        init: Transform | None = None,
        affine: bool = False,
        fixed_mask=None,
        moving_mask=None,
        resume: Transform | None = None,
    ) -> Case:
        """Arguments and errors as of :func:`register`."""
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
        frame = Frame.settle(fixed, moving, init, config, fixed_mask, moving_mask, device=place)
        inputs = {name: None if t is None else t.to(place) for name, t in frame.tensors.items()}
        inputs["field"] = None if resume is None else _field_of(resume, frame).to(place)
        timings["prepare"] = time.perf_counter() - started - timings.get("affine", 0.0)
        config = replace(config, spacing=frame.spacing)
        return cls(fixed, moving, frame, config, place, inputs, timings)

    def as_run(self, record: dict) -> Config:
        """The config with the step that the finest level took, once a record of it is there."""
        *coarser, finest = self.config.levels
        if record["level"] < len(coarser):
            return self.config
        return replace(self.config, levels=(*coarser, replace(finest, step=record["step"])))

    def transform(self, field: VelocityField, config: Config) -> Transform:
        """The transform of a field, which it takes over: moved to the CPU, no gradients."""
        finest = config.levels[-1]
        velocity = Velocity(
            field.cpu().eval().requires_grad_(False),
            self.frame.native,
            sparse_shape(level_shape(self.frame.work.shape, finest), finest.step),
            config.integrator,
            config.squarings,
            config.order,
        )
        return Transform((velocity, *self.frame.after), self.frame.fixed, self.frame.moving)


def _affine_start(fixed, moving, fixed_mask, moving_mask, seed: int) -> Transform:
    from nevf_lite.affine import affine_register

    matrix = affine_register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, seed=seed
    )
    return Transform.from_affine(matrix, Grid.of(fixed), Grid.of(moving))


def _field_of(earlier: Transform | str, frame: Frame) -> VelocityField:
    """A copy of the field of an earlier result over the same box; ValueError if it is another."""
    transform = earlier if isinstance(earlier, Transform) else Transform.load(earlier)
    first = transform.parts[0] if transform.parts else None
    if not isinstance(first, Velocity) or first.sign != 1:
        raise ValueError(
            "resume: wanted the transform of a registration, which starts with a field"
        )
    here, there = frame.native, first.grid
    last = [np.subtract(g.shape, 1.0) for g in (here, there)]
    same = here.ndim == there.ndim and np.allclose(
        [here.to_world(0 * last[0]), here.to_world(last[0])],
        [there.to_world(0 * last[1]), there.to_world(last[1])],
        atol=1e-3,
    )
    if not same:
        raise ValueError(
            "resume: that result belongs to other images, or another initial transform"
        )
    return copy.deepcopy(first.field).requires_grad_(True).train()
