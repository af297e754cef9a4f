"""What Sphinx and the theme write that a browser, or a screen reader, would trip over."""

from __future__ import annotations

import re
from pathlib import Path

#: Opened from the disk, preloading a font only makes errors. The style sheet asks for the same
#: fonts in a way that browsers allow there too.
PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
#: A long signature is written as a list of definitions without a term, which is no such list.
PARAMETERS = re.compile(r"<dl>\s*((?:<dd><em class=.*?</em>,</dd>\s*)+)</dl>", re.S)
#: A link to another chapter's source, as written where it is not resolved: in a cell's output.
SOURCE_LINK = re.compile(r'href="((?:\.\./|[\w/])[\w./-]*)\.(?:md|ipynb)(#[^"]*)?"')


def mend(text: str, path: Path) -> str:
    """The HTML of a finished page, mended. path: where it lies, for the links in it."""
    text = PRELOAD.sub("", text)
    text = PARAMETERS.sub(lambda match: _parameters(match[1]), text)
    # a bibliography claims to be a list, of things that are no items of a list
    text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    text = text.replace(' role="doc-biblioentry"', "")

    def page(match: re.Match) -> str:
        written = path.parent / (match[0][len('href="') : -1].partition("#")[0])
        built = path.parent / f"{match[1]}.html"
        if written.exists() or not built.exists():
            return match[0]
        return f'href="{match[1]}.html{match[2] or ""}"'

    return SOURCE_LINK.sub(page, text)


def _parameters(items: str) -> str:
    lines = items.replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'
