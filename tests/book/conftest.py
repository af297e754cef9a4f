"""The finished book in a browser. `make book` builds it first."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pages import chromium

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
HTML = ROOT / "_build" / "html"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@pytest.fixture(scope="session")
def site_folder() -> Path:
    """The built book; fails, rather than skips, where it was not built."""
    if not (HTML / "index.html").is_file():
        pytest.fail("the book is not built; run `make book`")
    return HTML


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, the system's own: Playwright's is a download."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(args=FLAGS, executable_path=chromium())
        yield found
        found.close()


@pytest.fixture(scope="session")
def site(site_folder) -> Iterator[str]:
    """The address of a server of the built book on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(site_folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass
class Watched:
    """A page, what it complained about, and what it asked of the world outside."""

    page: Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def resize(self, size: str) -> None:
        """Give the window this size, and the page the time to follow."""
        width, height = SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")


@pytest.fixture
def visit(browser):
    """visit(address, size="desktop", theme="light"): the page in a context of its own, watched.

    Whatever is not on this machine is refused, as without a network.
    """

    @contextmanager
    def open_page(address: str, size="desktop", theme="light", touch=False) -> Iterator[Watched]:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            has_touch=touch,
            reduced_motion="reduce",
        )
        seen = Watched(context.new_page())

        def answer(route) -> None:
            url = route.request.url
            if url.startswith(("http://127.0.0.1", "file:", "data:", "blob:", "about:")):
                route.continue_()
            else:
                seen.outside.append(url)
                route.abort()

        context.route("**/*", answer)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on(
            "console",
            lambda said: seen.errors.append(said.text) if said.type == "error" else None,
        )
        seen.page.goto(address, wait_until="load")
        yield seen
        context.close()

    return open_page


@pytest.fixture(scope="session")
def live_page(tmp_path_factory):
    """live_page(name, body): the address of a page with this live figure alone, from the disk."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import nevf_live

    folder = tmp_path_factory.mktemp("live")
    (folder / "nevf").mkdir()
    for path in [*STATIC.glob("live*"), *STATIC.glob("playground_*.js"), *STATIC.glob("nevf/*.js")]:
        shutil.copy(path, folder / path.relative_to(STATIC))

    def page(name: str, body: str) -> str:
        tags = "".join(f'<script src="{s}" defer></script>' for s in nevf_live.scripts(body))
        made = folder / f"{name}.html"
        made.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Live</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<link rel="stylesheet" href="live.css">{tags}</head>'
            f'<body style="margin: 16px">{body}<div style="height: 60rem"></div></body></html>',
            encoding="utf-8",
        )
        return made.as_uri()

    return page


@pytest.fixture
def live(visit, live_page):
    """live(name, body, ...): the page of a live figure that is ready; it must not complain."""

    @contextmanager
    def opened(name: str, body: str, *look, **more) -> Iterator[Page]:
        with visit(live_page(name, body), *look, **more) as seen:
            seen.page.wait_for_selector(f'[data-live="{name}"].is-ready')
            seen.page.evaluate(
                "Promise.all([...document.querySelectorAll('figure')].map(f => f.ready))"
            )
            yield seen.page
            assert not seen.errors and not seen.outside

    return opened


@pytest.fixture
def measured():
    """measured(page): what a figure has measured, once the frame it asked for has been drawn."""

    def read(page: Page) -> dict:
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        return json.loads(page.get_attribute("figure", "data-measured"))

    return read
