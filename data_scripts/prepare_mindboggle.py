"""Prepare Mindboggle as the paper did: MNI152, 160x192x160 at 1 mm, labels 1-62."""

from _run import run_prepare

if __name__ == "__main__":
    run_prepare("mindboggle")
