"""Stop rules of a batch, and the tally that they are checked against."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from attrs import Attribute, define, field, frozen

from ..errors import InvalidRequest
from ..journal.entries import BatchRules
from ..models.money import AmountDetails
from ..models.validators import above_zero
from .orders import PayoutOrder, PayoutOutcome, PayoutState

_NOT_PAID: Final = frozenset({PayoutState.FAILED, PayoutState.REFUSED, PayoutState.UNKNOWN})
_REFUSALS: Final = frozenset({PayoutState.FAILED, PayoutState.REFUSED})
_NO_MONEY: Final = _REFUSALS | {PayoutState.CANCELLED}


def _count(_instance: object, _attribute: "Attribute[Any]", value: object) -> None:
    if value is not None:
        above_zero("StopOn.failures_in_a_row", value, whole=True)


def _amounts(_instance: object, _attribute: "Attribute[Any]", value: tuple[Any, ...]) -> None:
    for limit in value:
        if not isinstance(limit, AmountDetails):
            problem = f"expected AmountDetails, got {type(limit).__name__}"
            raise InvalidRequest("StopOn.spend", problem)
    if len({limit.currency for limit in value}) < len(value):
        raise InvalidRequest("StopOn.spend", "expected one limit for each currency")


def _several(value: AmountDetails | tuple[AmountDetails, ...]) -> tuple[AmountDetails, ...]:
    return (value,) if isinstance(value, AmountDetails) else tuple(value)


@frozen(kw_only=True)
class StopOn:
    """When a batch stops beginning payouts; those in flight are finished. Default: never.

    Raises:
        InvalidRequest: a rule has a wrong type or value.

    """

    first_refusal: bool = False
    """After the first payout that failed or was refused."""
    failures_in_a_row: int | None = field(default=None, validator=_count)
    """After this many in a row that failed, were refused or ended unknown."""
    spend: tuple[AmountDetails, ...] = field(default=(), converter=_several, validator=_amounts)
    """Before a payout with which the sum that the batch paid, or may have paid, would pass a limit.
    One limit for each currency; other currencies aren't limited."""
    low_balance: bool = False
    """Before a payout that the prefunded wallets (``wallet/balance``) don't cover."""


def rules_of(stop_on: StopOn) -> BatchRules:
    """Return the rules in the form that the journal stores."""
    return BatchRules(
        spend={limit.currency: limit.amount for limit in stop_on.spend},
        first_refusal=stop_on.first_refusal,
        failures_in_a_row=stop_on.failures_in_a_row,
        low_balance=stop_on.low_balance,
    )


@define(eq=False)
class Tally:
    """The running totals of a batch, checked against its rules."""

    rules: StopOn
    reason: str | None = field(default=None, init=False)
    """Why no more payouts begin; None until a rule is met."""
    leaves_waiting: bool = field(default=False, init=False)
    """Whether orders that wait for the rate aren't begun either. True if payouts fail; False if a
    limit is reached, since their amounts are counted in it already."""
    begun: int = field(default=0, init=False)
    _bound: Counter[str] = field(factory=Counter[str], init=False)
    """By currency: paid, in flight or unknown, also from earlier runs."""
    _out: Counter[str] = field(factory=Counter[str], init=False)
    """In flight now."""
    _drawn: Counter[str] = field(factory=Counter[str], init=False)
    """Paid, or maybe paid, since the balance was read."""
    _balance: Mapping[str, int] = field(factory=Counter[str], init=False)
    _failures: int = field(default=0, init=False)

    def may_begin(self, order: PayoutOrder, *, draws: bool = True) -> bool:
        """Count an order as begun and reserve its amount; False if a rule forbids it.

        With ``draws=False`` it takes no more money from the wallets.
        """
        amount, currency = order.amount_details.amount, order.amount_details.currency
        limit = next((one for one in self.rules.spend if one.currency == currency), None)
        if (
            self.reason is None
            and limit is not None
            and self._bound[currency] + amount > limit.amount
        ):
            self.reason = (
                f"with the payout {order.key!r} more than {limit.decimal} {currency.upper()} "
                "would be spent"
            )
        if self.reason is not None:
            return False
        self.begun += 1
        self._bound[currency] += amount
        self._out[currency] += amount if draws else 0
        return True

    def is_covered(self, order: PayoutOrder) -> bool:
        """Return whether the balance, as last read, covers an order and all that were begun."""
        amount, currency = order.amount_details.amount, order.amount_details.currency
        claimed = self._out[currency] + self._drawn[currency]
        return claimed + amount <= self._balance.get(currency, 0)

    def refuse(self, order: PayoutOrder) -> None:
        """Stop the batch, since the balance doesn't cover an order."""
        currency = order.amount_details.currency
        self.reason = self.reason or f"the wallets can't pay {order.key!r} in {currency}"

    @property
    def drawn(self) -> Counter[str]:
        """What a balance that is asked for now already has deducted."""
        return Counter(self._drawn)

    def see_balance(self, balance: Counter[str], drawn: Counter[str]) -> None:
        """Store a balance; ``drawn`` is what was drawn when it was asked for."""
        self._balance = balance
        self._drawn.subtract(drawn)

    def note(self, order: PayoutOrder, outcome: PayoutOutcome, *, draws: bool = True) -> None:
        """Count the outcome of an order, with ``draws`` as when it began."""
        amount, currency = order.amount_details.amount, order.amount_details.currency
        self._out[currency] -= amount if draws else 0
        if outcome.state in _NO_MONEY:
            self._bound[currency] -= amount
        elif draws and not outcome.replayed:
            self._drawn[currency] += amount
        if outcome.is_paid:
            self._failures = 0
        elif outcome.state in _NOT_PAID:
            self._failures += 1
        if (reason := self._met_rule(outcome)) is not None:
            self.leaves_waiting = True
            self.reason = self.reason or reason

    def _met_rule(self, outcome: PayoutOutcome) -> str | None:
        if self.rules.first_refusal and outcome.state in _REFUSALS:
            return f"the payout {outcome.key!r} was {outcome.state.value}"
        limit = self.rules.failures_in_a_row
        if limit is not None and self._failures >= limit:
            return f"{limit} payouts in a row were not paid, {outcome.key!r} the last"
        return None


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a program: SIGINT, SIGTERM, and SIGHUP of a closed terminal.

    Under nohup, SIGHUP stays ignored. Windows doesn't have it.
    """
    found = [signal.SIGINT, signal.SIGTERM]
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        found.append(hang_up)
    return tuple(found)


def handle_signal(
    loop: asyncio.AbstractEventLoop, number: signal.Signals, act: Callable[[], object]
) -> None:
    """Call a function in the event loop, which is that of the main thread, on a signal."""
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:  # The event loop of Windows.
        _ = signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(act))


def ignore_handler(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    """Undo `handle_signal`: the signal does what Python has it do."""
    try:
        _ = loop.remove_signal_handler(number)
    except NotImplementedError:
        is_interrupt = number is signal.SIGINT
        _ = signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


@contextmanager
def on_signals(
    signals: Sequence[signal.Signals], act: Callable[[signal.Signals], None]
) -> Generator[None]:
    """Call ``act`` on the first of these signals; later ones do what they did before.

    A signal that was ignored before, as SIGINT is in a background job of a shell script, ends the
    process the second time. The running event loop must be that of the main thread.
    """
    loop, previous = asyncio.get_running_loop(), {one: signal.getsignal(one) for one in signals}

    def restore(*, is_second: bool = False) -> None:
        while previous:
            one, handler = previous.popitem()
            ignore_handler(loop, one)
            if is_second and handler is signal.SIG_IGN:
                is_interrupt = one is signal.SIGINT
                handler = signal.default_int_handler if is_interrupt else signal.SIG_DFL
            _ = signal.signal(one, handler)

    def handle(one: signal.Signals) -> None:
        restore(is_second=True)
        act(one)

    for one in signals:
        handle_signal(loop, one, partial(handle, one))
    try:
        yield
    finally:
        restore()
