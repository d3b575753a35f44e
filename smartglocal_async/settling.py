"""What `session/status` says of an attempt that came to nothing sure."""

from attrs import evolve

from .effects import Effect
from .envelope import CODES_OF_THE_CALLER, Happened, Verdict
from .errors import CallFailed
from .freezing import Call
from .outcome import MAY_BE_PROCESSED
from .values.answers import Session
from .values.statuses import SessionStatus


def needs_asking(call: Call, verdict: Verdict) -> bool:
    """Say whether the status can tell more than the attempt did.

    A refusal, too, is asked about: it may be the doing of an attempt that was lost, here or in
    an earlier call of the same key, and which code the provider has for that is unknown.
    """
    if call.operation.effect is None or call.record.session_id is None:
        return False
    if verdict.happened is Happened.REFUSED:
        is_of_caller = verdict.code is None or verdict.code in CODES_OF_THE_CALLER
        return call.record.unsettled is not None or not is_of_caller
    return verdict.happened in MAY_BE_PROCESSED


def told(call: Call, verdict: Verdict, session: Session) -> Verdict:
    """Read from the session what the attempt came to."""
    seen = effect_in(call, session)
    if seen is Effect.TAKEN:
        call.record.unsettled = None
        return Verdict(Happened.ACCEPTED, session, http_status=verdict.http_status)
    if verdict.happened is Happened.REFUSED:
        return verdict
    if seen is Effect.REPEATABLE and verdict.happened is Happened.UNKNOWN:
        return call.record.note(evolve(verdict, happened=Happened.NO_EFFECT))
    return _saying(call, verdict, words_on(session))


def effect_in(call: Call, session: Session) -> Effect:
    """Read whether the call took effect; another session than its own tells nothing."""
    effect = call.operation.effect
    if effect is None or session.id != call.record.session_id:
        return Effect.UNCLEAR
    return effect(session, call.request, call.mark)


def words_on(session: Session) -> str:
    """Say what the status showed, and what follows from it."""
    words = f"session/status shows {session.status!s}, and not whether the call took effect"
    if session.status == SessionStatus.ERROR:
        words += "; that status is not final: don't repeat it, ask the provider's support"
    return words


def told_nothing(call: Call, verdict: Verdict, error: CallFailed) -> Verdict:
    """Note that the status could not be had either."""
    if verdict.happened is Happened.REFUSED:
        return verdict
    return _saying(call, verdict, f"session/status could not tell: {error.advice}")


def _saying(call: Call, verdict: Verdict, words: str) -> Verdict:
    before = verdict.cause or verdict.code or verdict.happened.value
    return call.record.note(evolve(verdict, cause=f"{before}; {words}"))
