"""The Triton kernels where a test can run them: compiled on a card, interpreted without one.

Whether a kernel is interpreted is settled when it is imported, so the variable is set for
that alone, and no other test sees it. Import this before anything that imports triton; skips the
module that imports it where triton is not installed, as with torch's CPU builds.
"""

from __future__ import annotations

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

with pytest.MonkeyPatch.context() as patch:
    if DEVICE.type == "cpu":
        patch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="triton is not installed")
    from nevf_lite.kernels import gpu

    gpu.penalties(torch.zeros(1, 2, 2, 2, device=DEVICE), 0.0)  # a first launch imports the rest
