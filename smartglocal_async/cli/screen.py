"""Where output goes: rich on a terminal, plain text elsewhere, JSON when asked for."""

import errno
import io
import json
import os
import sys
from contextlib import suppress
from typing import Annotated, Final, NoReturn, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

AsJson = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, and nothing else.")
]
PLAIN_WIDTH: Final = 100


class HungUp(BrokenPipeError):
    """Whoever read the output went away."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Say so; rich would end the process with a code that says "refused"."""
        raise hung_up()


def is_lively(stream: TextIO | None) -> bool:
    """Say whether colours and moving lines are welcome: a terminal, and no NO_COLOR."""
    if stream is None:  # It was closed before the command began.
        return False
    unwelcome = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not unwelcome


def console(*, beside: bool = False) -> Console:
    """Give the console of standard output, or of standard error, ``beside`` the result.

    Off a terminal it writes no escape codes.

    Raises:
        OSError: it is closed.

    """
    stream = _open(sys.stderr if beside else sys.stdout)
    held: object = stream
    if isinstance(held, io.TextIOWrapper):
        held.reconfigure(errors="backslashreplace")
    lively = is_lively(stream)
    return _Console(
        file=stream,
        force_terminal=lively,
        color_system="auto" if lively else None,
        # A pipe has no width; whoever has one to suggest sets COLUMNS.
        width=None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(title: str | None = None) -> Table:
    """Give an empty table in the house style."""
    return Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")


def show(screen: Console, shown: RenderableType) -> None:
    """Print it; off a terminal without the spaces that fill the lines of a table."""
    if screen.is_terminal:
        screen.print(shown)
        return
    with screen.capture() as captured:
        screen.print(shown)
    for line in captured.get().splitlines():
        screen.print(line.rstrip(), soft_wrap=True)


def cell(value: object, style: str = "") -> Text:
    """Give text for a table; what could steer the terminal is written out instead."""
    return Text(printable(str(value)), style=style)


def printable(text: str) -> str:
    """Write out control characters: a provider's words must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def write_json(value: object) -> None:
    """Write one JSON document on one line of standard output, at once."""
    _write(sys.stdout, json.dumps(value))


def write_line(text: str) -> None:
    """Write one line to standard output, at once."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write one line to standard error."""
    remark(f"smartglocal: {printable(text)}")


def remark(text: str) -> None:
    """Write one line beside the result: to standard error, at once."""
    _write(sys.stderr, text)


def counted(number: int, thing: str) -> str:
    """Give a number and what it counts: "1 order", "2,000 orders"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def hush() -> None:
    """Send standard output nowhere, where what it holds can't be written.

    Python would try once more at its end, and have the last word on the exit code.
    """
    with suppress(OSError, ValueError):
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nowhere = os.open(os.devnull, os.O_WRONLY)
            _ = os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _write(stream: TextIO | None, line: str) -> None:
    stream = _open(stream)
    encoding = stream.encoding or "utf-8"
    try:
        _ = stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise hung_up() from None


def _open(stream: TextIO | None) -> TextIO:
    if stream is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return stream


def hung_up() -> HungUp:
    """Give the error that says so."""
    return HungUp(errno.EPIPE, "whoever read the output went away")
