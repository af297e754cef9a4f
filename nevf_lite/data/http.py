"""HTTP requests for downloads: the session, which responses are errors, and header fields."""

from __future__ import annotations

#: Some archives reject clients that do not look like a browser.
USER_AGENT = "Mozilla/5.0 (compatible; nevf-lite; brain image registration)"
TIMEOUT = (20, 60)  # seconds to connect, and between two chunks
CHUNK_SIZE = 1 << 16  # bytes; a connection that breaks loses at most this much
RETRY_STATUS = (429, 500, 502, 503, 504)  # status codes after which a retry may succeed


class DownloadError(OSError):
    """A failed download. The message is one line and says what to do."""


def open_session():
    """A requests.Session that asks for files without content encoding."""
    import requests

    session = requests.Session()
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    return session


def check_response(response, url: str, name: str) -> None:
    """Raise DownloadError for a response that is not the file `name`."""
    if response.status_code in (404, 410):
        raise DownloadError(
            f"{url}: not there any more (HTTP {response.status_code}); its owner may have moved "
            "it: look for it on their page and give its address with --url"
        )
    if response.status_code >= 400:
        raise DownloadError(
            f"{url}: the server refuses it (HTTP {response.status_code}); try again later, or "
            "download it with a browser and give the file with --archive"
        )
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    if is_page and not name.endswith((".html", ".htm")):
        raise DownloadError(
            f"{url}: a web page came instead of the file; download it with a browser and give the "
            "file with --archive"
        )


def validator(response) -> str:
    """The value for If-Range: a strong ETag, else the Last-Modified date, else ""."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def first_byte(response) -> int:
    """The offset of the first byte sent, from Content-Range; -1 if the header lacks it."""
    text = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else -1


def total_size(response) -> int:
    """The size of the complete file in bytes, from Content-Range; -1 if the header lacks it."""
    text = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(text) if text.isdigit() else -1
