"""Moves items from stage to stage, with the money and the webhooks that go with each step.

Steps that take time are due later; the clock is an argument.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field, frozen

from ..settings import Capture, Confirmation, Rules
from .ledger import Transfers
from .outcomes import Fate
from .payers import (
    SBER_PAY,
    action_minutes,
    bank_of,
    confirm_minutes,
    is_binding,
    is_silent,
    makes_token,
    must_act,
)
from .sessions import (
    EmulatedSession,
    Item,
    ItemKind,
    ItemRefund,
    ItemStage,
    StageEvent,
    Steps,
    is_challenged_first,
    steps_of,
)
from .tokens import Tokens
from .validation import JsonObject
from .views import Views

_SECONDS_IN_A_MINUTE: Final = 60.0
_DAY: Final = 86_400.0


Action: TypeAlias = Callable[[datetime], object]


@define(eq=False)
class Schedule:
    """Actions in the order of their time; with the same time, in the order they were added."""

    _entries: list[tuple[datetime, int, Action]] = field(
        factory=list[tuple[datetime, int, Action]], init=False
    )
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    def after(self, seconds: float, now: datetime, action: Action) -> None:
        """Call ``action`` once ``seconds`` have passed, with the time at which it was due."""
        entry = (now + timedelta(seconds=seconds), next(self._numbers), action)
        heapq.heappush(self._entries, entry)

    def advance(self, now: datetime) -> None:
        """Call all actions that are due, and those that become due by that."""
        while self._entries and self._entries[0][0] <= now:
            due, _, action = heapq.heappop(self._entries)
            _ = action(due)

    @property
    def next_due(self) -> datetime | None:
        """Time of the next action."""
        return self._entries[0][0] if self._entries else None


@frozen
class Notification:
    """The content of a webhook."""

    type: str
    session_id: str
    time: datetime
    body: JsonObject = field(repr=False)


@define(eq=False, kw_only=True)
class Processing:
    """Takes the steps of items; callers check in the table that a step is legal."""

    rules: Rules
    schedule: Schedule
    transfers: Transfers
    views: Views
    tokens: Tokens
    challenge: Callable[[Item], JsonObject]
    """Returns where a payer must go for 3-D Secure."""
    changes: int = field(default=0, init=False)
    """How often a session changed."""
    keeps_history: bool = False
    """Whether the earlier views of a session are kept, as one may be shown again later."""
    notifications: list[Notification] = field(factory=list[Notification], init=False)
    steps: Steps = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.steps = steps_of(self.rules)

    def step(self, session: EmulatedSession, item: Item, event: StageEvent, now: datetime) -> None:
        """Take a step; one that isn't in the table changes nothing."""
        stage = self.steps.get((item.stage, event), item.stage)
        if stage is item.stage:
            return
        item.stage = stage
        item.stage_number += 1
        self.enter_stage(session, item, now)

    def enter_stage(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Do what the item's new stage requires."""
        item.life.append((now, item.stage))
        _ON_ENTRY[item.stage](self, session, item, now)
        self.mark_changed(session, now)

    def mark_changed(self, session: EmulatedSession, now: datetime) -> None:
        """Record that a session has changed."""
        session.updated_at = now
        self.changes += 1
        if self.keeps_history:
            views = {version: self.views.session(session, version) for version in (1, 2)}
            session.history.append((now, views))

    def notify(self, event: str, session: EmulatedSession, now: datetime) -> None:
        """Add a notification with the session as it is now."""
        session.updated_at = now
        body: JsonObject = {
            "type": event,
            "session": self.views.session(session, self.rules.webhook_version),
        }
        self.notifications.append(Notification(event, session.id, now, body))

    def step_later(
        self, session: EmulatedSession, item: Item, event: StageEvent, now: datetime, seconds: float
    ) -> None:
        """Take a step after ``seconds``, unless the item has left its stage by then."""
        stage_number = item.stage_number

        def step_if_still_there(then: datetime) -> None:
            if item.stage_number == stage_number:
                self.step(session, item, event, then)

        self.schedule.after(seconds, now, step_if_still_there)

    def started(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Wait for a confirmation, unless it is automatic (documented for verifications)."""
        is_manual = self.rules.confirmation is Confirmation.MANUAL
        waits = is_manual and item.kind is not ItemKind.VERIFICATION
        event = StageEvent.AWAIT if waits else StageEvent.PROCEED
        if self._is_challenged_first(item):
            event = StageEvent.CHALLENGE
        self.step_later(session, item, event, now, self.rules.processing_seconds)

    def ready(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Send ``ready_to_confirm``, and wait for the confirmation."""
        seconds = confirm_minutes(item, self.rules) * _SECONDS_IN_A_MINUTE
        self.step_later(session, item, StageEvent.EXPIRE, now, seconds)
        self.notify("ready_to_confirm", session, now)

    def confirmed(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Reserve the money of a payout, and process the item."""
        item.finished_at = item.error = None
        self.transfers.reserve(item)
        self.step_later(
            session, item, self._outcome_event(item), now, self.rules.processing_seconds
        )

    def acting(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Send the payer to 3-D Secure or their bank, and wait as long as is documented."""
        seconds = action_minutes(item, self.rules) * _SECONDS_IN_A_MINUTE
        self.step_later(session, item, StageEvent.EXPIRE, now, seconds)
        if is_silent(item.instrument, self.rules):
            return
        item.challenge = self.challenge(item)
        self.notify("action_required", session, now)

    def held(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Hold the money of a payment until it is captured."""
        self.transfers.hold(item)
        self.step_later(session, item, StageEvent.EXPIRE, now, self.rules.hold_days * _DAY)
        self.notify("ready_to_capture", session, now)

    def step_soon(
        self, event: StageEvent, session: EmulatedSession, item: Item, now: datetime
    ) -> None:
        """Take a step after `Rules.processing_seconds`."""
        self.step_later(session, item, event, now, self.rules.processing_seconds)

    def stuck(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Do nothing: the item stays in progress for ever."""

    def broken(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Show the item as failed until it succeeds or fails for good."""
        self._fail(item, item.code or "internal_error", now)
        will_succeed = item.fate is Fate.BREAK_THEN_SUCCEED
        event = StageEvent.SUCCEED if will_succeed else StageEvent.DECLINE
        self.step_later(session, item, event, now, self.rules.resolve_seconds)
        self.notify("payment_finished", session, now)

    def succeeded(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Pay out, or take the money."""
        item.finished_at, item.error = now, None
        if not is_binding(item.instrument):
            self.transfers.settle(session.id, item)
        if item.options.get("recurrent") is True and makes_token(item.instrument):
            item.token = self.tokens.make_recurrent(item.instrument, now)
        if item.fate is Fate.RETURN:
            return_ = partial(self.return_payout, session, item)
            self.schedule.after(self.rules.return_seconds, now, return_)
        if item.fate is Fate.CHARGE_BACK:
            charge_back = partial(self.charge_back, session, item)
            self.schedule.after(self.rules.chargeback_seconds, now, charge_back)
        self.notify("payment_finished", session, now)

    def declined(self, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Return the money; this is final."""
        self.transfers.release(item)
        self._fail(item, item.code or "internal_error", now)
        self.notify("payment_finished", session, now)

    def ended(self, code: str | None, session: EmulatedSession, item: Item, now: datetime) -> None:
        """Return the money of an item that was cancelled, or not confirmed or captured in time."""
        self.transfers.release(item)
        item.finished_at = now
        if code is not None:
            self._fail(item, code, now)
        if self.rules.finished_after_cancel:
            self.notify("payment_finished", session, now)

    def act(self, session: EmulatedSession, item: Item, now: datetime, *, succeed: bool) -> None:
        """Pass or fail 3-D Secure for a payer, or pay or refuse in their bank."""
        if not succeed and bank_of(item.instrument) == SBER_PAY:
            item.has_refused = True  # Documented: seen only once the order's time is over.
            return
        passed = StageEvent.AWAIT if self._is_challenged_first(item) else StageEvent.PASS
        if succeed:
            item.fate, item.code = Fate.SUCCEED, None
        self.step(session, item, passed if succeed else StageEvent.FAIL, now)

    def settle(
        self,
        session: EmulatedSession,
        item: Item,
        now: datetime,
        *,
        succeed: bool,
        code: str | None = None,
    ) -> bool:
        """Have an item succeed, or decline it with a code; False if it can't be any more.

        One that isn't confirmed yet ends so once it is.
        """
        if succeed and item.stage in _PAID_FROM and self._lacks_money(item):
            return False
        if item.stage not in _SETTLED_FROM:
            return False
        if item.stage is ItemStage.ACTING:
            self.act(session, item, now, succeed=succeed)
        else:
            item.fate = Fate.SUCCEED if succeed else Fate.DECLINE
            item.code = None if succeed else code or _DECLINE_CODES[item.kind]
            event = StageEvent.SUCCEED if succeed else StageEvent.DECLINE
            if item.stage is ItemStage.CONFIRMED:
                event = self._outcome_event(item)  # The money of a payment may be held first.
            self.step(session, item, event, now)
        self.mark_changed(session, now)
        return True

    @staticmethod
    def _lacks_money(item: Item) -> bool:
        return item.kind is ItemKind.PAYOUT and item.reserved < item.amount

    def change_rules(self, rules: Rules) -> None:
        """Replace the rules from now on."""
        self.rules, self.steps = rules, steps_of(rules)
        self.views = Views(rules, self.tokens)

    def charge_back(self, session: EmulatedSession, item: Item, now: datetime) -> bool:
        """Charge back what is left of a payment; False if nothing is left."""
        is_legal = (item.stage, StageEvent.CHARGE_BACK) in self.steps
        left = item.captured - item.refunded
        if not is_legal or left <= 0:
            return False
        self.pay_back(session, item, self.transfers.chargeback(item, now), now)
        return True

    def return_payout(self, session: EmulatedSession, item: Item, now: datetime) -> bool:
        """Return a payout that succeeded, as the recipient's bank may; False if it can't be."""
        is_paid = item.kind is ItemKind.PAYOUT and item.stage is ItemStage.SUCCEEDED
        if not is_paid or item.refunds:
            return False
        refund = self.transfers.returned(session.id, item, now)
        item.refunds.append(refund)
        if self.rules.return_webhook:
            self.notify("payment_refunded", session, now)
        self.mark_changed(session, now)
        return True

    def pay_back(
        self, session: EmulatedSession, item: Item, refund: ItemRefund, now: datetime
    ) -> None:
        """Finish a refund."""
        self.transfers.refund(session.id, item, refund, now)
        self.notify("payment_refunded", session, now)
        self.mark_changed(session, now)

    def _outcome_event(self, item: Item) -> StageEvent:
        match item.fate:
            case Fate.DECLINE:
                return StageEvent.DECLINE
            case Fate.STICK:
                return StageEvent.HANG
            case Fate.BREAK_THEN_SUCCEED | Fate.BREAK_THEN_FAIL:
                return StageEvent.BREAK
            case Fate.CHALLENGE:
                return StageEvent.CHALLENGE
            case Fate.SUCCEED | Fate.CHARGE_BACK | Fate.RETURN:
                delayed = self.rules.capture is Capture.DELAYED
                holds = delayed and item.kind is ItemKind.PAYMENT
                return StageEvent.HOLD if holds else StageEvent.SUCCEED

    def _is_challenged_first(self, item: Item) -> bool:
        # Documented for the widget, which is for cards.
        is_card = not must_act(item.instrument)
        return item.fate is Fate.CHALLENGE and is_card and is_challenged_first(self.rules)

    def _fail(self, item: Item, code: str, now: datetime) -> None:
        item.finished_at = now
        item.error = {"code": code, "description": code.replace("_", " ")}


_PAID_FROM: Final = frozenset({ItemStage.CONFIRMED, ItemStage.STUCK, ItemStage.BROKEN})
_SETTLED_FROM: Final = _PAID_FROM | {ItemStage.STARTED, ItemStage.READY, ItemStage.ACTING}
# Those that the table of outcomes has for a payout and a payment.
_DECLINE_CODES: Final[Mapping[ItemKind, str]] = {
    ItemKind.PAYOUT: "account_not_found",
    ItemKind.PAYMENT: "activity_count_exceeded",
    ItemKind.VERIFICATION: "account_not_found",
}


_OnEntry: TypeAlias = Callable[[Processing, EmulatedSession, Item, datetime], None]


def _step_soon(event: StageEvent) -> _OnEntry:
    return lambda processing, session, item, now: processing.step_soon(event, session, item, now)


def _end_with(code: str | None) -> _OnEntry:
    return lambda processing, session, item, now: processing.ended(code, session, item, now)


# The codes are the sister platform's (documented there).
_ON_ENTRY: Final[Mapping[ItemStage, _OnEntry]] = MappingProxyType(
    {
        ItemStage.STARTED: Processing.started,
        ItemStage.READY: Processing.ready,
        ItemStage.CONFIRMED: Processing.confirmed,
        ItemStage.ACTING: Processing.acting,
        ItemStage.HELD: Processing.held,
        ItemStage.CAPTURING: _step_soon(StageEvent.SUCCEED),
        ItemStage.CANCELLING: _step_soon(StageEvent.CLOSE),
        ItemStage.STUCK: Processing.stuck,
        ItemStage.BROKEN: Processing.broken,
        ItemStage.SUCCEEDED: Processing.succeeded,
        ItemStage.DECLINED: Processing.declined,
        ItemStage.CANCELLED: _end_with(None),
        ItemStage.EXPIRED: _end_with("confirm_timeout"),
        ItemStage.RELEASED: _end_with("capture_timeout"),
        # Which code this has is unknown.
        ItemStage.ABANDONED: _end_with(None),
    }
)
