"""`register()`: two scans in, one `Registration` out.

It reads the files, converts millimetres to voxels, chooses the device and calls `optimise.fit`. The
optimisation runs on a lattice of cubic voxels over the fixed image's box, with the image's own axes
(permuted and flipped to lie closest to RAS). The moving image is resampled onto that lattice
through the initial transform. The result maps points of the fixed image to points of the moving
one, both in RAS millimetres.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from nevf_lite import kernels
from nevf_lite.config import Config, preset
from nevf_lite.optimise import Fit, fit, fit_many, make_field
from nevf_lite.registration.frames import choose_device
from nevf_lite.registration.memory import check_memory_of_many
from nevf_lite.registration.problem import RegistrationProblem, Start
from nevf_lite.registration.result import Registration
from nevf_lite.transforms.transform import Transform


def register(
    fixed,
    moving,
    config: str | Config = "default",
    *,
    init: Transform | None = None,
    init_mode: str = "compose",
    start: Start | None = None,
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
        voxels. Grids, spacings and orientations may differ.
    config: a preset's name ("default", "fast", "siren", "paper") or a `Config`.
    init: a transform from fixed to moving, or its path.
    init_mode: "compose" applies `init` after the transform that is sought, as in section 2.3 of the
        paper, and what it folds stays folded. "warm" fits the field to it first and then lets the
        images decide; only the affine end of `init` is kept.
    start: makes the field to begin with, see `problem.Start`; `networks.predicted_start` is one.
    affine: compute an affine transform first and use it as `init`.
    fixed_mask, moving_mask: images on any grid of the same space, non-zero where the image counts.
    spacing: mm of the working lattice, instead of the config's.
    device: "auto", "cpu", "cuda", "cuda:1" or "mps".
    backend: of the fast kernels, "auto", "torch", "numba" or "triton"; by default the one that
        `kernels.backend` has set.
    seed: of the field's random initialisation, instead of the config's.
    resume: the transform of an earlier result, or its path; continues from its field.
    progress: show a bar on standard error.
    callback: called with each iteration's record.
    watch: called with each iteration's record and a function that returns the current transform.
        Its time is subtracted from all reported seconds.

    Raises ValueError or FileNotFoundError for input that cannot be registered, MemoryError (before
    starting) if it would not fit, NonFiniteLoss if the optimisation diverges. Ctrl-C ends the
    optimisation and returns the best field so far.
    """
    backend = kernels.current_backend() if backend is None else backend
    kernels.check_backend(backend)
    config = _config(config, spacing, seed)
    torch_device = choose_device(device)
    with kernels.backend(backend):  # the backend decides how much memory is needed
        problem = RegistrationProblem.prepare(
            fixed,
            moving,
            config,
            torch_device,
            init,
            affine,
            fixed_mask,
            moving_mask,
            resume,
            init_mode,
            start,
            progress,
        )
        if watch is not None and problem.inputs["field"] is None:  # the field that `fit` would make
            image = problem.inputs["fixed"]
            problem.inputs["field"] = make_field(image.shape[2:], problem.config).to(image)
        field, started = problem.inputs["field"], time.perf_counter()
        watch_seconds = 0.0

        with _progress_bar(problem.config, enabled=progress) as show:

            def report(record: dict) -> None:
                nonlocal watch_seconds
                record["seconds"] -= watch_seconds
                show(record)
                if callback is not None:
                    callback(record)
                if watch is not None:
                    paused = time.perf_counter()
                    effective = problem.effective_config(record)
                    watch(record, lambda: problem.transform(copy.deepcopy(field), effective))
                    watch_seconds += time.perf_counter() - paused

            outcome = fit(**problem.inputs, config=problem.config, callback=report)
    seconds = time.perf_counter() - started - watch_seconds
    return _registration(problem, outcome, seconds, backend)


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
    """Register several pairs at the same time on one device.

    On a GPU the steps of all pairs run concurrently. On the CPU they run in turns, which saves no
    time. pairs: (fixed, moving) of each, on any grids. callback: called with the number of the pair
    and each of its records. The other arguments are those of :func:`register`.

    Returns what `register` would return for each pair, in order; the seconds of the optimisation
    are each pair's share. Raises what `register` raises, and MemoryError (before starting) with the
    number of pairs that would fit at once.
    """
    if not pairs:
        raise ValueError("pairs: wanted one or more (fixed, moving), got none")
    backend = kernels.current_backend() if backend is None else backend
    kernels.check_backend(backend)
    config = _config(config, spacing, seed)
    torch_device = choose_device(device)
    with kernels.backend(backend):
        problems = [
            RegistrationProblem.prepare(fixed, moving, config, torch_device)
            for fixed, moving in pairs
        ]
        check_memory_of_many(config, [p.frame.working.shape for p in problems], torch_device)
        started = time.perf_counter()
        with _progress_bar(config, progress, len(problems)) as show:

            def report(number: int, record: dict) -> None:
                show(record, number)
                if callback is not None:
                    callback(number, record)

            outcomes = fit_many([p.inputs for p in problems], config, callback=report)
        share = (time.perf_counter() - started) / len(problems)
    return [_registration(p, o, share, backend) for p, o in zip(problems, outcomes, strict=True)]


def _registration(
    problem: RegistrationProblem, outcome: Fit, seconds: float, backend: str
) -> Registration:
    config, notes = problem.config, problem.notes
    if outcome.history:
        effective = problem.effective_config(outcome.history[-1])
        if effective != config:
            config = effective
            notes = [*notes, NOISE_NOTE.format(config.levels[-1].step)]
    return Registration(
        problem.transform(outcome.field, config),
        problem.fixed,
        problem.moving,
        config,
        outcome.history,
        {**problem.timings, "optimise": seconds},
        outcome.stopped,
        str(problem.device),
        notes,
        backend,
    )


NOISE_NOTE = (
    "Before the finest level the scans agree so well that what is left is noise, so that level was "
    "sampled at every {:g} voxels only."
)


def _config(config: str | Config, spacing: float | None, seed: int | None) -> Config:
    changes = {"spacing": spacing, "seed": seed}
    return preset(config, **{name: v for name, v in changes.items() if v is not None})


@contextlib.contextmanager
def _progress_bar(config: Config, enabled: bool, pairs: int = 1) -> Iterator[Callable[..., None]]:
    """A bar on standard error with the loss, the similarity and the folds of each iteration.

    Yields a function that takes each record and the number of its pair.
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
