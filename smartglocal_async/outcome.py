"""What one logical call came to: the facts gathered over its attempts, and the error they make."""

from typing import Generic

from attrs import define, frozen

from .envelope import Happened, Verdict
from .errors import CallFailed, CallOutcome, NotSent, OutcomeUnknown, Refused, SmartGlocalError
from .operations import Answer, Request
from .values.answers import Session
from .values.requests import CreateSession

MAY_BE_PROCESSED = frozenset({Happened.UNKNOWN, Happened.NO_EFFECT, Happened.ARRIVED})
_TURNED_AWAY = frozenset({Happened.REFUSED, Happened.REFUSED_FOR_NOW})


@define(eq=False)
class CallRecord:
    """What is known of one call while it runs."""

    operation: str
    key: str | None
    started: float
    session_id: str | None = None
    attempts: int = 0
    unsettled: Verdict | None = None
    """The last attempt that may have been processed."""

    def note(self, verdict: Verdict) -> Verdict:
        """Take in what an attempt came to, and give it on."""
        self.session_id = self.session_id or verdict.session_id
        if verdict.happened in MAY_BE_PROCESSED:
            self.unsettled = verdict
        return verdict

    def failure(
        self, last: Verdict, stopped_by: str | None, now: float, *, is_read: bool
    ) -> CallFailed:
        """Make the error that the caller gets; of a read, only the last attempt counts."""
        earlier = None if last is self.unsettled else self.unsettled
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
        )

    def _kind(self, last: Verdict, earlier: Verdict | None) -> type[CallFailed]:
        # One attempt that may have been processed outweighs later ones that surely were not.
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


@frozen
class Settled(Generic[Answer]):
    """A call that succeeded, with what it took."""

    answer: Answer
    key: str | None
    attempts: int
    elapsed_seconds: float


@frozen(kw_only=True)
class Outcome(Generic[Request]):
    """What one item of a batch came to: ``session`` or ``error``, never both."""

    index: int
    """Place of the request in what was given, from 0."""
    request: Request
    session: Session | None = None
    error: SmartGlocalError | None = None
    key: str | None = None
    attempts: int = 0
    elapsed_seconds: float = 0.0

    @property
    def outcome(self) -> CallOutcome:
        """What surely happened; a request that was never sent counts as not sent."""
        if self.session is not None:
            return CallOutcome.SUCCEEDED
        return getattr(self.error, "outcome", CallOutcome.NOT_SENT)


def outcome_of(
    index: int,
    request: CreateSession,
    result: Settled[Session] | SmartGlocalError,
    key: str | None = None,
) -> Outcome[CreateSession]:
    """Put an item's result beside its request."""
    if isinstance(result, Settled):
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
