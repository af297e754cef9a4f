"""`python -m nevf_lite` runs the command line `nevf`."""

from nevf_lite.cli import main

if __name__ == "__main__":
    main()
