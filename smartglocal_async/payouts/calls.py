"""The calls of a payout, below the client's methods: each returns a `Reply`.

What follows from a reply is decided in `protocol`.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Final

from attrs import evolve, frozen

from ..call import CallRunner
from ..client import SmartGlocal
from ..codec import ApiVersion, codec
from ..concurrency import settle_all
from ..envelope import REDIRECTS, SERVER_FAULT
from ..error_codes import CODES_OF_THE_CALLER, KNOWN_CODES
from ..errors import CallFailed, CodeClass, InvalidRequest, OutcomeUnknown, Refused
from ..idempotency import Fingerprint, Mark, fingerprint
from ..journal.entries import Entry
from ..journal.states import Step
from ..matching import (
    JOURNAL_FIELD,
    KEY_FIELD,
    NUMBER_FIELD,
    ORDER_FIELD,
    Expected,
    Owner,
    check_unmarked,
    differences,
)
from ..models.answers import Session
from ..models.instruments import BankCard
from ..models.money import Amount
from ..models.requests import CreateSession, InitPayout, SessionRef, StartPayout
from ..models.tokens import GetBalance
from ..operations import (
    SESSION_CANCEL,
    SESSION_CONFIRM,
    SESSION_CREATE,
    SESSION_INIT_PAYOUT,
    SESSION_START_PAYOUT,
    SESSION_STATUS,
    WALLET_BALANCE,
    Operation,
)
from ..request import CallOptions, warn_of
from ..signer import SignRequests
from ..transport import FrozenBody
from .files.payout_file import read_for
from .orders import PayoutOrder
from .protocol import Mode, Observation, PayoutCall, ReplyKind, SessionView
from .session_view import read_failure, read_session, unclear

_SHARE_A_KEY: Final = 2
"""The starts of the first sessions of a payout, this many, carry one idempotency key, so that a
provider that honours it refuses the second of two. Later starts have keys of their own: a key that
was used up without effect would have them all refused."""
_NO_ORDER: Final = "0" * 16
# The protocol decides what follows a lost answer: the client must not ask for a status by itself.
_OPERATIONS: Final = dict[PayoutCall, Operation[Any, Session]](
    {
        PayoutCall.CREATE: SESSION_CREATE,
        # The order was checked against the rules of this page when it was accepted.
        PayoutCall.START: evolve(SESSION_START_PAYOUT, effect=None, page=""),
        PayoutCall.STATUS: SESSION_STATUS,
        PayoutCall.CONFIRM: evolve(SESSION_CONFIRM, effect=None),
        PayoutCall.CANCEL: evolve(SESSION_CANCEL, effect=None),
        PayoutCall.INIT: evolve(SESSION_INIT_PAYOUT, page=""),
    }
)
NEEDS_REQUEST: Final = frozenset({PayoutCall.CREATE, PayoutCall.START, PayoutCall.INIT})
_MAKES_SESSION: Final = frozenset({PayoutCall.CREATE, PayoutCall.INIT})
_PAYS: Final = frozenset({PayoutCall.START, PayoutCall.INIT})
"""Calls that carry a payout."""
MAY_PAY: Final = frozenset({PayoutCall.START, PayoutCall.CONFIRM, PayoutCall.INIT})
"""Calls after which money may move."""
UNCONFIRMED: Final = frozenset(
    {Step.STARTING, Step.CANCELLING, Step.REFUSED, Step.KEY_USED, Step.STARTED}
)
"""Steps at which this journal hasn't sent a confirm."""


@frozen
class Reply:
    """What a call or a webhook showed of a payout."""

    observation: Observation
    session: Session | None = None
    code: str | None = None
    reason: str | None = None
    """Why the call failed, or why the session settles nothing."""


@frozen
class OrderedPayout:
    """A payout as it was ordered: what the provider must show of it, and its order."""

    key: str
    expected: Expected
    order: PayoutOrder | None
    """None if it isn't available here; then nothing new can be started."""


_LISTED_REFUSALS: Final = 2
_UNLISTED_REFUSALS: Final = 4


@frozen
class CallLimits:
    """How long a call may take, and its number under the lease, from 1."""

    seconds: float
    number: int
    attempt: int = 1
    """How many times this create was sent, to confirm that it is refused again."""


@frozen(eq=False)
class Sender:
    """Makes the calls of payouts run one client."""

    caller: CallRunner
    journal_id: str

    @property
    def key_field(self) -> str:
        """The name of the metadata field that carries the key."""
        return self.caller.settings.key_field

    @property
    def version(self) -> ApiVersion:
        """The API version of the client."""
        return self.caller.request_builder.credentials.version

    def check(self, order: PayoutOrder, mode: Mode) -> None:
        """Check an order against the rules of the call that will carry it; warn of broken advice.

        Called before anything is written, so that a warning that is turned into an error leaves no
        row behind.

        Raises:
            InvalidRequest: the order can't be sent.

        """
        check_unmarked(order.metadata)
        build, options = self.caller.request_builder.build, CallOptions(key=order.key)
        if mode is Mode.ONE_STEP:
            call = build(SESSION_INIT_PAYOUT, self._init(order, _NO_ORDER), options)
        else:
            start = self._start(order, 0, "-", _NO_ORDER)
            call = build(SESSION_START_PAYOUT, start, options)
        if isinstance(call, InvalidRequest):
            raise call
        warn_of(call.broken_rules)

    def rehearsal(self, order: PayoutOrder) -> tuple[FrozenBody, FrozenBody]:
        """Return the bodies of the create and the start of an order, as they would be sent.

        Raises:
            InvalidRequest: the order can't be sent.

        """
        create = CreateSession(metadata=self._session_metadata(order, _NO_ORDER))
        start = self._start(order, 0, "-", _NO_ORDER)
        build, options = self.caller.request_builder.build, CallOptions(key=order.key)
        calls = (
            build(SESSION_CREATE, create, options),
            build(SESSION_START_PAYOUT, start, options),
        )
        bodies: list[FrozenBody] = []
        for made in calls:
            if isinstance(made, InvalidRequest):
                raise made
            bodies.append(made.http.body)
        return bodies[0], bodies[1]

    def ordered(self, entry: Entry, order: PayoutOrder | None = None) -> OrderedPayout:
        """Return the payout of an entry, with its order if that is given."""
        card = None if order is None else order.payment_method
        amount = None
        if entry.amount is not None and entry.currency is not None:
            amount = Amount(entry.amount, entry.currency)
        expected = Expected(
            mark=Mark(entry.key, self.key_field),
            amount=amount,
            journal_id=self.journal_id,
            order=entry.fingerprint.short,
            last4=card.number[-4:] if isinstance(card, BankCard) else None,
        )
        return OrderedPayout(entry.key, expected, order)

    async def send(
        self, call: PayoutCall, entry: Entry, payout: OrderedPayout, limits: CallLimits
    ) -> Reply:
        """Make a call about the payout's current session and return its reply.

        A refusal that doesn't come from the provider, such as a firewall's page with HTTP 403,
        counts as a lost answer if the provider answers other calls: then it concerns this request
        only, and whether the request got through is unknown.

        Raises:
            Refused: our credentials are refused, or the server isn't the provider's.
            Misuse: the client is closed, or the request breaks a rule.

        """
        ends = self._now() + limits.seconds
        options = CallOptions(
            key=_key(call, entry, limits),
            header_key=_header_key(call, entry),
            header_number=_header_number(call, entry, limits),
            deadline=limits.seconds,
            # Before a call that may pay is sent again, the halt and the session are checked.
            attempts=1 if call in MAY_PAY else None,
            is_shared=False,
        )
        request = self._request(call, entry, payout)
        try:
            result = await self.caller.call(_OPERATIONS[call], request, options)
        except CallFailed as error:
            remaining = evolve(limits, seconds=ends - self._now())
            return await self._failed(call, error, entry, payout, remaining)
        session = result.answer
        if call in _MAKES_SESSION and _is_key_elsewhere(session, payout.expected):
            # Made with another journal of ours: the payout may be paid there.
            return Reply(Observation(call, ReplyKind.ANSWERED, SessionView.MISMATCH), session)
        if call in _MAKES_SESSION and _is_of_another(session, payout.expected):
            words = f"the answer of {call.value} is about another payout"
            return Reply(Observation(call, ReplyKind.LOST), None, None, words)
        needs_confirm = entry.mode == Mode.MANUAL.value and entry.step in UNCONFIRMED
        reply = _answered(call, session, payout.expected, is_confirmed=not needs_confirm)
        if call is PayoutCall.INIT and not _shows_ours(reply, payout.expected):
            # The session may be another order's. It isn't kept: its end says nothing of ours.
            words = f"the answer of {call.value} shows no payout with the metadata of this one"
            return Reply(Observation(call, ReplyKind.LOST), None, None, words)
        return reply

    async def _failed(
        self,
        call: PayoutCall,
        error: CallFailed,
        entry: Entry,
        payout: OrderedPayout,
        limits: CallLimits,
    ) -> Reply:
        """Return the reply of a failed call; check a refusal that would be final again first."""
        ends = self._now() + limits.seconds
        if (
            _is_from_proxy(error)
            and call in NEEDS_REQUEST
            and not await self._refuses_all_calls(ends)
        ):
            return Reply(Observation(call, ReplyKind.LOST), reason=_error_text(error))
        failed = _failed_reply(call, error)
        if call in _PAYS and _is_throttled(error):
            # HTTP 429 names no session, so it may be the answer to another call. A second start may
            # pay a second time, and one confirm may pay both.
            failed = evolve(failed, observation=Observation(call, ReplyKind.LOST))
        if failed.observation.kind not in {ReplyKind.REFUSED, ReplyKind.DUPLICATE}:
            return failed
        if call is PayoutCall.START:
            return await self._refused_start(failed, entry, payout, ends)
        if call is PayoutCall.CREATE and limits.attempt < self._refusals_needed(error):
            again = CallLimits(ends - self._now(), limits.number, limits.attempt + 1)
            if again.seconds > 0:
                return await self.send(call, entry, payout, again)
            return evolve(failed, observation=Observation(call, ReplyKind.LOST))
        return failed

    def _refusals_needed(self, error: CallFailed) -> int:
        """Return how often in a row a create has to be refused before the payout is `FAILED`.

        A single refusal may be the answer to another call. A code that isn't listed may also be a
        temporary fault, which must not end a payout.
        """
        is_listed = error.code in KNOWN_CODES or error.code in self.caller.settings.refusal_codes
        return _LISTED_REFUSALS if is_listed else _UNLISTED_REFUSALS

    async def _refuses_all_calls(self, ends: float) -> bool:
        """Return whether something in front of the provider refuses a harmless call, too."""
        seconds_left = ends - self._now()
        if seconds_left <= 0:
            return False
        request = GetBalance(request_datetime=self.caller.settings.timing.now())
        try:
            _ = await self.caller.call(WALLET_BALANCE, request, CallOptions(deadline=seconds_left))
        except CallFailed as error:
            return _is_from_proxy(error)
        return False

    async def _refused_start(
        self, refused: Reply, entry: Entry, payout: OrderedPayout, ends: float
    ) -> Reply:
        """Ask for the status after a refused start: the start may have been delivered twice."""
        lost = Reply(
            Observation(PayoutCall.START, ReplyKind.LOST), None, refused.code, refused.reason
        )
        seconds_left = ends - self._now()
        if seconds_left <= 0:
            return lost
        status = await self.send(PayoutCall.STATUS, entry, payout, CallLimits(seconds_left, 0))
        if status.observation.shown is None:
            return lost
        observation = evolve(refused.observation, shown=status.observation.shown)
        return evolve(refused, observation=observation, session=status.session)

    async def check_session(self, session_id: str, payout: OrderedPayout, seconds: float) -> Reply:
        """Return what a session that was left shows."""
        options = CallOptions(deadline=seconds)
        try:
            result = await self.caller.call(SESSION_STATUS, SessionRef(session_id), options)
        except CallFailed as error:
            problem = _error_text(error)
            words = f"the session {session_id}, which was left, can't be read: {problem}"
            return Reply(Observation(PayoutCall.STATUS, ReplyKind.LOST), reason=words)
        return _answered(PayoutCall.STATUS, result.answer, payout.expected)

    def _now(self) -> float:
        return self.caller.settings.timing.monotonic()

    def webhook_reply(self, session: Session, payout: OrderedPayout) -> Reply:
        """Return a verified webhook as the reply of a status call."""
        return _answered(PayoutCall.STATUS, session, payout.expected)

    async def cancel(self, session_id: str, seconds: float) -> None:
        """Cancel a session that was left; a failure is ignored."""
        options = CallOptions(deadline=seconds)
        try:
            _ = await self.caller.call(
                _OPERATIONS[PayoutCall.CANCEL], SessionRef(session_id), options
            )
        except CallFailed:
            return  # Without a confirm the session expires by itself.

    def _request(
        self, call: PayoutCall, entry: Entry, payout: OrderedPayout
    ) -> CreateSession | StartPayout | InitPayout | SessionRef:
        if call not in NEEDS_REQUEST:
            return SessionRef(entry.session_id or "")
        assert payout.order is not None, call  # noqa: S101 - checked before the step was written
        mark = payout.expected.order or _NO_ORDER
        if call is PayoutCall.CREATE:
            return CreateSession(metadata=self._session_metadata(payout.order, mark))
        if call is PayoutCall.INIT:
            return self._init(payout.order, mark)
        return self._start(payout.order, entry.session_no, entry.session_id or "", mark)

    def _session_metadata(self, order: PayoutOrder, mark: str) -> dict[str, object]:
        metadata = order.more_metadata({KEY_FIELD: order.key, **self._mark(mark)})
        _ = metadata.pop(self.key_field, None)  # Each create has its own key.
        return metadata

    def _mark(self, order: str) -> dict[str, object]:
        return {JOURNAL_FIELD: self.journal_id, ORDER_FIELD: order}

    def _start(
        self, order: PayoutOrder, session_no: int, session_id: str, mark: str
    ) -> StartPayout:
        marks = {**self._mark(mark), NUMBER_FIELD: session_no}
        return StartPayout(
            session_id=session_id,
            payment_method=order.payment_method,
            amount_details=order.amount_details,
            participant_details=order.participant_details,
            customer=order.customer,
            metadata=order.more_metadata(marks),
        )

    def _init(self, order: PayoutOrder, mark: str) -> InitPayout:
        return InitPayout(
            payment_method=order.payment_method,
            amount_details=order.amount_details,
            participant_details=order.participant_details,
            customer=order.customer,
            metadata=order.more_metadata(self._mark(mark)),
        )


def _failed_reply(call: PayoutCall, error: CallFailed) -> Reply:
    """Return the reply of a failed call.

    Raises:
        Refused: our settings are refused, not the payout.

    """
    if isinstance(error, Refused) and _concerns_settings(call, error):
        raise error
    kind = read_failure(error)
    if isinstance(error, OutcomeUnknown) and call is PayoutCall.CREATE:
        kind = ReplyKind.LOST  # Also if the key was used before: the next create has another key.
    if call is PayoutCall.CANCEL and kind is ReplyKind.LOST and _is_answered_with_a_code(error):
        kind = ReplyKind.REFUSED  # An unlisted error each time: the status shows what holds.
    return Reply(Observation(call, kind), None, error.code, _error_text(error))


def _is_throttled(error: CallFailed) -> bool:
    return isinstance(error, Refused) and error.is_throttled


def _error_text(error: CallFailed) -> str:
    text = error.description or error.cause or str(error)
    is_bare = error.code is None and error.cause is not None and error.http_status is not None
    return f"{text}, HTTP {error.http_status}" if is_bare else text


def _answered(
    call: PayoutCall, session: Session, expected: Expected, *, is_confirmed: bool = True
) -> Reply:
    shown = read_session(session, expected, is_confirmed=is_confirmed)
    observation = Observation(call, ReplyKind.ANSWERED, shown)
    is_other_sum = shown is SessionView.OTHER_SUM
    reason = differences(session, expected) if is_other_sum else unclear(session, shown)
    return Reply(observation, session, reason=reason)


def _is_answered_with_a_code(error: CallFailed) -> bool:
    """Return whether the provider itself answered, with an error code that isn't listed."""
    is_unlisted = error.code is not None and error.code_class is CodeClass.UNRECOGNISED
    return is_unlisted and (error.http_status or SERVER_FAULT) < SERVER_FAULT


def _is_from_proxy(error: CallFailed) -> bool:
    """Return whether something in front of the provider refused the call, not the provider.

    A redirect doesn't count: it concerns the address, and so every request.
    """
    is_refused = isinstance(error, Refused) and error.code is None and not error.is_throttled
    return is_refused and error.http_status not in REDIRECTS


def _concerns_settings(call: PayoutCall, error: Refused) -> bool:
    """Return whether our settings were refused, and not the payout."""
    # A refusal without a code comes from something in front of the provider: a wrong address.
    is_from_proxy = error.code is None and not error.is_throttled
    return error.code in CODES_OF_THE_CALLER or (is_from_proxy and call in NEEDS_REQUEST)


def _key(call: PayoutCall, entry: Entry, limits: CallLimits) -> str | None:
    if call is PayoutCall.CREATE:
        # Never the same key twice: the provider must not return a session that was left.
        return f"{entry.key}:{_create_number(entry, limits)}"
    return entry.key if call in {PayoutCall.START, PayoutCall.INIT} else None


def _create_number(entry: Entry, limits: CallLimits) -> str:
    again = f".{limits.attempt}" if limits.attempt > 1 else ""
    return f"{entry.fence}.{limits.number}{again}"


def _header_key(call: PayoutCall, entry: Entry) -> str | None:
    """Return the idempotency key for the header where it isn't the one of the metadata.

    All confirms have a number behind the key, so no two payouts share one. It is one key for all
    confirms of a session, which act once, also if the next release sends the next confirm.
    """
    if call is PayoutCall.CONFIRM:
        return f"{entry.key}:{entry.session_no}"
    return entry.key if call is PayoutCall.CREATE else None


def _header_number(call: PayoutCall, entry: Entry, limits: CallLimits) -> str | None:
    """Return what tells the header of a call from that of the first start, or of the init.

    It isn't part of the key: a payout may have any key, also ``KEY:2``.
    """
    if call is PayoutCall.CREATE:
        return _create_number(entry, limits)
    is_later = call is PayoutCall.START and entry.session_no >= _SHARE_A_KEY
    return str(entry.session_no) if is_later else None


def _is_key_elsewhere(session: Session, expected: Expected) -> bool:
    """Return whether a created session belongs to our key in another journal."""
    shown = (session.metadata, *(payout.metadata for payout in session.payout_list))
    return any(map(expected.is_key_elsewhere, shown))


def _shows_ours(reply: Reply, expected: Expected) -> bool:
    """Return whether the answer of an init shows our payout, or money that moved otherwise."""
    session = reply.session
    is_ours = session is not None and bool(expected.ours(session))
    return is_ours or reply.observation.shown is SessionView.MISMATCH


def _is_of_another(session: Session, expected: Expected) -> bool:
    """Return whether a created session carries the marks of another payout."""
    owners = {expected.owner(payout.metadata) for payout in session.payout_list}
    is_other = Owner.OTHER in owners and Owner.OURS not in owners
    return is_other or not expected.is_session(session.metadata)


def fingerprint_of(order: PayoutOrder, secret: bytes) -> Fingerprint:
    """Return the fingerprint of an order: it shows which fields differ, but no values."""
    return fingerprint(codec("v1").encode(order), secret)


_CONCURRENCY: Final = 16


async def rehearse(api: SmartGlocal, orders: Iterable[PayoutOrder]) -> AsyncGenerator[int]:
    """Build and sign the requests of each order and send nothing; yield how many, for each.

    Raises:
        InvalidRequest: an order can't be sent.
        InvalidCredentials: the key can't sign.

    """
    caller = api._caller  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    sender = Sender(caller, "rehearsal")
    signing = caller.request_builder.middlewares[-1]
    assert isinstance(signing, SignRequests)  # noqa: S101 - the client puts it there

    async def sign(_index: int, order: PayoutOrder) -> int:
        bodies = sender.rehearsal(order)
        for body in bodies:
            _ = await signing.signer.sign(await body.as_bytes())
        return len(bodies)

    async with aclosing(
        settle_all(read_for(orders, caller.settings, sender.version), sign, _CONCURRENCY)
    ) as signed:
        async for count in signed:
            yield count
