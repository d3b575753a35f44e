"""SessionCalls: the calls under ``session/``, a typed method each."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

from attrs import field, frozen

from .batch import settle_all
from .caller import Caller
from .errors import InvalidRequest, SmartGlocalError
from .freezing import CallOptions
from .operations import (
    SESSION_CANCEL,
    SESSION_CAPTURE,
    SESSION_CONFIRM,
    SESSION_CREATE,
    SESSION_INIT_PAYMENT,
    SESSION_INIT_PAYOUT,
    SESSION_REFUND,
    SESSION_START_PAYMENT,
    SESSION_START_PAYOUT,
    SESSION_STATUS,
    Operation,
    Request,
)
from .outcome import Outcome, outcome_of
from .values.answers import Session
from .values.events import WebhookEvent
from .values.exactness import above_zero
from .values.requests import (
    CapturePayment,
    CreateSession,
    InitPayment,
    InitPayout,
    RefundPayment,
    SessionRef,
    StartPayment,
    StartPayout,
)
from .waiting import Waiting, is_settled


@frozen(eq=False)
class SessionCalls:
    """The calls under ``session/``; a client has one as ``api.session``.

    Each takes one record and gives the `Session` as the provider answered it. ``key`` is the
    idempotency key of the call: your own id of it; each call has its own keys. ``deadline``
    (seconds, over all attempts and waits) and ``attempts`` override the client's policy.

    A call that moves money is sent again only where it was surely never sent, or where
    ``session/status``, which is asked after a lost answer, shows that it took no effect and a
    second one could do no more than the first (`smartglocal_async.effects` has the table).

    Each raises:
        InvalidRequest: a field breaks a rule; nothing was sent.
        KeyReused: the key belongs to another request of this call; nothing was sent.
        NotSent: the provider was not reached.
        Refused: the provider said no.
        OutcomeUnknown: it may have taken effect; the error says what was found out.
    """

    _caller: Caller = field(repr=False)
    _waiting: Waiting = field(repr=False)

    async def create(
        self,
        request: CreateSession,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a payment session; nothing moves yet.

        The key travels in the metadata when that is an object or absent. Given twice with the
        same request at the same time in one event loop, both callers get the one session, under
        the first one's deadline; given with another request, it is refused. When the outcome is
        unknown, repeat with the same key: an orphan is harmless.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_CREATE, request, options)

    async def start_payout(
        self,
        request: StartPayout,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Start a payout in a session.

        With manual confirmation nothing is paid before `confirm`; with automatic confirmation
        (a setting of the project) it goes straight through. A lost answer is never followed by
        a second start: it might pay twice. When the outcome is unknown, `cancel` the session,
        and start in a new one.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_START_PAYOUT, request, options)

    async def start_payment(
        self,
        request: StartPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Start a payment in a session; as `start_payout`, never a second time by itself."""
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_START_PAYMENT, request, options)

    async def init_payout(
        self,
        request: InitPayout,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a session and start a payout in it.

        After a lost answer nobody can ask: there is no session id. The call ends as
        `OutcomeUnknown` with its key, and is never sent a second time; wait for the webhook,
        which echoes the key in the metadata. A key that the provider has seen before ends so,
        too: the first attempt arrived.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_INIT_PAYOUT, request, options)

    async def init_payment(
        self,
        request: InitPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a session and start a payment in it; a lost answer is as with `init_payout`."""
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_INIT_PAYMENT, request, options)

    async def confirm(
        self,
        request: SessionRef,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Have what was started be carried out, after `ReadyToConfirm`: money moves.

        The result comes later, by webhook or by `status`. A lost answer is followed by
        another confirm only while the session awaits one.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_CONFIRM, request, options)

    async def cancel(
        self,
        request: SessionRef,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Cancel a session, after `ReadyToConfirm` or `ReadyToCapture`.

        Whether one that was only created can be cancelled is documented both ways.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_CANCEL, request, options)

    async def capture(
        self,
        request: CapturePayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Take the money that a payment holds, after `ReadyToCapture`.

        A lost capture of a part is not repeated: it might be a second part.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_CAPTURE, request, options)

    async def refund(
        self,
        request: RefundPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Give the money of a succeeded payment back; the result comes with `PaymentRefunded`.

        A lost refund of a part is not repeated: it might give back twice.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return await self._call(SESSION_REFUND, request, options)

    async def status(
        self, request: SessionRef, *, deadline: float | None = None, attempts: int | None = None
    ) -> Session:
        """Ask for a session as it stands now; unknown means that no readable answer came."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return await self._call(SESSION_STATUS, request, options)

    async def wait(
        self,
        request: SessionRef,
        *,
        until: Callable[[Session], bool] = is_settled,
        deadline: float = 300.0,
    ) -> Session:
        """Give the session once it is final or an action is due, or ``until`` says so.

        It asks for the status at growing, jittered intervals, up to ``deadline`` seconds; a
        webhook handed to `notice` has it look at once. A look that fails on the way is
        followed by another one.

        Raises:
            StillOpen: the deadline passed. Nothing was changed; wait again.
            Refused: the provider knows no such session, or said no.
            InvalidRequest: no session id, or a deadline that is no number above zero.

        """
        return await self._waiting.wait(request, until, deadline)

    def notice(self, event: WebhookEvent) -> None:
        """Wake those who wait for the session of a verified webhook; safe from any thread."""
        self._waiting.notice(event.session.id)

    def create_many(
        self,
        requests: Iterable[CreateSession] | AsyncIterable[CreateSession],
        *,
        concurrency: int = 64,
        keys: Callable[[CreateSession], str | None] | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> AsyncGenerator[Outcome[CreateSession]]:
        """Create a session for each request, and give the outcomes as they settle.

        Takes any iterable or asynchronous iterable, and pulls only as fast as it sends; memory
        is bound by ``concurrency``. One failure never stops the others: its `Outcome` carries
        the error. When the source itself raises, or the client is drained, no more is taken;
        what is out is settled and given first. ``keys`` gives the idempotency key of a request;
        without it, the key in the metadata or a fresh one is used. Left early, whatever is out
        is cancelled; wrap it in `contextlib.aclosing` to have that happen at once.

        Raises:
            InvalidRequest: an option is not a number above zero, or not a whole one.
            PoolClosed: the client was closed or is draining.

        """
        above_zero("concurrency", concurrency, whole=True)
        plain = CallOptions(deadline=deadline, attempts=attempts)

        async def settle(index: int, request: CreateSession) -> Outcome[CreateSession]:
            options = plain
            try:
                if keys is not None:
                    options = plain.with_key(_key_of(request, keys))
                settled = await self._caller.call(SESSION_CREATE, request, options)
            except SmartGlocalError as error:
                return outcome_of(index, request, error, options.key)
            return outcome_of(index, request, settled)

        return settle_all(requests, settle, concurrency, self._caller.closed)

    async def _call(
        self, operation: Operation[Request, Session], request: Request, options: CallOptions
    ) -> Session:
        return (await self._caller.call(operation, request, options)).answer


def _key_of(request: CreateSession, keys: Callable[[CreateSession], str | None]) -> str | None:
    try:
        return keys(request)
    except Exception as error:
        problem = f"raised {type(error).__name__} for this request"
        raise InvalidRequest("keys", problem) from error
