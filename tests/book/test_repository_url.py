"""One address of the repository, in pyproject.toml: every badge, button and install agrees."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
URL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Repository"
]
SLUG = URL.removeprefix("https://github.com/")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROSE = [ROOT / "README.md", ROOT / "_config.yml", *sorted((ROOT / "book").rglob("*.md"))]
#: Colab opens a notebook by this address; other forms go to Drive or to a gist.
COLAB = re.compile(r"https://colab\.research\.google\.com/[^\s\"')>\]]+")
INSTALL = re.compile(r"git\+(https://[^\s\"'@#]+)")


def text_of(path: Path) -> str:
    """The file's text; of a notebook, the sources of its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def check_addresses(path: Path, text: str) -> None:
    for address in COLAB.findall(text):
        expected = f"https://colab.research.google.com/github/{SLUG}/blob/main/notebooks/"
        assert address.startswith(expected), f"{path.name}: {address}"
        notebook = address.removeprefix(expected)
        assert (ROOT / "notebooks" / notebook).is_file(), f"{path.name}: no {notebook}"
        if path.suffix == ".ipynb":
            assert notebook == path.name, f"{path.name} has the badge of {notebook}"
    for address in INSTALL.findall(text):
        assert address.removesuffix(".git") == URL, f"{path.name}: {address}"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PROSE], ids=lambda p: p.name)
def test_badges_and_installs_name_the_repository(path):
    check_addresses(path, text_of(path))


def test_the_setup_cell_installs_from_the_repository():
    text = (ROOT / "book" / "setup_cell.py").read_text(encoding="utf-8")
    assert INSTALL.findall(text) == [URL]


def test_a_wrong_badge_would_be_found():
    wrong = "[![Colab](x.svg)](https://colab.research.google.com/github/else/where/blob/main/a)"
    with pytest.raises(AssertionError):
        check_addresses(ROOT / "README.md", wrong)


def test_the_configuration_leaves_the_address_to_pyproject():
    assert "github.com" not in (ROOT / "_config.yml").read_text(encoding="utf-8")


def test_the_buttons_are_made_from_the_address():
    pytest.importorskip("sphinx")
    path = ROOT / "book" / "_ext" / "nevf_book.py"
    spec = importlib.util.spec_from_file_location("nevf_book", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = module.theme_options()
    assert options["repository_url"] == URL
    assert options["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
