"""What a command prints when it is asked for help, as a page shows it.

A terminal has eighty letters a line and a phone forty. There each option has its own line with what
it does below, and a sentence goes on over the end of its line; elsewhere nothing is changed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

HELP = re.compile(r"<pre><span></span>(Usage: nevf[^<]*)</pre>")
#: An option, or a command, and what it does; and the sign between them.
ITEM = re.compile(r"(  \S.*?)( {2,})(\S.*)|(  -\S.*)")
EXAMPLES = "Examples:"
#: An option in a line of words, which would break behind its hyphens.
OPTION = re.compile(r"(?<=\w )(-{1,2}[a-z][\w-]*)")
WHOLE = r'<span class="nevf-whole">\1</span>'


def fix_help(page: str) -> str:
    """A page with the helps of commands set as above."""

    def fixed(match: re.Match) -> str:
        lines = html.unescape(match[1]).rstrip("\n").split("\n")
        return f'<pre class="nevf-help"><span></span>{"".join(_set(lines))}</pre>'

    return HELP.sub(fixed, page)


def _set(lines: list[str]) -> Iterator[str]:
    section = ""
    while lines:
        first, count = lines[0], 1
        if first and first[0] != " ":
            section = first
        item = ITEM.fullmatch(first) if section != EXAMPLES else None
        deeper = _indent(first) + (0 if not item and section != EXAMPLES else 1)
        while first and count < len(lines) and lines[count] and _indent(lines[count]) >= deeper:
            if not item and (first.endswith(":") or ITEM.fullmatch(lines[count])):
                break
            count += 1
        yield _block(lines[:count], item) if first else "\n"
        lines = lines[count:]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(lines: list[str], item: re.Match | None) -> str:
    text = [OPTION.sub(WHOLE, html.escape(line, quote=False)) for line in lines]
    if item is None:
        soft = [re.sub(r"^( *)(.*)", r'<span class="nevf-soft">\n\1</span>\2', t) for t in text[1:]]
        return f'<span class="nevf-said">{text[0]}{"".join(soft)}\n</span>'
    name = item[1] or item[4]
    rest = html.escape("\n".join(lines)[len(name) :], quote=False)
    name = html.escape(name, quote=False)
    return f'<span class="nevf-item">{name}<span class="nevf-told">{rest}\n</span></span>'
