"""The grammar of a chapter, applied to the notebooks when the book is built.

A notebook says what its cells are, by tags and metadata, and reads well in Jupyter and Colab as it
is. The page makes of it:

- a figure as wide as the text, numbered by Sphinx, of the picture of a cell to which MyST-NB gives
  a caption, for the metadata `mystnb: {figure: {name: fig-..., caption: Markdown}}`;
- a prediction whose answer stands behind a click: what lies between the quotation that begins with
  **Predict** and the end of the paragraph that begins with **Check**;
- folds that say what they hide: the code, a check (tag `check`), a solution (tag `hide-cell`), and
  one where two would stand under each other.

The search then shows what a page says, not its list of contents.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from nevf_html import fix_search
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

log = logging.getLogger(__name__)

OPEN = '<details class="nevf-answer"><summary>What you should see</summary>'
PROMPTS = {
    "setup": "Show the setup",
    "check": "Show the check",
    "hide-cell": "Show a solution",
    "hide-input": "Show the code",
}


class Chapters(SphinxTransform):
    """Figures, folded answers and prompts; before the domains collect what can be referred to."""

    default_priority = 400

    def apply(self, **options) -> None:
        cells = list(self.document.findall(_is_cell))
        for cell in cells:
            tags = cell["cell_metadata"].get("tags", ())
            prompt = next((text for tag, text in PROMPTS.items() if tag in tags), None)
            if prompt and cell.get("hide_mode"):
                cell["prompt_show"] = prompt
                cell["prompt_hide"] = prompt.replace("Show", "Hide")
                cell["classes"].append(f"nevf-{prompt.split()[-1]}")
            for figure in cell.findall(nodes.figure):
                figure["classes"].append("nevf-figure")
        join_folds(cells)
        for quote in list(self.document.findall(nodes.block_quote)):
            if cells and _begins(quote, "Predict"):
                self.fold_answer(quote)

    def fold_answer(self, quote: nodes.Element) -> None:
        """Put what follows a prediction behind a click, up to the end of its check.

        A list under its check belongs to it; a check that is only a word, or ends with a colon,
        goes on with the table or formula under it as well.
        """
        siblings = quote.parent.children
        start = siblings.index(quote) + 1
        for end in range(start, len(siblings)):
            if isinstance(siblings[end], nodes.section) or _begins(siblings[end], "Predict"):
                break
            if _begins(siblings[end], "Check"):
                text = siblings[end].astext().strip()
                under = siblings[end + 1] if end + 1 < len(siblings) else None
                goes_on = isinstance(under, nodes.bullet_list | nodes.enumerated_list)
                goes_on |= text in ("Check", "Check.") or text.endswith(":")
                close = nodes.raw("", "</details>", format="html")
                quote.parent.insert(end + (2 if goes_on else 1), close)
                quote.parent.insert(start, nodes.raw("", OPEN, format="html"))
                return
        log.warning("a prediction without a paragraph that begins with Check", location=quote)


def join_folds(cells: list[nodes.Element]) -> None:
    """Move folded code to its neighbour where nothing but another fold lies between.

    What a cell imports goes to the setup before it, what a cell prepares to the code that uses it,
    and the code under a figure, which stands above what it prints, to that of the figure.
    """
    one = None
    for two in cells:
        kinds = _folded(one), _folded(two)
        if not one or _after(one) is not two or not all(kinds):
            one = two
        elif kinds == ("setup", "code") and not _prints(two):
            one[0][0] = _joined(one, two)
            two.parent.remove(two)
            one = None
        elif kinds in (("code", "code"), ("check", "check")) and not _prints(one):
            two[0][0] = _joined(one, two)
            one.parent.remove(one)
            one = two
        else:
            if kinds == ("code", "code") and _draws(one) and not _draws(two):
                one[0][0] = _joined(one, two)
                del two[0], two["hide_mode"]
            one = two


def _after(node: nodes.Element) -> nodes.Node | None:
    place = node.parent.index(node) + 1
    return node.parent[place] if place < len(node.parent) else None


def _prints(cell: nodes.Element) -> bool:
    return any(part.get("nb_element") == "cell_code_output" for part in cell)


def _draws(cell: nodes.Element) -> bool:
    return any(cell.findall(nodes.figure))


def _folded(cell: nodes.Element | None) -> str:
    """What a cell hides: the last word of its prompt."""
    shows_code = cell and cell[0].get("nb_element") == "cell_code_source"
    return (
        cell.get("prompt_show", "").split(" ")[-1] if shows_code and cell.get("hide_mode") else ""
    )


def _joined(one: nodes.Element, two: nodes.Element) -> nodes.Element:
    """One block of the code of two cells."""
    text = "\n\n\n".join(cell[0].astext() for cell in (one, two))
    block = two[0][0].copy()
    block.rawsource = text
    block += nodes.Text(text)
    return block


def _is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def _begins(node: nodes.Node, word: str) -> bool:
    """Whether the node is, or begins with, a paragraph whose first word is a strong `word`."""
    while isinstance(node, nodes.block_quote | nodes.paragraph):
        node = next((child for child in node.children if child.astext().strip()), None)
    return isinstance(node, nodes.strong) and node.astext().rstrip(".") == word


def _finish(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        fix_search(Path(app.outdir))


def setup_chapters(app) -> None:
    app.add_transform(Chapters)
    app.connect("build-finished", _finish)
