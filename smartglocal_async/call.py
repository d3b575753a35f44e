"""The life of one call: build, join, check an earlier call, send with retries, result.

`CallRunner.run` is the whole life; the methods below follow in the order of use:

1. Build the request once: the body, key and headers that every attempt sends.
2. Join a call in progress with the same key, if the caller chose the key.
3. Check an earlier call with that key, if it may have moved money.
4. Send: wait for the end of a pause and for a slot in the pool, make one HTTP attempt, read the
   reply.
5. Recover: if it isn't known what the attempt did, or a refusal may be of a repeat, read the status
   of the session in a nested call.
6. Retry from 4 if the table in `retry` and the budget allow it.
7. Return the result, or raise `NotSent`, `Refused` or `OutcomeUnknown`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import define, evolve, field

from .envelope import AttemptResult, Verdict, read_reply
from .error_codes import CODES_OF_THE_CALLER
from .errors import CallFailed, InvalidRequest, NotSent, PoolClosed, Refused
from .idempotency import RequestDigest
from .in_flight import CallKey, InFlight, StillInFlight
from .matching import contradicts_call
from .models.answers import Session
from .models.enums import SessionStatus
from .models.requests import SessionRef
from .observer.call_events import (
    attempt_ended,
    attempt_started,
    call_ended,
    call_held,
    call_started,
    client_paused,
    key_shared,
    pool_waited,
    retry_scheduled,
)
from .observer.delivery import Observers
from .observer.events import ListenerFailed, RequestSigned, next_number
from .operations import SESSION_STATUS, Answer, Operation, Repeat, Request
from .outcome import MAY_BE_PROCESSED, CallResult
from .recovery import Effect
from .request import CallOptions, PreparedRequest, RequestBuilder, warn_of
from .retry import CallRules, Retrier
from .session_pool import LoopState, SessionPool
from .settings import Settings
from .transport import send_once


@define(eq=False)
class CallRunner:
    """Runs the calls of one client."""

    request_builder: RequestBuilder
    pool: SessionPool
    retrier: Retrier
    in_flight: InFlight
    retry_count: int = field(default=0, init=False)
    """How many retries were sent."""
    active_calls: int = field(default=0, init=False)
    """Calls in progress, in all event loops."""
    state: str = field(default="open", init=False)
    listeners: list[Callable[[float], Awaitable[None]]] = field(
        factory=list[Callable[[float], Awaitable[None]]], init=False, repr=False
    )
    """Called when the provider asks for a pause, with its length in seconds."""
    observers: Observers = field(init=False, repr=False)
    """Receive the events of calls, and of payouts that make calls."""

    def __attrs_post_init__(self) -> None:
        self.observers = Observers(self.settings.observers)

    @property
    def settings(self) -> Settings:
        """How the client behaves."""
        return self.request_builder.settings

    async def call(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> CallResult[Answer]:
        """Make one logical call; return its result, or raise.

        Raises:
            InvalidRequest: nothing was sent.
            KeyReused: nothing was sent.
            PoolClosed: nothing was sent.
            CallFailed: as `NotSent`, `Refused` or `OutcomeUnknown`, by what surely happened.

        """
        if (error := self.closed_error()) is not None:
            raise error
        loop_state = await self.pool.enter()
        # Counted for `SessionPool.drain`, which waits for the first, and `SmartGlocal.drain`.
        loop_state.calls += 1
        self.active_calls += 1
        try:
            return await self.run(operation, request, options, loop_state)
        finally:
            loop_state.calls -= 1
            self.active_calls -= 1

    def closed_error(self) -> PoolClosed | None:
        """Return the error to raise if the client or its pool takes no more calls; else None."""
        if self.state == "open":
            return self.pool.closed()
        return PoolClosed(f"the client is {self.state}; make a new one for new calls")

    async def run(
        self,
        operation: Operation[Request, Answer],
        request: Request,
        options: CallOptions,
        loop_state: LoopState,
    ) -> CallResult[Answer]:
        """Run one call: build the request once, send it with retries, return the result or raise.

        The nested status call of a recovery runs through this method, too.
        """
        # Build.
        call = self.request_builder.build(operation, request, options)
        if isinstance(call, InvalidRequest):
            raise call
        if call.broken_rules:
            warn_of(call.broken_rules)
        if self.observers.want():
            self._observe(call, options.for_call)
        key, digest = call.chosen_key, call.digest
        try:
            if key is None or digest is None:
                result = await self._send_with_retries(call, loop_state)
            else:
                # Join: only the first caller with a key sends; the others wait for its result.
                result = await self.in_flight.share(
                    key,
                    digest,
                    lambda: self._send_with_chosen_key(call, key, digest, loop_state),
                    lambda: call.deadline - self.settings.timing.monotonic(),
                    partial(self._joined, call),
                )
        except StillInFlight:
            cause = "another call with this key is in progress"
            error = self._outcome_unknown(call, cause, "deadline")
            self._ended(call, error)
            raise error from None
        except BaseException as error:
            self._ended(call, error)
            raise
        if call.record.number:
            self._ended(call, result)
        return result

    async def _send_with_chosen_key(
        self, call: PreparedRequest, key: CallKey, digest: RequestDigest, loop_state: LoopState
    ) -> CallResult[Any]:
        """Send a call whose key the caller chose; remember the key once a request may be sent."""
        is_new = False

        def remember_key() -> None:
            nonlocal is_new
            is_new = self.in_flight.remember(key, digest) or is_new

        # The transport calls it just before an attempt is passed to the connection.
        call.http.on_send = remember_key
        try:
            # Check whether an earlier call with this key moved money, before anything is sent.
            result = None
            if key.moves_money:
                result = await self._result_of_earlier_call(call, key, loop_state)
            if result is None:
                result = await self._send_with_retries(call, loop_state)
        except (NotSent, Refused):
            # This call had no effect: a corrected request may use the key.
            if is_new:
                self.in_flight.forget(key)
            raise
        except BaseException:
            # Cancelled, or the outcome is unknown. If a request may have reached the provider, the
            # key stays bound to it: another request with this key could pay a second time.
            if is_new and call.record.maybe_processed is None and not call.http.may_be_out:
                self.in_flight.forget(key)
            raise
        self.in_flight.resolve(key, digest)
        return result

    async def _result_of_earlier_call(
        self, call: PreparedRequest, key: CallKey, loop_state: LoopState
    ) -> CallResult[Any] | None:
        """Return the result of an earlier call with this key; None if this one may be sent.

        Raises:
            CallFailed: an earlier call may have moved money, and its outcome is unknown.

        """
        if self.in_flight.is_in_other_loop(key):
            cause = "another call with this key is in progress in another event loop"
            raise self._outcome_unknown(call, cause)
        if not self.in_flight.is_used(key):
            return None
        before = "an earlier call with this key was sent, and this one was not"
        if call.operation.effect is None or call.record.session_id is None:
            cause = f"{before}; wait for its webhook, or for a report"
            raise self._outcome_unknown(call, cause)
        try:
            session = await self._session_status(call, loop_state)
        except CallFailed as error:
            cause = f"{before}; session/status: {error.advice}"
            raise self._outcome_unknown(call, cause) from None
        effect = effect_in(call, session)
        if effect is Effect.TAKEN:
            now = self.settings.timing.monotonic()
            return CallResult(session, call.record.key, 0, now - call.record.started)
        if effect is Effect.UNCLEAR:
            raise self._outcome_unknown(call, f"{before}; {describe(session)}")
        # The request of the earlier call may still arrive. So if this call fails, too, the outcome
        # is unknown, even if its own request is refused.
        cause = "an earlier call with this key"
        _ = call.record.add(Verdict(AttemptResult.UNKNOWN, cause=cause))
        return None

    def _outcome_unknown(
        self, call: PreparedRequest, cause: str, stopped_by: str | None = None
    ) -> CallFailed:
        """Return the error of a call that is held back, since another call used its key."""
        verdict = call.record.add(Verdict(AttemptResult.UNKNOWN, cause=cause))
        now = self.settings.timing.monotonic()
        return call.record.failure(verdict, stopped_by, now, is_read=False)

    async def _session_status(self, call: PreparedRequest, loop_state: LoopState) -> Session:
        """Return the session of a call, read by a nested call with the same deadline."""
        session = SessionRef(call.record.session_id or "")
        options = CallOptions(deadline_at=call.deadline, for_call=call.record.number)
        return (await self.run(SESSION_STATUS, session, options, loop_state)).answer

    async def _send_with_retries(
        self, call: PreparedRequest, loop_state: LoopState
    ) -> CallResult[Any]:
        """Send a call until it succeeds or must not be sent again; return its result or raise."""
        record, monotonic = call.record, self.settings.timing.monotonic
        verdict = await self._attempt(call, loop_state)
        if verdict.happened is not AttemptResult.ACCEPTED:
            # Retry: the table in retry.py decides, by what happened and what a repeat would do.
            on_wait = partial(self._retry_scheduled, call)
            rules = CallRules(call.operation.repeat, call.attempts, call.deadline, on_wait)
            verdict, stopped_by = await self.retrier.retry(
                verdict, lambda: self._attempt(call, loop_state), rules
            )
            if verdict.happened is not AttemptResult.ACCEPTED:
                is_read = call.operation.is_read
                raise record.failure(verdict, stopped_by, monotonic(), is_read=is_read)
        self.retrier.budget.succeeded(after_retry=record.attempts > 1)
        elapsed_seconds = monotonic() - record.started
        return CallResult(verdict.answer, record.key, record.attempts, elapsed_seconds)

    async def _attempt(self, call: PreparedRequest, loop_state: LoopState) -> Verdict:
        """Make one attempt; if its effect isn't clear, its session decides the verdict."""
        verdict = await self._send_and_report(call, loop_state)
        if verdict.happened is AttemptResult.ACCEPTED:
            return verdict
        if not needs_status(call, verdict) or call.deadline <= self.settings.timing.monotonic():
            return verdict
        # Recover: the status of the session may show what the attempt did.
        try:
            session = await self._session_status(call, loop_state)
        except CallFailed as error:
            return without_status(call, verdict, error)
        return with_status(call, verdict, session)

    async def _send_and_report(self, call: PreparedRequest, loop_state: LoopState) -> Verdict:
        """Send once; record the verdict, and report it to the observers and the listeners."""
        retrier, monotonic = self.retrier, self.settings.timing.monotonic
        if retrier.paused_until and not await self._wait_for_pause(call):
            # Neither recorded nor reported: there was no attempt.
            return _too_late("the provider asked for a pause that outlasts the deadline")
        begun, before = monotonic(), call.record.attempts
        try:
            verdict = await self._send(call, loop_state, begun)
        except BaseException:
            self._attempt_ended(call, None, begun, before)
            raise
        if verdict.happened is not AttemptResult.ACCEPTED:
            if verdict.happened not in MAY_BE_PROCESSED:
                call.http.may_be_out = False
            pause = retrier.pause_client(call.record.add(verdict))
            if pause:
                await self._notify_of_pause(call, pause, call.deadline - monotonic())
        if call.record.number:
            self._attempt_ended(call, verdict, begun, before)
        return verdict

    async def _send(self, call: PreparedRequest, loop_state: LoopState, now: float) -> Verdict:
        """Wait for a slot in the pool, make one HTTP attempt, and read its reply."""
        http, settings = call.http, self.settings
        try:
            if call.record.number and loop_state.sending >= loop_state.limit:
                await self._wait_for_slot(call, loop_state, now)
            else:
                await loop_state.take_slot(call.deadline - now)
        except TimeoutError:
            return _too_late("no connection came free before the deadline")
        try:
            seconds_left = call.deadline - settings.timing.monotonic()
            if seconds_left <= 0:
                return _too_late("its turn came after the deadline")
            if loop_state.is_closed:
                return Verdict(AttemptResult.MISCONFIGURED, cause="the session pool was closed")
            if call.record.attempts:
                self.retrier.take_from_budget()
                self.retry_count += 1
            call.record.attempts += 1
            http.timeout_seconds = min(settings.retry.attempt_timeout_seconds, seconds_left)
            if call.record.number:
                self.observers.emit(attempt_started(call.record, http.method, str(http.url)))
            reply = await send_once(loop_state, http)
        finally:
            loop_state.free_slot()
        if isinstance(reply, Verdict):
            return reply
        own_codec = self.request_builder.codec_of(call.operation)
        verdict = read_reply(own_codec, call.operation, reply, settings.refusal_codes)
        return check_answer(call, verdict)

    async def _notify_of_pause(
        self, call: PreparedRequest, pause_seconds: float, seconds_left: float
    ) -> None:
        """Call the listeners, for no longer than the pause or the deadline."""
        self.observers.emit(client_paused(call.record, pause_seconds))
        try:
            async with asyncio.timeout(max(0.0, min(pause_seconds, seconds_left))):
                for listener in tuple(self.listeners):
                    await listener(pause_seconds)
        except Exception as error:  # noqa: BLE001 - a listener must not decide the result of a call
            self.observers.emit(ListenerFailed(error=type(error).__name__))

    async def _wait_for_pause(self, call: PreparedRequest) -> bool:
        """Wait until the client isn't paused; False if the pause outlasts the deadline."""
        monotonic = self.settings.timing.monotonic
        begun = monotonic()
        is_paused = self.retrier.paused_until > begun
        is_over = await self.retrier.wait_for_pause(call.deadline)
        if call.record.number and is_paused:
            seconds = monotonic() - begun
            self.observers.emit(call_held(call.record, seconds, gave_up=not is_over))
        return is_over

    async def _wait_for_slot(
        self, call: PreparedRequest, loop_state: LoopState, begun: float
    ) -> None:
        """Take a slot of a pool that is full; raises `TimeoutError` as `take_slot` does."""
        gave_up = True
        try:
            await loop_state.take_slot(call.deadline - begun)
            gave_up = False
        finally:
            seconds = self.settings.timing.monotonic() - begun
            self.observers.emit(pool_waited(call.record, seconds, gave_up=gave_up))

    # --- Observe -------------------------------------------------------------------------------

    def _observe(self, call: PreparedRequest, for_call: int | None) -> None:
        """Number a call, so that its events are emitted from now on."""
        record, emit = call.record, self.observers.emit
        number = record.number = next_number()
        if call.chosen_key is not None:
            call.chosen_key.number = number
        call.http.body.on_signed = lambda seconds: emit(
            RequestSigned(call=number, operation=record.operation, seconds=seconds)
        )
        moves_money = call.operation.repeat is Repeat.MOVES_MONEY
        emit(call_started(record, moves_money=moves_money, for_call=for_call or None))

    def _joined(self, call: PreparedRequest, number: int) -> None:
        if call.record.number:
            self.observers.emit(key_shared(call.record, number))

    def _ended(self, call: PreparedRequest, end: CallResult[Any] | BaseException) -> None:
        """Emit the end of a call; a failure also if no other event of the call was wanted."""
        seconds = self.settings.timing.monotonic() - call.record.started
        self.observers.emit(
            call_ended(
                call.record,
                end,
                seconds,
                moves_money=call.operation.repeat is Repeat.MOVES_MONEY,
                budget_tokens=self.retrier.budget.tokens,
            )
        )

    def _attempt_ended(
        self, call: PreparedRequest, verdict: Verdict | None, begun: float, before: int
    ) -> None:
        # Without a slot, or without budget, there was no attempt, and no event that it started.
        if call.record.number and call.record.attempts > before:
            seconds = self.settings.timing.monotonic() - begun
            self.observers.emit(attempt_ended(call.record, verdict, seconds))

    def _retry_scheduled(self, call: PreparedRequest, verdict: Verdict, seconds: float) -> None:
        self.observers.emit(retry_scheduled(call.record, verdict, seconds))


def check_answer(call: PreparedRequest, verdict: Verdict) -> Verdict:
    """Return the verdict, or UNKNOWN if the answer is about another session or call."""
    requested, cause = call.requested_session_id, None
    if isinstance(verdict.answer, Session):
        cause = contradicts_call(verdict.answer, requested, call.mark, call.metadata)
    elif None not in {requested, verdict.session_id} and verdict.session_id != requested:
        cause = "the answer is about another session"
    if cause is None:
        return verdict
    return Verdict(AttemptResult.UNKNOWN, cause=cause, http_status=verdict.http_status)


def needs_status(call: PreparedRequest, verdict: Verdict) -> bool:
    """Return whether the status of the session can show more than the answer to the attempt.

    Not only if it is unknown whether the attempt was processed: the provider may also refuse a call
    because an earlier attempt, or an earlier call with the same key, already had its effect. Which
    code it has for that is unknown, so after a refusal the status is read if an earlier attempt may
    have been processed, or if the refusal has a code that isn't about the client's own settings.
    """
    if call.operation.effect is None or call.record.session_id is None:
        return False
    if verdict.happened is AttemptResult.REFUSED:
        is_of_caller = verdict.code is None or verdict.code in CODES_OF_THE_CALLER
        return call.record.maybe_processed is not None or not is_of_caller
    return verdict.happened in MAY_BE_PROCESSED


def with_status(call: PreparedRequest, verdict: Verdict, session: Session) -> Verdict:
    """Return the verdict on an attempt, changed by what its session shows."""
    effect = effect_in(call, session)
    if effect is Effect.TAKEN:
        call.record.maybe_processed = None
        return Verdict(AttemptResult.ACCEPTED, session, http_status=verdict.http_status)
    if verdict.happened is AttemptResult.REFUSED:
        return verdict
    if effect is Effect.REPEATABLE and verdict.happened is AttemptResult.UNKNOWN:
        return call.record.add(evolve(verdict, happened=AttemptResult.NO_EFFECT))
    return _with_cause(call, verdict, describe(session))


def without_status(call: PreparedRequest, verdict: Verdict, error: CallFailed) -> Verdict:
    """Return the verdict on an attempt after its status call failed, too."""
    if verdict.happened is AttemptResult.REFUSED:
        return verdict
    return _with_cause(call, verdict, f"session/status failed: {error.advice}")


def _with_cause(call: PreparedRequest, verdict: Verdict, words: str) -> Verdict:
    before = verdict.cause or verdict.code or verdict.happened.value
    return call.record.add(evolve(verdict, cause=f"{before}; {words}"))


def effect_in(call: PreparedRequest, session: Session) -> Effect:
    """Return the effect of the call that its session shows; UNCLEAR for another session."""
    effect = call.operation.effect
    if effect is None or session.id != call.record.session_id:
        return Effect.UNCLEAR
    return effect(session, call.request, call.mark)


def describe(session: Session) -> str:
    """Return the words for a status that leaves the outcome open; for an error, also what to do."""
    words = f"session/status shows {session.status!s}, but not whether the call took effect"
    if session.status == SessionStatus.ERROR:
        words += "; this status is not final: don't repeat the call, ask the provider's support"
    return words


def _too_late(cause: str) -> Verdict:
    return Verdict(AttemptResult.NOT_SENT, cause=cause, ends_call="deadline")
