"""One logical call: frozen once, then sent, asked again if that is safe, and made an outcome of."""

import asyncio
import logging
import uuid
from typing import Any, Final

from aiohttp import ClientMiddlewareType
from attrs import define, evolve, field, frozen

from .codec import Codec, dump
from .envelope import Happened, Reply, Verdict, read_reply
from .errors import InvalidRequest, OutcomeUnknown
from .flights import Flights
from .idempotency import Fingerprint, Key, carry_key, choose_key, fingerprint
from .operations import Answer, Operation, Repeat, Request
from .outcome import CallRecord, Settled
from .pool import SessionPool
from .retry import CallRules, Retrier
from .settings import AttemptDetails, Credentials, HeaderUse, Settings
from .transport import FrozenBody, Shot, shoot

_log = logging.getLogger("smartglocal_async")
_IDEMPOTENCY_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"


@frozen(kw_only=True)
class CallOptions:
    """What a caller may choose for one call; None takes the client's policy."""

    key: str | None = None
    deadline: float | None = None
    attempts: int | None = None

    def __attrs_post_init__(self) -> None:
        above_zero("deadline", self.deadline)
        above_zero("attempts", self.attempts)

    def with_key(self, key: str | None) -> "CallOptions":
        """Give the same options for the call of another key."""
        return evolve(self, key=key)


@frozen(eq=False)
class _Frozen:
    """One logical call, made ready: every attempt sends exactly this."""

    operation: Operation[Any, Any]
    body: FrozenBody
    key: Key | None
    taken: Fingerprint | None
    headers: dict[str, str] = field(repr=False)


@define(eq=False)
class _Run:
    """A logical call on its way."""

    frozen: _Frozen
    record: CallRecord
    rules: CallRules


@define(eq=False)
class Caller:
    """Make calls for one client: freeze, retry, sign, send, read, in this order."""

    settings: Settings
    credentials: Credentials
    codec: Codec
    pool: SessionPool
    middlewares: tuple[ClientMiddlewareType, ...]
    retrier: Retrier
    flights: Flights
    retries: int = field(default=0, init=False)

    async def call(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> Settled[Answer]:
        """Make one logical call; give what it came to, or raise it.

        Raises:
            InvalidRequest: nothing was sent.
            KeyReused: nothing was sent.
            CallFailed: one of its three kinds, by what surely happened.

        """
        await self.pool.open()
        with self.pool.call():
            frozen = self._freeze(operation, request, options.key)
            if frozen.taken is None or frozen.key is None:
                return await self._perform(frozen, options)
            self.flights.check(frozen.key.text, frozen.taken)
            return await self.flights.share(
                frozen.key.text, frozen.taken, lambda: self._remembering(frozen, options)
            )

    def _freeze(
        self, operation: Operation[Request, Answer], request: Request, given: str | None
    ) -> _Frozen:
        if not isinstance(request, operation.request):
            raise InvalidRequest(
                "request", f"expected {operation.request.__name__}, got {type(request).__name__}"
            )
        wire = self.codec.wire(request)
        key: Key | None = None
        if operation.has_metadata:
            key = choose_key(
                given,
                wire.get("metadata"),
                field=self.settings.key_field,
                metadata_is_key=self.settings.metadata_is_key,
                make=_fresh_key,
            )
            carry_key(wire, key, self.settings.key_field)
        is_own = key is not None and key.is_own
        taken = fingerprint(operation.path, wire, self.flights.secret) if is_own else None
        body = FrozenBody(dump(wire))
        del wire  # Holds what no traceback should, should the next line raise.
        self._check_size(body)
        return _Frozen(operation, body, key, taken, self._headers(operation, key))

    def _check_size(self, body: FrozenBody) -> None:
        most, size = self.settings.most_request_bytes, body.size or 0
        if size > most:
            raise InvalidRequest(
                "request", f"is {size} bytes long, {most} at most (Settings.most_request_bytes)"
            )

    def _headers(self, operation: Operation[Any, Any], key: Key | None) -> dict[str, str]:
        use, moves_money = self.settings.idempotency_header, operation.repeat is Repeat.MOVES_MONEY
        if use is HeaderUse.ALWAYS or (use is HeaderUse.MONEY and moves_money):
            return {} if key is None else {_IDEMPOTENCY_KEY: key.text}
        return {}

    async def _remembering(self, frozen: _Frozen, options: CallOptions) -> Settled[Any]:
        try:
            settled = await self._perform(frozen, options)
        except (OutcomeUnknown, asyncio.CancelledError):
            # It may be out under this key: another request must not take it.
            self._remember(frozen)
            raise
        self._remember(frozen)
        return settled

    def _remember(self, frozen: _Frozen) -> None:
        if frozen.key is not None and frozen.taken is not None:
            self.flights.remember(frozen.key.text, frozen.taken)

    async def _perform(self, frozen: _Frozen, options: CallOptions) -> Settled[Any]:
        run = self._begin(frozen, options)
        verdict, stopped_by = await self._attempt(run), None
        if verdict.happened is not Happened.ACCEPTED:
            verdict, stopped_by = await self.retrier.go_on(
                verdict, lambda: self._again(run), run.rules
            )
        now = self.settings.timing.monotonic()
        if verdict.happened is not Happened.ACCEPTED:
            raise run.record.failure(verdict, stopped_by, now)
        self.retrier.budget.succeeded(after_retry=run.record.attempts > 1)
        return Settled(
            answer=verdict.answer,
            key=run.record.key,
            attempts=run.record.attempts,
            elapsed_seconds=now - run.record.started,
        )

    def _begin(self, frozen: _Frozen, options: CallOptions) -> _Run:
        policy, started = self.settings.retry, self.settings.timing.monotonic()
        patience = policy.deadline_seconds if options.deadline is None else options.deadline
        attempts = policy.attempts if options.attempts is None else options.attempts
        key = None if frozen.key is None else frozen.key.text
        return _Run(
            frozen,
            CallRecord(frozen.operation.path, key, started),
            CallRules(frozen.operation.repeat, attempts, started + patience),
        )

    async def _again(self, run: _Run) -> Verdict:
        self.retries += 1
        return await self._attempt(run)

    async def _attempt(self, run: _Run) -> Verdict:
        """Make one attempt, and tell whoever listens what it came to."""
        monotonic = self.settings.timing.monotonic
        if not await self.retrier.wait_for_pause(run.rules.deadline):
            return run.record.note(
                _not_sent("the provider asked for a pause that outlasts the deadline")
            )
        run.record.attempts += 1
        begun = monotonic()
        try:
            verdict = await self._send(run, run.rules.deadline - begun)
        except BaseException:
            self._tell(run, None, monotonic() - begun)
            raise
        self.retrier.heed(verdict)
        self._tell(run, verdict, monotonic() - begun)
        return run.record.note(verdict)

    async def _send(self, run: _Run, left_seconds: float) -> Verdict:
        try:
            async with self.pool.slot(left_seconds) as session:
                heard = await shoot(session, self._shot(run.frozen, left_seconds))
        except TimeoutError:
            return _not_sent("no connection came free before the deadline")
        if isinstance(heard, Reply):
            return read_reply(self.codec, run.frozen.operation, heard)
        return heard

    def _shot(self, frozen: _Frozen, left_seconds: float) -> Shot:
        return Shot(
            self.credentials.url(frozen.operation.path),
            frozen.body,
            frozen.headers,
            self.middlewares,
            min(self.settings.retry.attempt_timeout_seconds, left_seconds),
            self.settings.most_answer_bytes,
            self.settings.timing.now,
        )

    def _tell(self, run: _Run, verdict: Verdict | None, elapsed_seconds: float) -> None:
        hook = self.settings.on_attempt
        if hook is None and not _log.isEnabledFor(logging.DEBUG):
            return
        details = AttemptDetails(
            operation=run.record.operation,
            key=run.record.key,
            attempt=run.record.attempts,
            happened=None if verdict is None else verdict.happened,
            cause=None if verdict is None else verdict.cause,
            code=None if verdict is None else verdict.code,
            http_status=None if verdict is None else verdict.http_status,
            elapsed_seconds=elapsed_seconds,
        )
        _log.debug("attempt ended", extra={"attempt": details})
        if hook is not None:
            hook(details)


def above_zero(name: str, value: object) -> None:
    """Refuse an option that is neither absent nor a number above zero."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidRequest(name, "must be a number above zero")


def _not_sent(cause: str) -> Verdict:
    return Verdict(Happened.NOT_SENT, cause=cause)


def _fresh_key() -> str:
    return str(uuid.uuid4())
