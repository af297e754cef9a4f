"""The package's docstrings are plain text, to be read in a terminal. Here they become RST.

In a docstring an argument is introduced by its name and a colon (`shape: (D, H, W) or (H, W).`),
code is indented or stands in backticks, and asterisks and bars are mathematics. Words are kept.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Collection

#: The modules of the API page, in its order.
MODULES = """
grid warp fields integrate losses config descent optimise kernels
registration transform parts space affine io result
data.pairs data.catalogue data.simulate chapters
metrics evaluation
networks.base networks.voxelmorph_net networks.symnet_net networks.weights
networks.lattice networks.prediction networks.refinement networks.training
study.methods study.plan study.run study.batches study.rows study.report study.cluster
study.baselines
study.baselines.syn study.baselines.niftyreg study.baselines.dipy_syn
study.baselines.demons study.baselines.greedy
viz.figures viz.slices viz.maps viz.charts viz.sketch viz.viewer viz.live viz.style
""".split()

#: A line this much shorter than the others was ended on purpose, not by the wrapping.
WIDTH = 92
CODE = re.compile(r"(``[^`]+``|:\w+:`[^`]+`|`[^`]+`_?)")


def to_rst(
    lines: list[str], arguments: Collection[str], link: Callable[[str], str | None]
) -> list[str]:
    """The lines of a docstring as reStructuredText.

    arguments: names that may be introduced in it. link: the role for a name in backticks, such as
    ":py:func:`~nevf_lite.grid.blur`", or None where there is nothing to link.
    """
    out: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if not block.strip():
            continue
        if block.startswith((" ", "\t")) or _python(block):
            out += [".. code-block:: text" if _layout(block) else ".. code-block:: python", ""]
            out += textwrap.indent(textwrap.dedent(block), "   ").split("\n")
        elif block.startswith(("* ", "- ", "::")):
            out += block.split("\n")
        else:
            out += _paragraph(block, arguments, link)
        out.append("")
    return out


def known_arguments(obj: object) -> tuple[str, ...]:
    """What a docstring of this object may introduce: its parameters, or the fields of its class."""
    try:
        names = list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        names = []
    return (*names, *getattr(obj, "__annotations__", {}))


@functools.cache
def known_names() -> dict[str, str]:
    """Short names (`register`, `metrics.dice`) to the role that links what is documented."""
    found = {}
    for short in MODULES:
        module = importlib.import_module(f"nevf_lite.{short}")
        found.setdefault(short, f":py:mod:`~{module.__name__}`")
        for name, obj in vars(module).items():
            own = getattr(obj, "__module__", "") == module.__name__
            if name.startswith("_") or not (own or name in getattr(module, "__all__", ())):
                continue
            if inspect.isfunction(obj) or inspect.isclass(obj):
                kind = "class" if inspect.isclass(obj) else "func"
                role = f":py:{kind}:`~{module.__name__}.{name}`"
                found[f"{short}.{name}"] = found[name] = role
    return found


def _python(block: str) -> bool:
    """Is a paragraph code though it is not indented? A sentence with a full stop never parses."""
    try:
        return bool(ast.parse(block).body)
    except SyntaxError:
        return False


def _layout(block: str) -> bool:
    """Is an indented block a listing of files rather than Python?"""
    return "<" in block and ">" in block


def _paragraph(block: str, arguments: Collection[str], link) -> list[str]:
    out: list[str] = []
    for piece in _deliberate_lines(block):
        before, described = _introductions(piece, arguments)
        out += [_escape(before, link)] if before else []
        if described:
            out += [""] if out else []
            out += [f"- **{', '.join(names)}**: {_escape(text, link)}" for names, text in described]
            out.append("")
        for sentence in ("Returns ", "Raises "):
            if before.startswith(sentence):
                out.append("")
    return out


def _deliberate_lines(block: str) -> list[str]:
    """A paragraph cut where its author began a new line after a full stop and before the margin."""
    pieces: list[str] = []
    previous = None
    for line in (line.strip() for line in block.split("\n")):
        room = previous is not None and len(previous) + len(line.split()[0]) + 1 <= WIDTH
        if previous is None or (room and previous.endswith(".") and line[:1].isupper()):
            pieces.append(line)
        else:
            pieces[-1] += " " + line
        previous = line
    # what a function gives back is never part of what an argument means
    return [p for piece in pieces for p in re.split(r"(?<=\.) (?=(?:Returns|Raises) )", piece)]


def _introductions(
    text: str, arguments: Collection[str]
) -> tuple[str, list[tuple[list[str], str]]]:
    """Text before the first introduced argument, then (names, meaning) of each."""
    starts = []
    for match in re.finditer(r"(?:^|(?<=[.;)] ))([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): ", text):
        names = match[1].split(", ")
        if all(name in arguments for name in names):
            starts.append((match.start(), match.end(), names))
    if not starts:
        return text, []
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    described = [
        (names, text[begin:end].strip().rstrip(";"))
        for (_, begin, names), end in zip(starts, ends, strict=True)
    ]
    return text[: starts[0][0]].strip(), described


def _escape(text: str, link) -> str:
    """Asterisks, bars and final underscores are themselves; single backticks are code, or links."""
    pieces = CODE.split(text)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", piece)
        elif not piece.startswith((":", "``")):
            name = piece.strip("`_")
            pieces[i] = link(name) or f"``{name}``"
    return "".join(pieces)
