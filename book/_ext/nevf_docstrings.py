"""Converts the docstrings of the package, which are plain text, to reStructuredText.

In a docstring an argument is introduced by its name and a colon (`shape: (D, H, W) or (H, W).`),
code is indented or in backticks, and asterisks and bars are mathematics. No word is changed.
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
grid warp fields integrate losses config continuous descent optimise kernels
scans.space scans.io scans.series scans.masks scans.dicom scans.points scans.files
transforms.transform transforms.gaps transforms.components transforms.affine
scores.metrics scores.deformation scores.evaluation
data.pairs data.splits data.catalogue data.simulate
viz.figures viz.slices viz.maps viz.charts viz.masks viz.sketch viz.remarks viz.viewer.viewer
viz.report.report viz.live viz.quiz viz.style
registration.register registration.result registration.folder registration.channels
registration.masks registration.contrast registration.memory
networks.base networks.voxelmorph_net networks.symnet_net networks.weights networks.lattice
networks.prediction networks.refinement networks.meta_learning networks.starts networks.training
study.methods study.names study.plan study.run study.batches study.rows study.report
study.statistics study.claims study.verdicts study.cluster
study.baselines study.baselines.syn study.baselines.niftyreg study.baselines.dipy_syn
study.baselines.demons study.baselines.greedy study.baselines.elastix
study.baselines.fireants study.baselines.convexadam study.baselines.syntx
cohorts.pairs cohorts.batch cohorts.quality cohorts.index cohorts.methods cohorts.atlases
cohorts.template cohorts.change cohorts.brightness cohorts.velocities
chapters
""".split()

#: A line that the next line's first word would not fill to this width ends by intention.
WIDTH = 92
CODE = re.compile(r"(``[^`]+``|:\w+:`[^`]+`|`[^`]+`_?)")


def to_rst(
    lines: list[str], arguments: Collection[str], link: Callable[[str], str | None]
) -> list[str]:
    """The lines of a docstring as reStructuredText.

    arguments: the names that it may introduce. link: returns the role for a name in backticks, such
    as ":py:func:`~nevf_lite.grid.blur`", or None for a name without a target.
    """
    out: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if not block.strip():
            continue
        if block.startswith((" ", "\t")) or _is_python(block):
            out += [".. code-block:: text" if _is_listing(block) else ".. code-block:: python", ""]
            out += textwrap.indent(textwrap.dedent(block), "   ").split("\n")
        elif block.startswith(("* ", "- ", "::")):
            out += block.split("\n")
        else:
            out += _paragraph(block, arguments, link)
        out.append("")
    return out


def known_arguments(obj: object) -> tuple[str, ...]:
    """The names that an object's docstring may introduce: its parameters and annotated fields."""
    try:
        names = list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        names = []
    return (*names, *getattr(obj, "__annotations__", {}))


@functools.cache
def known_names() -> dict[str, str]:
    """Short names (`register`, `metrics.dice`) to the role that links the documented object."""
    roles = {}
    for short in MODULES:
        module = importlib.import_module(f"nevf_lite.{short}")
        roles.setdefault(short, f":py:mod:`~{module.__name__}`")
        for name, obj in vars(module).items():
            defined = getattr(obj, "__module__", "") == module.__name__
            if name.startswith("_") or not (defined or name in getattr(module, "__all__", ())):
                continue
            if inspect.isfunction(obj) or inspect.isclass(obj):
                kind = "class" if inspect.isclass(obj) else "func"
                role = f":py:{kind}:`~{module.__name__}.{name}`"
                module_name = short.rpartition(".")[2]
                roles[f"{short}.{name}"] = roles[f"{module_name}.{name}"] = roles[name] = role
    return roles


def _is_python(block: str) -> bool:
    """Whether a paragraph parses as Python; a sentence with a full stop never does."""
    try:
        return bool(ast.parse(block).body)
    except SyntaxError:
        return False


def _is_listing(block: str) -> bool:
    """Whether an indented block is a listing of files rather than Python."""
    return "<" in block and ">" in block


def _paragraph(block: str, arguments: Collection[str], link) -> list[str]:
    out: list[str] = []
    for text in _intended_lines(block):
        before, described = _introductions(text, arguments)
        out += [_escape(before, link)] if before else []
        if described:
            out += [""] if out else []
            out += [
                f"- **{', '.join(names)}**: {_escape(meaning, link)}"
                for names, meaning in described
            ]
            out.append("")
        for sentence in ("Returns ", "Raises "):
            if before.startswith(sentence):
                out.append("")
    return out


def _intended_lines(block: str) -> list[str]:
    """A paragraph split where a new line begins after a full stop and before the margin."""
    texts: list[str] = []
    previous = None
    for line in (line.strip() for line in block.split("\n")):
        room = previous is not None and len(previous) + len(line.split()[0]) + 1 <= WIDTH
        if previous is None or (room and previous.endswith(".") and line[:1].isupper()):
            texts.append(line)
        else:
            texts[-1] += " " + line
        previous = line
    # a sentence about returned values or errors is not part of the meaning of an argument
    return [s for text in texts for s in re.split(r"(?<=\.) (?=(?:Returns|Raises) )", text)]


def _introductions(
    text: str, arguments: Collection[str]
) -> tuple[str, list[tuple[list[str], str]]]:
    """The text before the first introduced argument, and (names, meaning) of each argument."""
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
    """Escape asterisks, bars and final underscores; single backticks become links or code."""
    pieces = CODE.split(text)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", piece)
        elif not piece.startswith((":", "``")):
            name = piece.strip("`_")
            pieces[i] = link(name) or f"``{name}``"
    return "".join(pieces)
