"""Writes lines and JSON documents to standard output and standard error, safe on any terminal."""

import errno
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO


class ReaderGone(BrokenPipeError):
    """The reader of the output closed it."""


def is_lively(stream: TextIO | None) -> bool:
    """Return whether to use colours and progress bars: on a terminal, and without NO_COLOR."""
    if stream is None:  # It was closed before the command started.
        return False
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_plain


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that it can't control the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def write_json(value: object) -> None:
    """Write a JSON document as one line to standard output, and flush."""
    _write(sys.stdout, json.dumps(value))


def write_line(text: str) -> None:
    """Write one line to standard output, and flush."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write one line to standard error, with the name of the program."""
    remark(f"smartglocal: {printable(text)}")


def remark(text: str) -> None:
    """Write one line to standard error, and flush."""
    _write(sys.stderr, text)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: "1 order", "2,000 orders"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    from importlib import metadata  # noqa: PLC0415 - takes longer than the rest of the module

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def discard_stdout() -> None:
    """Discard what standard output still has, if it can't be written.

    Python would try again when it exits, and replace the exit code by its own.
    """
    with suppress(OSError, ValueError):
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            devnull = os.open(os.devnull, os.O_WRONLY)
            _ = os.dup2(devnull, sys.stdout.fileno())
            os.close(devnull)


def _write(stream: TextIO | None, line: str) -> None:
    stream = open_stream(stream)
    encoding = stream.encoding or "utf-8"
    try:
        _ = stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise reader_gone() from None


def open_stream(stream: TextIO | None) -> TextIO:
    """Return a standard stream.

    Raises:
        OSError: it was closed before the command started.

    """
    if stream is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return stream


def reader_gone() -> ReaderGone:
    """Return the error for output that its reader closed."""
    return ReaderGone(errno.EPIPE, "the reader of the output closed it")


@contextmanager
def port_named(port: int) -> Generator[None, None, None]:
    """Name the option if the port is in use."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        problem = f"port {port} is in use; use another --port, or 0 for a free one"
        raise OSError(errno.EADDRINUSE, problem) from None
