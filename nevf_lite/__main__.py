"""`python -m nevf_lite` is `nevf`."""

from nevf_lite.cli import main

if __name__ == "__main__":
    main()
