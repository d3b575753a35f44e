"""Expected errors become one line on standard error, and an exit code that says what to do."""

import enum
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, Final, TextIO

import typer
from attrs import asdict, field, frozen

from ..codec import ApiVersion
from ..errors import (
    BatchStopped,
    CallFailed,
    InvalidCredentials,
    InvalidRequest,
    JournalUnusable,
    Misuse,
    NotSent,
    OutcomeUnknown,
    PayoutsHalted,
    SmartGlocalError,
)
from .output import ReaderGone, complain, discard_stdout, write_json


class ExitCode(enum.IntEnum):
    """The exit code of a command."""

    DONE = 0
    FAILED = 1
    """The provider refused, a check failed, or a signature isn't valid."""
    MISUSE = 2
    """An argument, a file or a setting can't be used; nothing was sent."""
    OUTCOME_UNKNOWN = 3
    """It may have been processed; repeat a create only with the same key."""
    NOT_SENT = 4
    """Nothing reached the provider: safe to repeat."""
    NOT_PRINTED = 5
    """The call was done, and its answer could not be printed."""
    STOPPED = 6
    """Payouts ended early, by a rule or a signal; what was started is settled, or shown as open."""
    HALTED = 7
    """Nothing is paid from this journal until a person has checked it."""
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

# What to check if the provider refuses the credentials, by the code of its answer.
_WHAT_TO_CHECK: Final[Mapping[str, str]] = {
    "authentication_error": (
        "check that SMARTGLOCAL_PRIVATE_KEY is the key of SMARTGLOCAL_PROJECT at this server"
    ),
    "identification_error": "check SMARTGLOCAL_PROJECT, and that it belongs to this server",
}
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@frozen
class CommandFailed(Exception):
    """Ends a command with an exit code, a line on standard error, and facts for the JSON output."""

    code: ExitCode
    message: str
    facts: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.message


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """On Ctrl-C, print one line and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):
            complain("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def explained(
    *, as_json: bool, event: str | None = None, fields: Mapping[str, str] = _NONE
) -> Generator[None, None, None]:
    """Print an expected error as one line, and exit with its code.

    With ``as_json`` the error is written to standard output too; ``event`` is the name of its event
    if the output consists of events. ``fields`` has the option behind each field of a request.
    """
    try:
        with interruptible(), named(fields):
            yield
    except ReaderGone:
        discard_stdout()
        raise typer.Exit(ExitCode.DONE) from None
    except BrokenPipeError:
        raise
    except (SmartGlocalError, OSError, CommandFailed) as error:
        # The exit code doesn't depend on whether the message can be written.
        if as_json:
            try:
                head = {} if event is None else {"event": event}
                write_json({**head, "error": facts_of(error)})
            except OSError:
                discard_stdout()
        elif isinstance(error, OSError | CommandFailed):
            _flush_or_discard()
        with suppress(OSError):
            complain(message_of(error))
        raise typer.Exit(code_of(error)) from None


@contextmanager
def reader_may_leave() -> Generator[None, None, None]:
    """Continue if the reader of the output closes it: the exit code still counts."""
    try:
        yield
    except ReaderGone:
        discard_stdout()


def _flush_or_discard() -> None:
    stdout: TextIO | None = sys.stdout
    try:
        if stdout is not None:
            stdout.flush()
    except OSError:
        discard_stdout()


def code_of(error: Exception) -> ExitCode:
    """Return the exit code of an expected error."""
    if isinstance(error, CommandFailed):
        return error.code
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


def message_of(error: Exception) -> str:
    """Return the message of an error, with the file that it concerns, or the settings to check."""
    if isinstance(error, CallFailed) and (check := _WHAT_TO_CHECK.get(error.code or "")):
        return f"{error}; {check}, or run `smartglocal doctor`"
    if isinstance(error, OSError) and error.strerror:
        path = f"{error.filename}: " if error.filename is not None else ""
        return f"{path}{error.strerror}"
    return str(error) or type(error).__name__


def facts_of(error: Exception) -> dict[str, Any]:
    """Return an error as plain JSON values."""
    if isinstance(error, CommandFailed):
        return dict(error.facts)
    facts: dict[str, Any] = {"type": type(error).__name__, "message": message_of(error)}
    if isinstance(error, CallFailed):
        facts["outcome"] = error.outcome.value
        facts |= asdict(error, recurse=False)
        facts["code_class"] = error.code_class and error.code_class.value
    return facts


@contextmanager
def named(
    fields: Mapping[str, str] = _NONE, settings: Mapping[str, str] = _NONE
) -> Generator[None, None, None]:
    """Name the option that an error concerns: by its field, or by the setting of a credential.

    ``fields`` has the option of a field by the beginning of its path; the longest one wins. A
    setting that isn't in ``settings`` came from its environment variable.
    """
    try:
        yield
    except InvalidRequest as error:
        raise by_option(error, fields) from None
    except InvalidCredentials as error:
        if error.setting is None:
            raise
        source = settings.get(error.setting) or variable_of(error.setting)
        raise InvalidCredentials(f"{source}: {error.problem}") from None


def variable_of(setting: str) -> str:
    """Return the environment variable of a client's setting: SMARTGLOCAL_PROJECT of ``project``."""
    return f"SMARTGLOCAL_{setting.upper()}"


def version_in_use() -> ApiVersion:
    """Return the API version of the environment, whose field names files and options use.

    Raises:
        InvalidCredentials: the API has no such version.

    """
    match os.environ.get(variable_of("api_version")) or "v1":
        case "v1" | "v2" as version:
            return version
        case other:
            problem = f"api_version must be 'v1' or 'v2', got {other!r}"
            raise InvalidCredentials(problem, "api_version")


def by_option(error: InvalidRequest, fields: Mapping[str, str]) -> InvalidRequest:
    """Return the error of an option; a path deep inside its value is kept in the message."""
    for name in sorted(fields, key=len, reverse=True):
        rest = error.field.removeprefix(name)
        if error.field == name:
            return InvalidRequest(fields[name], error.problem)
        if rest != error.field and rest[0] in ".[":
            return InvalidRequest(fields[name], f"{error.field}: {error.problem}")
    return error
