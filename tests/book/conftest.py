"""The finished book in a browser. `make book` builds it first."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

HTML = Path(__file__).parents[2] / "_build" / "html"
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
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        options = {"executable_path": path} if path else {}
        found = playwright.chromium.launch(args=FLAGS, **options)
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
