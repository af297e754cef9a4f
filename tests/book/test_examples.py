"""The examples of the reference pages run as they stand, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = sorted(path.stem for path in BOOK.glob("api_*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_the_example_of_a_page_runs(page, tmp_path, monkeypatch):
    """Each page begins with one; nothing but the package is needed."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert examples, page
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(compile(example, f"{page}.md", "exec"), {})
