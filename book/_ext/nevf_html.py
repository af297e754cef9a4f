"""Fixes to the HTML of Sphinx and the theme that browsers and screen readers need."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from pathlib import Path

from nevf_help import fix_help
from nevf_index import fix_index
from nevf_printed import fix_printed
from nevf_signs import fix_signs
from nevf_tables import fix_tables
from nevf_wide_tables import name_rows
from PIL import Image

#: Preloading a font fails on pages opened from the disk. The style sheet loads the same fonts in a
#: way that browsers allow there too.
PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
#: Sphinx writes a long signature as a definition list without terms, which is not valid.
PARAMETERS = re.compile(r"<dl>\s*((?:<dd><em class=.*?</em>,</dd>\s*)+)</dl>", re.S)
#: A link to the source of another chapter. Sphinx does not resolve it in the output of a cell.
SOURCE_LINK = re.compile(r'href="((?:\.\./|[\w/])[\w./-]*)\.(?:md|ipynb)(#[^"]*)?"')

#: Every blank of a signature has a span of its own, a twentieth of the page of the package.
BLANK = re.compile(r'<span class="w">(\s+)</span>')

#: A formula in a sentence and what stands behind it without a blank, which would begin a line.
MARK = re.compile(
    r'(<span class="math notranslate nohighlight">[^<]*</span>(?:[.,;:?!)”’]+|-th\b))'
)

#: A long name of code, and where it may go on in the next line.
LONG_CODE = re.compile(r'(<span class="pre">)(?=[\w.:/]{20})([\w.:/]+)(?=(?:\(\))?</span>)')
BREAK = re.compile(r"(::|/|(?<!nevf)_(?=\w)|\.(?=[A-Za-z_]{5}))")

#: An option in a sentence, or a minus, which would break behind its hyphens.
OPTION = re.compile(r'<span class="pre">(-{1,2}[\w(-]{1,20})</span>')

#: The theme puts every table into one.
TABLE = '<div class="pst-scrollable-table-container">'
#: Beside a chapter with pages under it: it has no word.
ARROW = '<span class="toctree-toggle"'
#: A picture that a notebook carries inside itself, and a chart's drawing for narrow pages.
CARRIED = re.compile(
    r'<(img alt|source media)=("[^"]*") (src|srcset)='
    r'"data:image/(webp|png|svg)(?:\+xml)?;base64,([A-Za-z0-9+/=]+)"'
)
SVG_SIZE = re.compile(rb'<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt"', re.S)

#: A picture whose boxes lead somewhere, and one of its boxes.
LINKED = re.compile(r'<img alt="[^"]*" src="([^"]*/tree\.svg)" />')
BOX = re.compile(r'<a href="#([^"]*)"[^>]*><path d="([^"]*)"')
VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')

#: The end of a page with all fixes.
FIXED = "<!-- fixed -->\n"


def fix_page(text: str, path: Path) -> str:
    """The HTML of a page with all fixes. path: of its file, to resolve its links."""
    text = PRELOAD.sub("", text)
    text = BLANK.sub(r"\1", text)
    text = MARK.sub(r'<span class="nevf-whole">\1</span>', text)
    text = name_rows(fix_tables(text))
    text = fix_help(fix_printed(text))
    text = fix_index(text)
    text = OPTION.sub(r'<span class="pre nevf-whole">\1</span>', text)
    text = LONG_CODE.sub(lambda match: match[1] + BREAK.sub(r"\1<wbr>", match[2]), text)
    text = CARRIED.sub(lambda match: _image_file(match, path), text)
    text = LINKED.sub(lambda match: _with_links(match, path), text)
    text = PARAMETERS.sub(lambda match: _signature_lines(match[1]), text)
    text = text.replace(f"<summary>{ARROW}", f'<summary aria-label="Its pages">{ARROW}')
    # a table wider than the page is scrolled, by the keyboard too
    text = text.replace(TABLE, f'{TABLE[:-1]} tabindex="0">')
    # a bibliography has the role of a list, but its entries are not list items
    text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    text = text.replace(' role="doc-biblioentry"', "")

    def to_html(match: re.Match) -> str:
        source = path.parent / (match[0][len('href="') : -1].partition("#")[0])
        built = path.parent / f"{match[1]}.html"
        if source.exists() or not built.exists():
            return match[0]
        return f'href="{match[1]}.html{match[2] or ""}"'

    return fix_signs(SOURCE_LINK.sub(to_html, text))


def _signature_lines(items: str) -> str:
    lines = items.replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def fix_search(folder: Path) -> None:
    """Excerpts of the search come from a page's article, not from the contents list beside it, and
    have dots for a formula in TeX and a blank between a term and what it means.
    """
    script = folder / "_static" / "searchtools.js"
    text = script.read_text(encoding="utf-8")
    fixed = text.replace(
        """querySelector('[role="main"]')""", "querySelector('article.bd-article')"
    )
    fixed = fixed.replace('"script", "style"]', '"script", "style", ".math"]')
    fixed = fixed.replace("el.remove()", "el.replaceWith(el.matches('.math') ? '…' : '')")
    fixed = fixed.replace("String(htmlString,", "String(htmlString.replaceAll('<dd>', ' <dd>'),")
    if not all(ours in fixed for ours in ("article.bd-article", '".math"', "'…'", "' <dd>'")):
        raise ValueError(f"{script}: Sphinx has another search; see fix_search in nevf_html.py")
    script.write_text(fixed, encoding="utf-8")


def _image_file(match: re.Match, path: Path) -> str:
    """An element whose picture is a file of the book; a page with all of them inside it would be
    too heavy. Its size is told, so that nothing moves when it arrives.
    """
    element, words, attribute, kind, data = match.groups()
    image = base64.b64decode(data)
    if kind == "svg":
        width, height = (round(float(points) / 0.75) for points in SVG_SIZE.search(image).groups())
    else:
        width, height = Image.open(io.BytesIO(image)).size
    folder = next(parent for parent in path.parents if (parent / "_static").is_dir()) / "_images"
    folder.mkdir(exist_ok=True)
    file = folder / f"{hashlib.sha256(image).hexdigest()[:16]}.{kind}"
    file.write_bytes(image)
    source = Path(os.path.relpath(file, path.parent)).as_posix()
    return f'<{element}={words} width="{width}" height="{height}" {attribute}="{source}"'


def _with_links(match: re.Match, path: Path) -> str:
    """A picture under the links of its own boxes, which nobody can press inside an image."""
    svg = (path.parent / match[1]).read_text(encoding="utf-8")
    size = [float(side) for side in VIEW.search(svg).groups()]
    links = ""
    for section, outline in BOX.findall(svg):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", outline)]
        low = [min(numbers[k::2]) for k in (0, 1)]
        high = [max(numbers[k::2]) for k in (0, 1)]
        shares = [100 * a / side for a, side in zip(low, size, strict=True)]
        shares += [100 * (b - a) / side for a, b, side in zip(low, high, size, strict=True)]
        places = zip(("left", "top", "width", "height"), shares, strict=True)
        style = ";".join(f"{name}:{share:.2f}%" for name, share in places)
        links += f'<a href="#{section}" style="{style}" aria-label="To section {section}"></a>'
    return f'<span class="nevf-linked">{match[0]}{links}</span>'
