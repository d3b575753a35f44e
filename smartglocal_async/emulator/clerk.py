"""The calls about sessions: checks first, changes after; no I/O."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from attrs import define, field

from .asks import INVALID_REQUEST, KEY_ALREADY_EXISTS, SESSION_NOT_FOUND, WRONG_STATE, Ask, Refused
from .checks import PAYOUT_NAMES, JsonObject, is_object
from .counts import Counts
from .drafts import Drafts
from .duties import missing
from .machine import Machine
from .routes import CREATE
from .rules import Duplicates
from .sessions import Item, Kind, Refund, Session
from .steps import Event, Stage

_TERMS: Final = (
    *("payment_method", "payment_details", "amount_details", "participant_details"),
    *("customer", "payment_options", "metadata"),
)


@define(eq=False)
class Clerk:
    """Takes calls about sessions and gives the session that they are about."""

    machine: Machine
    counts: Counts
    drafts: Drafts
    sessions: dict[str, Session] = field(factory=dict[str, Session], init=False)
    _items: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def create(self, ask: Ask, now: datetime) -> Session:
        """Make a session, or give the one made before, or say why not."""
        first = self.counts.first_created(ask.name) if ask.name.is_key else None
        if first is not None and ask.operation == CREATE:
            match self.machine.rules.duplicates:
                case Duplicates.REPLAY:
                    return self.sessions[first]
                case Duplicates.REFUSE:
                    raise Refused(KEY_ALREADY_EXISTS, "already in progress or processed")
                case Duplicates.CREATE:
                    pass
        session = Session(
            id=f"ps_{len(self.sessions) + 1}",
            terms=_terms(ask),
            name=ask.name,
            created_at=now,
            updated_at=now,
        )
        self.sessions[session.id] = session
        self.counts.make(ask.name, ask.operation, session.id)
        self.machine.changed(session, now)
        return session

    def start(self, kind: Kind, ask: Ask, now: datetime) -> Session:
        """Begin a payout or a payment in a session."""
        session = self.find(ask)
        if (session.stage, Event.START) not in self.machine.steps:
            raise Refused(WRONG_STATE, "session_id: it can't be started any more")
        terms = session.terms | _terms(ask)
        self._check(terms, kind, ask.version)
        self._begin(session, kind, terms, ask, now)
        return session

    def init(self, kind: Kind, ask: Ask, now: datetime) -> Session:
        """Create and start in one."""
        terms = _terms(ask)
        self._check(terms, kind, ask.version)
        session = self.create(ask, now)
        self._begin(session, kind, terms, ask, now)
        return session

    def confirm(self, ask: Ask, now: datetime) -> Session:
        """Execute all that waits for it."""
        return self._all(ask, Event.CONFIRM, now)

    def cancel(self, ask: Ask, now: datetime) -> Session:
        """End what waits for a confirmation or a capture, or a session never started."""
        session = self.find(ask)
        if session.items:
            return self._all(ask, Event.CANCEL, now)
        if (session.stage, Event.CANCEL) not in self.machine.steps:
            raise Refused(WRONG_STATE, "session_id: it can't be cancelled")
        session.cancelled = True
        self.machine.changed(session, now)
        return session

    def capture(self, ask: Ask, now: datetime) -> Session:
        """Take the money that is held, or a part of it."""
        session = self.find(ask)
        held = [item for item in session.items if item.stage is Stage.HELD]
        money = ask.request.get("amount_details")
        if held and is_object(money):
            most = held[0].held if len(held) == 1 else 0
            allowed = self.machine.rules.partial_captures
            held[0].to_capture = _part(money, held[0], most, allowed=allowed)
        return self._all(ask, Event.CAPTURE, now)

    def refund(self, ask: Ask, now: datetime) -> Session:
        """Begin to give a payment back, or a part of it."""
        session = self.find(ask)
        payments = [item for item in session.items if self._can_refund(item)]
        if not payments:
            raise Refused(WRONG_STATE, "session_id: there is nothing to refund")
        item = payments[0]
        left = item.captured - item.refunded
        money = ask.request.get("amount_details")
        allowed = self.machine.rules.partial_refunds
        refund = Refund(
            id=self.machine.funds.refund_id(),
            amount=_part(money, item, left, allowed=allowed) if is_object(money) else left,
            name=ask.name if ask.name.text else item.name,
            created_at=now,
            extras={name: ask.request[name] for name in ("metadata",) if name in ask.request},
        )
        item.refunds.append(refund)
        self.machine.changed(session, now)
        pay_back = partial(self.machine.pay_back, session, item, refund)
        self.machine.agenda.after(self.machine.rules.processing_seconds, now, pay_back)
        return session

    def find(self, ask: Ask) -> Session:
        """Give the session that a call names."""
        session = self.sessions.get(str(ask.request.get("session_id")))
        if session is None:
            raise Refused(SESSION_NOT_FOUND, "session_id: there is no such session")
        return session

    def item(self, id_: str) -> tuple[Session, Item] | None:
        """Give the item of that id, or the last one of the session of that id."""
        for session in self.sessions.values():
            for item in reversed(session.items):
                if id_ in {session.id, item.id}:
                    return session, item
        return None

    def look(self, session: Session, version: int, now: datetime) -> JsonObject:
        """Show a session as ``session/status`` does: as it was a while ago, by the rules."""
        lag = self.machine.rules.status_lag_seconds
        if not lag:
            return self.machine.views.session(session, version)
        then = now - timedelta(seconds=lag)
        looks = [looks for since, looks in session.history if since <= then]
        return (looks[-1] if looks else session.history[0][1])[version]

    def _check(self, terms: JsonObject, kind: Kind, version: int) -> None:
        if kind is Kind.VERIFICATION:
            return
        lack = missing(terms, version, pays_out=kind is Kind.PAYOUT)
        if lack is not None:
            raise Refused(INVALID_REQUEST, lack)
        self.drafts.check(terms, kind)

    def _begin(
        self, session: Session, kind: Kind, terms: JsonObject, ask: Ask, now: datetime
    ) -> None:
        letters = "pm" if kind is Kind.PAYMENT else "po"
        if session.name.text is None:
            session.name = ask.name
        item = Item(
            id=f"{letters}_{next(self._items)}",
            kind=kind,
            terms=terms,
            name=ask.name if ask.name.text else session.name,
            created_at=now,
            fate=(outcome := self.drafts.outcome(terms, kind)).fate,
            code=outcome.code,
        )
        session.items.append(item)
        self.machine.arrive(session, item, now)

    def _all(self, ask: Ask, event: Event, now: datetime) -> Session:
        session = self.find(ask)
        ready = [item for item in session.items if (item.stage, event) in self.machine.steps]
        if not ready:
            raise Refused(WRONG_STATE, f"session_id: there is nothing to {event.value}")
        for item in ready:
            self.machine.step(session, item, event, now)
        return session

    def _can_refund(self, item: Item) -> bool:
        legal = (item.stage, Event.REFUND) in self.machine.steps
        return legal and item.captured > item.refunded


def _terms(ask: Ask) -> JsonObject:
    terms = dict(ask.request)
    if (name := PAYOUT_NAMES[ask.version]) in terms:
        terms["payment_method"] = terms.pop(name)
    return {name: terms[name] for name in _TERMS if name in terms}


def _part(money: JsonObject, item: Item, most: int, *, allowed: bool) -> int:
    amount, currency = money["amount"], str(money["currency"]).lower()
    if currency != item.currency:
        raise Refused(INVALID_REQUEST, "amount_details.currency: must be that of the payment")
    if not isinstance(amount, int) or amount > most:
        raise Refused(INVALID_REQUEST, "amount_details.amount: must not exceed what is left")
    if amount < most and not allowed:
        raise Refused(INVALID_REQUEST, "amount_details.amount: only the whole can be taken")
    return amount
