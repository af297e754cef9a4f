"""What a cell prints, as a page shows it: columns stay columns, and sentences flow.

Programs print for eighty letters a line; a phone has forty. Columns, which are lines with gaps in
them, are set so small that they fit, down to a size that can be read, and scroll beyond it. All
else breaks where the page is narrow, and there a sentence goes on over the end of its line.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterator

PRINTED = re.compile(
    r'(<div class="output stream [^"]*"><div class="highlight"><pre>)<span></span>([^<]*)(</pre>)'
)
#: Letters that a phone has room for.
NARROW = 40
#: A line of columns; a record; and where a sentence runs from one line into the next.
GAP = re.compile(r"\S {2,}\S")
RECORD = re.compile(r"[\w ,()=-]{1,45}: ")
STOPS, GOES_ON = re.compile(r"[a-z,]$"), re.compile(r"[a-z(]")


def fix_printed(page: str) -> str:
    """A page with its printed outputs set as above."""
    return PRINTED.sub(lambda match: f"{match[1]}{_set(match[2])}{match[3]}", page)


def _set(text: str) -> str:
    lines = html.unescape(text).rstrip("\n").split("\n")
    if max(map(len, lines)) <= NARROW:
        return text
    return "".join(_block(block) for block in _blocks(lines))


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Lines that belong together: of a table, or of a sentence."""
    while lines:
        columns = _first(lines, lambda _, line: bool(GAP.search(line)))
        count = columns if GAP.search(lines[0]) else _first(lines, _run_on)
        if count > 1 and not (columns > 1 or lines[count - 1].endswith(".")):
            count = 1  # records, one under another
        yield lines[:count]
        lines = lines[count:]


def _first(lines: list[str], goes_on: Callable[[str, str], bool]) -> int:
    """How many lines there are until one does not go on with that above it."""
    pairs = enumerate(itertools.pairwise(lines), 1)
    return next((k for k, pair in pairs if not goes_on(*pair)), len(lines))


def _run_on(last: str, line: str) -> bool:
    """Whether a sentence runs from one line into the next, which had no more room for a word."""
    full = len(last) + len(line.split(" ")[0]) > NARROW + 10
    whole = not GAP.search(line) and not RECORD.match(line)
    return whole and full and bool(STOPS.search(last) and GOES_ON.match(line))


def _block(lines: list[str]) -> str:
    if len(lines) > 1 and GAP.search(lines[0]):
        text, width = html.escape("\n".join(lines), quote=False), max(map(len, lines))
        return f'<span class="nevf-columns" tabindex="0" style="--columns:{width}">{text}\n</span>'
    soft = '<span class="nevf-soft">\n</span>'
    text = soft.join(html.escape(line, quote=False) for line in lines)
    return f'<span class="nevf-line">{text}\n</span>'
