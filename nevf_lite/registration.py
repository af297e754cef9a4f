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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import nibabel as nib
from tqdm import tqdm

from nevf_lite import kernels
from nevf_lite.case import Case
from nevf_lite.config import Config, preset
from nevf_lite.frames import choose_device
from nevf_lite.memory import check_memory_of_many
from nevf_lite.optimise import Fit, fit, fit_many, make_field
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
    backend = kernels.chosen() if backend is None else backend
    kernels.check_backend(backend)
    config = _config(config, spacing, seed)
    place = choose_device(device)
    with kernels.backend(backend):  # which decides how much memory it takes
        case = Case.prepare(
            fixed, moving, config, place, init, affine, fixed_mask, moving_mask, resume
        )
        if watch is not None and case.inputs["field"] is None:  # the very field that `fit` makes
            own = case.inputs["fixed"]
            case.inputs["field"] = make_field(own.shape[2:], case.config).to(own)
        live, started = case.inputs["field"], time.perf_counter()
        watched = 0.0  # seconds spent in `watch`

        with _progress_bar(case.config, enabled=progress) as show:

            def report(record: dict) -> None:
                nonlocal watched
                record["seconds"] -= watched
                show(record)
                if callback is not None:
                    callback(record)
                if watch is not None:
                    since = time.perf_counter()
                    used = case.as_run(record)
                    watch(record, lambda: case.transform(copy.deepcopy(live), used))
                    watched += time.perf_counter() - since

            outcome = fit(**case.inputs, config=case.config, callback=report)
    return _finish(case, outcome, time.perf_counter() - started - watched, backend)


def register_many(
    pairs: Sequence[tuple],
    config: str | Config = "default",
    *,
    spacing: float | None = None,
    device: str = "auto",
    backend: str | None = None,
    seed: int | None = None,
    progress: bool = True,
    callback: Callable[[int, dict], None] | None = None,
) -> list[Registration]:
    """Register several pairs at the same time on one device: the results of `register`, in order.

    On a card the steps of all pairs run side by side and share what one of them leaves idle. On the
    CPU they take turns, which saves nothing. pairs: (fixed, moving) each, of any grids. callback:
    is given the pair's number and each of its records. The rest as for :func:`register`; the
    seconds of the optimisation are each pair's share.

    Raises what `register` raises, and MemoryError (before starting) with the number of pairs that
    would fit at once.
    """
    if not pairs:
        raise ValueError("pairs: wanted one or more (fixed, moving), got none")
    backend = kernels.chosen() if backend is None else backend
    kernels.check_backend(backend)
    config = _config(config, spacing, seed)
    place = choose_device(device)
    with kernels.backend(backend):
        cases = [Case.prepare(fixed, moving, config, place) for fixed, moving in pairs]
        check_memory_of_many(config, [case.frame.work.shape for case in cases], place)
        started = time.perf_counter()
        with _progress_bar(config, progress, len(cases)) as show:

            def report(number: int, record: dict) -> None:
                show(record, number)
                if callback is not None:
                    callback(number, record)

            outcomes = fit_many([case.inputs for case in cases], config, callback=report)
        share = (time.perf_counter() - started) / len(cases)
    return [_finish(c, o, share, backend) for c, o in zip(cases, outcomes, strict=True)]


def _finish(case: Case, outcome: Fit, seconds: float, backend: str) -> Registration:
    config, notes = case.config, case.frame.notes
    if outcome.history and (used := case.as_run(outcome.history[-1])) != config:
        config = used
        notes = [*notes, _SPARED.format(config.levels[-1].step)]
    return Registration(
        case.transform(outcome.field, config),
        case.fixed,
        case.moving,
        config,
        outcome.history,
        {**case.timings, "optimise": seconds},
        outcome.stopped,
        str(case.place),
        notes,
        backend,
    )


_SPARED = (
    "Before the finest level the scans agree so well that what is left is noise, so that level was "
    "sampled at every {:g} voxels only."
)


def _config(config: str | Config, spacing: float | None, seed: int | None) -> Config:
    changes = {"spacing": spacing, "seed": seed}
    return preset(config, **{name: v for name, v in changes.items() if v is not None})


@contextlib.contextmanager
def _progress_bar(config: Config, enabled: bool, pairs: int = 1) -> Iterator[Callable[..., None]]:
    """A bar on standard error with the loss, the similarity and the folds of each iteration.

    What it yields is called with each record, and the number of its pair.
    """
    levels = config.levels
    total = pairs * sum(level.iterations for level in levels)
    before = [sum(level.iterations for level in levels[:i]) for i in range(len(levels))]
    reached = [0] * pairs
    with tqdm(total=total, disable=not enabled, unit="it", dynamic_ncols=True) as bar:

        def show(record: dict, number: int = 0) -> None:
            bar.set_description(f"level {record['level'] + 1}/{len(levels)}", refresh=False)
            bar.set_postfix_str(
                f"loss {record['loss']:.4f}, {config.similarity} {record['similarity']:.4f}, "
                f"folds {100 * record['folds']:.4f} %",
                refresh=False,
            )
            reached[number] = before[record["level"]] + record["iteration"] + 1
            bar.update(sum(reached) - bar.n)

        yield show
        if enabled and bar.n < total:  # a level ended early: the bar is full all the same
            bar.update(total - bar.n)
