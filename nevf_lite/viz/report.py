"""One HTML file that shows what a registration did and how to repeat it.

The file asks nobody for anything: pictures are inside it, it has no script, and its own content
policy forbids requests. It follows the reader's light or dark setting, fits a phone and prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import numpy as np
from nibabel.spatialimages import SpatialImage

from nevf_lite.io import atomic
from nevf_lite.space import Grid
from nevf_lite.viz import figures
from nevf_lite.viz.charts import ranked
from nevf_lite.viz.slices import view_point
from nevf_lite.viz.style import Picture, data_uri
from nevf_lite.viz.summary import Metric, as_json, headline, metrics

_COLUMNS_FROM = 24  # structures; a longer Dice table is set in two columns where there is room


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows. All images lie on the fixed image's grid, of 2 or 3 axes.

    title: what was registered. fixed, warped: nibabel images. moving_on_fixed: the moving image
        resampled to the fixed grid before registration.
    fixed_labels, warped_labels, moving_labels_on_fixed: integer images, the last before
        registration.
    label_names: names of the labels. dice_before, dice_after: Dice by label, NaN where absent.
    jacobian: nibabel image of the determinant of x -> x + u(x).
    displacement_mm: (*shape, 3), RAS mm, pull-back.
    history: one dict an iteration, as :func:`nevf_lite.optimise.fit` records them; may be empty.
    summary: metrics, named as :mod:`nevf_lite.viz.summary` explains. Mean Dice (``dice_before``,
        ``dice_after``), ``folds_percent`` and ``seconds`` are worked out from the fields above when
        the summary has none.
    command: the exact command that repeats this. config, versions: what it ran with.
    warnings: sentences the reader must not miss.
    """

    title: str
    fixed: SpatialImage
    moving_on_fixed: SpatialImage
    warped: SpatialImage
    fixed_labels: SpatialImage | None = None
    moving_labels_on_fixed: SpatialImage | None = None
    warped_labels: SpatialImage | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    dice_before: Mapping[int, float] | None = None
    dice_after: Mapping[int, float] | None = None
    jacobian: SpatialImage | None = None
    displacement_mm: np.ndarray | None = None
    history: Sequence[Mapping] = ()
    summary: Mapping[str, object] = field(default_factory=dict)
    command: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Shown:
    """A picture ready for the page; `dark` is its version for a dark one, where there is one."""

    src: str
    alt: str
    width: int
    height: int
    dark: str | None = None


def write_report(path: str | os.PathLike, report: ReportData) -> None:
    """Write the report to `path`, whole or not at all.

    Raises ValueError when an image is not on the fixed grid, FileNotFoundError for a folder that
    does not exist, OSError for a full disk; each leaves whatever was at `path` before.
    """
    page = render(report)
    with atomic(path) as temporary:
        # a file name may hold bytes that are no text at all; they become question marks
        temporary.write_text(page, encoding="utf-8", errors="replace")


def render(report: ReportData) -> str:
    """The page as text. Raises ValueError when an image is not on the fixed grid."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("nevf_lite.viz").joinpath("report.html.jinja").read_text("utf-8")
    found = _metrics(report)
    return environment.from_string(source).render(
        title=report.title,
        headline=headline(found),
        metrics=found,
        warnings=list(report.warnings),
        plane_count=Grid.of(report.fixed).ndim,
        dice=_dice_tables(report),
        has_before=report.dice_before is not None,
        command=report.command,
        config=[(str(key), _value(value)) for key, value in report.config.items()],
        versions=[(str(key), _value(value)) for key, value in report.versions.items()],
        **_pictures(report),
    )


def _pictures(report: ReportData) -> dict[str, Shown | None]:
    """Every picture of the page by name; None where what it shows was not given."""
    at = view_point(report.fixed)
    images = (report.fixed, report.moving_on_fixed, report.warped)
    labels = (report.fixed_labels, report.warped_labels, report.moving_labels_on_fixed)

    def view(name: str) -> Shown:
        return _shown(figures.before_after(*images, *labels, views=[name], at=at))

    outlined = labels[0] is not None and (labels[1] is not None or labels[2] is not None)
    grid = Grid.of(report.fixed)
    lattice = jacobian = curves = None
    if report.displacement_mm is not None:
        lattice = _shown(
            figures.deformed_grid(report.displacement_mm, grid, report.moving_on_fixed, at)
        )
    if report.jacobian is not None:
        jacobian = _shown(figures.jacobian_map(report.jacobian, report.fixed, at))
    if report.history:
        pair = [figures.convergence(report.history, theme) for theme in ("light", "dark")]
        curves = _shown(pair[0], dark=pair[1])
    return {
        "slices": view("slices"),
        "checkerboard": view("checkerboard"),
        "outlines": view("labels") if outlined else None,
        "lattice": lattice,
        "jacobian": jacobian,
        "convergence": curves,
    }


def _shown(picture: Picture, dark: Picture | None = None) -> Shown:
    width, height = (round(96 * side) for side in picture.get_size_inches())
    return Shown(
        src=data_uri(picture),
        alt=picture.alt,
        width=width,
        height=height,
        dark=None if dark is None else data_uri(dark),
    )


def _metrics(report: ReportData) -> list[Metric]:
    """The summary's metrics, and those it lacks that follow from the rest of the report."""
    given = metrics(report.summary)
    have = {metric.key for metric in given}
    lacking = {k: v for k, v in _worked_out(report).items() if metrics({k: v})[0].key not in have}
    return metrics({**report.summary, **lacking})


def _worked_out(report: ReportData) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, dice in (("dice_before", report.dice_before), ("dice_after", report.dice_after)):
        values = [v for v in (dice or {}).values() if np.isfinite(v)]
        if values:
            found[key] = float(np.mean(values))
    if report.jacobian is not None:
        determinant = np.asanyarray(report.jacobian.dataobj)
        found["folds_percent"] = 100 * float(np.mean(determinant <= 0))
    seconds = report.history[-1].get("seconds") if report.history else None
    if seconds is not None:
        found["seconds"] = float(seconds)
    return found


def _dice_tables(report: ReportData) -> list[list[dict]]:
    """Rows of the Dice table, best first, in one list or, when there are many, in two halves."""
    after, before = report.dice_after, report.dice_before or {}
    if not after:
        return []
    rows = []
    for label in ranked(after):
        end, start = float(after[label]), float(before.get(label, np.nan))
        change = end - start
        rows.append(
            {
                "name": report.label_names.get(label, f"label {label}"),
                "before": _dice(start),
                "after": _dice(end),
                "change": _dice(change, "+"),
                "worse": bool(change < 0),
                "bar": f"{100 * np.nan_to_num(end):.1f}%",
                "mark": f"{100 * start:.1f}%" if np.isfinite(start) else None,
            }
        )
    half = (len(rows) + 1) // 2
    return [rows[:half], rows[half:]] if len(rows) > _COLUMNS_FROM else [rows]


def _dice(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}".replace("-", "\u2212") if np.isfinite(value) else "–"


def _value(value: object) -> str:
    return value if isinstance(value, str) else as_json(value)
