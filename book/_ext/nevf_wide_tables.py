"""Tables that are wider than a phone have the name of a row above its numbers there.

A column of names takes a third of a phone, and a name in it five lines. So each row is told twice:
as it is, and with its name in a line of its own, which only a narrow page shows (nevf_tables.css).
"""

from __future__ import annotations

import copy
import re

from bs4 import BeautifulSoup, Tag

TABLES = re.compile(r'<table[^>]* class="(?:table|dataframe)"[^>]*>.*?</table>', re.S)
SECTION = re.compile(r'<section[^>]* id="([^"]*)"')
#: Sections whose tables are lists on a phone, by nevf_tables.css; so are those of the notation.
LISTS = {"the-studies", "faults-that-were-found", "what-the-paper-leaves-open"}
LISTS |= {"where-we-differ-from-the-paper-and-why"}
PAGE = 358  # CSS pixels of a phone
LETTER, DIGIT, CODE = 7.1, 8.1, 7.2  # CSS pixels
NAMES = 96  # the narrowest column of names of a table of pandas
SOFT = "\u00ad"  # where a long word may go on in the next line
LONG = "displace|ment", "inte|grate", "net|work", "trace|back", "left|over", "proces|sor"
LONG += "correl|ates", "repeat|ed"
HALVES = {"".join(halves): halves for halves in (word.split("|") for word in LONG)}
BREAKS = re.compile("|".join(HALVES))
#: Between two numbers of one cell, which may stand under each other.
SECOND = re.compile(r"(?<=\d)\s(to|±|/)\s(?=\S)")


def name_rows(page: str) -> str:
    """A page whose tables that a phone would cut have their rows' names above the rows."""

    def above(match: re.Match) -> str:
        sections = SECTION.findall(page, 0, match.start())
        if sections[-1:] and sections[-1] in LISTS or "notation" in sections:
            return match[0]
        table = BeautifulSoup(match[0], "html.parser").table
        if needed(table) <= PAGE:
            return match[0]
        _name_rows(table)
        return str(table)

    return TABLES.sub(above, page)


def needed(table: Tag) -> float:
    """How many CSS pixels the columns of a table take on a phone, roughly."""
    of_pandas = "dataframe" in table["class"]
    columns: dict[int, float] = {}
    for row in table.find_all("tr"):
        cells = row.find_all(["th", "td"])
        if any(cell.has_attr("colspan") for cell in cells):
            continue
        missing = len(columns) - len(cells) if row.find_parent("tbody") else 0
        for column, cell in enumerate(cells, max(missing, 0)):
            whole = of_pandas and cell.name == "td"
            columns[column] = max(columns.get(column, 0), _width(cell, whole))
    wide = list(columns.values())
    if of_pandas and wide:
        longest = max((len(th.get_text()) for th in table.tbody.find_all("th")), default=0)
        wide[0] = max(wide[0], min(NAMES, longest * LETTER))
    return sum(wide) + len(wide) * (12.8 if of_pandas else 9.6)


def _width(cell: Tag, whole: bool) -> float:
    """CSS pixels of the longest word of a cell, or of all its words."""
    text = " ".join(cell.get_text().split())
    box = 9 if cell.code else 0
    pieces = [text] if whole else text.replace("-", "- ").split()
    return (
        max((_letters(piece, CODE if cell.code else LETTER) for piece in pieces), default=0) + box
    )


def _letters(text: str, letter: float) -> float:
    digits = sum(character.isdigit() for character in text)
    return digits * DIGIT + (len(text) - digits) * letter


def _halves(match: re.Match) -> str:
    return SOFT.join(HALVES[match[0]])


def _name_rows(table: Tag) -> None:
    """Write the name of each row once more, in a row above it."""
    if any(len(row.find_all("th")) > 1 for row in table.tbody.find_all("tr")):
        return  # the names are two columns
    table["class"] = [*table["class"], "nevf-above"]
    for text in table.find_all(string=True):
        text.replace_with(SECOND.sub(" \\1\u00a0", BREAKS.sub(_halves, text)))
    for row in table.tbody.find_all("tr"):
        cells = row.find_all(["th", "td"])
        if len(cells) < 2:
            continue  # a line above several rows
        line = BeautifulSoup("<tr><th></th></tr>", "html.parser").tr
        line["class"] = [*row.get("class", ()), "nevf-name"]
        line.th["colspan"] = len(cells) - 1
        for part in copy.copy(cells[0]).contents[:]:
            line.th.append(part.extract())
        row.insert_before(line)
