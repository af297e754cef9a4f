"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


def pytest_configure(config) -> None:
    # One worker a core: more threads would only wait for each other.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nevf_data() -> Path:
    """The folder of real brains: NEVF_DATA, or ../shared/data beside the repository; or skip."""
    named = os.environ.get("NEVF_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data are not here (set NEVF_DATA)")
    return folder
