"""Tables of pandas as a page shows them; Jupyter and Colab show what pandas writes.

Columns of numbers get as many decimals as their longest, counts lose the ".0" that a gap in their
column gave them, and text stands on the left. The first of two indices becomes a line above its
rows, which is how a table of two data sets fits a phone.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from nevf_lite.data.splits import TITLES
from nevf_lite.study.statistics import MIN_PAIRS

TABLE = re.compile(r'<table[^>]* class="dataframe">.*?</table>', re.S)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
DATASET = re.compile(rf"\b(?:{'|'.join(TITLES)})\b")
HYPHEN = re.compile(r"(?<![\w.])-(?=\d)")
#: What pandas writes into a cell without a value.
MISSING = {"NaN", "nan", "None", "<NA>", "–"}
POINT, DIGIT = "\u2008", "\u2007"  # blanks as wide as a decimal point and a digit


def fix_tables(page: str) -> str:
    """A page with its tables of pandas set as above."""
    return TABLE.sub(lambda match: _set(match[0]), page)


def _set(text: str) -> str:
    table = BeautifulSoup(text, "html.parser").table
    rows = table.tbody.find_all("tr")
    if not rows:
        return text
    for cells in zip(*(row.find_all("td") for row in rows), strict=True):
        _column(cells)
    heads = _one_header(table.thead.find_all("tr"))
    _grey_few(heads[-1], rows)
    indices = len(rows[0].find_all("th"))
    names = [cell.get_text().strip() for row in rows for cell in row.find_all("th")[-1:]]
    table["style"] = f"--name: {max(map(len, names), default=0) + 1}ch"
    for column in range(len(rows[0].find_all("td"))):
        if "nevf-text" in rows[0].find_all("td")[column].get("class", ()) and len(heads) == 1:
            heads[0].find_all("th")[indices + column]["class"] = "nevf-text"
    for cell in table.find_all(["th", "td"]):
        if cell.string:
            cell.string = DATASET.sub(lambda name: TITLES[name[0]], cell.string)
    if indices > 1 and len(heads) == 1:
        _group(table, heads[0], rows)
    return str(table)


def _one_header(heads: list[Tag]) -> list[Tag]:
    """The header rows. A second one that holds only names of the index goes into the first."""
    if len(heads) == 2:
        above, below = (row.find_all("th") for row in heads)
        if len(above) == len(below) and not any(
            a.string and b.string for a, b in zip(above[1:], below[1:], strict=True)
        ):
            for a, b in zip(above, below, strict=True):
                if b.string:
                    a.string, a["class"] = b.string, "nevf-text"
            heads.pop().decompose()
    return heads


def _column(cells: tuple[Tag, ...]) -> None:
    """Set the cells of one column: numbers alike, gaps as dashes, text to the left."""
    texts = [cell.get_text().strip() for cell in cells]
    for cell, text in zip(cells, texts, strict=True):
        if text in MISSING:
            cell.string = "–"
    known = [k for k, text in enumerate(texts) if text and text not in MISSING]
    if any(texts[k][0].isalpha() for k in known):
        for cell in cells:
            cell["class"] = "nevf-text"
    elif all(NUMBER.fullmatch(texts[k]) for k in known):
        for k, text in zip(known, aligned([texts[k] for k in known]), strict=True):
            cells[k].string = text
    else:
        for k in known:
            cells[k].string = HYPHEN.sub("−", texts[k])


def aligned(numbers: list[str]) -> list[str]:
    """Numbers whose decimal points stand under one another when they are set to the right.

    Zeros are added, except to numbers of one significant digit each, which blanks make as long.
    Whole numbers have no point.
    """
    parts = [number.lstrip("-").partition(".") for number in numbers]
    longest = max((len(after.rstrip("0")) and len(after) for _, _, after in parts), default=0)
    rough = longest > 1 and all(len((a + b).strip("0")) <= 1 for a, _, b in parts)
    found = []
    for number, (before, point, after) in zip(numbers, parts, strict=True):
        if longest:
            rest = POINT + DIGIT * longest if rough and not after else ""
            pad = DIGIT if rough else "0"
            before += rest or f".{after:{pad}<{longest}}"
        some = (before + point + after).strip("0.")  # nothing is left of a zero, which has no sign
        found.append("−" * (number[0] == "-" and bool(some)) + before)
    return found


def _grey_few(head: Tag, rows: list[Tag]) -> None:
    """Say by its colour that a row has fewer pairs than the others of its table."""
    names = [cell.get_text() for cell in head.find_all("th")]
    if "pairs" not in names:
        return
    column = names.index("pairs") - len(names)
    pairs = [row.find_all("td")[column].get_text() for row in rows]
    if not all(text.isdecimal() for text in pairs):
        return
    numbers = [int(text) for text in pairs]
    for row, number in zip(rows, numbers, strict=True):
        if number < MIN_PAIRS <= max(numbers):
            row["class"] = "nevf-few"


def _group(table: Tag, head: Tag, rows: list[Tag]) -> None:
    """Put the first index above its rows, if most of its values have several."""
    firsts = [row for row in rows if len(row.find_all("th")) == len(rows[0].find_all("th"))]
    if 2 * len(firsts) > len(rows):
        return
    width = len(head.find_all("th")) - 1
    for row in firsts:
        name = row.th.extract().get_text()
        line = BeautifulSoup(
            f'<tr class="nevf-group"><th colspan="{width}" scope="rowgroup"></th></tr>',
            "html.parser",
        ).tr
        line.th.string = name
        row.insert_before(line)
    head.th.decompose()
