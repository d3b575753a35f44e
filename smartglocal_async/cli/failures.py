"""Expected failures become one line on standard error, and an exit code that says what to do."""

import enum
import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer
from attrs import asdict

from ..errors import (
    CallFailed,
    Misuse,
    NotSent,
    OutcomeUnknown,
    SmartGlocalError,
)
from .screen import complain, write_json


class ExitCode(enum.IntEnum):
    """What a command came to."""

    DONE = 0
    FAILED = 1
    """The provider refused, a check failed, or a signature isn't valid."""
    MISUSE = 2
    """An argument, a file or a setting can't be used; nothing was sent."""
    OUTCOME_UNKNOWN = 3
    """It may have been processed; repeat a create only with the same key."""
    NOT_SENT = 4
    """Nothing reached the provider: repeat freely."""
    INTERRUPTED = 130


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """End the command with a line and a code where somebody interrupts it."""
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def explained(*, as_json: bool) -> Generator[None, None, None]:
    """End the command with a line and a code where it meets an expected failure."""
    try:
        with interruptible():
            yield
    except (SmartGlocalError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # Whoever read the output went away; Typer ends quietly.
        if as_json:
            write_json({"error": _facts(error)})
        complain(_words(error))
        raise typer.Exit(_code(error)) from None


def _code(error: Exception) -> ExitCode:
    match error:
        case NotSent():
            return ExitCode.NOT_SENT
        case OutcomeUnknown():
            return ExitCode.OUTCOME_UNKNOWN
        case Misuse() | OSError():
            return ExitCode.MISUSE
        case _:
            return ExitCode.FAILED


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def _facts(error: Exception) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": type(error).__name__, "message": _words(error)}
    if isinstance(error, CallFailed):
        facts["outcome"] = error.outcome.value
        facts |= asdict(error, recurse=False)
        facts["code_class"] = error.code_class and error.code_class.value
    return facts
