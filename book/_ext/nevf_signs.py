"""Signs that a keyboard does not have, on the pages: arrows, times, minus, and the blank between a
number and its unit, at which no line ends.

Docstrings and the names of pairs are written with letters, as one types them. In code, formulas
and what cells print they stay.
"""

from __future__ import annotations

import re

#: What is passed over, a tag, or text.
PART = re.compile(
    r"<(script|style|pre|code|svg|textarea|title)\b.*?</\1>"
    r'|<(span|div) class="(?:math|pre)\b[^>]*>[^<]*</\2>'
    r"|<[^>]*>|(?P<text>[^<]+)",
    re.S,
)
SIGNS = (
    (re.compile(r"&lt;-(?!-)"), "←"),
    (re.compile(r"(?<!-)-&gt;"), "→"),
    (re.compile(r"(?<=\d) ?x ?(?=\d)"), " × "),
    (re.compile(r"(?<![\w.\-–/])-(?=\d)"), "−"),
    (re.compile(r"(?<=\d) (?=(?:%|(?:mm|cm|ms|s|GB|MB|kB|GiB|MiB)\b))"), "\u00a0"),
    (re.compile(r"(?<=\b\d\d) (?=000\b)"), "\u00a0"),
)


def fix_signs(page: str) -> str:
    """A page with its signs set as above."""
    return PART.sub(lambda part: _set(part["text"]) if part["text"] else part[0], page)


def _set(text: str) -> str:
    for wanted, sign in SIGNS:
        text = wanted.sub(sign, text)
    return text
