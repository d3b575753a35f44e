"""Builds the request of a command from a file and from options, and makes the call."""

import codecs
import json
import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from attrs import define, field, frozen

from ...client import SmartGlocal
from ...codec import (
    MISSING,
    PAYOUT_INSTRUMENT,
    UNKNOWN_FIELD,
    ApiVersion,
    NotDecodable,
    Wire,
    codec,
    parse,
)
from ...errors import InvalidRequest, OutcomeUnknown
from ...models.answers import Session
from ...models.money import AmountDetails
from ...observer.delivery import only
from ...observer.events import AttemptEnded
from ...operations import Operation, Repeat, Request
from ...outcome import MAY_BE_PROCESSED
from ...settings import Settings
from ...validation import is_nearly
from ..errors import CommandFailed, ExitCode, facts_of, message_of, named, version_in_use
from ..output import ReaderGone, complain, counted, discard_stdout, write_json
from ..signals import run_async, sigterm_interrupts
from .views import step_after, without_numbers

T = TypeVar("T")

FILE: Final = "--file"
_PATH: Final = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[0-9]{1,4}\])*")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
# The option of an argument of the call.
_CALL_OPTIONS: Final[Mapping[str, str]] = {
    "key": "--key",
    "deadline": "--deadline",
    "path": "PATH",
    "version": "--api-version",
    "method": "--method",
    "success_field": "--success-field",
}


@define(eq=False)
class Draft:
    """The wire form of a request, and the option behind each of its fields."""

    wire: Wire = field(factory=dict[str, Any], repr=False)
    has_file: bool = False
    _origins: dict[str, str] = field(factory=dict[str, str])

    @classmethod
    def read(cls, name: str | None) -> "Draft":
        """Return a draft with the fields of a JSON file, ``-`` for standard input; None is no file.

        Raises:
            InvalidRequest: it isn't a JSON object; the text doesn't quote it.
            OSError: it can't be read.

        """
        if name is None:
            return cls()
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        try:
            wire = parse(content.removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise InvalidRequest(FILE, f"isn't JSON: {_where(error)}") from None
        if not isinstance(wire, dict):
            kind = type(wire).__name__
            raise InvalidRequest(FILE, f"expected an object of names and values, got {kind}")
        return cls(cast("Wire", wire), has_file=True)

    def put(self, path: str, value: object, option: str) -> None:
        """Set a field, also if the file has it; objects on the path to it are created.

        Raises:
            InvalidRequest: another option set it, or the path doesn't fit the file.

        """
        for other, origin in self._origins.items():
            if other == path or _is_inside(other, path):
                how = "twice" if origin == option else f"by {origin}, too"
                raise InvalidRequest(option, f"{path} is given {how}")
        steps = [int(index) if index else name for name, index in _STEP.findall(path)]
        _place(self.wire, steps, value, option)
        self._origins[path] = option

    def put_text(self, option: str, assignments: list[str] | None, *, as_json: bool) -> None:
        """Set fields from texts ``PATH=VALUE``: an object before the fields inside it.

        Raises:
            InvalidRequest: a text can't be read, or its field can't be set.

        """
        pairs = (_assignment(text, option) for text in assignments or ())
        for path, text in sorted(pairs, key=lambda pair: len(_STEP.findall(pair[0]))):
            self.put(path, read_json(text, f"{option} {path}") if as_json else text, option)

    def origin(self, path: str) -> str | None:
        """Return the option that set a field, or the closest field around it."""
        above = [set_ for set_ in self._origins if set_ == path or _is_inside(path, set_)]
        if above:
            return self._origins[max(above, key=len)]
        if self.has_file:
            return FILE
        below = (option for set_, option in self._origins.items() if _is_inside(set_, path))
        return next(below, None)

    def build(self, record: type[T], version: ApiVersion) -> T:
        """Return the request as a record.

        Raises:
            InvalidRequest: it isn't valid; names the option, and the path if the option sets
                several fields.

        """
        try:
            return codec(version).structure(self.wire, record)
        except NotDecodable as error:
            complaints = error.complaints
        # A misspelt name is reported before a field that is missing because of it.
        for name in (path.removeprefix("$.") for path, said in complaints if said == MISSING):
            if wrong := next((other for other in self.wire if is_nearly(other, name)), None):
                raise self.error(wrong, f"is no field; did you mean {name}?")
        path, problem = next(
            (pair for pair in complaints if pair[1] == UNKNOWN_FIELD), complaints[0]
        )
        path = path.removeprefix("$").strip(".").replace(".wire.", ".")
        hint = _name_in(version, path) if problem == UNKNOWN_FIELD else ""
        raise self.error(path, problem, hint)

    @contextmanager
    def options_named(self) -> Generator[None, None, None]:
        """Name the option in the errors that the client raises about a request."""
        try:
            yield
        except InvalidRequest as error:
            named_error = self.error(error.field, error.problem)
        else:
            return
        raise named_error

    def error(self, path: str, problem: str, hint: str = "") -> InvalidRequest:
        """Return the error about a field, with the name of the option that set it."""
        if path in _CALL_OPTIONS:
            return InvalidRequest(_CALL_OPTIONS[path], problem)
        # The path may begin with the name of the record.
        has_record = path[:1].isupper() or path.startswith("request.")
        bare = path.partition(".")[2] if has_record else path
        option = self.origin(bare)
        if problem == MISSING and bare == "session_id":
            return InvalidRequest("SESSION_ID", problem)
        if not bare:
            return InvalidRequest(option or "the request", problem)
        if option is None:
            hint = "; set it in --file or with --set" if problem == MISSING else hint
            return InvalidRequest(bare, problem + hint)
        problem += hint
        has_several = self._origins.get(bare) != option or option.startswith("--set")
        return InvalidRequest(option, f"{bare}: {problem}" if has_several else problem)


def read_json(text: str, option: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of an option's JSON.

    Raises:
        InvalidRequest: it isn't JSON; the text doesn't quote it.

    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(option, f"isn't JSON: {_where(error)}") from None


def _name_in(version: ApiVersion, path: str) -> str:
    """Return a hint about the name of a field in this version, if that of the other one is used."""
    holder, _, name = path.rpartition(".")
    own = PAYOUT_INSTRUMENT[version]
    if holder or name == own or name not in PAYOUT_INSTRUMENT.values():
        return ""
    return f"; its name in {version} is {own}"


def _where(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it isn't UTF-8 text"
    return str(error)


def _assignment(text: str, option: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(option, "expected PATH=VALUE, but there is no =")
    if not _PATH.fullmatch(path):
        raise InvalidRequest(
            option, "expected a path before the =, such as customer.contacts[0].email"
        )
    return path, value


def _is_inside(path: str, other: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


def _place(wire: Wire, steps: list[str | int], value: object, option: str) -> None:
    holder: Any = wire
    for path, step, following in _walk(steps):
        is_new = _make_room(holder, step, path, option)
        if following is None:
            holder[step] = value
            return
        if is_new or holder[step] is None:
            holder[step] = [] if isinstance(following, int) else {}
        holder = holder[step]


def _walk(steps: list[str | int]) -> Iterator[tuple[str, str | int, str | int | None]]:
    path = ""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        yield path.removeprefix("."), step, following


def _make_room(holder: Any, step: str | int, path: str, option: str) -> bool:  # noqa: ANN401 - any JSON
    """Make room for a step of a path, and return whether it is new there."""
    if isinstance(step, str):
        if not isinstance(holder, dict):
            raise InvalidRequest(option, f"{path}: isn't inside an object")
        return step not in holder
    if not isinstance(holder, list):
        raise InvalidRequest(option, f"{path}: isn't inside a list")
    items = cast("list[object]", holder)
    if step > len(items):
        raise InvalidRequest(
            option, f"{path}: the list has only {counted(len(items), 'item')} before it"
        )
    if step == len(items):
        items.append(None)
        return True
    return False


Answer = TypeVar("Answer")

_KEY_FIELD: Final = Settings().key_field
_INTERRUPTED: Final = "outcome unknown: interrupted while the call was in flight"
_OBJECT: Final = '--json-metadata \'{"order": "..."}\''


@define(eq=False)
class CommandRun:
    """The call of a command: what is known of it, and what an error or an interrupt reports."""

    as_json: bool
    path: str = ""
    key: str | None = None
    session_id: str | None = None
    needs_care: bool = False
    """Whether repeating it without its key could do something twice."""
    is_polling: bool = False
    """Whether the call is repeated, and an attempt that fails is reported once."""
    is_done: bool = False
    _may_be_in_flight: bool = field(default=False, init=False)
    _is_lost: bool = field(default=False, init=False)
    _attempts: int = field(default=0, init=False)
    _was_reported: bool = field(default=False, init=False)

    def prepare(self, operation: Operation[Any, Any], draft: Draft, key: str | None) -> None:
        """Set the operation and the key, before the call: a message about it can then name them."""
        self.path = operation.path
        self.needs_care = operation.has_metadata or operation.repeat is Repeat.MOVES_MONEY
        if operation.has_metadata:
            _check_key(key, draft)
            key = _key_in_metadata(draft) if key is None else key
        self.key = str(uuid.uuid4()) if key is None and self.needs_care else key
        session_id: object = draft.wire.get("session_id")
        self.session_id = session_id if isinstance(session_id, str) else None

    def sending(self) -> None:
        """Note that the call may be in flight from now on."""
        self._may_be_in_flight = True

    def done(self, answer: Answer) -> Answer:
        """Note that the call was done, and return its answer."""
        self.is_done = True
        if isinstance(answer, Session):
            self.session_id = answer.id
        return answer

    def on_attempt(self, attempt: AttemptEnded) -> None:
        """Note the result of an attempt."""
        if attempt.operation != self.path:
            return  # The client requests the session's status.
        if attempt.happened is None:
            self._may_be_in_flight = self._is_lost or attempt.attempt > self._attempts
        else:
            self._is_lost = self._is_lost or attempt.happened in MAY_BE_PROCESSED
            self._may_be_in_flight = self._is_lost
        self._attempts = attempt.attempt
        if self.is_polling and attempt.happened is not None:
            self._report_once(attempt.cause or attempt.code)

    def print_answer(self, answer: Answer, show: Callable[[Answer], None]) -> None:
        """Show the answer, or write it as JSON with the names of v1, tokens included.

        Raises:
            CommandFailed: it can't be printed.

        """
        try:
            if self.as_json:
                # The fields of answers have the same names in all known versions of the API.
                write_json(without_numbers(codec("v1").wire(answer)))
            else:
                show(answer)
        except ReaderGone:
            discard_stdout()
        except Exception as error:  # The call was done, whatever fails while printing.
            raise self._not_printed(message_of(error)) from error

    def interrupted(self) -> CommandFailed | None:
        """Return the error for an interrupt; None if nothing was sent for certain."""
        if self.is_done:
            return self._not_printed("interrupted")
        if not (self.needs_care and self._may_be_in_flight):
            return None
        known = {"operation": self.path, "session_id": self.session_id, "key": self.key}
        facts = {"type": "Interrupted", "outcome": "unknown", **known}
        return self._unknown(f"{self.path}: {_INTERRUPTED}", facts)

    def outcome_unknown(self, error: OutcomeUnknown) -> CommandFailed:
        """Return the client's error of a lost call, with the session and the next step."""
        self.session_id = self.session_id or error.session_id
        return self._unknown(message_of(error), facts_of(error))

    def _unknown(self, text: str, facts: dict[str, Any]) -> CommandFailed:
        parts = [text]
        if self.session_id and self.session_id not in text:
            parts.append(f"session {self.session_id}")
        if self.key and self.key not in text:
            parts.append(f"key {self.key}")
        step = step_after(self.path, self.session_id, self.key)
        parts += [f"next: {step}"] if step else []
        message = "; ".join(parts)
        facts = {**facts, "session_id": self.session_id, "message": message, "next": step}
        return CommandFailed(ExitCode.OUTCOME_UNKNOWN, message, facts)

    def _not_printed(self, why: str) -> CommandFailed:
        message = f"{self.path}: the call was done; its answer could not be printed: {why}"
        if self.session_id is not None:
            message += f"; see it with: smartglocal session status {self.session_id}"
        known = {"operation": self.path, "session_id": self.session_id, "key": self.key}
        facts = {"type": "NotPrinted", "message": message, "outcome": "succeeded", **known}
        return CommandFailed(ExitCode.NOT_PRINTED, message, facts)

    def _report_once(self, trouble: str | None) -> None:
        if trouble is not None and not self._was_reported:
            complain(f"a status request failed; still waiting: {trouble}")
        self._was_reported = trouble is not None


def _key_in_metadata(draft: Draft) -> str | None:
    metadata: object = draft.wire.get("metadata")
    if isinstance(metadata, dict):
        return cast("dict[str, Any]", metadata).get(_KEY_FIELD)
    return None


def _check_key(key: str | None, draft: Draft) -> None:
    """Refuse a key that the metadata can't carry: a lost call could not be recognised."""
    metadata: object = draft.wire.get("metadata")
    if key is None or metadata is None:
        return
    option = draft.origin("metadata") or FILE
    if option == "--metadata":
        raise InvalidRequest("--key", f"can't be sent in the text of --metadata; use {_OBJECT}")
    if not isinstance(metadata, dict):
        raise InvalidRequest("--key", f"needs metadata that is a JSON object; use {_OBJECT}")
    if cast("dict[str, object]", metadata).get(_KEY_FIELD, key) != key:
        raise InvalidRequest("--key", f"differs from the {_KEY_FIELD} in {option}; use one key")


_AMOUNT: Final = {
    "AmountDetails.of": "--amount",
    "AmountDetails.amount": "--amount",
    "AmountDetails.currency": "--currency",
}
_NOTHING: Final[Mapping[str, tuple[str, Any]]] = MappingProxyType({})


@frozen(kw_only=True)
class GivenFields:
    """The options of a request, and its file."""

    file: str | None = None
    fields: list[str] | None = field(default=None, repr=False)
    json_fields: list[str] | None = field(default=None, repr=False)
    amount: str | None = None
    currency: str | None = None
    metadata: str | None = field(default=None, repr=False)
    json_metadata: str | None = field(default=None, repr=False)
    key: str | None = None
    own: Mapping[str, tuple[str, Any]] = field(default=_NOTHING, repr=False)
    """Fields that have an option of their own: path -> its name and value; None: not given."""

    def draft(self) -> Draft:
        """Return the draft of the request: the file, with the options over it.

        Raises:
            InvalidRequest: an option or the file is invalid, or two options set the same field.
            OSError: the file can't be read.

        """
        draft = Draft.read(self.file)
        for path, (option, value) in self.own.items():
            if value is not None:
                draft.put(path, value, option)
        if (amount := _amount(self.amount, self.currency)) is not None:
            draft.put("amount_details.amount", amount.amount, "--amount")
            draft.put("amount_details.currency", amount.currency, "--currency")
        if self.json_metadata is not None:
            if self.metadata is not None:
                raise InvalidRequest("--json-metadata", "use it or --metadata, not both")
            value = read_json(self.json_metadata, "--json-metadata")
            draft.put("metadata", value, "--json-metadata")
        elif self.metadata is not None:
            draft.put("metadata", self.metadata, "--metadata")
        draft.put_text("--set", self.fields, as_json=False)
        draft.put_text("--set-json", self.json_fields, as_json=True)
        return draft


def build_and_call(
    run: CommandRun,
    operation: Operation[Request, Answer],
    given: GivenFields,
    call: Callable[[SmartGlocal, Request, str | None], Awaitable[T]],
) -> T:
    """Build the request from the options, make the call with it and its key, return the answer.

    Raises:
        InvalidRequest: an option is invalid, or the request is; nothing was sent.
        SmartGlocalError: as the call does.

    """
    version, draft = version_in_use(), given.draft()
    request = draft.build(operation.request, version)
    run.prepare(operation, draft, given.key)
    return make_call(run, lambda api: call(api, request, run.key), draft)


def make_call(
    run: CommandRun, call: Callable[[SmartGlocal], Awaitable[T]], draft: Draft | None = None
) -> T:
    """Make a call with the credentials of the environment, and return its answer.

    Raises:
        InvalidRequest: the client refuses the request; names the option of the draft.
        SmartGlocalError: as the call does.

    """

    async def made() -> T:
        settings = Settings(observers=[only(AttemptEnded, run.on_attempt)])
        async with SmartGlocal.from_env(settings=settings) as api:
            run.sending()
            return run.done(await call(api))

    with (draft or Draft()).options_named():
        return run_async(made())


@contextmanager
def reported(run: CommandRun) -> Generator[None, None, None]:
    """Report an interrupt, or a call whose outcome is unknown, with its key and the next step."""
    with sigterm_interrupts():
        try:
            yield
        except KeyboardInterrupt:
            if (failure := run.interrupted()) is None:
                raise
            raise failure from None
        except OutcomeUnknown as error:
            raise run.outcome_unknown(error) from None


def _amount(major: str | None, currency: str | None) -> AmountDetails | None:
    if major is None and currency is None:
        return None
    if major is None or currency is None:
        raise InvalidRequest("--amount", "--amount and --currency go together")
    with named(_AMOUNT):
        return AmountDetails.of(major, currency)
