"""The architecture: which room may import which, no circles, and files of one sitting.

Every import counts, those inside functions, under TYPE_CHECKING and by a module's name as a string
too. The floors are those of the picture in the README, which is read here.
"""

from __future__ import annotations

import ast
import re
import sys

import pytest
from import_graph import MODULES, PACKAGE, ROOT, import_graph

#: The method, in the order in which it is read.
METHOD = ("grid", "warp", "fields", "integrate", "losses", "config")
METHOD += ("continuous", "descent", "optimise")
SITTING = 250  # lines
GRAPH = import_graph()


def room(module: str) -> str:
    """Where a module belongs: a room, "method", or the file's own name on the roof."""
    name = module.removeprefix("nevf_lite").strip(".").partition(".")[0]
    return "method" if name in METHOD else name or "__init__"


def picture() -> list[list[str]]:
    """The floors in the README's picture, from the roof to the ground; rooms from left to right."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (drawn,) = re.findall(r"<!-- the house -->\s*```text\n(.*?)```", text, re.DOTALL)
    lines = [re.findall(r"\[ (.*?) \]", line) for line in drawn.splitlines()]
    return [[cell.removesuffix(".py").strip("/") for cell in line] for line in lines if line]


FLOORS = picture()
HEIGHT = {name: -i for i, floor in enumerate(FLOORS) for name in floor}


def test_the_picture_shows_every_room():
    """What is in the folder is in the picture and the other way round."""
    assert HEIGHT.keys() == {room(name) for name in MODULES} - {"__init__", "__main__"}


def test_the_method_is_nine_files():
    """In the README's picture, in the package's first docstring, and on the disk."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert " ".join(METHOD) in text
    docstring = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
    order = [name for name in re.findall(r"`(\w+)`", docstring) if name in METHOD]
    assert tuple(order) == METHOD
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == {*METHOD, "__init__", "__main__", "chapters"}


def test_the_method_needs_torch_alone():
    """Nothing but torch, the standard library and its kernels is imported on the ground floor."""
    allowed = {"torch", "torchdiffeq"}  # the second inside a function, an optional extra
    for name in METHOD:
        tree = ast.parse(MODULES[f"nevf_lite.{name}"].read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in names:
                top = module.partition(".")[0]
                assert top in allowed | {"nevf_lite"} | sys.stdlib_module_names, f"{name}: {module}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_arrow_runs_up(module):
    """A module imports its own floor or a lower one."""
    if room(module) in ("__init__", "__main__"):
        return  # the doors: they lead everywhere and nothing imports them but the roof
    for other in GRAPH[module]:
        if room(other) == "__init__":
            assert HEIGHT[room(module)] == max(HEIGHT.values()), f"{module} imports the door"
            continue
        assert HEIGHT[room(other)] <= HEIGHT[room(module)], f"{module} imports {other}"


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph as a path, or an empty list."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if result := visit(following, [*path, node]):
                return result
        done.add(node)
        return []

    for node in sorted(graph):
        if result := visit(node, []):
            return result
    return []


def test_no_circle_of_files():
    """Not one, those inside functions counted."""
    assert not circle(GRAPH)


def test_no_circle_of_rooms():
    """Rooms on one floor may import each other in one direction only."""
    rooms: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        rooms.setdefault(room(module), set()).update(room(other) for other in others)
    assert not circle({name: others - {name, "__init__"} for name, others in rooms.items()})


def test_a_circle_is_found():
    """The search itself: through several nodes, and not where paths only meet again."""
    assert circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_a_file_is_one_sitting():
    """At most 250 lines, scripts and templates too."""
    files = (p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".js", ".jinja", ".css"))
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert not {name: length for name, length in lengths.items() if length > SITTING}
