"""The command line of the scripts in this folder: options, consent, and errors as one line.

`nevf data fetch NAME` and `nevf data prepare NAME` do the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nevf_lite.data.fetch import fetch
from nevf_lite.data.prepare import prepare


def run_fetch(name: str) -> None:
    """Show sizes and terms of a dataset, ask for consent, and fetch it into the cache."""
    parser = argparse.ArgumentParser(description=f"Fetch {name} from its owner.")
    parser.add_argument("--yes", action="store_true", help="agree to size and licence beforehand")
    parser.add_argument("--url", help="another address of the same file")
    parser.add_argument(
        "--trust", action="store_true", help="accept a file that differs from the known checksum"
    )
    options = parser.parse_args()

    def confirm(plan: str) -> bool:
        print(plan)
        return options.yes or input("Fetch it on these terms? [y/N] ").strip().lower() == "y"

    _run(lambda: fetch(name, confirm=confirm, url=options.url, trust=options.trust))


def run_prepare(name: str) -> None:
    """Convert a fetched dataset for load_pair."""
    parser = argparse.ArgumentParser(description=f"Prepare {name} as the paper did.")
    parser.add_argument("--archive", help="the archive, if it was downloaded by other means")
    parser.add_argument(
        "--own-affine",
        action="store_true",
        help="Mindboggle: compute the affine to the ICBM-152 template, not the published one",
    )
    options = parser.parse_args()
    _run(lambda: prepare(name, archive=options.archive, own_affine=options.own_affine))


def _run(command: Callable[[], list[Path]]) -> None:
    """Run a command and print the paths it returns; an error is one line and exit status 2."""
    try:
        paths = command()
    except (OSError, ValueError) as error:
        _fail(error)
    except KeyboardInterrupt:
        _fail("stopped; run the same command again to go on")
    for path in paths:
        print(path)


def _fail(message: object) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
