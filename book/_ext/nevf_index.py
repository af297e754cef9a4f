"""What leads to a name of the package: the index, the list of modules, the names of one module."""

from __future__ import annotations

import html
import importlib
import re
from itertools import groupby

PACKAGE = "nevf_lite"

#: An entry of the index and what Sphinx says behind it, or instead of it: `(in module a.b)`.
ENTRY = re.compile(r"(<li><a href=[^>]*>)([^<(]*(?:\(\))?) ?\(([^()<]+)\)</a>")
#: Under the word "module", and again under the package's name, the index lists every module.
LISTED = re.compile(r"<li>\s*module\s*<ul>.*?</ul></li>", re.S)
MODULE = re.compile(
    rf'<li>\s*(?:<a href="[^"]*">)?{PACKAGE}\.[\w.]+(?:</a>)?\s*(?:<ul>.*?</ul>)?</li>', re.S
)
MODULES = '<li><a href="py-modindex.html"><strong>modules</strong>, each with what it does</a></li>'

TABLE = re.compile(r'<div class="modindex-jumpbox">.*?</table>', re.S)
ROW = re.compile(rf'<a href="([^"]*)"><code class="xref">({PACKAGE}\.[\w.]+)</code></a>')

SECTION = re.compile(rf'<section id="module-({PACKAGE}\.[\w.]+)">.*?</section>', re.S)
FIRST = '<dl class="py '
FEW = 3  # names that need no list


def fix_index(page: str) -> str:
    """A page with its index, its list of modules or the names of its modules, as a reader needs."""
    if "genindextable" in page:
        return ENTRY.sub(_entry, MODULE.sub("", LISTED.sub(MODULES, page)))
    if "modindextable" in page:
        return TABLE.sub(_modules, page)
    return SECTION.sub(_named, page)


def _entry(match: re.Match) -> str:
    """The name as a link, and where it is from, without the package, in small letters."""
    link, name, said = match.groups()
    home = re.sub(rf"^(?:in module|(class) in) (?:{PACKAGE}\.)?", r"\1 ", said).strip()
    home = re.sub(r"^class (?=\w)", "class, ", home)
    home = re.sub(
        r"^(\w+) (?:class method|static method|method|property|attribute)$", r"of \1", home
    )
    small = f"<small>{home}</small>"
    return f"{link}{name.strip()}</a> {small}" if name else f"{link}{small}</a>"


def summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join(
        (importlib.import_module(module).__doc__ or "").strip().split("\n\n")[0].split()
    )
    sentence = re.split(r"(?<=\.) (?=[A-Z])", text)[0].rstrip(".")
    return re.sub(r"`+([^`]*)`+", r"<code>\1</code>", html.escape(sentence, quote=False))


def _modules(match: re.Match) -> str:
    """The modules by room, each with what it does."""
    found = [(name.removeprefix(f"{PACKAGE}."), href) for href, name in ROW.findall(match[0])]
    found.sort(key=lambda pair: ("." in pair[0], pair[0]))
    parts = []
    for room, modules in groupby(found, lambda pair: pair[0].rpartition(".")[0].partition(".")[0]):
        lines = (
            f'<dt><a href="{href}"><code>{name.removeprefix(f"{room}.")}</code></a></dt>'
            f"<dd>{summary(f'{PACKAGE}.{name}')}</dd>"
            for name, href in modules
        )
        title = f"<h2><code>{room or PACKAGE}</code></h2>"
        parts.append(f'{title}<dl class="nevf-modules">{"".join(lines)}</dl>')
    return "".join(parts)


def _named(match: re.Match) -> str:
    """A module's section with links to its names before the first of them."""
    section, module = match[0], re.escape(match[1])
    names = re.findall(rf'<dt class="sig sig-object py" id="({module}\.(\w+))">', section)
    if len(names) < FEW or FIRST not in section:
        return section
    links = " ".join(f'<a href="#{whole}"><code>{name}</code></a>' for whole, name in names)
    return section.replace(FIRST, f'<p class="nevf-names">{links}</p>\n{FIRST}', 1)
