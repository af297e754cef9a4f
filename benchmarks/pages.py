"""How soon the book's home page moves, and how fast its page trains NeVF.

    python -m benchmarks.pages [--visits N]

Opens the built book (`make book`) from the disk in Chromium. A test may not read a clock, since
another one runs beside it. Prints the seconds from a visit's start until the first picture has
moved, with nothing kept from an earlier visit, and iterations a second of "NeVF, live".
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

BOOK = Path(__file__).parents[1] / "_build" / "html"
ITERATIONS = 200
#: Once the picture is decoded: the time at which its place has changed.
MOVED = """addEventListener("DOMContentLoaded", async () => {
  const strip = new Image();
  strip.src = "../_static/hero.webp";
  await strip.decode();
  const place = () => getComputedStyle(document.querySelector(".nevf-flows")).backgroundPositionY;
  const first = place();
  while (place() === first) await new Promise(requestAnimationFrame);
  window.moved = performance.now();
});"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--visits", type=int, default=7)
    visits = parser.parse_args(arguments).visits
    if not (BOOK / "index.html").is_file():
        parser.error(f"{BOOK} holds no book: run `make book` first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        seconds = sorted(until_it_moves(browser) for _ in range(visits))
        print(f"home page: moves after {median(seconds):.2f} s", end=" ")
        print(f"({seconds[0]:.2f} to {seconds[-1]:.2f}, {visits} visits)", flush=True)
        print(f"NeVF, live: {iterations_a_second(browser):.0f} iterations a second")
        browser.close()


def chromium() -> str | None:
    """The path of the system's own Chromium, since Playwright's is a download."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def until_it_moves(browser: Browser) -> float:
    """Seconds from the start of a first visit to the home page until its picture has moved."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(MOVED)
    page.goto((BOOK / "notebooks" / "00_preface.html").as_uri())
    found = page.wait_for_function("window.moved").json_value() / 1000
    context.close()
    return found


def iterations_a_second(browser: Browser) -> float:
    """Of the page's own settings: 64 x 80 pixels, a SIREN 32 wide, L = 2."""
    page = browser.new_page()
    page.goto((BOOK / "book" / "nevf_in_the_page.html").as_uri())
    page.evaluate("nevfLive.ready")
    took = page.evaluate(
        f"""async () => {{
          const started = performance.now();
          await nevfLive.go({ITERATIONS});
          return performance.now() - started;
        }}"""
    )
    page.close()
    return 1000 * ITERATIONS / took


if __name__ == "__main__":
    main()
