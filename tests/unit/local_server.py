"""A web server on this machine that behaves, or misbehaves, as the archives of the world do."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Called with (handler, body, start): may answer by itself (return True) or leave it to the server.
Trouble = Callable[["Handler", bytes, int], bool]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` with byte ranges, ETags and If-Range."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        files, seen = self.server.files, self.server.requests
        seen.append((name, self.headers.get("Range", "")))
        if name not in files:
            return self.answer(404, b"gone", **{"Content-Type": "text/html"})
        body = files[name]
        tag = f'"{hash(body)}"'
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        usable = self.headers.get("If-Range", tag) == tag and self.server.ranges
        start, stop = 0, len(body)
        if found and usable:
            start = int(found[1])
            stop = min(int(found[2]) + 1, len(body)) if found[2] else len(body)
        if any(trouble(self, body, start) for trouble in self.server.troubles):
            return None
        if start >= len(body) > 0:
            return self.answer(416, b"", **{"Content-Range": f"bytes */{len(body)}"})
        if found and usable:
            span = f"bytes {start}-{stop - 1}/{len(body)}"
            return self.answer(206, body[start:stop], ETag=tag, **{"Content-Range": span})
        return self.answer(200, body, ETag=tag)

    def answer(self, status: int, body: bytes, promised: int | None = None, **headers) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            if promised not in (None, len(body)):
                self.close_connection = True

    def log_message(self, *arguments) -> None:
        pass


class Server(ThreadingHTTPServer):
    """files: path to bytes. troubles: what goes wrong. requests: (path, Range) in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.troubles: list[Trouble] = []
        self.requests: list[tuple[str, str]] = []
        self.ranges = True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{name}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server in its own thread, closed afterwards."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def cut_after(count: int, times: int = 1) -> Trouble:
    """Promise the whole rest, send `count` bytes of it and hang up; `times` times."""
    left = [times]

    def trouble(handler: Handler, body: bytes, start: int) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        headers = {"ETag": f'"{hash(body)}"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        piece = body[start : start + count]
        handler.answer(206 if start else 200, piece, promised=len(body) - start, **headers)
        return True

    return trouble


def always(status: int, **headers) -> Trouble:
    """Answer everything with one status."""

    def trouble(handler: Handler, body: bytes, start: int) -> bool:
        handler.answer(status, b"<html>no</html>", **{"Content-Type": "text/html", **headers})
        return True

    return trouble
