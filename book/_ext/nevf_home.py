"""The home page's hero and map, which the built page gets in the place of empty elements.

The map is made of `_toc.yml`, so that no page is missing: each with its title, a chapter with its
number and the first picture that it shows. The pipeline above it names the chapters of each stage.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import yaml
from nevf_thumbnails import DRAWN

from nevf_lite.viz.style import CARD

ROOT = Path(__file__).resolve().parents[2]
HOME = "notebooks/00_preface"
HERO, MAP = '<div class="nevf-hero"></div>', '<div class="nevf-map"></div>'
DESCRIPTION = (
    "Learn diffeomorphic registration of brain images by building NeVF, the neural velocity field, "
    "from nothing: a book that runs, with a small package for your own scans."
)
#: What a registration consists of, what happens there, and the chapters that are about it.
STAGES = (
    ("image", "two scans in one space", (2,)),
    ("field", "a network gives a velocity", (5, 6, 9, 12, 14, 15, 18)),
    ("flow", "squaring makes it a map", (3, 10, 11, 17)),
    ("warp", "the map moves the scan", (1, 7, 16)),
    ("score", "alike, smooth, and no fold?", (4, 8, 13)),
    ("study", "many scans, one answer", (19, 20, 21, 22, 23)),
)
THUMBNAIL = (240, 135)  # pixels
#: What pages that are not chapters show of themselves.
PICTURES = {"book/playground": "playground_slice.js", "book/nevf_in_the_page": "family/nevf.svg"}
#: The part of its first picture that stands for a chapter, in shares from the left and the top: two
#: panels, without the letters above and below, which nobody could read.
SHOWN = {
    1: (0, 0.06, 1, 1),
    2: (0.35, 0.1, 1, 0.96),
    3: (0, 0.1, 1, 0.92),
    4: (0.34, 0.045, 1, 0.48),
    5: (0.34, 0.1, 1, 0.97),
    7: (0, 0.72, 0.635, 0.97),
    8: (0, 0, 0.64, 0.48),
    9: (0.335, 0.1, 1, 0.99),
    10: (0.335, 0.11, 1, 0.81),
    12: (0, 0.1, 0.67, 0.98),
    14: (0.335, 0.04, 1, 0.455),
    15: (0, 0.07, 1, 0.85),
    16: (0.4, 0.12, 0.8, 0.98),
    17: (0, 0.1, 0.66, 0.89),
    19: (0, 0.1, 0.635, 0.48),
    20: (0.33, 0.045, 1, 0.46),
    21: (0, 0.545, 0.66, 0.96),
    22: (0, 0.085, 1, 1),
    23: (0.14, 0.11, 0.43, 0.47),
}
#: What a part that is a single page tells of it beside its picture.
TOLD = {
    "notebooks/01_quickstart": "One cell of code, two brains, and the map between them.",
    "book/claims": "Each with its verdict, and the paper's number beside ours.",
}
_URI = re.compile(r"(?<!srcset=\")data:image/(webp|png|jpeg|svg\+xml);base64,([A-Za-z0-9+/=]+)")


def contents() -> Iterator[tuple[str, list[str]]]:
    """The caption and the pages of each part; a page names those that stand under it itself."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        yield part["caption"], [entry["file"] for entry in part["chapters"]]


def number(page: str) -> int | None:
    """Of a chapter; None for another page."""
    found = re.match(r"notebooks/(\d+)_", page)
    return int(found[1]) if found else None


def fix_home(text: str, titles: dict[str, str], static: Path) -> str:
    """The home page with its hero, its map and its title.

    titles: of every page. static: the built book's folder for the thumbnails.
    """
    head = '<title>NeVF, hands on</title>\n<link rel="stylesheet" href="../_static/nevf_home.css">'
    text = re.sub(r"<title>.*?</title>", head, text, flags=re.S)
    return text.replace(HERO, _hero()).replace(MAP, _map(titles, static))


def _hero() -> str:
    moving = (
        "A slice of one person's brain that flows into the outline of another's, back and forth"
    )
    return f"""<div class="nevf-hero">
<figure><div class="nevf-strip nevf-flows" role="img" aria-label="{moving}"></div>
<figcaption>one person's brain, on its way to the other's outline</figcaption></figure>
<figure><div class="nevf-strip" role="img" aria-label="The same slice of the other person"></div>
<figcaption>the other person's brain</figcaption></figure>
<label class="nevf-pause"><input type="checkbox"> hold still</label>
</div>"""


def _map(titles: dict[str, str], static: Path) -> str:
    chapters = {number(page): page for _, pages in contents() for page in pages}
    stages = "".join(
        f"<li><b>{name}</b><span>{told}</span><span>"
        + " ".join(
            f'<a href="{_address(chapters[n])}" title="{html.escape(titles[chapters[n]])}">{n}</a>'
            for n in numbers
            if n in chapters
        )
        + "</span></li>"
        for name, told, numbers in STAGES
    )
    parts = ""
    for caption, pages in contents():
        cards = "".join(_card(page, titles, static) for page in pages)
        words = "" if "<img" in cards else " nevf-words"
        parts += f'<p class="nevf-part">{html.escape(caption)}</p>'
        parts += f'<ul class="nevf-cards{words}">{cards}</ul>'
    return f'<div class="nevf-map"><ol class="nevf-pipeline">{stages}</ol>{parts}</div>'


def _card(page: str, titles: dict[str, str], static: Path) -> str:
    name = page.rpartition("/")[2]
    source = thumbnail(page)
    picture = ""
    if source is not None:
        kind, data = source
        (static / f"thumbnail_{name}.{kind}").write_bytes(data)
        address = f"../_static/thumbnail_{name}.{kind}"
        picture = f'<img src="{address}" alt="" role="presentation" loading="lazy">'
    chapter = number(page)
    mark = "" if chapter is None else f"<b>{chapter}</b> "
    title = html.escape(titles[page])
    told = f"<small>{html.escape(TOLD[page])}</small>" if page in TOLD else ""
    return f'<li><a href="{_address(page)}">{picture}<span>{mark}{title}{told}</span></a></li>'


def thumbnail(page: str) -> tuple[str, bytes] | None:
    """What is drawn for a page, or its first picture, small: ending and bytes."""
    if page in DRAWN:
        return "svg", DRAWN[page]()
    source = ROOT / f"{page}.ipynb"
    picture = ROOT / "book/_static" / PICTURES.get(page, "")
    if source.is_file():
        cells = nbformat.read(source, as_version=4).cells
        shown = [
            o.get("data", {}).get("text/html", "") for c in cells for o in c.get("outputs", ())
        ]
    elif picture.suffix == ".svg":
        return "svg", picture.read_bytes()
    elif picture.suffix == ".js":
        shown = [picture.read_text(encoding="utf-8")]
    else:
        return None
    found = [match for text in shown for match in _URI.finditer(text)]
    found.sort(key=lambda match: match[1] == "svg+xml")  # stable: a photograph before a chart
    if not found:
        return None
    data = base64.b64decode(found[0][2])
    if found[0][1] == "svg+xml":
        return "svg", data
    return "webp", _reduced(data, SHOWN.get(number(page)))


def _reduced(data: bytes, part: tuple[float, float, float, float] | None) -> bytes:
    """A part of a picture, or its middle, at the size of a thumbnail. part: as in `SHOWN`."""
    from PIL import Image, ImageOps

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    file = io.BytesIO()
    if part is None:
        small = ImageOps.fit(picture, THUMBNAIL, Image.Resampling.LANCZOS)
    else:
        sides = zip(part, picture.size * 2, strict=True)
        cut = picture.crop([round(share * side) for share, side in sides])
        small = ImageOps.pad(cut, THUMBNAIL, Image.Resampling.LANCZOS, CARD)
    small.save(file, "webp", quality=70)
    return file.getvalue()


def _address(page: str) -> str:
    return f"../{page}.html"
