"""Expected failures become one line on standard error, and an exit code that says what to do."""

import enum
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

import typer
from attrs import asdict, field, frozen

from ..errors import (
    BatchStopped,
    CallFailed,
    JournalUnusable,
    Misuse,
    NotSent,
    OutcomeUnknown,
    PayoutsHalted,
    SmartGlocalError,
)
from .screen import HungUp, complain, hush, write_json


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
    NOT_PRINTED = 5
    """The call was done, and its answer could not be printed."""
    STOPPED = 6
    """Payouts ended early, by a rule or a signal; what was begun is settled, or said to be open."""
    HALTED = 7
    """Nothing is paid from this journal until a person has looked."""
    INTERRUPTED = 130


_CODES: Final[Mapping[type[Exception], ExitCode]] = {
    NotSent: ExitCode.NOT_SENT,
    OutcomeUnknown: ExitCode.OUTCOME_UNKNOWN,
    PayoutsHalted: ExitCode.HALTED,
    BatchStopped: ExitCode.STOPPED,
    Misuse: ExitCode.MISUSE,
    JournalUnusable: ExitCode.MISUSE,
    OSError: ExitCode.MISUSE,
}


# Where the provider doesn't know who calls, what it is told that by.
_TO_CHECK: Final[Mapping[str, str]] = {
    "authentication_error": (
        "check that SMARTGLOCAL_PRIVATE_KEY is the key of SMARTGLOCAL_PROJECT at this server"
    ),
    "identification_error": "check SMARTGLOCAL_PROJECT, and that it belongs to this server",
}


@frozen
class Ended(Exception):
    """A command that ends short of its answer, and what there is to say of its call."""

    code: ExitCode
    words: str
    facts: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.words


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """End the command with a line and a code where somebody interrupts it."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):
            complain("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def explained(*, as_json: bool, event: str | None = None) -> Generator[None, None, None]:
    """End the command with a line and a code where it meets an expected failure.

    Where the output is one of events, the failure is one of them, too.
    """
    try:
        with interruptible():
            yield
    except HungUp:
        hush()  # Nobody reads what there is to say.
        raise typer.Exit(ExitCode.DONE) from None
    except BrokenPipeError:
        raise
    except (SmartGlocalError, OSError, Ended) as error:
        # The code is what it is, whether or not the words can be written.
        if as_json:
            try:
                named = {} if event is None else {"event": event}
                write_json({**named, "error": facts_of(error)})
            except OSError:
                hush()
        elif isinstance(error, OSError | Ended):
            _settle()
        with suppress(OSError):
            complain(words_of(error))
        raise typer.Exit(code_of(error)) from None


@contextmanager
def unread_or_not() -> Generator[None, None, None]:
    """Go on to the verdict where nobody reads what leads up to it."""
    try:
        yield
    except HungUp:
        hush()


def _settle() -> None:
    stdout: TextIO | None = sys.stdout
    try:
        if stdout is not None:
            stdout.flush()
    except OSError:
        hush()


def code_of(error: Exception) -> ExitCode:
    """Give the exit code of an expected failure."""
    if isinstance(error, Ended):
        return error.code
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


def words_of(error: Exception) -> str:
    """Give the words of an error, with the file that it is about, or the variables to look at."""
    if isinstance(error, CallFailed) and (check := _TO_CHECK.get(error.code or "")):
        return f"{error}; {check}, `smartglocal doctor` tries them"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def facts_of(error: Exception) -> dict[str, Any]:
    """Give an error as plain JSON values."""
    if isinstance(error, Ended):
        return dict(error.facts)
    facts: dict[str, Any] = {"type": type(error).__name__, "message": words_of(error)}
    if isinstance(error, CallFailed):
        facts["outcome"] = error.outcome.value
        facts |= asdict(error, recurse=False)
        facts["code_class"] = error.code_class and error.code_class.value
    return facts
