"""One logical call: frozen once, then sent, asked again if that is safe, and made an outcome of."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field

from .effects import Effect
from .envelope import Happened, Reply, Verdict, read_reply
from .errors import CallFailed, InvalidRequest, NotSent, PoolClosed, Refused
from .flights import Flights
from .freezing import Call, CallOptions, Freezer, warn_of
from .home import Home
from .operations import SESSION_STATUS, Answer, Operation, Repeat, Request
from .outcome import Settled
from .pool import SessionPool
from .retry import CallRules, Retrier
from .settings import AttemptDetails, Settings
from .settling import effect_in, needs_asking, told, told_nothing, words_on
from .transport import shoot
from .values.answers import Session
from .values.requests import SessionRef

_log = logging.getLogger("smartglocal_async")


@define(eq=False)
class Caller:
    """Make calls for one client: freeze, retry, sign, send, read, in this order."""

    freezer: Freezer
    pool: SessionPool
    retrier: Retrier
    flights: Flights
    retries: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    state: str = field(default="open", init=False)
    listeners: list[Callable[[float], Awaitable[None]]] = field(
        factory=list[Callable[[float], Awaitable[None]]], init=False, repr=False
    )
    """Told for how many seconds the provider asked to be left alone."""

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *_exc_info: object) -> None:
        self.calls -= 1

    @property
    def settings(self) -> Settings:
        """How the client behaves."""
        return self.freezer.settings

    @property
    def most_seconds(self) -> float:
        """How long one attempt may take."""
        return self.settings.retry.attempt_timeout_seconds

    async def call(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> Settled[Answer]:
        """Make one logical call; give what it came to, or raise it.

        Raises:
            InvalidRequest: nothing was sent.
            KeyReused: nothing was sent.
            PoolClosed: nothing was sent.
            CallFailed: one of its three kinds, by what surely happened.

        """
        if (reason := self.closed()) is not None:
            raise reason
        with await self.pool.enter() as home, self:
            call = self.freezer.freeze(operation, request, options)
            if isinstance(call, InvalidRequest):
                raise call
            warn_of(call.broken)
            if call.taken is None or call.key is None:
                return await self._perform(call, home)
            return await self.flights.share(
                call.key, call.taken, lambda: self._remembering(call, home)
            )

    def closed(self) -> PoolClosed | None:
        """Give the reason for which no call can be made any more."""
        if self.state == "open":
            return self.pool.closed()
        return PoolClosed(f"the client is {self.state}; make a new one for new calls")

    async def _remembering(self, call: Call, home: Home) -> Settled[Any]:
        try:
            settled = await self._once_per_key(call, home)
        except (NotSent, Refused):
            raise  # Nothing came of it: the key is free for a mended request.
        except BaseException:
            if call.record.attempts:
                # It may be out under this key: another request must not take it.
                self._remember(call)
            raise
        self._remember(call)
        return settled

    def _remember(self, call: Call) -> None:
        if call.key is not None and call.taken is not None:
            self.flights.remember(call.key, call.taken)

    async def _once_per_key(self, call: Call, home: Home) -> Settled[Any]:
        """Make the call, unless one of this key may have moved money: then ask what came of it."""
        moves_money = call.operation.repeat is Repeat.MOVES_MONEY
        if moves_money and call.key is not None:
            if self.flights.is_elsewhere(call.key):
                raise self._unsure(call, "a call of this key is under way in another event loop")
            if self.flights.is_used(call.key):
                return await self._ask_first(call, home)
        return await self._perform(call, home)

    async def _ask_first(self, call: Call, home: Home) -> Settled[Any]:
        before = "a call of this key was sent before, and this one was not"
        if call.operation.effect is None or call.record.session_id is None:
            raise self._unsure(call, f"{before}; wait for its webhook, or for a report")
        try:
            session = await self._status_of(call, home)
        except CallFailed as error:
            raise self._unsure(call, f"{before}; session/status: {error.advice}") from None
        seen = effect_in(call, session)
        if seen is Effect.TAKEN:
            now = self.settings.timing.monotonic()
            return Settled(session, call.record.key, 0, now - call.record.started)
        if seen is Effect.UNCLEAR:
            raise self._unsure(call, f"{before}; {words_on(session)}")
        _ = call.record.note(Verdict(Happened.UNKNOWN, cause="an earlier call of this key"))
        return await self._perform(call, home)

    def _unsure(self, call: Call, cause: str) -> CallFailed:
        verdict = call.record.note(Verdict(Happened.UNKNOWN, cause=cause))
        now = self.settings.timing.monotonic()
        return call.record.failure(verdict, None, now, is_read=False)

    async def _perform(self, call: Call, home: Home) -> Settled[Any]:
        record = call.record
        verdict, stopped_by = await self._try(call, home), None
        if verdict.happened is not Happened.ACCEPTED:
            rules = CallRules(call.operation.repeat, call.attempts, call.deadline)
            verdict, stopped_by = await self.retrier.go_on(
                verdict, lambda: self._again(call, home), rules
            )
        now = self.settings.timing.monotonic()
        if verdict.happened is not Happened.ACCEPTED:
            raise record.failure(verdict, stopped_by, now, is_read=call.operation.is_read)
        self.retrier.budget.succeeded(after_retry=record.attempts > 1)
        return Settled(verdict.answer, record.key, record.attempts, now - record.started)

    async def _again(self, call: Call, home: Home) -> Verdict:
        self.retries += 1
        return await self._try(call, home)

    async def _try(self, call: Call, home: Home) -> Verdict:
        """Make one attempt; where it came to nothing sure, ask the session whether it did."""
        verdict = await self._attempt(call, home)
        if not needs_asking(call, verdict):
            return verdict
        if call.deadline <= self.settings.timing.monotonic():
            return verdict
        try:
            return told(call, verdict, await self._status_of(call, home))
        except CallFailed as error:
            return told_nothing(call, verdict, error)

    async def _status_of(self, call: Call, home: Home) -> Session:
        """Ask for the session of a call, within what is left of its time."""
        left_seconds = call.deadline - self.settings.timing.monotonic()
        options = CallOptions(deadline=left_seconds)
        session = SessionRef(call.record.session_id or "")
        asking = self.freezer.freeze(SESSION_STATUS, session, options)
        if isinstance(asking, InvalidRequest):
            raise asking
        answer: Session = (await self._perform(asking, home)).answer
        return answer

    async def _attempt(self, call: Call, home: Home) -> Verdict:
        """Make one attempt, and tell whoever listens what it came to."""
        retrier, monotonic = self.retrier, self.settings.timing.monotonic
        if retrier.paused_until and not await retrier.wait_for_pause(call.deadline):
            return _too_late("the provider asked for a pause that outlasts the deadline")
        begun = monotonic()
        try:
            verdict = await self._send(call, home)
        except BaseException:
            self._tell(call, None, begun)
            raise
        if verdict.happened is not Happened.ACCEPTED:
            pause = retrier.heed(call.record.note(verdict))
            if pause:
                await self._pass_on(pause, call.deadline - monotonic())
        self._tell(call, verdict, begun)
        return verdict

    async def _send(self, call: Call, home: Home) -> Verdict:
        shot, monotonic = call.shot, self.settings.timing.monotonic
        try:
            async with home.slot(call.deadline - monotonic()) as session:
                left_seconds = call.deadline - monotonic()
                if left_seconds <= 0:
                    return _too_late("its turn came after the deadline")
                if home.is_closed:
                    return Verdict(Happened.MISCONFIGURED, cause="the session pool was closed")
                call.record.attempts += 1
                shot.timeout_seconds = min(self.most_seconds, left_seconds)
                heard = await shoot(session, shot, home.connecting)
        except TimeoutError:
            return _too_late("no connection came free before the deadline")
        if isinstance(heard, Reply):
            return read_reply(self.freezer.codec, call.operation, heard)
        return heard

    async def _pass_on(self, pause_seconds: float, left_seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, min(pause_seconds, left_seconds))):
                for listener in tuple(self.listeners):
                    await listener(pause_seconds)
        except Exception as error:  # noqa: BLE001 - a listener must not decide what a call came to
            _log.warning("a pause that was asked for isn't passed on: %s", type(error).__name__)

    def _tell(self, call: Call, verdict: Verdict | None, begun: float) -> None:
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
            if hook is not None:
                hook(details)
        except Exception as error:  # noqa: BLE001 - a hook must not decide what a call came to
            _log.error("Settings.on_attempt raised %s", type(error).__name__)


def _too_late(cause: str) -> Verdict:
    return Verdict(Happened.NOT_SENT, cause=cause, ends_call="deadline")
