"""Fetch the OASIS-TRT-20 brains of Mindboggle-101 (408 MB) from the project's Zenodo record."""

from _run import run_fetch

if __name__ == "__main__":
    run_fetch("mindboggle")
