"""Fetch the published SYMNet and VoxelMorph weights from their repositories."""

from _run import run_fetch

if __name__ == "__main__":
    run_fetch("weights")
