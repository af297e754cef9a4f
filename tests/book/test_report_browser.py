"""The report of a registration in a real browser: on paper, whatever the window looked like."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest

from nevf_lite.viz.report.report import ReportData, write_report

SCAN = "/home/somebody/projects/ageing/derivatives/sub-0{}/anat/sub-0{}_desc-preproc_T1w.nii.gz"


@pytest.fixture(scope="module", params=[(40, 48, 40), (40, 48)], ids=["3d", "2d"])
def address(request, tmp_path_factory) -> str:
    """A report with all that is printed, and a long command and notes."""
    shape = request.param
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = nib.Nifti1Image((sum(x**2 for x in axes) < 0.7).astype(np.float32), np.eye(4))
    scans = [SCAN.format(n, n) for n in (1, 2)]
    history = [{"level": i // 5, "loss": 1 / (i + 1), "similarity": i / 10} for i in range(10)]
    report = ReportData(
        *("sub-02 to sub-01", ball, ball, ball),
        jacobian=nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)),
        displacement_mm=np.zeros((*shape, 3), np.float32),
        history=[{**row, "folds": row["loss"], "seconds": 1.0} for row in history],
        dice_before=dict.fromkeys(range(62), 0.3),
        dice_after=dict.fromkeys(range(62), 0.6),
        command=f"nevf register {' '.join(2 * scans)} -o result --affine --labels 1-62",
        warnings=["Part of the fixed brain has no partner in the moving image."] * 3,
        files=dict(zip(("fixed", "moving"), scans, strict=True)),
        date="1 May 2026",
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, report)
    return path.as_uri()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_report_prints_on_one_page(visit, address, paper):
    """Protects the sheet that is filed: everything that counts, on one page."""
    with visit(address) as seen:
        pages = re.findall(rb"/Type\s*/Page\b", seen.page.pdf(format=paper))
    assert len(pages) == 1


def test_no_heading_is_printed_over_nothing(visit, tmp_path):
    """Protects the sheet of a run that recorded neither its command nor its iterations."""
    ball = nib.Nifti1Image(np.ones((20, 20, 20), np.float32), np.eye(4))
    write_report(tmp_path / "report.html", ReportData("a to b", ball, ball, ball))
    with visit((tmp_path / "report.html").as_uri()) as seen:
        seen.page.emulate_media(media="print")
        headings = seen.page.locator("h2:visible").all_inner_texts()
    assert headings == ["Before and after"]


def test_a_dark_window_prints_dark_ink(visit, address):
    """Protects the axes of the chart: drawn for a dark page they cannot be seen on paper."""
    with visit(address, theme="dark") as seen:
        assert seen.page.locator("img.chart:visible").get_attribute("class") == "chart dark"
        seen.page.emulate_media(media="print")
        assert seen.page.locator("img.chart:visible").get_attribute("class") == "chart light"


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_the_report_is_no_wider_than_its_window(visit, address, size):
    """Protects readers on a phone from scrolling sideways through long names."""
    with visit(address, size=size) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
