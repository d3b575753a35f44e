"""What can be done to a running emulator, from any thread: settle, let time pass, set faults."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, cast

from attrs import define, evolve, field, fields

from ....errors import InvalidRequest
from ...bank.bank import EmulatedBank
from ...bank.sessions import EmulatedSession, ItemKind, ItemStage
from ...bank.webhooks import WebhookQueue, WebhookScript
from ...faults import Fault, FaultPicker, FaultScript
from ...settings import Rules
from ...toml_tables import value_of, values_of
from ..addresses import check_webhook_url
from ..dispatch import Dispatcher
from ..request_log import RequestLog

_MAX_SECONDS: Final = 366 * 86_400.0
_MAX_PASSED: Final = timedelta(days=3653)
_NO_HISTORY: Final = "`stale` needs an emulator with keeps_history=True"
FIXED_RULES: Final = frozenset({"id_mark", "wallets", "opening_balance"})
"""Rules that can't be changed while the emulator runs."""


@define(eq=False)
class AdminActions:
    """Changes a running emulator; webhooks that become due are sent.

    Each method raises `InvalidRequest` if what it is asked for can't be done.
    """

    dispatcher: Dispatcher
    shows_values: bool = field(default=False, init=False)
    """Whether the page and the API show numbers, names and accounts of requests."""
    count: int = field(default=0, init=False)
    """How often something was changed."""
    _at_start: tuple[Rules, FaultScript, WebhookScript, str | None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        bank, queue = self.dispatcher.bank, self.dispatcher.webhook_queue
        script = self.dispatcher.faults.script
        self._at_start = (bank.rules, script, queue.script, queue.url)

    def confirm(self, id_: str) -> None:
        """Confirm what waits for it in a session, as the partner's call does."""
        self._act(lambda bank, now: bank.confirm(id_, now), "id", "nothing waits for a confirm")

    def cancel(self, id_: str) -> None:
        """Cancel a session, as the partner's call does."""
        self._act(lambda bank, now: bank.cancel(id_, now), "id", "it can't be cancelled")

    def succeed(self, id_: str) -> None:
        """Have a payout or payment succeed; of one that waits for its payer, the payer pays."""
        self._act(
            lambda bank, now: bank.settle(id_, now, succeed=True),
            *("id", "it is settled, or the wallet has too little money"),
        )

    def decline(self, id_: str, code: str | None = None) -> None:
        """Decline a payout or payment; one that waits for a confirm is declined once confirmed.

        ``code`` is the code of its error; by default, one of the outcomes' table.
        """
        if code is not None:
            code = value_of(str, "code", code)
        self._act(
            lambda bank, now: bank.settle(id_, now, succeed=False, code=code),
            *("id", "it is settled already"),
        )

    def chargeback(self, id_: str) -> None:
        """Charge a payment back."""
        words = "there is nothing to charge back"
        self._act(lambda bank, now: bank.charge_back(id_, now), "id", words)

    def return_payout(self, id_: str) -> None:
        """Return a payout that succeeded, as the recipient's bank may."""
        words = "there is no payout to return"
        self._act(lambda bank, now: bank.return_payout(id_, now), "id", words)

    def send_again(self, number: int) -> None:
        """Send a webhook again, with the same bytes, to where webhooks are sent now."""
        with self.dispatcher.lock:
            queue = self.dispatcher.webhook_queue
            record = queue.record(number)
            if record is None:
                raise InvalidRequest("number", "there is no such webhook, or it isn't kept")
            if queue.url is None:
                raise InvalidRequest("number", "there is no address to send webhooks to")
            queue.send_again(record, self.dispatcher.advance())
        self._changed()

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the emulator: steps and timeouts that are due then are taken."""
        if not 0 < seconds <= _MAX_SECONDS:
            raise InvalidRequest("seconds", f"must be above 0 and up to {_MAX_SECONDS:.0f}")
        with self.dispatcher.lock:
            passed = self.dispatcher.passed + timedelta(seconds=seconds)
            if passed > _MAX_PASSED:
                problem = f"no more than {_MAX_PASSED.days} days can pass before a reset"
                raise InvalidRequest("seconds", problem)
            self.dispatcher.passed = passed
            _ = self.dispatcher.advance()
        self._changed()

    def top_up(self, amount: int, currency: str) -> None:
        """Add money to the wallet of a currency; ``amount`` is in minor units."""
        if amount <= 0:
            raise InvalidRequest("amount", "must be above zero")
        with self.dispatcher.lock:
            self.dispatcher.bank.top_up(amount, currency.lower())
        self._changed()

    def deliver_to(self, url: str | None) -> None:
        """Send webhooks about what happens from now on to ``url``; None: send none."""
        if url is not None:
            check_webhook_url(url)
        with self.dispatcher.lock:
            self.dispatcher.webhook_queue.url = url
        self._changed()

    def replace_faults(self, script: FaultScript) -> FaultPicker:
        """Apply these faults, and no others, from now on; return what applied before."""
        if script.needs_history and not self.dispatcher.bank.keeps_history:
            raise InvalidRequest("faults", _NO_HISTORY)
        with self.dispatcher.lock:
            before, self.dispatcher.faults = self.dispatcher.faults, FaultPicker(script)
        self._changed()
        return before

    def restore_faults(self, before: FaultPicker) -> None:
        """Apply the faults again that `replace_faults` returned, with what they counted."""
        with self.dispatcher.lock:
            self.dispatcher.faults = before
        self._changed()

    def add_fault(self, fault: Fault) -> None:
        """Apply one more fault, after those that there are."""
        script = self.dispatcher.faults.script
        _ = self.replace_faults(evolve(script, faults=(*script.faults, fault)))

    def remove_fault(self, place: int) -> None:
        """Apply a fault no more; ``place`` counts from 0."""
        script = self.dispatcher.faults.script
        if not 0 <= place < len(script.faults):
            raise InvalidRequest("place", "there is no such fault")
        left = script.faults[:place] + script.faults[place + 1 :]
        _ = self.replace_faults(evolve(script, faults=left))

    def change_rules(self, changes: Mapping[str, object]) -> None:
        """Change rules by their names in a configuration file, with the values used there."""
        for name in changes:
            if name in FIXED_RULES:
                raise InvalidRequest(name, "can't be changed while the emulator runs")
        with self.dispatcher.lock:
            bank = self.dispatcher.bank
            rules = evolve(bank.rules, **_values(Rules, changes))
            if rules.status_lag_seconds > 0 and not bank.keeps_history:
                raise InvalidRequest("status_lag_seconds", "needs keeps_history=True")
            bank.change_rules(rules)
        self._changed()

    def change_webhooks(self, changes: Mapping[str, object]) -> None:
        """Change the fields of `WebhookScript`, and the ``url`` of webhooks.

        If one of them is wrong, none is changed.
        """
        others = {name: value for name, value in changes.items() if name != "url"}
        url = changes.get("url") or None
        if url is not None:
            check_webhook_url(value_of(str, "url", url))
        with self.dispatcher.lock:
            queue = self.dispatcher.webhook_queue
            queue.script = evolve(queue.script, **_values(WebhookScript, others))
            if "url" in changes:
                queue.url = cast("str | None", url)
        self._changed()

    def show_values(self, *, shows: bool) -> None:
        """Show the numbers, names and accounts of requests, or mask them."""
        self.shows_values = shows
        self._changed()

    def reset(self) -> None:
        """Forget sessions, money, requests and webhooks, and the time that was made to pass.

        Faults, rules and the address of webhooks stay. Ids that have a prefix get another one, so
        that a client doesn't mistake a new session for one that it knows.
        """
        with self.dispatcher.lock:
            bank, queue = self.dispatcher.bank, self.dispatcher.webhook_queue
            self._forget(bank.rules, self.dispatcher.faults.script, queue.script, queue.url)
        self._changed()

    def start_over(self) -> None:
        """Do what `reset` does, and set all that can be changed as it was at the start.

        That is faults, rules, the faults and address of webhooks, and whether values are shown.
        """
        with self.dispatcher.lock:
            self._forget(*self._at_start)
            self.shows_values = False
        self._changed()

    def _forget(
        self, rules: Rules, faults: FaultScript, webhooks: WebhookScript, url: str | None
    ) -> None:
        """Begin a new bank with these settings; the caller holds the lock."""
        dispatcher, old = self.dispatcher, self.dispatcher.bank
        mark = f"{secrets.token_hex(3)}_" if rules.id_mark else ""
        bank = EmulatedBank(evolve(rules, id_mark=mark), keeps_history=old.keeps_history)
        bank.url = old.url
        dispatcher.bank = bank
        dispatcher.webhook_queue = WebhookQueue(webhooks, url)
        dispatcher.faults = FaultPicker(faults)
        dispatcher.log = RequestLog()
        dispatcher.passed = timedelta()

    def version(self) -> tuple[int, ...]:
        """Do what is due, and return numbers of which one differs once anything has changed."""
        dispatcher = self.dispatcher
        with dispatcher.lock:
            _ = dispatcher.advance()
            queue = dispatcher.webhook_queue
            version = (
                *(self.count, dispatcher.log.count, dispatcher.bank.changes),
                *(queue.count, len(queue.deliveries)),
            )
        self.wake_delivery()
        return version

    def wake_delivery(self) -> None:
        """Have the webhooks sent that may be due."""
        if self.dispatcher.webhooks_may_be_due:
            self.dispatcher.wake_delivery()

    def _act(self, act: Callable[[EmulatedBank, datetime], bool], name: str, problem: str) -> None:
        with self.dispatcher.lock:
            now = self.dispatcher.advance()
            done = act(self.dispatcher.bank, now)
            self.dispatcher.queue_webhooks(now)
        if not done:
            raise InvalidRequest(name, problem)
        self._changed()

    def _changed(self) -> None:
        self.count += 1
        self.dispatcher.wake_delivery()


SESSION_ACTIONS: Final[Mapping[str, Callable[[AdminActions, str], None]]] = MappingProxyType(
    {
        "confirm": AdminActions.confirm,
        "cancel": AdminActions.cancel,
        "succeed": AdminActions.succeed,
        "decline": AdminActions.decline,
        "chargeback": AdminActions.chargeback,
        "return": AdminActions.return_payout,
    }
)
"""What can be done to a session, by the name in the address."""
_SETTLED: Final = frozenset(
    {ItemStage.READY, ItemStage.CONFIRMED, ItemStage.ACTING, ItemStage.STUCK, ItemStage.BROKEN}
)


def possible_actions(session: EmulatedSession) -> list[str]:
    """Return the names of the actions that can be done to a session now."""
    stage = session.stage
    item = session.items[-1] if session.items else None
    is_paid = item is not None and item.stage is ItemStage.SUCCEEDED
    possible = {
        "confirm": stage is ItemStage.READY,
        "succeed": stage in _SETTLED - {ItemStage.READY},
        "decline": stage in _SETTLED,
        "cancel": stage in {ItemStage.CREATED, ItemStage.READY, ItemStage.HELD},
        "chargeback": is_paid
        and item is not None
        and item.kind is ItemKind.PAYMENT
        and item.captured > item.refunded,
        "return": is_paid
        and item is not None
        and item.kind is ItemKind.PAYOUT
        and not item.refunds,
    }
    return [name for name, is_possible in possible.items() if is_possible]


def _values(record: type[Rules | WebhookScript], changes: Mapping[str, object]) -> dict[str, Any]:
    """Return the values of a record's fields; null for one that may be None is None."""
    optional = {one.name for one in fields(record) if one.default is None}
    nulls = {name for name, value in changes.items() if value is None and name in optional}
    others = {name: value for name, value in changes.items() if name not in nulls}
    return values_of(record, others) | dict.fromkeys(nulls)
