"""One call on its way: what is known of it, whatever ends the command."""

import signal
import threading
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar, cast

from attrs import define, field

from ..codec import codec
from ..errors import InvalidRequest, OutcomeUnknown
from ..operations import Operation, Repeat
from ..outcome import MAY_BE_PROCESSED
from ..settings import AttemptDetails, Settings
from ..values.answers import Session
from .draft import FILE, Draft
from .failures import Ended, ExitCode, facts_of, words_of
from .masking import without_numbers
from .next_steps import step_after
from .screen import HungUp, complain, hush, write_json

Answer = TypeVar("Answer")

_KEY_FIELD: Final = Settings().key_field
_INTERRUPTED: Final = "outcome unknown: interrupted while it was out"
_ROOM: Final = '--json-metadata \'{"order": "..."}\''


@define(eq=False)
class Errand:
    """The one call of a command."""

    as_json: bool
    path: str = ""
    key: str | None = None
    session_id: str | None = None
    is_weighty: bool = False
    """Whether it is no matter of course to make it again."""
    is_watching: bool = False
    """Whether it looks again and again, and a look that fails is worth a line."""
    is_done: bool = False
    _may_be_out: bool = field(default=False, init=False)
    _is_lost: bool = field(default=False, init=False)
    _attempts: int = field(default=0, init=False)
    _has_complained: bool = field(default=False, init=False)

    def prepare(self, operation: Operation[Any, Any], draft: Draft, key: str | None) -> None:
        """Note which call will be made, and under which key: made here, it is known before."""
        self.path = operation.path
        self.is_weighty = operation.has_metadata or operation.repeat is Repeat.MOVES_MONEY
        if operation.has_metadata:
            _check_room(key, draft)
            key = _carried(draft) if key is None else key
        self.key = str(uuid.uuid4()) if key is None and self.is_weighty else key
        named: object = draft.wire.get("session_id")
        self.session_id = named if isinstance(named, str) else None

    def leave(self) -> None:
        """Note that from now on it may be out."""
        self._may_be_out = True

    def arrive(self, answer: Answer) -> Answer:
        """Note that it was done, and give the answer on."""
        self.is_done = True
        if isinstance(answer, Session):
            self.session_id = answer.id
        return answer

    def heed(self, attempt: AttemptDetails) -> None:
        """Take in what an attempt came to."""
        if attempt.operation != self.path:
            return  # The client asks for the session's status.
        if attempt.happened is None:
            self._may_be_out = self._is_lost or attempt.attempt > self._attempts
        else:
            self._is_lost = self._is_lost or attempt.happened in MAY_BE_PROCESSED
            self._may_be_out = self._is_lost
        self._attempts = attempt.attempt
        if self.is_watching and attempt.happened is not None:
            self._watch(attempt.cause or attempt.code)

    def give(self, answer: Answer, show: Callable[[Answer], None]) -> None:
        """Show the answer, or write its wire form: v1's names, and tokens whole.

        Raises:
            Ended: it can't be printed; what was done stays done.

        """
        try:
            if self.as_json:
                # Answers are called the same in every version of the API that is known.
                write_json(without_numbers(codec("v1").wire(answer)))
            else:
                show(answer)
        except HungUp:
            hush()
        except Exception as error:  # No fault of printing undoes the call.
            raise self._unprinted(words_of(error)) from error

    def ended(self) -> Ended | None:
        """Say what an interrupt leaves behind; None where surely nothing was sent."""
        if self.is_done:
            return self._unprinted("interrupted")
        if not (self.is_weighty and self._may_be_out):
            return None
        known = {"operation": self.path, "session_id": self.session_id, "key": self.key}
        facts = {"type": "Interrupted", "outcome": "unknown", **known}
        return self._unknown(f"{self.path}: {_INTERRUPTED}", facts)

    def unsure(self, error: OutcomeUnknown) -> Ended:
        """Add the session, and the next step, to what the client says of a lost call."""
        self.session_id = self.session_id or error.session_id
        return self._unknown(words_of(error), facts_of(error))

    def _unknown(self, said: str, facts: dict[str, Any]) -> Ended:
        words = [said]
        if self.session_id and self.session_id not in said:
            words.append(f"session {self.session_id}")
        if self.key and self.key not in said:
            words.append(f"key {self.key}")
        step = step_after(self.path, self.session_id, self.key)
        words += [f"next: {step}"] if step else []
        message = "; ".join(words)
        facts = {**facts, "session_id": self.session_id, "message": message, "next": step}
        return Ended(ExitCode.OUTCOME_UNKNOWN, message, facts)

    def _unprinted(self, why: str) -> Ended:
        words = f"{self.path}: the call was done; its answer could not be printed: {why}"
        if self.session_id is not None:
            words += f"; see it with: smartglocal session status {self.session_id}"
        known = {"operation": self.path, "session_id": self.session_id, "key": self.key}
        facts = {"type": "NotPrinted", "message": words, "outcome": "succeeded", **known}
        return Ended(ExitCode.NOT_PRINTED, words, facts)

    def _watch(self, trouble: str | None) -> None:
        if trouble is not None and not self._has_complained:
            complain(f"a look failed, and the wait goes on: {trouble}")
        self._has_complained = trouble is not None


@contextmanager
def ended_by_signals() -> Generator[None, None, None]:
    """Have SIGTERM do what Ctrl-C does: a call that is out must not go without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        _ = signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # While asyncio runs, this is its own handler, which cancels the call.
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def _carried(draft: Draft) -> str | None:
    metadata: object = draft.wire.get("metadata")
    if isinstance(metadata, dict):
        return cast("dict[str, Any]", metadata).get(_KEY_FIELD)
    return None


def _check_room(key: str | None, draft: Draft) -> None:
    """Refuse a key that has no place to travel in: a lost call could not be recognised."""
    metadata: object = draft.wire.get("metadata")
    if key is None or metadata is None:
        return
    option = draft.origin("metadata") or FILE
    if option == "--metadata":
        raise InvalidRequest("--key", f"can't travel in the text of --metadata; write {_ROOM}")
    if not isinstance(metadata, dict):
        raise InvalidRequest("--key", f"travels in an object only; write {_ROOM}")
    if cast("dict[str, object]", metadata).get(_KEY_FIELD, key) != key:
        raise InvalidRequest("--key", f"{option} has another {_KEY_FIELD}; give one key")
