"""Who imports whom in the package, read from its source."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import nevf_lite

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nevf_lite"


def package_modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a room by that of its __init__.py."""
    modules = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


MODULES = package_modules()


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports.

    Imports inside functions count, those under TYPE_CHECKING too, and a module's name as a string.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            members = (f"{node.module}.{alias.name}" for alias in node.names)
            names |= {name if name in MODULES else node.module for name in members}
        elif isinstance(node, ast.Constant) and "nevf_lite." in str(node.value):
            names.add(node.value)  # the argument of importlib.import_module and its like
    return names & MODULES.keys()


@functools.cache
def import_graph() -> dict[str, set[str]]:
    """Each module of the package and the modules that it imports."""
    graph = {name: imports(path) - {name} for name, path in MODULES.items()}
    # the package itself loads its modules by name, when they are first used
    graph["nevf_lite"] |= {f"nevf_lite.{module}" for module in nevf_lite._EXPORTS}
    return graph
