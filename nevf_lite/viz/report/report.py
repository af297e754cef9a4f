"""One HTML file with the results of a registration and the command that repeats it.

The file makes no requests: its pictures are embedded, its only script is that of the deformation
viewer, in a frame of its own, and its content security policy forbids requests. It follows the
light or dark setting of the browser, fits a phone, and prints on one page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import numpy as np
from nibabel.spatialimages import SpatialImage

from nevf_lite.scans.files import atomic
from nevf_lite.scans.space import Grid
from nevf_lite.viz import figures
from nevf_lite.viz.charts import ranked
from nevf_lite.viz.maps import percent_of_cells
from nevf_lite.viz.masks import counted_voxels
from nevf_lite.viz.report.summary import Metric, as_json, headline, leading, metrics, verdict
from nevf_lite.viz.slices import view_point
from nevf_lite.viz.style import Picture, data_uri
from nevf_lite.viz.viewer.viewer import DeformationViewer
from nevf_lite.viz.widths import PHONE

_MAX_SINGLE_COLUMN = 24  # structures; a longer Dice table is set in two columns


@dataclass(frozen=True)
class ReportData:
    """The contents of a report. All images lie on the fixed image's grid, of 2 or 3 axes.

    title: heading of the page. fixed, warped: nibabel images. moving_on_fixed: the moving image
        resampled to the fixed grid before registration.
    fixed_labels, warped_labels, moving_labels_on_fixed: integer images, the last before
        registration.
    label_names: names of the labels. dice_before, dice_after: Dice by label, NaN where absent.
    jacobian: nibabel image of the determinant of x -> x + u(x).
    displacement_mm: (*shape, 3), RAS mm, pull-back.
    history: one dict per iteration, as :func:`nevf_lite.optimise.fit` records them; may be empty.
    summary: metrics, with keys as `viz.report.summary` describes. Where it lacks
        mean Dice (``dice_before``, ``dice_after``), ``folds_percent`` or ``seconds``, they are
        computed from the fields above.
    command: the command that repeats the registration. config, versions: its settings and the
        versions of its packages. warnings: caveats, shown under the numbers. files: the files that
        were registered, by their role, "fixed" or "moving". date: of the registration. viewer: of
        the deformation, or None. fixed_mask, warped_mask: 1 where the fixed and the moving image
        counted, the second warped.
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
    fixed_mask: SpatialImage | None = None
    warped_mask: SpatialImage | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    viewer: DeformationViewer | None = None


@dataclass(frozen=True)
class EmbeddedImage:
    """A picture as data URIs. src: the picture. dark: its version for a dark page, or None.

    narrow: its drawing for a phone, and narrow_dark that of its dark version.
    """

    src: str
    narrow: str
    alt: str
    width: int
    height: int
    dark: str | None = None
    narrow_dark: str | None = None


def write_report(path: str | os.PathLike, report: ReportData) -> None:
    """Write the report to `path`, completely or not at all.

    Raises ValueError when an image is not on the fixed grid, FileNotFoundError for a folder that
    does not exist, OSError for a full disk. After an error a previous file at `path` is unchanged.
    """
    page = render(report)
    with atomic(path) as temporary:
        # bytes of a file name that are not valid text become question marks
        temporary.write_text(page, encoding="utf-8", errors="replace")


def render(report: ReportData) -> str:
    """The HTML page. Raises ValueError when an image is not on the fixed grid."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    files = resources.files("nevf_lite.viz.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: files.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = _metrics(report)
    first, others = leading(entries)
    return environment.get_template("page.html.jinja").render(
        title=report.title.replace(" <- ", " ← "),
        phone=PHONE,
        headline=headline(entries),
        verdict=verdict(entries),
        metrics=first,
        more_metrics=others,
        warnings=list(report.warnings),
        about=[
            *(f"{role}: {os.path.basename(name)}" for role, name in report.files.items()),
            *filter(None, [report.date]),
        ],
        viewer=None if report.viewer is None else report.viewer._repr_html_(),
        plane_count=Grid.of(report.fixed).ndim,
        dice=_dice_tables(report),
        has_before=report.dice_before is not None,
        command=report.command,
        config=[(str(key), _value_text(value)) for key, value in report.config.items()],
        versions=[(str(key), _value_text(value)) for key, value in report.versions.items()],
        **_pictures(report),
    )


def _pictures(report: ReportData) -> dict[str, EmbeddedImage | None]:
    """Every picture of the page by name; None where the report lacks its data."""
    point = view_point(report.fixed)
    images = (report.fixed, report.moving_on_fixed, report.warped)
    labels = (report.fixed_labels, report.warped_labels, report.moving_labels_on_fixed)

    def view(name: str) -> EmbeddedImage:
        return _embed(figures.before_after(*images, *labels, views=[name], at=point))

    has_outlines = labels[0] is not None and (labels[1] is not None or labels[2] is not None)
    grid = Grid.of(report.fixed)
    lattice = jacobian = curves = None
    if report.displacement_mm is not None:
        lattice = _embed(
            figures.deformed_grid(report.displacement_mm, grid, report.moving_on_fixed, point)
        )
    if report.jacobian is not None:
        jacobian = _embed(figures.jacobian_map(report.jacobian, report.fixed, point))
    if report.history:
        light, dark = (figures.convergence(report.history, theme) for theme in ("light", "dark"))
        curves = _embed(light, dark=dark)
    counted = None
    if report.fixed_mask is not None or report.warped_mask is not None:
        masks = report.fixed_mask, report.warped_mask
        counted = _embed(counted_voxels(report.fixed, report.warped, *masks, at=point))
    return {
        "counted": counted,
        "slices": view("slices"),
        "checkerboard": view("checkerboard"),
        "outlines": view("labels") if has_outlines else None,
        "lattice": lattice,
        "jacobian": jacobian,
        "convergence": curves,
    }


def _embed(picture: Picture, dark: Picture | None = None) -> EmbeddedImage:
    width, height = (round(96 * side) for side in picture.get_size_inches())
    return EmbeddedImage(
        src=data_uri(picture),
        narrow=picture.narrow_uri(),
        alt=picture.alt,
        width=width,
        height=height,
        dark=None if dark is None else data_uri(dark),
        narrow_dark=None if dark is None else dark.narrow_uri(),
    )


def _metrics(report: ReportData) -> list[Metric]:
    """The summary's metrics, and those it lacks that follow from the rest of the report."""
    keys = {metric.key for metric in metrics(report.summary)}
    missing = {k: v for k, v in _derived(report).items() if metrics({k: v})[0].key not in keys}
    return metrics({**report.summary, **missing})


def _derived(report: ReportData) -> dict[str, float]:
    """Metrics computed from the Dice, the Jacobian and the history of a report."""
    summary: dict[str, float] = {}
    for key, dice in (("dice_before", report.dice_before), ("dice_after", report.dice_after)):
        values = [v for v in (dice or {}).values() if np.isfinite(v)]
        if values:
            summary[key] = float(np.mean(values))
    if report.jacobian is not None:
        determinant = np.asanyarray(report.jacobian.dataobj)
        folds = int(np.count_nonzero(determinant <= 0))
        summary["folds_percent"] = percent_of_cells(folds, determinant.shape)
    seconds = report.history[-1].get("seconds") if report.history else None
    if seconds is not None:
        summary["seconds"] = float(seconds)
    return summary


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
                "before": _dice_text(start),
                "after": _dice_text(end),
                "change": _dice_text(change, "+"),
                "worse": bool(change < 0),
                "bar": f"{100 * np.nan_to_num(end):.1f}%",
                "mark": f"{100 * start:.1f}%" if np.isfinite(start) else None,
            }
        )
    half = (len(rows) + 1) // 2
    return [rows[:half], rows[half:]] if len(rows) > _MAX_SINGLE_COLUMN else [rows]


def _dice_text(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}".replace("-", "\u2212") if np.isfinite(value) else "–"


def _value_text(value: object) -> str:
    return value if isinstance(value, str) else as_json(value)
