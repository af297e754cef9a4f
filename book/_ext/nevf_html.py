"""Fixes to the HTML of Sphinx and the theme that browsers and screen readers need."""

from __future__ import annotations

import re
from pathlib import Path

#: Preloading a font fails on pages opened from the disk. The style sheet loads the same fonts in a
#: way that browsers allow there too.
PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
#: Sphinx writes a long signature as a definition list without terms, which is not valid.
PARAMETERS = re.compile(r"<dl>\s*((?:<dd><em class=.*?</em>,</dd>\s*)+)</dl>", re.S)
#: A link to the source of another chapter. Sphinx does not resolve it in the output of a cell.
SOURCE_LINK = re.compile(r'href="((?:\.\./|[\w/])[\w./-]*)\.(?:md|ipynb)(#[^"]*)?"')

#: Every blank of a signature has a span of its own, a twentieth of the page of the package.
BLANK = re.compile(r'<span class="w">(\s+)</span>')


def fix_page(text: str, path: Path) -> str:
    """The HTML of a page with all fixes. path: of its file, to resolve its links."""
    text = PRELOAD.sub("", text)
    text = BLANK.sub(r"\1", text)
    text = PARAMETERS.sub(lambda match: _signature_lines(match[1]), text)
    # a bibliography has the role of a list, but its entries are not list items
    text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    text = text.replace(' role="doc-biblioentry"', "")

    def to_html(match: re.Match) -> str:
        source = path.parent / (match[0][len('href="') : -1].partition("#")[0])
        built = path.parent / f"{match[1]}.html"
        if source.exists() or not built.exists():
            return match[0]
        return f'href="{match[1]}.html{match[2] or ""}"'

    return SOURCE_LINK.sub(to_html, text)


def _signature_lines(items: str) -> str:
    lines = items.replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'
