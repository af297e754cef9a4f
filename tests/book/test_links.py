"""Every reference inside the built book leads somewhere, and no page asks an outside server.

Runs over the HTML of `make book`, with the standard library alone. Where the book has not been
built (pytest called directly, as on Windows) there is nothing to look at, and it says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

BUILT = Path(__file__).resolve().parents[2] / "_build" / "html"
#: What a browser fetches as soon as the page is opened.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@dataclass
class Page:
    """What one page refers to, and what can be referred to in it."""

    links: list[tuple[str, int]] = field(default_factory=list)
    assets: list[tuple[str, int]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    without_alt: list[int] = field(default_factory=list)


class Reader(HTMLParser):
    """Fills a `Page`; `srcdoc` frames are pages of their own and are read as well."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        line = self.getpos()[0]
        if "id" in given:
            self.page.anchors.add(given["id"])
        if tag == "a" and "name" in given:
            self.page.anchors.add(given["name"])
        if tag == "a" and given.get("href"):
            self.page.links.append((given["href"], line))
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.page.assets.append((given[FETCHED[tag]], line))
        if tag == "link" and given.get("href") and "canonical" not in (given.get("rel") or ""):
            self.page.assets.append((given["href"], line))
        decorates = given.get("role") == "presentation" and given.get("alt") == ""
        if tag == "img" and not decorates and not (given.get("alt") or "").strip():
            self.page.without_alt.append(line)
        if given.get("srcdoc"):
            inside = Page()
            Reader(inside).feed(given["srcdoc"])
            self.page.assets += [(address, line) for address, _ in inside.assets]
            self.page.without_alt += [line] * len(inside.without_alt)


def read(path: Path) -> Page:
    page = Page()
    Reader(page).feed(path.read_text(encoding="utf-8"))
    return page


def outside(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def broken(pages: dict[Path, Page]) -> list[str]:
    """References to files or anchors that are not there, as "page:line: address"."""
    found = []
    for path, page in pages.items():
        for address, line in page.links + page.assets:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
                if target.is_dir():
                    target /= "index.html"
            known = pages.get(target)
            anchor = unquote(parts.fragment)
            missing = not target.is_file()
            if not missing and anchor and known is not None:
                missing = anchor not in known.anchors
            if missing:
                found.append(f"{path.name}:{line}: {address}")
    return found


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the book is not built here; `make book` does it")
    # the theme leaves templates of its own among the static files: they are no pages
    found = (p for p in sorted(BUILT.rglob("*.html")) if p.relative_to(BUILT).parts[0] != "_static")
    return {path.resolve(): read(path) for path in found}


def test_every_reference_leads_somewhere(pages):
    assert not broken(pages)


def test_no_page_fetches_anything_from_outside(pages):
    found = [
        f"{path.name}:{line}: {address}"
        for path, page in pages.items()
        for address, line in page.assets
        if outside(address)
    ]
    assert not found


def test_no_script_of_the_book_names_a_server_to_fetch_from(pages):
    for path in pages:
        assert "unpkg.com" not in path.read_text(encoding="utf-8"), path.name


def test_no_page_names_a_folder_of_the_machine_that_built_it(pages):
    """A constant that is a path, documented, would print it."""
    root = str(BUILT.parents[1])
    assert not [path.name for path in pages if root in path.read_text(encoding="utf-8")]


def test_every_image_says_what_it_shows(pages):
    found = [f"{path.name}:{n}" for path, page in pages.items() for n in page.without_alt]
    assert not found


def test_a_page_is_a_megabyte_at_most(pages):
    sizes = {p.name: p.stat().st_size for p in pages if "_modules" not in p.parts}
    assert not {name: size for name, size in sizes.items() if size > 1_000_000}


def test_a_page_is_finished_once(pages):
    """Protects builds that go on from an earlier one: fixes of a fixed page spoil it, or stop."""
    ends = {path.name: path.read_text(encoding="utf-8") for path in pages}
    assert not [n for n, text in ends.items() if text.count("<!-- fixed -->") != 1]


def test_the_checker_finds_what_is_broken(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">', encoding="utf-8")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#gone"></a><a href="c.html"></a>'
        '<a href="https://example.org/x"></a><img src="https://example.org/y.png">'
        "<iframe srcdoc=\"&lt;script src='https://example.org/z.js'&gt;&lt;/script&gt;\"></iframe>",
        encoding="utf-8",
    )
    pages = {p.resolve(): read(p) for p in tmp_path.glob("*.html")}
    assert broken(pages) == ["a.html:1: b.html#gone", "a.html:1: c.html"]
    a = pages[(tmp_path / "a.html").resolve()]
    assert [address for address, _ in a.assets if outside(address)] == [
        "https://example.org/y.png",
        "https://example.org/z.js",
    ]
    assert a.without_alt == [1]
