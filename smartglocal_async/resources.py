"""The methods of a client: one for each call of the API, and `SessionCalls.wait`, which polls."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import suppress
from typing import Final

from attrs import define, field, frozen

from .call import CallRunner
from .concurrency import settle_all
from .errors import CallFailed, InvalidRequest, Refused, RuleBroken, SmartGlocalError, StillOpen
from .models.answers import Bank, ExchangeRate, PushRequested, Session, Wallet
from .models.events import WebhookEvent
from .models.requests import (
    CapturePayment,
    CreateSession,
    GetExchangeRate,
    InitPayment,
    InitPayout,
    PushSberPay,
    RefundPayment,
    SessionRef,
    StartPayment,
    StartPayout,
    VerifyCustomer,
)
from .models.tokens import (
    DisableRecurrent,
    GetBalance,
    GetTokenInfo,
    IssueToken,
    ListBanks,
    PublicToken,
    RecurrentToken,
    TokenInfo,
)
from .models.validators import above_zero, plain_function
from .operations import (
    EXCHANGE_RATE,
    FPS_BANKS,
    FPS_VERIFY_CUSTOMER,
    RECURRENT_DISABLE,
    SBERPAY_PUSH,
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
    TOKEN,
    TOKEN_INFO,
    WALLET_BALANCE,
)
from .outcome import Outcome, outcome_of
from .request import CallOptions

_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 30.0
_CANCELLED: Final = "a cancelled session doesn't change any more"
_GROWTH: Final = 1.5


@frozen(eq=False)
class WalletCalls:
    """The calls under ``wallet/``; a client has one as ``api.wallet``.

    They exist in API v1 only, and are sent there whatever ``api_version`` is.
    """

    _caller: CallRunner = field(repr=False)

    async def balance(
        self,
        request: GetBalance | None = None,
        *,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> tuple[Wallet, ...]:
        """Return the prefunded wallets with their balances, in minor units.

        Without a request, the balances are those of now. Payouts are paid from these wallets; a
        payout that its wallet can't pay is not completed.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        now = self._caller.settings.timing.now
        if request is None:
            request = GetBalance(request_datetime=now())
        return (await self._caller.call(WALLET_BALANCE, request, options)).answer


@frozen(eq=False)
class TokenCalls:
    """The calls ``token`` and ``token/info``; a client has one as ``api.token``.

    They exist in API v1 only, and are sent there whatever ``api_version`` is.
    """

    _caller: CallRunner = field(repr=False)

    async def issue(
        self, request: IssueToken, *, deadline: float | None = None, attempts: int | None = None
    ) -> PublicToken:
        """Return a public token for a widget, valid for 24 hours and one operation.

        Raises:
            InvalidRequest: ``fps_no_account_widget`` from a client without a ``submerchant``.

        """
        if (
            request.fps_no_account_widget is not None
            and self._caller.request_builder.credentials.submerchant is None
        ):
            raise InvalidRequest(
                "IssueToken.fps_no_account_widget",
                "needs X-PARTNER-SUBMERCHANT: set SMARTGLOCAL_SUBMERCHANT, or make the client with "
                "submerchant=",
            )
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(TOKEN, request, options)).answer

    async def info(
        self, request: GetTokenInfo, *, deadline: float | None = None, attempts: int | None = None
    ) -> TokenInfo:
        """Return what the provider knows about a token or a card."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(TOKEN_INFO, request, options)).answer


@frozen(eq=False)
class RecurrentCalls:
    """The calls under ``recurrent/``; a client has one as ``api.recurrent``.

    They exist in API v1 only, and are sent there whatever ``api_version`` is.
    """

    _caller: CallRunner = field(repr=False)

    async def disable(
        self,
        request: DisableRecurrent,
        *,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> RecurrentToken:
        """End a recurring payment; disabling it again changes nothing."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(RECURRENT_DISABLE, request, options)).answer


@frozen(eq=False)
class FpsCalls:
    """The calls under ``fps/`` (Russia's Faster Payments); a client has one as ``api.fps``."""

    _caller: CallRunner = field(repr=False)

    async def verify_customer(
        self, request: VerifyCustomer, *, deadline: float | None = None, attempts: int | None = None
    ) -> Session:
        """Check whether a phone belongs to a person; free, and confirmed automatically.

        The session becomes ``accepted`` if it does, and ``cancelled`` if not.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(FPS_VERIFY_CUSTOMER, request, options)).answer

    async def banks(
        self, *, deadline: float | None = None, attempts: int | None = None
    ) -> tuple[Bank, ...]:
        """Return the banks of the system, by a GET in API v1, whatever ``api_version`` is.

        Neither its body nor its answer is documented. `Settings.bodiless` is sent and signed, and
        the answer is read as the sister platform's SDK reads it.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(FPS_BANKS, ListBanks(), options)).answer


def is_settled(session: Session) -> bool:
    """Return whether a session is final, or waits for the merchant or the payer."""
    return session.is_final or session.is_action_due


@define(eq=False)
class _Waiter:
    """One task that waits for a session; it can be woken from any thread."""

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    woken: asyncio.Event = field(factory=asyncio.Event)

    def wake(self) -> None:
        with suppress(RuntimeError):  # Its event loop is closed, so it doesn't wait any more.
            _ = self.loop.call_soon_threadsafe(self.woken.set)


@define(eq=False)
class _LastPoll:
    """What the last poll of a session showed."""

    status: str | None = None
    cause: str | None = None
    """Why it failed, if it did."""


@define(eq=False)
class SessionWaits:
    """The waits for sessions, through one client."""

    caller: CallRunner
    _waiters: dict[str, set[_Waiter]] = field(
        factory=lambda: defaultdict[str, set[_Waiter]](set), init=False, repr=False
    )

    def wake(self, session_id: str) -> None:
        """Have all waits for this session poll it now; safe from any thread."""
        for waiter in tuple(self._waiters.get(session_id, ())):
            waiter.wake()

    async def wait(
        self, session: SessionRef, until: Callable[[Session], bool], deadline: float
    ) -> Session:
        """Poll a session until ``until`` returns true; see `SessionCalls.wait`."""
        above_zero("deadline", deadline)
        plain_function("until", until)
        waiter = _Waiter()
        self._waiters[session.session_id].add(waiter)
        try:
            return await self._poll_until(session, until, deadline, waiter)
        finally:
            self._waiters[session.session_id].discard(waiter)
            if not self._waiters[session.session_id]:
                del self._waiters[session.session_id]

    async def _poll_until(
        self,
        session: SessionRef,
        until: Callable[[Session], bool],
        deadline: float,
        waiter: _Waiter,
    ) -> Session:
        timing = self.caller.settings.timing
        started, pause, last = timing.monotonic(), _INITIAL_DELAY_SECONDS, _LastPoll()
        while (left := started + deadline - timing.monotonic()) > 0:
            waiter.woken.clear()
            found = await self._poll(session, left, last)
            if found is not None and until(found):
                return found
            if found is not None and found.is_cancelled:
                # Nothing can happen in it any more, so that waiting on can't help.
                waited = timing.monotonic() - started
                raise StillOpen(session.session_id, last.status, waited, _CANCELLED)
            # Jitter, so that many waits don't poll at the same moments.
            jittered = pause * (0.5 + timing.random() / 2)
            left = started + deadline - timing.monotonic()
            await timing.sleep_unless_set(waiter.woken, min(jittered, max(left, 0.0)))
            pause = min(pause * _GROWTH, _MAX_DELAY_SECONDS)
        waited = timing.monotonic() - started
        raise StillOpen(session.session_id, last.status, waited, last.cause)

    async def _poll(self, session: SessionRef, seconds: float, last: _LastPoll) -> Session | None:
        try:
            settled = await self.caller.call(SESSION_STATUS, session, CallOptions(deadline=seconds))
        except CallFailed as error:
            # Waiting can't help if the signer fails, or the server's certificate isn't trusted.
            if error.is_misconfigured or (isinstance(error, Refused) and not error.is_throttled):
                raise
            last.cause = f"the last poll failed: {error}"
            return None
        last.status, last.cause = str(settled.answer.status), None
        return settled.answer


@frozen(eq=False)
class SberPayCalls:
    """The calls under ``sberpay/``; a client has one as ``api.sberpay``.

    The provider's pages show it in API v1 only, so it is sent there whatever ``api_version`` is.
    """

    _caller: CallRunner = field(repr=False)

    async def push(
        self, request: PushSberPay, *, deadline: float | None = None, attempts: int | None = None
    ) -> PushRequested:
        """Have Sber notify the payer of a SberPay payment by PUSH or SMS.

        No money moves. After a lost answer it is sent again, so the payer may get two messages.
        It is a POST, as the provider says of all requests; its example shows a GET:
        ``Settings(http_methods={"sberpay/push": "GET"})``.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(SBERPAY_PUSH, request, options)).answer


@frozen(eq=False)
class ExchangeRateCalls:
    """The call ``exchange_rate``; a client has one as ``api.exchange_rate``.

    The provider's page shows it in API v1 only, so it is sent there whatever ``api_version`` is.
    """

    _caller: CallRunner = field(repr=False)

    async def get(
        self,
        request: GetExchangeRate | None = None,
        *,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> ExchangeRate:
        """Return the rate of Steam top-ups, roubles to US dollars; it is renewed once an hour.

        It is a GET with the signed body ``{}``. The rate of a payout may be another one than the
        rate at this time.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        asked = GetExchangeRate() if request is None else request
        return (await self._caller.call(EXCHANGE_RATE, asked, options)).answer


@frozen(eq=False)
class SessionCalls:
    """The calls under ``session/``; a client has one as ``api.session``.

    Each takes one record and returns the `Session` of the provider's answer. ``key`` is the
    idempotency key of the call, your own id of it; each call has its own keys. ``deadline``
    (seconds, over all attempts and waits) and ``attempts`` override the client's policy.

    A call that moves money is retried only if it never left the client, or if ``session/status``
    shows that it had no effect and a retry can't pay twice (`smartglocal_async.recovery` has the
    table).

    Each raises:
        InvalidRequest: a field breaks a rule; nothing was sent.
        KeyReused: the key belongs to another request of this call; nothing was sent.
        NotSent: the provider was not reached.
        Refused: the provider refused the call.
        OutcomeUnknown: it may have taken effect; the error has what is known.
    """

    _caller: CallRunner = field(repr=False)
    _waits: SessionWaits = field(repr=False)

    async def create(
        self,
        request: CreateSession,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a payment session; no money moves yet.

        The key is sent in the metadata if that is an object or absent. Two calls with the same key
        and request at the same time in one event loop are sent once and return the same session,
        under the deadline of the first; with another request the key is refused. If the outcome is
        unknown, call it again with the same key: an unused session is harmless.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_CREATE, request, options)).answer

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
        (a setting of the project) the start itself pays. After a lost answer it is never sent
        again, since that might pay twice. If the outcome is unknown, `cancel` the session, and
        start in a new one.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_START_PAYOUT, request, options)).answer

    async def start_payment(
        self,
        request: StartPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Start a payment in a session; like `start_payout`, it isn't sent again by itself."""
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_START_PAYMENT, request, options)).answer

    async def init_payout(
        self,
        request: InitPayout,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a session and start a payout in it.

        After a lost answer its status can't be checked, as there is no session id. The call raises
        `OutcomeUnknown` with its key, and is never sent again; wait for the webhook, which has the
        key in its metadata. It raises the same if the provider answers that the key was used: the
        first attempt arrived.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_INIT_PAYOUT, request, options)).answer

    async def init_payment(
        self,
        request: InitPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a session and start a payment in it; a lost answer ends as in `init_payout`."""
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_INIT_PAYMENT, request, options)).answer

    async def confirm(
        self,
        request: SessionRef,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Confirm what was started, after `ReadyToConfirm`: money moves.

        The result follows later, by webhook or from `status`. After a lost answer it is sent again
        only while the session still waits for a confirm.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_CONFIRM, request, options)).answer

    async def cancel(
        self,
        request: SessionRef,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Cancel a session, after `ReadyToConfirm` or `ReadyToCapture`.

        The documents contradict each other on whether a session that was only created can be
        cancelled.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_CANCEL, request, options)).answer

    async def capture(
        self,
        request: CapturePayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Take the money that a payment holds, after `ReadyToCapture`.

        After a lost answer, the capture of a part isn't sent again: it might take a second part.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_CAPTURE, request, options)).answer

    async def refund(
        self,
        request: RefundPayment,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Refund a payment that succeeded; the result follows with `PaymentRefunded`.

        After a lost answer, the refund of a part isn't sent again: it might refund twice.
        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_REFUND, request, options)).answer

    async def status(
        self, request: SessionRef, *, deadline: float | None = None, attempts: int | None = None
    ) -> Session:
        """Return a session as it is now; `OutcomeUnknown` if no answer could be read."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_STATUS, request, options)).answer

    async def wait(
        self,
        request: SessionRef,
        *,
        until: Callable[[Session], bool] = is_settled,
        deadline: float = 300.0,
    ) -> Session:
        """Wait until a session is final or an action is due, and return it.

        ``until`` replaces that condition. The status is polled at growing, jittered intervals for
        up to ``deadline`` seconds, and at once when a webhook of the session is passed to
        `handle_event`. A poll that fails is followed by another one.

        The provider waits longer: 240 minutes for a confirm (20 minutes by SberPay), and 60 minutes
        for the payer (20 minutes by SberPay and T-Pay). Then it cancels the session, which ends the
        wait, too.

        Raises:
            StillOpen: the deadline passed, and you may wait again; or the session was cancelled,
                so that ``until`` can't become true any more. Nothing was changed.
            Refused: the provider refused the call, or doesn't know the session.
            NotSent: nothing can be sent, and waiting can't help: the signer fails, or the server's
                certificate isn't trusted.
            InvalidRequest: no session id, or a deadline that isn't a number above zero.

        """
        return await self._waits.wait(request, until, deadline)

    def handle_event(self, event: WebhookEvent) -> None:
        """Have `wait` poll the session of a verified webhook now; safe from any thread."""
        if event.session is not None:
            self._waits.wake(event.session.id)

    def create_many(
        self,
        requests: Iterable[CreateSession] | AsyncIterable[CreateSession],
        *,
        concurrency: int = 64,
        keys: Callable[[CreateSession], str | None] | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> AsyncGenerator[Outcome[CreateSession]]:
        """Create a session for each request, and yield the outcomes as they settle.

        The source is any iterable or asynchronous iterable. It is read only as fast as requests are
        sent, so that ``concurrency`` bounds the memory. A failure doesn't stop the others: its
        `Outcome` has the error. If the source raises, or the client is drained, no more requests
        are taken, and the outcomes of those in flight are yielded first. ``keys`` returns the
        idempotency key of a request; without it, the key in the metadata or a new one is used. If
        you stop iterating early, calls in flight are cancelled; with `contextlib.aclosing` that
        happens at once.

        Raises:
            InvalidRequest: an option isn't a number above zero, or isn't whole where it must be.
            PoolClosed: the client was closed or is draining.

        """
        above_zero("concurrency", concurrency, whole=True)
        if keys is not None:
            plain_function("keys", keys)
        plain = CallOptions(deadline=deadline, attempts=attempts)

        async def settle(index: int, request: CreateSession) -> Outcome[CreateSession]:
            options = plain
            try:
                if keys is not None:
                    options = plain.with_key(_key_of(request, keys))
                settled = await self._caller.call(SESSION_CREATE, request, options)
            except SmartGlocalError as error:
                return outcome_of(index, request, error, options.key)
            except RuleBroken as warned:
                return outcome_of(index, request, warned.refusal(), options.key)
            return outcome_of(index, request, settled)

        return settle_all(requests, settle, concurrency, self._caller.closed_error)


def _key_of(request: CreateSession, keys: Callable[[CreateSession], str | None]) -> str | None:
    try:
        return keys(request)
    except Exception as error:
        problem = f"raised {type(error).__name__} for this request"
        raise InvalidRequest("keys", problem) from error
