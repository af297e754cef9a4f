"""What is done to every page of a finished build.

It is mended, its citations lead to what they name, and it tells others how to show a link to it.
"""

from __future__ import annotations

import html
import re
from functools import partial
from pathlib import Path

from nevf_bibliography import entries, link_to_entries
from nevf_claims import VERDICTS_SPAN, headline
from nevf_home import DESCRIPTION, HOME, fix_home
from nevf_html import FIXED, fix_page

SHARED = "share.jpg"
_TITLE = re.compile(r"<title>(.*?)</title>", re.S)
_ARTICLE = re.compile(r'<article class="bd-article".*?</article>', re.S)
_PARAGRAPH = re.compile(r"(?<!<li>)<p>(.*?)</p>", re.S)
_FORMULA = re.compile(r"\\\((.*?)\\\)")
_LONGEST = 200  # letters of a description


def shared(text: str, picture: str, home: bool = False) -> str:
    """A page with its title, its first words and a picture for those who show a link to it.

    picture: its whole address; a service that shows a link follows no other. home: whether the page
    speaks for the book.
    """
    title = re.sub(" [—-] NeVF, hands on$", "", html.unescape(_TITLE.search(text)[1]).strip())
    told = {"title": title, "description": DESCRIPTION if home else described(text)}
    told |= {"type": "book" if home else "article", "image": picture}
    told["image:alt"] = "A brain on its way to the outline of another"
    tags = [f'<meta property="og:{name}" content="{html.escape(c)}">' for name, c in told.items()]
    tags.append('<meta name="twitter:card" content="summary_large_image">')
    tags.append(f'<meta name="description" content="{html.escape(told["description"])}">')
    return _TITLE.sub(lambda match: "\n".join([match[0], *tags]), text, count=1)


def described(text: str) -> str:
    """The first paragraph of a page that is long enough, or what the book is.

    A formula of plain letters stays, and a paragraph with any other is passed over.
    """
    article = _ARTICLE.search(text)
    for paragraph in _PARAGRAPH.findall(article[0] if article else ""):
        words = html.unescape(re.sub(r"<[^>]*>", "", paragraph))
        words = _FORMULA.sub(r"\1", " ".join(words.split()))
        if len(words) > 60 and "\\" not in words:
            return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0] + " …"
    return DESCRIPTION


def _finish(static: str, app, exception) -> None:
    """static: the address of the static files where the site has none of its own."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    address = app.config.html_baseurl
    picture = f"{address.rstrip('/')}/_static/{SHARED}" if address else f"{static}{SHARED}"
    bibliography = folder / "book/bibliography.html"
    cited = entries(bibliography.read_text(encoding="utf-8")) if bibliography.is_file() else {}
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if text.endswith(FIXED):  # by an earlier build, which this one goes on from
            continue
        fixed = link_to_entries(fix_page(text, path), cited)
        fixed = fixed.replace(VERDICTS_SPAN, VERDICTS_SPAN.replace("><", f">{headline()}<"))
        if home := path == folder / f"{HOME}.html":
            titles = {name: title.astext() for name, title in app.env.titles.items()}
            fixed = fix_home(fixed, titles, folder / "_static")
        fixed = shared(fixed, picture, home) if _TITLE.search(fixed) else fixed  # not the door
        path.write_text(fixed + FIXED, encoding="utf-8")


def setup_finish(app, static: str) -> None:
    app.connect("build-finished", partial(_finish, static))
