"""What several test files share."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest
import torch
from import_graph import PACKAGE, ROOT, import_graph, imports

#: Test files that protect the whole and take seconds.
ALWAYS = ("test_house.py", "test_notebooks.py")
#: A change of one of these concerns every test.
COMMON = ("tests/conftest.py", "tests/import_graph.py", "pyproject.toml", "constraints.txt")


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--touched",
        action="store_true",
        help="only test files that import, directly or in one step, what differs from the last "
        "commit, or from the one before where nothing does",
    )


def pytest_configure(config) -> None:
    # One worker a core: more threads would only wait for each other.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


def pytest_ignore_collect(collection_path: Path, config) -> bool | None:
    """With --touched: leave out test files that import nothing that was changed, or next to it."""
    if not config.getoption("--touched") or not collection_path.name.startswith("test_"):
        return None
    if collection_path.suffix != ".py" or collection_path.name in ALWAYS:
        return None
    changed = changed_files()
    if collection_path in changed or changed & {ROOT / name for name in COMMON}:
        return None
    beside = collection_path.parent.glob("*.py")
    helpers = {path for path in beside if not path.name.startswith("test_")}
    text = collection_path.read_text(encoding="utf-8")
    used = {path for path in helpers if f"from {path.stem} import" in text}
    imported = set().union(*(imports(path) for path in (collection_path, *used)))
    graph = import_graph()
    reached = imported.union(*(graph[name] for name in imported))  # and what these import
    return not (used & changed or reached & changed_modules())


@functools.cache
def changed_files() -> set[Path]:
    """Files that differ from the last commit, or, where none does, from the one before."""
    for commit in ("HEAD", "HEAD~1"):
        listed = git("diff", "--name-only", commit) + git("ls-files", "-o", "--exclude-standard")
        if listed:
            return {ROOT / name for name in listed}
    return set()


@functools.cache
def changed_modules() -> set[str]:
    """Modules of the package that were changed; a script or template counts for its room."""
    names = set()
    for path in changed_files():
        if path.is_relative_to(PACKAGE):
            inside = path.with_suffix("") if path.suffix == ".py" else path.parent
            names.add(".".join(inside.relative_to(ROOT).parts).removesuffix(".__init__"))
    return names


def git(*words: str) -> list[str]:
    command = ["git", "-C", str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.fixture(scope="session")
def nevf_data() -> Path:
    """The folder of real brains: NEVF_DATA, or ../shared/data beside the repository; or skip."""
    named = os.environ.get("NEVF_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data are not here (set NEVF_DATA)")
    return folder
