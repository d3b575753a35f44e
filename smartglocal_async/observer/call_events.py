"""Makes the events of a call from its record."""

import asyncio
from typing import Any

from attrs import evolve

from ..envelope import Verdict
from ..errors import CallFailed
from ..models.answers import Session
from ..outcome import CallRecord, CallResult
from .events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallHeld,
    CallStarted,
    ClientPaused,
    KeyShared,
    PoolWaited,
    RetryScheduled,
    current_payout,
)


def call_started(record: CallRecord, *, moves_money: bool, for_call: int | None) -> CallStarted:
    """Return the event of a call that begins."""
    return CallStarted(
        call=record.number,
        operation=record.operation,
        key=record.key,
        session_id=record.session_id,
        moves_money=moves_money,
        for_call=for_call,
        payout=current_payout.get(),
    )


def call_ended(
    record: CallRecord,
    end: CallResult[Any] | BaseException,
    elapsed_seconds: float,
    *,
    moves_money: bool,
    budget_tokens: int,
) -> CallEnded:
    """Return the event of a call that ended with a result or an exception."""
    event = CallEnded(
        call=record.number,
        operation=record.operation,
        key=record.key,
        session_id=record.session_id,
        outcome="error",
        attempts=record.attempts,
        elapsed_seconds=elapsed_seconds,
        moves_money=moves_money,
        budget_tokens=budget_tokens,
    )
    if isinstance(end, CallResult):
        answer: object = end.answer
        session_id = answer.id if isinstance(answer, Session) else record.session_id
        return evolve(event, outcome="succeeded", session_id=session_id, attempts=end.attempts)
    event = evolve(event, error=type(end).__name__)
    if isinstance(end, CallFailed):
        return evolve(
            event,
            outcome=end.outcome.value,
            attempts=end.attempts,
            session_id=end.session_id,
            code=end.code,
            http_status=end.http_status,
            stopped_by=end.stopped_by,
            cause=end.cause,
        )
    is_cancelled = isinstance(end, asyncio.CancelledError)
    return evolve(event, outcome="cancelled") if is_cancelled else event


def key_shared(record: CallRecord, with_call: int) -> KeyShared:
    """Return the event of a call that waits for the result of another one with its key."""
    operation = record.operation
    return KeyShared(call=record.number, operation=operation, key=record.key, with_call=with_call)


def attempt_started(record: CallRecord, method: str, url: str) -> AttemptStarted:
    """Return the event of an attempt that is about to be sent."""
    return AttemptStarted(
        call=record.number,
        operation=record.operation,
        attempt=record.attempts,
        method=method,
        url=url,
    )


def attempt_ended(record: CallRecord, verdict: Verdict | None, seconds: float) -> AttemptEnded:
    """Return the event of an attempt that ended; without a verdict, by an exception."""
    return AttemptEnded(
        call=record.number,
        operation=record.operation,
        key=record.key,
        attempt=record.attempts,
        happened=None if verdict is None else verdict.happened,
        cause=None if verdict is None else verdict.cause,
        code=None if verdict is None else verdict.code,
        http_status=None if verdict is None else verdict.http_status,
        elapsed_seconds=seconds,
    )


def retry_scheduled(record: CallRecord, verdict: Verdict, seconds: float) -> RetryScheduled:
    """Return the event of a retry that is sent in some seconds, and of the verdict before it."""
    return RetryScheduled(
        call=record.number,
        operation=record.operation,
        key=record.key,
        attempt=record.attempts,
        seconds=seconds,
        happened=verdict.happened,
        cause=verdict.cause,
        code=verdict.code,
        http_status=verdict.http_status,
    )


def call_held(record: CallRecord, seconds: float, *, gave_up: bool) -> CallHeld:
    """Return the event of a call that waited for the end of a pause of the client."""
    operation = record.operation
    return CallHeld(call=record.number, operation=operation, seconds=seconds, gave_up=gave_up)


def pool_waited(record: CallRecord, seconds: float, *, gave_up: bool) -> PoolWaited:
    """Return the event of an attempt that waited for a slot in the pool."""
    operation = record.operation
    return PoolWaited(call=record.number, operation=operation, seconds=seconds, gave_up=gave_up)


def client_paused(record: CallRecord, seconds: float) -> ClientPaused:
    """Return the event of a client that the provider asked to pause."""
    return ClientPaused(call=record.number, operation=record.operation, seconds=seconds)
