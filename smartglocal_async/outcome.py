"""The result of a call: what is known over its attempts, and the error that follows from it."""

from typing import Generic

from attrs import define, frozen

from .envelope import AttemptResult, Verdict
from .errors import CallFailed, CallOutcome, NotSent, OutcomeUnknown, Refused, SmartGlocalError
from .models.answers import Session
from .models.requests import CreateSession
from .models.serialization import Serializable
from .operations import Answer, Request

MAY_BE_PROCESSED = frozenset(
    {AttemptResult.UNKNOWN, AttemptResult.NO_EFFECT, AttemptResult.ARRIVED}
)
_TURNED_AWAY = frozenset({AttemptResult.REFUSED, AttemptResult.REFUSED_FOR_NOW})


@define(eq=False)
class CallRecord:
    """What is known about a call while it runs."""

    operation: str
    key: str | None
    started: float
    session_id: str | None = None
    """The session that the request names; else the one that an answer named."""
    attempts: int = 0
    maybe_processed: Verdict | None = None
    """The verdict on the last attempt that may have been processed; None: none may have been."""
    number: int = 0
    """The call's number in the events of an observer; 0: it isn't observed."""

    def add(self, verdict: Verdict) -> Verdict:
        """Record the verdict on an attempt, and return the same object.

        A later verdict on the same attempt replaces the earlier one. Pass the last one to
        `failure`, which recognises it by identity.
        """
        self.session_id = self.session_id or verdict.session_id
        if verdict.happened in MAY_BE_PROCESSED:
            self.maybe_processed = verdict
        return verdict

    def failure(
        self, last: Verdict, stopped_by: str | None, now: float, *, is_read: bool
    ) -> CallFailed:
        """Return the error to raise; for a read, only the last attempt counts."""
        earlier = None if last is self.maybe_processed else self.maybe_processed
        return self._kind(last, None if is_read else earlier)(
            self.operation,
            self.key,
            self.session_id,
            last.code,
            last.description,
            last.code_class,
            last.http_status,
            last.content_type,
            self.attempts,
            now - self.started,
            last.cause if earlier is None else _both(earlier, last),
            stopped_by,
            last.retry_after_seconds,
            last.happened is AttemptResult.MISCONFIGURED,
        )

    def _kind(self, last: Verdict, earlier: Verdict | None) -> type[CallFailed]:
        # If any attempt may have been processed, the outcome is unknown, whatever followed.
        if earlier is not None or last.happened in MAY_BE_PROCESSED:
            return OutcomeUnknown
        return Refused if last.happened in _TURNED_AWAY else NotSent


def _both(earlier: Verdict, last: Verdict) -> str:
    return (
        f"an earlier attempt may have been processed ({_briefly(earlier)}); "
        f"the last one: {_briefly(last)}"
    )


def _briefly(verdict: Verdict) -> str:
    return verdict.cause or verdict.code or verdict.happened.value


@define
class CallResult(Generic[Answer]):
    """The answer of a call that succeeded, and how it was obtained."""

    answer: Answer
    key: str | None
    attempts: int
    elapsed_seconds: float


@frozen(kw_only=True)
class Outcome(Serializable, Generic[Request]):
    """The outcome of one request of a batch: either ``session`` or ``error``."""

    index: int
    """Position of the request in the source, from 0."""
    request: Request
    session: Session | None = None
    error: SmartGlocalError | None = None
    key: str | None = None
    attempts: int = 0
    elapsed_seconds: float = 0.0

    @property
    def outcome(self) -> CallOutcome:
        """What is certain about the call; a request that wasn't sent at all counts as not sent."""
        if self.session is not None:
            return CallOutcome.SUCCEEDED
        return getattr(self.error, "outcome", CallOutcome.NOT_SENT)


def outcome_of(
    index: int,
    request: CreateSession,
    result: CallResult[Session] | SmartGlocalError,
    key: str | None = None,
) -> Outcome[CreateSession]:
    """Return the outcome of a request, from its result."""
    if isinstance(result, CallResult):
        return Outcome(
            index=index,
            request=request,
            session=result.answer,
            key=result.key,
            attempts=result.attempts,
            elapsed_seconds=result.elapsed_seconds,
        )
    if isinstance(result, CallFailed):
        return Outcome(
            index=index,
            request=request,
            error=result,
            key=result.key,
            attempts=result.attempts,
            elapsed_seconds=result.elapsed_seconds,
        )
    return Outcome(index=index, request=request, error=result, key=key)
