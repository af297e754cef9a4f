"""The work of `nevf apply`: volumes one after the other, or points, through a transform."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from nevf_lite.cli import checks
from nevf_lite.cli.inputs import fill_of, image_source, parse_fill, read_point_file
from nevf_lite.cli.terminal import note
from nevf_lite.scans.files import suffix_of
from nevf_lite.scans.io import load_image, load_labels, save_image
from nevf_lite.scans.points import SUFFIXES, write_points
from nevf_lite.scans.readers import open_image, space_code
from nevf_lite.scans.series import Series, writer
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

#: (volume, its name for messages, target grid) to the warped volume, (*grid.shape).
Warp = Callable[[object, str, Grid], np.ndarray]


@dataclass(frozen=True)
class Volumes:
    """The volumes of a file. first: what the first, or the only one, is read from."""

    path: Path
    first: Path | nib.Nifti1Image
    series: Series | None

    @classmethod
    def open(cls, path: Path, dicom: bool) -> Volumes:
        """Raises FileNotFoundError or ValueError for what is no image."""
        source = image_source(path, "input", dicom)
        series = None if dicom else Series.open(source, "input")
        return cls(path, source if series is None else next(iter(series)), series)

    def warp(self, warp: Warp, output: Path, grid: Grid, code: int) -> None:
        """Warp every volume onto a grid and write them to one file. code: of the grid's space."""
        if self.series is None:
            warped = warp(self.first, "input", grid)
            save_image(output, warped, grid, code)
            self._note_emptiness(warped, output)
            return
        first = warp(self.first, f"{self.series.name}, volume 0", grid)
        with writer(output, grid, first.dtype, self.series, code) as write:
            bar = tqdm(self.series, unit="volume", disable=not sys.stderr.isatty())
            for index, volume in enumerate(bar):
                name = f"{self.series.name}, volume {index}"
                write(first if index == 0 else warp(volume, name, grid))
        self._note_emptiness(first, output)

    def _note_emptiness(self, warped: np.ndarray, output: Path) -> None:
        """A note where one value has come out and more went in."""
        value = warped.flat[0]
        if not ((warped == value) | (np.isnan(warped) & np.isnan(value))).all():
            return
        data = open_image(self.first, "input")[0]
        if not (data == data.flat[0]).all():
            word = "zero" if value == 0 else f"{value:g}"
            note(
                f"{output} is {word} everywhere: {self.path} is outside the region that the "
                "transform maps"
            )


def image_warp(transform: Transform, interpolation: str, fill: str | None) -> Warp:
    """How images are warped. fill: of --fill, or None. Raises ValueError for no such value."""
    value = parse_fill(fill)
    noted = False

    def warp(source, name: str, grid: Grid) -> np.ndarray:
        nonlocal noted
        image = load_image(source, name, registrable=False)
        data = np.asarray(image.dataobj)
        if not noted and np.isinf(data).any():
            noted = True
            note(f"{name} holds infinite values; they are NaN in the output, like NaN")
        chosen = fill_of(value, data)
        return np.asarray(transform.warp_image(image, interpolation, grid, chosen).dataobj)

    return warp


def label_warp(transform: Transform, mode: str) -> Warp:
    """How label maps are warped; they may be empty."""

    def warp(source, name: str, grid: Grid) -> np.ndarray:
        return np.asarray(transform.warp_labels(load_labels(source, name), mode, grid).dataobj)

    return warp


def grid_of(path: Path, dicom: bool) -> Grid:
    """The grid of the image of --like; of a series, that of its volumes."""
    source = image_source(path, "like", dicom)
    series = None if dicom else Series.open(source, "like")
    data, affine, _ = open_image(source if series is None else next(iter(series)), "like")
    return Grid(data.shape, affine)


def code_of(transform: Path, like: Path | None, inverse: bool) -> int:
    """The code of the space of an output (MNI is 4), as the file that has its grid names it.

    That is the image of --like, a field in a result folder, or the transform itself where it is a
    displacement field. 1 where none of these is an image.
    """
    if like is None and transform.expanduser().is_dir():
        like = transform / ("inverse_warp.nii.gz" if inverse else "warp.nii.gz")
    elif like is None and not inverse:
        like = transform
    return space_code(like) if like is not None and like.expanduser().is_file() else 1


def apply_to_points(transform: Transform, source: Path, output: Path, space: str | None) -> None:
    """Map the points of a file and write them, with all that is beside them."""
    suffix_of(output, SUFFIXES, "output")
    found = read_point_file(source, "input", space)
    if found.states_space and output.name.lower().endswith((".fcsv", ".mrk.json")):
        checks.require(space is None, "a table of points", **{str(space).lower(): space})
    if isinstance(transform.moving, Grid):  # a file of another program may not say where images lie
        outside = transform.moving.distance(found.points)
        far = outside > max(transform.moving.spacing)
        if far.any():
            note(
                f"{far.sum()} of {len(far)} points of {source} lie outside the image that they "
                f"should be in, up to {outside.max():.0f} mm from it, where the map is not known "
                "but continued; are they in its space, in mm (--lps, --ras, --inverse)?"
            )
    write_points(output, transform.points_to_fixed(found.points), like=found, space=space)
