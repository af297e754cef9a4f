"""Prepare neurite-OASIS: its aligned, skull-stripped scans and 35 structures."""

from _run import run_prepare

if __name__ == "__main__":
    run_prepare("neurite")
