"""What `session/status` says of an attempt that came to nothing sure."""

from attrs import evolve

from .effects import Effect
from .envelope import Happened, Verdict
from .errors import CallFailed
from .freezing import Call
from .outcome import MAY_BE_PROCESSED
from .values.answers import Session
from .values.statuses import SessionStatus


def needs_asking(call: Call, verdict: Verdict) -> bool:
    """Say whether the status can tell more than the attempt did.

    A refusal, too, is asked about where an earlier attempt was lost: it may be that one's doing.
    """
    if call.operation.effect is None or call.record.session_id is None:
        return False
    if verdict.happened is Happened.REFUSED:
        return call.record.unsettled is not None
    return verdict.happened in MAY_BE_PROCESSED


def told(call: Call, verdict: Verdict, session: Session) -> Verdict:
    """Read from the session what the attempt came to."""
    effect = call.operation.effect
    seen = Effect.UNCLEAR if effect is None else effect(session, call.request, call.mark)
    if seen is Effect.TAKEN:
        call.record.unsettled = None
        return Verdict(Happened.ACCEPTED, session, http_status=verdict.http_status)
    if seen is Effect.REPEATABLE and verdict.happened is Happened.UNKNOWN:
        return call.record.note(evolve(verdict, happened=Happened.NO_EFFECT))
    words = f"session/status shows {session.status!s}, and not whether the call took effect"
    if session.status == SessionStatus.ERROR:
        words += "; that status is not final: don't repeat it, ask the provider's support"
    return _saying(call, verdict, words)


def told_nothing(call: Call, verdict: Verdict, error: CallFailed) -> Verdict:
    """Note that the status could not be had either."""
    return _saying(call, verdict, f"session/status could not tell: {error.advice}")


def _saying(call: Call, verdict: Verdict, words: str) -> Verdict:
    before = verdict.cause or verdict.code or verdict.happened.value
    said = evolve(verdict, cause=f"{before}; {words}")
    return said if verdict.happened is Happened.REFUSED else call.record.note(said)
