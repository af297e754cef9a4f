"""`register()`: two brains in, one `Transform` out.

It settles what the ground floor must not know: files, frames, millimetres, masks, devices. The
optimisation happens on a lattice of cubic voxels laid over the fixed image's own box, in its own
axes (turned to lie closest to RAS); the moving image is brought onto it through the initial
transform, and the result is a map between the two images' worlds.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import nibabel as nib
import numpy as np
from tqdm import tqdm

from nevf_lite import kernels
from nevf_lite.config import Config, preset
from nevf_lite.fields import VelocityField
from nevf_lite.frames import Frame, choose_device
from nevf_lite.grid import sparse_shape
from nevf_lite.io import load_image
from nevf_lite.optimise import fit, level_shape, make_field
from nevf_lite.parts import Velocity
from nevf_lite.space import Grid
from nevf_lite.transform import Transform


@dataclass(frozen=True)
class Registration:
    """The outcome of :func:`register`.

    transform: fixed to moving. fixed, moving: the images as read. config: as it was used, spacing
    and the finest level's step filled in. history: one record an iteration (see `optimise.Fit`).
    timings: seconds of the affine start, of preparing and of the optimisation. stopped: "finished"
    or "interrupted".
    notes: what a careful person would want to be told. device: where it ran. backend: whose kernels
    it was free to take (see `kernels`).
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

    @cached_property
    def warped(self) -> nib.Nifti1Image:
        """The moving image on the fixed image's grid, linearly interpolated."""
        return self.transform.warp_image(self.moving)

    def save(self, folder, **extra) -> dict:
        """Write the result folder; see `result.save_result`, which this passes `extra` on to."""
        from nevf_lite.result import save_result

        return save_result(self, folder, **extra)

    def view(self):
        """The deformation to turn and to play, in a notebook or a page; see `viz.viewer`."""
        from nevf_lite.viz.viewer import DeformationViewer

        return DeformationViewer(self.transform, self.moving, self.fixed)


def register(
    fixed,
    moving,
    config: str | Config = "default",
    *,
    init: Transform | None = None,
    affine: bool = False,
    fixed_mask=None,
    moving_mask=None,
    spacing: float | None = None,
    device: str = "auto",
    backend: str | None = None,
    seed: int | None = None,
    resume: Transform | None = None,
    progress: bool = True,
    callback: Callable[[dict], None] | None = None,
    watch: Callable[[dict, Callable[[], Transform]], None] | None = None,
) -> Registration:
    """Register a moving image to a fixed one with a neural velocity field.

    fixed, moving: paths, nibabel images, or arrays and tensors (D, H, W) or (H, W) with 1 mm
    voxels; grids, spacings and orientations may differ. config: a preset's name ("default",
    "fast", "siren", "paper") or a `Config`. init: a transform (or the path of one) from fixed to
    moving that is applied after the one being sought; or affine=True, which computes an affine
    first. fixed_mask, moving_mask: images on any grid of the same space, non-zero where the image
    counts. spacing: mm of the grid to optimise on, instead of the config's. device: "auto", "cpu",
    "cuda", "cuda:1", "mps". backend: of the fast kernels, "auto", "torch", "numba" or "triton"; by
    default whatever `kernels.backend` says where this is called. seed: of the field's start,
    instead of the config's. resume: an earlier result's transform, to go on from its field.
    progress: a bar on standard error. callback: is given each iteration's record. watch: is given
    the record and a function that makes the transform as it stands after that iteration; the time
    it takes is in no seconds that are reported.

    Raises ValueError or FileNotFoundError for input that cannot be registered, MemoryError if it
    would not fit (before starting), NonFiniteLoss if the optimisation diverges. Ctrl-C ends it
    early and returns the best field so far.
    """
    started = time.perf_counter()
    backend = kernels.chosen() if backend is None else backend
    kernels.check_backend(backend)
    changes = {} if seed is None else {"seed": seed}
    if spacing is not None:
        changes["spacing"] = spacing
    config = preset(config, **changes)
    fixed, moving = load_image(fixed, "fixed"), load_image(moving, "moving")
    place = choose_device(device)
    timings = {}
    if affine:
        if init is not None:
            raise ValueError("init: give either an initial transform or affine=True, not both")
        init = _affine_start(fixed, moving, fixed_mask, moving_mask, config.seed)
        timings["affine"] = time.perf_counter() - started
    elif init is not None and not isinstance(init, Transform):
        init = Transform.load(init)

    with kernels.backend(backend):  # which decides how much memory it takes
        frame = Frame.settle(fixed, moving, init, config, fixed_mask, moving_mask, device=place)
    config = replace(config, spacing=frame.spacing)
    field_to_go_on = None if resume is None else _field_of(resume, frame).to(place)
    inputs = {name: None if t is None else t.to(place) for name, t in frame.tensors.items()}
    timings["prepare"] = time.perf_counter() - started - timings.get("affine", 0.0)

    live = field_to_go_on
    if watch is not None and live is None:  # the very field that `fit` would make
        live = make_field(inputs["fixed"].shape[2:], config).to(inputs["fixed"])
    watched = 0.0  # seconds spent in `watch`

    with _progress_bar(config, enabled=progress) as show:

        def report(record: dict) -> None:
            nonlocal watched
            record["seconds"] -= watched
            show(record)
            if callback is not None:
                callback(record)
            if watch is not None:
                since = time.perf_counter()
                used = _as_run(config, record)
                watch(record, lambda: _transform_of(copy.deepcopy(live), frame, used))
                watched += time.perf_counter() - since

        with kernels.backend(backend):
            outcome = fit(**inputs, config=config, field=live, callback=report)
    timings["optimise"] = time.perf_counter() - started - watched - sum(timings.values())
    notes = frame.notes
    if outcome.history and (used := _as_run(config, outcome.history[-1])) != config:
        config = used
        notes = [*notes, _SPARED.format(config.levels[-1].step)]

    return Registration(
        _transform_of(outcome.field, frame, config),
        fixed,
        moving,
        config,
        outcome.history,
        timings,
        outcome.stopped,
        str(place),
        notes,
        backend,
    )


_SPARED = (
    "Before the finest level the scans agree so well that what is left is noise, so that level was "
    "sampled at every {:g} voxels only."
)


def _as_run(config: Config, record: dict) -> Config:
    """The config with the step that the finest level took, once a record of it is there."""
    *coarser, finest = config.levels
    if record["level"] < len(coarser):
        return config
    return replace(config, levels=(*coarser, replace(finest, step=record["step"])))


def _transform_of(field: VelocityField, frame: Frame, config: Config) -> Transform:
    """The transform of a field, which it takes over: moved to the CPU, no gradients."""
    finest = config.levels[-1]
    velocity = Velocity(
        field.cpu().eval().requires_grad_(False),
        frame.native,
        sparse_shape(level_shape(frame.work.shape, finest), finest.step),
        config.integrator,
        config.squarings,
        config.order,
    )
    return Transform((velocity, *frame.after), frame.fixed, frame.moving)


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


@contextlib.contextmanager
def _progress_bar(config: Config, enabled: bool) -> Iterator[Callable[[dict], None]]:
    """A bar on standard error with the loss, the similarity and the folds of each iteration."""
    levels = config.levels
    total = sum(level.iterations for level in levels)
    before = [sum(level.iterations for level in levels[:i]) for i in range(len(levels))]
    with tqdm(total=total, disable=not enabled, unit="it", dynamic_ncols=True) as bar:

        def show(record: dict) -> None:
            bar.set_description(f"level {record['level'] + 1}/{len(levels)}", refresh=False)
            bar.set_postfix_str(
                f"loss {record['loss']:.4f}, {config.similarity} {record['similarity']:.4f}, "
                f"folds {100 * record['folds']:.4f} %",
                refresh=False,
            )
            bar.update(before[record["level"]] + record["iteration"] + 1 - bar.n)

        yield show
        if enabled and bar.n < total:  # a level ended early: the bar is full all the same
            bar.update(total - bar.n)
