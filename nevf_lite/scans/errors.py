"""Errors as one line of text."""

from __future__ import annotations

#: Errors caused by the input, the settings or the machine: reported in one line, no traceback.
EXPECTED = (ValueError, OSError, MemoryError, FloatingPointError)


def describe(error: BaseException) -> str:
    """The message of an error; errors of the operating system begin with the file's path."""
    if isinstance(error, OSError) and error.strerror and len(error.args) > 1:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """The text without line breaks, and with "?" for characters that cannot be printed.

    A file's name may hold escape sequences, which a terminal would obey.
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; torch raises a RuntimeError for it."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
