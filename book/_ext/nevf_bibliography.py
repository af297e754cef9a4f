"""The bibliography's style: an entry is labelled as it is cited, by author and year.

A chapter cites by a plain link to the page, which Jupyter follows too; in the built book it leads
to the entry.
"""

from __future__ import annotations

import html
import re

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle


class AuthorYear(BaseLabelStyle):
    """Labels such as "Han et al., 2023"; a letter tells two of the same apart."""

    def format_labels(self, sorted_entries):
        seen: dict[str, int] = {}
        for entry in sorted_entries:
            names = [
                str(Text.from_latex(" ".join(person.last_names)))
                for person in entry.persons["author"]
            ]
            if len(names) > 2 or names[1:] == ["others"]:
                names = [f"{names[0]} et al."]
            label = f"{' and '.join(names)}, {entry.fields['year']}"
            seen[label] = seen.get(label, 0) + 1
            yield label + ("" if seen[label] == 1 else " abcdefgh"[seen[label]])


class AuthorYearStyle(PlainStyle):
    """The plain style with those labels."""

    default_label_style = AuthorYear


_ENTRY = re.compile(
    r'<div class="citation" id="(\w+)">\s*<span class="label">(.*?)</span>\s*<p>', re.S
)
_LINK = re.compile(
    r'(href="[^"#]*bibliography\.html)("[^>]*>)((?:(?!</a>).)*)(</a>)([^;<]{0,40})', re.S
)
_TAG = re.compile(r"<[^>]*>|[\[\]]")
_CITED = re.compile(r"([^\W\d][^\d,;()]*?),? ((?:19|20)\d\d)")


def entries(page: str) -> dict[str, str]:
    """The id of each entry on the bibliography's page, by author and year without a comma."""
    found = {}
    for name, label in _ENTRY.findall(page):
        author, year = _CITED.search(html.unescape(_TAG.sub("", label))).groups()
        found[f"{author} {year}"] = name
    return found


def link_to_entries(page: str, known: dict[str, str]) -> str:
    """A page whose links to the bibliography lead to the entry that they, or the words behind them,
    name first.
    """

    def to_entry(match: re.Match) -> str:
        address, middle, words, end, behind = match.groups()
        for cited in _CITED.findall(html.unescape(_TAG.sub("", f"{words} {behind}"))):
            if entry := known.get(" ".join(cited)):
                return f"{address}#{entry}{middle}{words}{end}{behind}"
        return match[0]

    return _LINK.sub(to_entry, page)


def setup_bibliography() -> None:
    register_plugin("pybtex.style.formatting", "nevf", AuthorYearStyle)
