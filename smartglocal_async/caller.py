"""One logical call: frozen once, then sent, asked again if that is safe, and made an outcome of."""

import logging
import os
from typing import Any, Final

from attrs import define, evolve, field, frozen
from yarl import URL

from .codec import Codec, Wire, dump
from .envelope import Happened, Reply, Verdict, read_reply
from .errors import InvalidRequest, NotSent, PoolClosed, Refused
from .flights import Flights
from .home import Home
from .idempotency import Fingerprint, Key, carry_key, choose_key, fingerprint
from .operations import Answer, Operation, Repeat, Request
from .outcome import CallRecord, Settled
from .pool import SessionPool
from .retry import CallRules, Retrier
from .settings import AttemptDetails, Credentials, HeaderUse, Settings
from .transport import FrozenBody, Middleware, Shot, shoot
from .values.exactness import above_zero
from .values.requests import SessionRef

_log = logging.getLogger("smartglocal_async")
_IDEMPOTENCY_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"


@frozen(kw_only=True)
class CallOptions:
    """What a caller may choose for one call; None takes the client's policy."""

    key: str | None = None
    deadline: float | None = None
    attempts: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.deadline is not None:
            above_zero("deadline", self.deadline)
        if self.attempts is not None:
            above_zero("attempts", self.attempts, whole=True)

    def with_key(self, key: str | None) -> "CallOptions":
        """Give the same options for the call of another key."""
        return evolve(self, key=key)


@define(eq=False)
class _Call:
    """One logical call, made ready: every attempt sends exactly this shot."""

    operation: Operation[Any, Any]
    shot: Shot
    key: Key | None
    taken: Fingerprint | None
    record: CallRecord
    attempts: int
    deadline: float


@define(eq=False)
class Caller:
    """Make calls for one client: freeze, retry, sign, send, read, in this order."""

    settings: Settings
    credentials: Credentials
    codec: Codec
    pool: SessionPool
    middlewares: tuple[Middleware, ...]
    retrier: Retrier
    flights: Flights
    retries: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    state: str = field(default="open", init=False)
    _urls: dict[str, URL] = field(factory=dict[str, URL], init=False, repr=False)

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *_exc_info: object) -> None:
        self.calls -= 1

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
            call = self._freeze(operation, request, options)
            if isinstance(call, InvalidRequest):
                raise call
            if call.taken is None or call.key is None:
                return await self._perform(call, home)
            self.flights.check(call.key.text, call.taken)
            return await self.flights.share(
                call.key.text, call.taken, lambda: self._remembering(call, home)
            )

    def closed(self) -> PoolClosed | None:
        """Give the reason for which no call can be made any more."""
        if self.state == "open":
            return self.pool.closed()
        return PoolClosed(f"the client is {self.state}; make a new one for new calls")

    def _freeze(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> _Call | InvalidRequest:
        """Make a call ready; what is wrong with it is returned, for the caller to raise.

        The frames down from here hold the request as plain data, and tools that record the
        variables of a traceback would write it down. Returned, the error has no such frames.
        """
        try:
            return self._frozen(operation, request, options)
        except InvalidRequest as error:
            return error.with_traceback(None)

    def _frozen(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> _Call:
        if not isinstance(request, operation.request):
            raise InvalidRequest(
                "request", f"expected {operation.request.__name__}, got {type(request).__name__}"
            )
        wire = self.codec.wire(request)
        key = self._key(wire, options.key) if operation.has_metadata else None
        body = dump(wire)
        self._check_size(len(body))
        is_own = key is not None and key.is_own
        taken = fingerprint(operation.path, body, self.flights.secret) if is_own else None
        policy, started = self.settings.retry, self.settings.timing.monotonic()
        return _Call(
            operation,
            self._shot(operation, FrozenBody(body), key),
            key,
            taken,
            CallRecord(
                operation.path,
                None if key is None else key.text,
                started,
                request.session_id if isinstance(request, SessionRef) else None,
            ),
            policy.attempts if options.attempts is None else options.attempts,
            started + (policy.deadline_seconds if options.deadline is None else options.deadline),
        )

    def _key(self, wire: Wire, given: str | None) -> Key:
        settings = self.settings
        key = choose_key(
            given,
            wire.get("metadata"),
            field=settings.key_field,
            metadata_is_key=settings.metadata_is_key,
            make=_fresh_key,
        )
        carry_key(wire, key, settings.key_field)
        return key

    def _shot(self, operation: Operation[Any, Any], body: FrozenBody, key: Key | None) -> Shot:
        settings, path = self.settings, operation.path
        url = self._urls.get(path) or self._urls.setdefault(path, self.credentials.url(path))
        return Shot(
            url,
            body,
            self._headers(operation, key),
            self.middlewares,
            settings.retry.attempt_timeout_seconds,
            settings.most_answer_bytes,
            settings.timing.now,
        )

    def _check_size(self, size: int) -> None:
        most = self.settings.most_request_bytes
        if size > most:
            raise InvalidRequest(
                "request", f"is {size} bytes long, {most} at most (Settings.most_request_bytes)"
            )

    def _headers(self, operation: Operation[Any, Any], key: Key | None) -> dict[str, str]:
        use, moves_money = self.settings.idempotency_header, operation.repeat is Repeat.MOVES_MONEY
        if use is HeaderUse.ALWAYS or (use is HeaderUse.MONEY and moves_money):
            return {} if key is None else {_IDEMPOTENCY_KEY: key.text}
        return {}

    async def _remembering(self, call: _Call, home: Home) -> Settled[Any]:
        try:
            settled = await self._perform(call, home)
        except (NotSent, Refused):
            raise  # Nothing came of it: the key is free for a mended request.
        except BaseException:
            if call.record.attempts:
                # It may be out under this key: another request must not take it.
                self._remember(call)
            raise
        self._remember(call)
        return settled

    def _remember(self, call: _Call) -> None:
        if call.key is not None and call.taken is not None:
            self.flights.remember(call.key.text, call.taken)

    async def _perform(self, call: _Call, home: Home) -> Settled[Any]:
        record = call.record
        verdict, stopped_by = await self._attempt(call, home), None
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

    async def _again(self, call: _Call, home: Home) -> Verdict:
        self.retries += 1
        return await self._attempt(call, home)

    async def _attempt(self, call: _Call, home: Home) -> Verdict:
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
            retrier.heed(call.record.note(verdict))
        self._tell(call, verdict, begun)
        return verdict

    async def _send(self, call: _Call, home: Home) -> Verdict:
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
            return read_reply(self.codec, call.operation, heard)
        return heard

    def _tell(self, call: _Call, verdict: Verdict | None, begun: float) -> None:
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


def _fresh_key() -> str:
    # A UUID4 (RFC 9562), spelled out: uuid.uuid4() takes four times as long, in every call.
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
