"""The calls of a payout, sent raw: what comes of each is told, and decided elsewhere."""

from typing import Any, Final

from attrs import evolve, frozen

from ..caller import Caller
from ..codec import codec
from ..envelope import CODES_OF_THE_CALLER
from ..errors import CallFailed, InvalidRequest, OutcomeUnknown, Refused
from ..freezing import CallOptions
from ..idempotency import Fingerprint, Mark, fingerprint
from ..journal.entries import Entry
from ..operations import (
    SESSION_CANCEL,
    SESSION_CONFIRM,
    SESSION_CREATE,
    SESSION_INIT_PAYOUT,
    SESSION_START_PAYOUT,
    SESSION_STATUS,
    Operation,
)
from ..transport import FrozenBody
from ..values.answers import Session
from ..values.money import Amount
from ..values.requests import CreateSession, InitPayout, SessionRef, StartPayout
from .orders import PayoutOrder
from .protocol import Call, Came, News, Shown
from .reading import Meant, read_failure, read_session

JOURNAL_FIELD: Final = "payout_journal"
KEY_FIELD: Final = "payout_key"
NUMBER_FIELD: Final = "payout_session"

# The protocol decides what follows a lost answer: the client asks for no status by itself.
_OPERATIONS: Final = dict[Call, Operation[Any, Session]](
    {
        Call.CREATE: SESSION_CREATE,
        # Held to the rules of its page when its order was accepted.
        Call.START: evolve(SESSION_START_PAYOUT, effect=None, page=""),
        Call.STATUS: SESSION_STATUS,
        Call.CONFIRM: evolve(SESSION_CONFIRM, effect=None),
        Call.CANCEL: evolve(SESSION_CANCEL, effect=None),
        Call.INIT: SESSION_INIT_PAYOUT,
    }
)
NEEDS_REQUEST: Final = frozenset({Call.CREATE, Call.START, Call.INIT})


@frozen
class Heard:
    """What a call or a webhook told."""

    news: News
    session: Session | None = None
    code: str | None = None
    reason: str | None = None


@frozen
class Job:
    """A payout that is worked on."""

    key: str
    meant: Meant
    order: PayoutOrder | None
    """None where only the journal knows of it: then nothing new can be started."""


@frozen
class Limits:
    """How long a call may take, and which one it is under its lease, from 1."""

    seconds: float
    number: int


@frozen(eq=False)
class Sender:
    """Makes the calls of payouts through one client."""

    caller: Caller
    journal_id: str

    @property
    def key_field(self) -> str:
        """Where in the metadata the key travels."""
        return self.caller.settings.key_field

    def check(self, order: PayoutOrder) -> None:
        """Hold an order to the rules, before anything is written.

        Raises:
            InvalidRequest: it could not be sent.

        """
        request = self._start(order, session_no=0, session_id="-")
        options = CallOptions(key=order.key)
        frozen_call = self.caller.freezer.freeze(SESSION_START_PAYOUT, request, options)
        if isinstance(frozen_call, InvalidRequest):
            raise frozen_call

    def rehearsal(self, order: PayoutOrder) -> tuple[FrozenBody, FrozenBody]:
        """Give the bodies of the create and the start of an order, as they would be sent.

        Raises:
            InvalidRequest: they could not be.

        """
        create = CreateSession(metadata=self._session_metadata(order))
        start = self._start(order, session_no=0, session_id="-")
        freeze, options = self.caller.freezer.freeze, CallOptions(key=order.key)
        calls = (
            freeze(SESSION_CREATE, create, options),
            freeze(SESSION_START_PAYOUT, start, options),
        )
        bodies: list[FrozenBody] = []
        for made in calls:
            if isinstance(made, InvalidRequest):
                raise made
            bodies.append(made.shot.body)
        return bodies[0], bodies[1]

    def job(self, order: PayoutOrder) -> Job:
        """Give the job of an order."""
        return Job(order.key, self._meant(order.key, order.amount_details), order)

    def job_of(self, entry: Entry) -> Job:
        """Give the job of an entry whose request is not at hand."""
        amount = Amount(entry.amount or 0, entry.currency or "")
        return Job(entry.key, self._meant(entry.key, amount), None)

    def _meant(self, key: str, amount: Amount) -> Meant:
        return Meant(Mark(key, self.key_field), amount)

    async def send(self, call: Call, entry: Entry, job: Job, limits: Limits) -> Heard:
        """Make a call about the chosen session.

        Raises:
            Refused: our credentials are, or our server is none of the provider's.
            Misuse: the client is closed, or the request breaks a rule.

        """
        ends = self.caller.settings.timing.monotonic() + limits.seconds
        options = CallOptions(
            key=_key(call, entry, limits.number), deadline=limits.seconds, is_shared=False
        )
        request = self._request(call, entry, job)
        try:
            settled = await self.caller.call(_OPERATIONS[call], request, options)
        except CallFailed as error:
            failed = self._failed(call, error)
            if (call, failed.news.came) != (Call.START, Came.REFUSED):
                return failed
            return await self._refused_start(failed, entry, job, ends)
        session = settled.answer
        return Heard(News(call, Came.ANSWERED, read_session(session, job.meant)), session)

    async def _refused_start(self, refused: Heard, entry: Entry, job: Job, ends: float) -> Heard:
        """Look before a refusal is believed: it may be that of a twin, made on the way."""
        lost = Heard(News(Call.START, Came.LOST), None, refused.code, refused.reason)
        left_seconds = ends - self.caller.settings.timing.monotonic()
        if left_seconds <= 0:
            return lost
        looked = await self.send(Call.STATUS, entry, job, Limits(left_seconds, 0))
        shown = looked.news.shown
        if shown in {Shown.EMPTY, Shown.CLOSED}:
            return refused
        if shown is None:
            return lost
        return Heard(News(Call.START, Came.ANSWERED, shown), looked.session)

    def webhook(self, session: Session, job: Job) -> Heard:
        """Take a verified webhook for the answer of a status."""
        return Heard(News(Call.STATUS, Came.ANSWERED, read_session(session, job.meant)), session)

    async def cancel(self, session_id: str, seconds: float) -> None:
        """Cancel a session that was left, if it can be."""
        options = CallOptions(deadline=seconds)
        try:
            _ = await self.caller.call(_OPERATIONS[Call.CANCEL], SessionRef(session_id), options)
        except CallFailed:
            return  # Unconfirmed, it ends by itself.

    def _failed(self, call: Call, error: CallFailed) -> Heard:
        if isinstance(error, Refused) and _concerns_us(call, error):
            raise error
        came = read_failure(error)
        if isinstance(error, OutcomeUnknown) and call is Call.CREATE:
            came = Came.LOST  # Also of a key that was used: the next one is another.
        said = error.description or error.cause or str(error)
        return Heard(News(call, came), None, error.code, said)

    def _request(
        self, call: Call, entry: Entry, job: Job
    ) -> CreateSession | StartPayout | InitPayout | SessionRef:
        if call not in NEEDS_REQUEST:
            return SessionRef(entry.session_id or "")
        assert job.order is not None, call  # noqa: S101 - asked before the step was written
        if call is Call.CREATE:
            return CreateSession(metadata=self._session_metadata(job.order))
        if call is Call.INIT:
            return self._init(job.order)
        return self._start(job.order, entry.session_no, entry.session_id or "")

    def _session_metadata(self, order: PayoutOrder) -> dict[str, object]:
        told = order.more_metadata({KEY_FIELD: order.key, JOURNAL_FIELD: self.journal_id})
        _ = told.pop(self.key_field, None)  # Each create has a key of its own.
        return told

    def _start(self, order: PayoutOrder, session_no: int, session_id: str) -> StartPayout:
        told = {JOURNAL_FIELD: self.journal_id, NUMBER_FIELD: session_no}
        return StartPayout(
            session_id=session_id,
            payment_method=order.payment_method,
            amount_details=order.amount_details,
            participant_details=order.participant_details,
            customer=order.customer,
            metadata=order.more_metadata(told),
        )

    def _init(self, order: PayoutOrder) -> InitPayout:
        return InitPayout(
            payment_method=order.payment_method,
            amount_details=order.amount_details,
            participant_details=order.participant_details,
            customer=order.customer,
            metadata=order.more_metadata({JOURNAL_FIELD: self.journal_id}),
        )


def _concerns_us(call: Call, error: Refused) -> bool:
    """Say whether it is our settings that were refused, and not the payout."""
    # Without a code it isn't the provider who said no, but something before it: a wrong address.
    is_strange = error.code is None and not error.is_throttled
    return error.code in CODES_OF_THE_CALLER or (is_strange and call in NEEDS_REQUEST)


def _key(call: Call, entry: Entry, number: int) -> str | None:
    if call is Call.CREATE:
        # Never the same twice: a session that was left must not be given again.
        return f"{entry.key}:{entry.fence}.{number}"
    return entry.key if call in {Call.START, Call.INIT} else None


def fingerprint_of(order: PayoutOrder, secret: bytes) -> Fingerprint:
    """Take the fingerprint of an order: it says what differs, and none of what there is."""
    return fingerprint(codec("v1").encode(order), secret)
