"""Moves operations from stage to stage, with the money and the news that go with it; no I/O."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field, frozen

from .agenda import Agenda
from .checks import JsonObject
from .funds import Funds
from .outcomes import Fate
from .rules import Capture, Confirmation, Rules
from .sessions import Item, Kind, Refund, Session
from .steps import Event, Stage, Steps, is_challenged_first, steps_of
from .tokens import Tokens
from .views import Views

_MINUTE: Final = 60.0
_DAY: Final = 86_400.0


@frozen
class Notice:
    """Something that a webhook tells."""

    type: str
    session_id: str
    time: datetime
    body: JsonObject = field(repr=False)


@define(eq=False, kw_only=True)
class Machine:
    """The one who takes steps; whoever asks for one has looked it up in the table."""

    rules: Rules
    agenda: Agenda
    funds: Funds
    views: Views
    tokens: Tokens
    challenge: Callable[[Item], JsonObject]
    """Tells where a payer must go."""
    notices: list[Notice] = field(factory=list[Notice], init=False)
    steps: Steps = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.steps = steps_of(self.rules)

    def step(self, session: Session, item: Item, event: Event, now: datetime) -> None:
        """Take a step and what follows from it; one that isn't in the table is none."""
        stage = self.steps.get((item.stage, event), item.stage)
        if stage is item.stage:
            return
        item.stage = stage
        item.visit += 1
        self.arrive(session, item, now)

    def arrive(self, session: Session, item: Item, now: datetime) -> None:
        """Do what a stage begins with."""
        _ARRIVALS[item.stage](self, session, item, now)
        self.changed(session, now)

    def changed(self, session: Session, now: datetime) -> None:
        """Note that a session looks different from now on."""
        session.updated_at = now
        if self.rules.status_lag_seconds:
            looks = {version: self.views.session(session, version) for version in (1, 2)}
            session.history.append((now, looks))

    def tell(self, news: str, session: Session, now: datetime) -> None:
        """Have a webhook sent of what the session looks like now."""
        session.updated_at = now
        look = self.views.session(session, self.rules.webhook_version)
        self.notices.append(Notice(news, session.id, now, {"type": news, "session": look}))

    def due(
        self, session: Session, item: Item, event: Event, now: datetime, seconds: float
    ) -> None:
        """Have a step taken later, if the item hasn't left its stage until then."""
        visit = item.visit

        def act(then: datetime) -> None:
            if item.visit == visit:
                self.step(session, item, event, then)

        self.agenda.after(seconds, now, act)

    def started(self, session: Session, item: Item, now: datetime) -> None:
        """Wait for a confirmation, unless it is automatic (documented for verifications)."""
        manual = self.rules.confirmation is Confirmation.MANUAL
        waits = manual and item.kind is not Kind.VERIFICATION
        event = Event.AWAIT if waits else Event.PROCEED
        if item.fate is Fate.CHALLENGE and is_challenged_first(self.rules):
            event = Event.CHALLENGE
        self.due(session, item, event, now, self.rules.processing_seconds)

    def ready(self, session: Session, item: Item, now: datetime) -> None:
        """Ask for the confirmation."""
        self.due(session, item, Event.EXPIRE, now, self.rules.confirm_minutes * _MINUTE)
        self.tell("ready_to_confirm", session, now)

    def confirmed(self, session: Session, item: Item, now: datetime) -> None:
        """Set the money of a payout aside, and let fate have its way."""
        item.finished_at = item.error = None
        self.funds.reserve(item)
        self.due(session, item, self._verdict(item), now, self.rules.processing_seconds)

    def acting(self, session: Session, item: Item, now: datetime) -> None:
        """Send the payer to 3-D Secure."""
        item.challenge = self.challenge(item)
        self.tell("action_required", session, now)

    def held(self, session: Session, item: Item, now: datetime) -> None:
        """Hold the money of a payment until it is captured."""
        self.funds.hold(item)
        self.due(session, item, Event.EXPIRE, now, self.rules.hold_days * _DAY)
        self.tell("ready_to_capture", session, now)

    def soon(self, event: Event, session: Session, item: Item, now: datetime) -> None:
        """Let the step that was asked for take its time."""
        self.due(session, item, event, now, self.rules.processing_seconds)

    def stuck(self, session: Session, item: Item, now: datetime) -> None:
        """Do nothing, for ever."""

    def broken(self, session: Session, item: Item, now: datetime) -> None:
        """Look failed until it turns out one way or the other."""
        self._fail(item, item.code or "internal_error", now)
        well = item.fate is Fate.BREAK_THEN_SUCCEED
        event = Event.SUCCEED if well else Event.DECLINE
        self.due(session, item, event, now, self.rules.resolve_seconds)
        self.tell("payment_finished", session, now)

    def succeeded(self, session: Session, item: Item, now: datetime) -> None:
        """Pay out, or take the money."""
        item.finished_at, item.error = now, None
        self.funds.settle(session.id, item)
        # Documented: only a card can be paid with again.
        if item.options.get("recurrent") is True and item.instrument.get("type") == "card":
            item.token = self.tokens.make_recurrent(item.instrument, now)
        if item.fate is Fate.CHARGE_BACK:
            back = partial(self.charge_back, session, item)
            self.agenda.after(self.rules.chargeback_seconds, now, back)
        self.tell("payment_finished", session, now)

    def declined(self, session: Session, item: Item, now: datetime) -> None:
        """Give the money back; this is final."""
        self.funds.give_back(item)
        self._fail(item, item.code or "internal_error", now)
        self.tell("payment_finished", session, now)

    def ended(self, code: str | None, session: Session, item: Item, now: datetime) -> None:
        """Give back what was held of something cancelled, or not confirmed or captured in time."""
        self.funds.give_back(item)
        item.finished_at = now
        if code is not None:
            self._fail(item, code, now)
        if self.rules.finished_after_cancel:
            self.tell("payment_finished", session, now)

    def act(self, session: Session, item: Item, now: datetime, *, succeed: bool) -> None:
        """Let a payer pass or fail 3-D Secure."""
        if succeed:
            item.fate, item.code = Fate.SUCCEED, None
        passed = Event.AWAIT if is_challenged_first(self.rules) else Event.PASS
        self.step(session, item, passed if succeed else Event.FAIL, now)

    def charge_back(self, session: Session, item: Item, now: datetime) -> bool:
        """Take what is left of a payment back for the payer; False if nothing is."""
        legal = (item.stage, Event.CHARGE_BACK) in self.steps
        left = item.captured - item.refunded
        if not legal or left <= 0:
            return False
        self.pay_back(session, item, self.funds.chargeback(item, now), now)
        return True

    def pay_back(self, session: Session, item: Item, refund: Refund, now: datetime) -> None:
        """Finish a refund."""
        self.funds.refund(session.id, item, refund, now)
        self.tell("payment_refunded", session, now)
        self.changed(session, now)

    def _verdict(self, item: Item) -> Event:
        match item.fate:
            case Fate.DECLINE:
                return Event.DECLINE
            case Fate.STICK:
                return Event.HANG
            case Fate.BREAK_THEN_SUCCEED | Fate.BREAK_THEN_FAIL:
                return Event.BREAK
            case Fate.CHALLENGE:
                return Event.CHALLENGE
            case Fate.SUCCEED | Fate.CHARGE_BACK:
                delayed = self.rules.capture is Capture.DELAYED
                holds = delayed and item.kind is Kind.PAYMENT
                return Event.HOLD if holds else Event.SUCCEED

    def _fail(self, item: Item, code: str, now: datetime) -> None:
        item.finished_at = now
        item.error = {"code": code, "description": code.replace("_", " ")}


_Arrival: TypeAlias = Callable[[Machine, Session, Item, datetime], None]


def _soon(event: Event) -> _Arrival:
    return lambda machine, session, item, now: machine.soon(event, session, item, now)


def _ended(code: str | None) -> _Arrival:
    return lambda machine, session, item, now: machine.ended(code, session, item, now)


# The codes are the sister platform's (documented there).
_ARRIVALS: Final[Mapping[Stage, _Arrival]] = MappingProxyType(
    {
        Stage.STARTED: Machine.started,
        Stage.READY: Machine.ready,
        Stage.CONFIRMED: Machine.confirmed,
        Stage.ACTING: Machine.acting,
        Stage.HELD: Machine.held,
        Stage.CAPTURING: _soon(Event.SUCCEED),
        Stage.CANCELLING: _soon(Event.CLOSE),
        Stage.STUCK: Machine.stuck,
        Stage.BROKEN: Machine.broken,
        Stage.SUCCEEDED: Machine.succeeded,
        Stage.DECLINED: Machine.declined,
        Stage.CANCELLED: _ended(None),
        Stage.EXPIRED: _ended("confirm_timeout"),
        Stage.RELEASED: _ended("capture_timeout"),
    }
)
