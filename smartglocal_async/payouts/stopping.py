"""When a batch begins nothing more: its rules, and what they are held against. Nothing awaits."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import Attribute, define, field, frozen

from ..errors import InvalidRequest
from ..journal.entries import BatchRules
from ..values.exactness import above_zero
from ..values.money import AmountDetails
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
    """When a batch begins nothing more; what is out is finished. Nothing named, it never stops.

    Raises:
        InvalidRequest: a rule that makes no sense.

    """

    first_refusal: bool = False
    """After the first payout that failed or was refused."""
    failures_in_a_row: int | None = field(default=None, validator=_count)
    """After so many that failed, were refused or ended unknown, with none paid between them."""
    spend: tuple[AmountDetails, ...] = field(default=(), converter=_several, validator=_amounts)
    """Before the payout with which what the batch paid or may have paid would pass one of these:
    one limit for each currency; others aren't limited."""
    low_balance: bool = False
    """Before a payout that the prefunded wallets (``wallet/balance``) can't pay."""


def rules_of(stop_on: StopOn) -> BatchRules:
    """Give the rules as the journal keeps them."""
    return BatchRules(
        spend={limit.currency: limit.amount for limit in stop_on.spend},
        first_refusal=stop_on.first_refusal,
        failures_in_a_row=stop_on.failures_in_a_row,
        low_balance=stop_on.low_balance,
    )


@define(eq=False)
class Tally:
    """What a batch has come to, held against its rules."""

    rules: StopOn
    reason: str | None = field(default=None, init=False)
    """Why nothing more is begun, once a rule says so."""
    leaves_waiting: bool = field(default=False, init=False)
    """Whether what waits for its turn is not begun either: where payouts fail, but not where a
    limit is reached, which has room for it."""
    begun: int = field(default=0, init=False)
    _bound: Counter[str] = field(factory=Counter[str], init=False)
    """Paid, under way, or unknown, by currency; paid before, too."""
    _out: Counter[str] = field(factory=Counter[str], init=False)
    """Under way now."""
    _drawn: Counter[str] = field(factory=Counter[str], init=False)
    """Paid, or perhaps, since the balance was seen."""
    _balance: Mapping[str, int] = field(factory=Counter[str], init=False)
    _failures: int = field(default=0, init=False)

    def may_begin(self, order: PayoutOrder) -> bool:
        """Take an order up, and set its amount apart; False if a rule forbids it."""
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
        self._out[currency] += amount
        return True

    def is_covered(self, order: PayoutOrder) -> bool:
        """Say whether the balance, as it was last seen, pays an order and all that was begun."""
        amount, currency = order.amount_details.amount, order.amount_details.currency
        claimed = self._out[currency] + self._drawn[currency]
        return claimed + amount <= self._balance.get(currency, 0)

    def refuse(self, order: PayoutOrder) -> None:
        """Note that the balance doesn't pay an order."""
        currency = order.amount_details.currency
        self.reason = self.reason or f"the wallets can't pay {order.key!r} in {currency}"

    @property
    def drawn(self) -> Counter[str]:
        """What a look at the balance that begins now will show."""
        return Counter(self._drawn)

    def see_balance(self, balance: Counter[str], drawn: Counter[str]) -> None:
        """Take in a balance, and what was drawn when it was asked for."""
        self._balance = balance
        self._drawn.subtract(drawn)

    def note(self, order: PayoutOrder, outcome: PayoutOutcome) -> None:
        """Take in what became of an order."""
        amount, currency = order.amount_details.amount, order.amount_details.currency
        self._out[currency] -= amount
        if outcome.state in _NO_MONEY:
            self._bound[currency] -= amount
        elif not outcome.replayed:
            self._drawn[currency] += amount
        if outcome.is_paid:
            self._failures = 0
        elif outcome.state in _NOT_PAID:
            self._failures += 1
        if (ruled := self._ruled(outcome)) is not None:
            self.leaves_waiting = True
            self.reason = self.reason or ruled

    def _ruled(self, outcome: PayoutOutcome) -> str | None:
        if self.rules.first_refusal and outcome.state in _REFUSALS:
            return f"the payout {outcome.key!r} was {outcome.state.value}"
        most = self.rules.failures_in_a_row
        if most is not None and self._failures >= most:
            return f"{most} payouts in a row were not paid, {outcome.key!r} the last"
        return None
