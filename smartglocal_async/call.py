"""The life of one call: build, join in flight, attempt, recover, retry, result.

`CallRunner.run` is all of it, from top to bottom; what its steps do in detail is below it.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, evolve, field

from .envelope import AttemptResult, Verdict, read_reply
from .error_codes import CODES_OF_THE_CALLER
from .errors import CallFailed, InvalidRequest, NotSent, PoolClosed, Refused
from .evidence import contradicts_call
from .idempotency import RequestDigest
from .in_flight import CallKey, InFlight, StillInFlight
from .models.answers import Session
from .models.enums import SessionStatus
from .models.requests import SessionRef
from .operations import SESSION_STATUS, Answer, Operation, Repeat, Request
from .outcome import MAY_BE_PROCESSED, CallResult
from .recovery import Effect
from .request import CallOptions, PreparedRequest, RequestBuilder, warn_of
from .retry import CallRules, OutOfBudget, Retrier
from .session_pool import LoopState, SessionPool
from .settings import AttemptDetails, Settings
from .transport import send_once

_log = logging.getLogger("smartglocal_async")


@define(eq=False)
class CallRunner:
    """Runs the calls of one client."""

    requests: RequestBuilder
    pool: SessionPool
    retrier: Retrier
    in_flight: InFlight
    retries: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    state: str = field(default="open", init=False)
    listeners: list[Callable[[float], Awaitable[None]]] = field(
        factory=list[Callable[[float], Awaitable[None]]], init=False, repr=False
    )
    """Called with the seconds for which the provider asked for a pause."""

    @property
    def settings(self) -> Settings:
        """How the client behaves."""
        return self.requests.settings

    async def call(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> CallResult[Answer]:
        """Make one logical call; return its result, or raise.

        Raises:
            InvalidRequest: nothing was sent.
            KeyReused: nothing was sent.
            PoolClosed: nothing was sent.
            CallFailed: one of its three kinds, by what surely happened.

        """
        if (reason := self.closed()) is not None:
            raise reason
        loop_state = await self.pool.enter()
        # `drain` waits for both counts.
        loop_state.calls += 1
        self.calls += 1
        try:
            return await self.run(operation, request, options, loop_state)
        finally:
            loop_state.calls -= 1
            self.calls -= 1

    async def run(  # noqa: C901 - the life of a call, on one screen
        self,
        operation: Operation[Request, Answer],
        request: Request,
        options: CallOptions,
        loop_state: LoopState,
    ) -> CallResult[Answer]:
        """Run one call: build the request once, send it with retries, return the result or raise.

        The steps are in the order in which they happen, except joining: calls of one key share
        ``send_with_retries``, so it is defined before.
        """
        # Build: the body, key and headers that every attempt sends.
        call = self.requests.build(operation, request, options)
        if isinstance(call, InvalidRequest):
            raise call
        if call.broken:
            warn_of(call.broken)
        record, monotonic = call.record, self.settings.timing.monotonic

        async def attempt() -> Verdict:
            verdict = await self._attempt(call, loop_state)
            if verdict.happened is AttemptResult.ACCEPTED:
                return verdict
            # Recover: after a lost answer, the status of the session may show what the attempt did.
            if not needs_status(call, verdict) or call.deadline <= monotonic():
                return verdict
            try:
                session = await self._status_of(call, loop_state)
            except CallFailed as error:
                return without_status(call, verdict, error)
            return with_status(call, verdict, session)

        async def send_with_retries() -> CallResult[Any]:
            # An earlier call of this key may have moved money: ask before anything is sent.
            if call.key is not None and operation.repeat is Repeat.MOVES_MONEY:
                earlier = await self._earlier(call, call.key, loop_state)
                if earlier is not None:
                    return earlier
            verdict = await attempt()
            # Retry: the table in retry.py decides, by what happened and what a repeat would do.
            if verdict.happened is not AttemptResult.ACCEPTED:
                rules = CallRules(operation.repeat, call.attempts, call.deadline)
                verdict, stopped_by = await self.retrier.go_on(verdict, attempt, rules)
                if verdict.happened is not AttemptResult.ACCEPTED:
                    is_read = operation.is_read
                    raise record.failure(verdict, stopped_by, monotonic(), is_read=is_read)
            # Result.
            self.retrier.budget.succeeded(after_retry=record.attempts > 1)
            elapsed_seconds = monotonic() - record.started
            return CallResult(verdict.answer, record.key, record.attempts, elapsed_seconds)

        # Join in flight: calls of one key that the caller chose share one result.
        if call.key is None or call.digest is None:
            return await send_with_retries()
        key, digest = call.key, call.digest
        try:
            return await self.in_flight.share(
                key,
                digest,
                lambda: self._remembered(call, key, digest, send_with_retries),
                lambda: call.deadline - monotonic(),
            )
        except StillInFlight:
            raise self._unsure(call, "a call of this key is under way", "deadline") from None

    def closed(self) -> PoolClosed | None:
        """Return the reason for which no call can be made any more."""
        if self.state == "open":
            return self.pool.closed()
        return PoolClosed(f"the client is {self.state}; make a new one for new calls")

    async def _remembered(
        self,
        call: PreparedRequest,
        key: CallKey,
        digest: RequestDigest,
        send: Callable[[], Awaitable[CallResult[Any]]],
    ) -> CallResult[Any]:
        """Make a call under the caller's own key, which is remembered from when it is sent."""
        is_new = False

        def on_send() -> None:
            nonlocal is_new
            is_new = self.in_flight.remember(key, digest) or is_new

        call.http.on_send = on_send
        try:
            result = await send()
        except (NotSent, Refused):
            # Nothing came of it: a corrected request may take the key.
            if is_new:
                self.in_flight.forget(key)
            raise
        except BaseException:
            if is_new and call.record.unsettled is None and not call.http.may_be_out:
                self.in_flight.forget(key)
            raise
        self.in_flight.settle(key, digest)
        return result

    async def _earlier(
        self, call: PreparedRequest, key: CallKey, loop_state: LoopState
    ) -> CallResult[Any] | None:
        """Return the result of an earlier call of the key; None where the call may be sent.

        Raises:
            CallFailed: an earlier call may have moved money, and its outcome is unknown.

        """
        if self.in_flight.is_elsewhere(key):
            raise self._unsure(call, "a call of this key is under way in another event loop")
        if not self.in_flight.is_used(key):
            return None
        before = "a call of this key was sent before, and this one was not"
        if call.operation.effect is None or call.record.session_id is None:
            raise self._unsure(call, f"{before}; wait for its webhook, or for a report")
        try:
            session = await self._status_of(call, loop_state)
        except CallFailed as error:
            raise self._unsure(call, f"{before}; session/status: {error.advice}") from None
        seen = effect_in(call, session)
        if seen is Effect.TAKEN:
            now = self.settings.timing.monotonic()
            return CallResult(session, call.record.key, 0, now - call.record.started)
        if seen is Effect.UNCLEAR:
            raise self._unsure(call, f"{before}; {describe(session)}")
        _ = call.record.add(Verdict(AttemptResult.UNKNOWN, cause="an earlier call of this key"))
        return None

    def _unsure(
        self, call: PreparedRequest, cause: str, stopped_by: str | None = None
    ) -> CallFailed:
        verdict = call.record.add(Verdict(AttemptResult.UNKNOWN, cause=cause))
        now = self.settings.timing.monotonic()
        return call.record.failure(verdict, stopped_by, now, is_read=False)

    async def _status_of(self, call: PreparedRequest, loop_state: LoopState) -> Session:
        """Ask for the session of a call, up to the same deadline."""
        session = SessionRef(call.record.session_id or "")
        options = CallOptions(ends=call.deadline)
        return (await self.run(SESSION_STATUS, session, options, loop_state)).answer

    async def _attempt(self, call: PreparedRequest, loop_state: LoopState) -> Verdict:
        """Make one attempt, and report its result to the hook and the listeners."""
        retrier, monotonic = self.retrier, self.settings.timing.monotonic
        if retrier.paused_until and not await retrier.wait_for_pause(call.deadline):
            return _too_late("the provider asked for a pause that outlasts the deadline")
        begun = monotonic()
        try:
            verdict = await self._send(call, loop_state, begun)
        except OutOfBudget:
            raise
        except BaseException:
            self._report(call, None, begun)
            raise
        if verdict.happened is not AttemptResult.ACCEPTED:
            if verdict.happened not in MAY_BE_PROCESSED:
                call.http.may_be_out = False
            pause = retrier.pause_client(call.record.add(verdict))
            if pause:
                await self._pass_on(pause, call.deadline - monotonic())
        self._report(call, verdict, begun)
        return verdict

    async def _send(self, call: PreparedRequest, loop_state: LoopState, now: float) -> Verdict:
        http, settings = call.http, self.settings
        try:
            await loop_state.take_place(call.deadline - now)
        except TimeoutError:
            return _too_late("no connection came free before the deadline")
        try:
            left_seconds = call.deadline - settings.timing.monotonic()
            if left_seconds <= 0:
                return _too_late("its turn came after the deadline")
            if loop_state.is_closed:
                return Verdict(AttemptResult.MISCONFIGURED, cause="the session pool was closed")
            if call.record.attempts:
                self.retrier.pay()
                self.retries += 1
            call.record.attempts += 1
            http.timeout_seconds = min(settings.retry.attempt_timeout_seconds, left_seconds)
            reply = await send_once(loop_state, http)
        finally:
            loop_state.free_place()
        if isinstance(reply, Verdict):
            return reply
        own_codec = self.requests.codec_of(call.operation)
        verdict = read_reply(own_codec, call.operation, reply, settings.refusal_codes)
        return checked(call, verdict)

    async def _pass_on(self, pause_seconds: float, left_seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, min(pause_seconds, left_seconds))):
                for listener in tuple(self.listeners):
                    await listener(pause_seconds)
        except Exception as error:  # noqa: BLE001 - a listener must not decide the result of a call
            _log.warning("a pause that was asked for isn't passed on: %s", type(error).__name__)

    def _report(self, call: PreparedRequest, verdict: Verdict | None, begun: float) -> None:
        hook = self.settings.on_attempt
        if hook is None and not _log.isEnabledFor(logging.DEBUG):
            return
        details = AttemptDetails(
            operation=call.record.operation,
            key=call.record.key,
            attempt=call.record.attempts,
            happened=None if verdict is None else verdict.happened,
            cause=None if verdict is None else verdict.cause,
            code=None if verdict is None else verdict.code,
            http_status=None if verdict is None else verdict.http_status,
            elapsed_seconds=self.settings.timing.monotonic() - begun,
        )
        try:
            _log.debug("attempt ended", extra={"attempt": details})
            returned: object = None if hook is None else hook(details)
            if inspect.iscoroutine(returned):
                returned.close()
                _log.error("Settings.on_attempt returned a coroutine, which is not awaited")
        except Exception as error:  # noqa: BLE001 - a hook must not decide the result of a call
            _log.error("Settings.on_attempt raised %s", type(error).__name__)


def needs_status(call: PreparedRequest, verdict: Verdict) -> bool:
    """Return whether the status can show more than the attempt did.

    A refusal, too, is asked about: it may be the doing of an attempt that was lost, here or in
    an earlier call of the same key, and which code the provider has for that is unknown.
    """
    if call.operation.effect is None or call.record.session_id is None:
        return False
    if verdict.happened is AttemptResult.REFUSED:
        is_of_caller = verdict.code is None or verdict.code in CODES_OF_THE_CALLER
        return call.record.unsettled is not None or not is_of_caller
    return verdict.happened in MAY_BE_PROCESSED


def checked(call: PreparedRequest, verdict: Verdict) -> Verdict:
    """Return the verdict, or that the answer was lost, where it is about another call."""
    asked, cause = call.session_id, None
    if isinstance(verdict.answer, Session):
        cause = contradicts_call(verdict.answer, asked, call.mark, call.metadata)
    elif None not in {asked, verdict.session_id} and verdict.session_id != asked:
        cause = "the answer is about another session"
    if cause is None:
        return verdict
    return Verdict(AttemptResult.UNKNOWN, cause=cause, http_status=verdict.http_status)


def with_status(call: PreparedRequest, verdict: Verdict, session: Session) -> Verdict:
    """Return the verdict on an attempt, with what the session shows of it."""
    seen = effect_in(call, session)
    if seen is Effect.TAKEN:
        call.record.unsettled = None
        return Verdict(AttemptResult.ACCEPTED, session, http_status=verdict.http_status)
    if verdict.happened is AttemptResult.REFUSED:
        return verdict
    if seen is Effect.REPEATABLE and verdict.happened is AttemptResult.UNKNOWN:
        return call.record.add(evolve(verdict, happened=AttemptResult.NO_EFFECT))
    return _with_cause(call, verdict, describe(session))


def effect_in(call: PreparedRequest, session: Session) -> Effect:
    """Return whether the call took effect; another session than its own shows nothing."""
    effect = call.operation.effect
    if effect is None or session.id != call.record.session_id:
        return Effect.UNCLEAR
    return effect(session, call.request, call.mark)


def describe(session: Session) -> str:
    """Return what the status showed, and what follows from it, as words."""
    words = f"session/status shows {session.status!s}, and not whether the call took effect"
    if session.status == SessionStatus.ERROR:
        words += "; that status is not final: don't repeat it, ask the provider's support"
    return words


def without_status(call: PreparedRequest, verdict: Verdict, error: CallFailed) -> Verdict:
    """Return the verdict on an attempt of which the status could not be read either."""
    if verdict.happened is AttemptResult.REFUSED:
        return verdict
    return _with_cause(call, verdict, f"session/status could not tell: {error.advice}")


def _with_cause(call: PreparedRequest, verdict: Verdict, words: str) -> Verdict:
    before = verdict.cause or verdict.code or verdict.happened.value
    return call.record.add(evolve(verdict, cause=f"{before}; {words}"))


def _too_late(cause: str) -> Verdict:
    return Verdict(AttemptResult.NOT_SENT, cause=cause, ends_call="deadline")
