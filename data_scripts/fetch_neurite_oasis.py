"""Fetch neurite-OASIS (6.6 GB) from Massachusetts General Hospital."""

from _run import run_fetch

if __name__ == "__main__":
    run_fetch("neurite")
