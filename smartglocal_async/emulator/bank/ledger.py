"""A ledger in double entry: money moves between accounts, and their sum never changes."""

import enum
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

from attrs import define, field

from ...matching import JOURNAL_FIELD, KEY_FIELD, ORDER_FIELD
from .messages import INSUFFICIENT_FUNDS, Name, canonical
from .outcomes import Fate, Traits, outcome_of
from .sessions import Item, ItemKind, ItemRefund
from .statistics import Movement, PayoutMark
from .validation import JsonObject, is_object


class Account(enum.Enum):
    """Who owns the money. The accounts of a currency add up to zero."""

    FUNDING = "funding"
    """Outside: where the opening balances come from; never above zero."""
    WALLET = "wallet"
    """The partner's money for payouts."""
    RESERVED = "reserved"
    """For payouts that are confirmed and not finished."""
    PAID_OUT = "paid_out"
    """The recipients' money."""
    PAYERS = "payers"
    """Outside: where payments come from; never above zero."""
    HELD = "held"
    """Authorised on the payers' cards, and not captured."""
    TAKEN = "taken"
    """The partner's money from payments."""
    REFUNDED = "refunded"
    """Returned to the payers."""


_OUTSIDE: Final = frozenset({Account.FUNDING, Account.PAYERS})


@define(eq=False)
class Ledger:
    """Balances by account and currency, in minor units."""

    wallets: Mapping[str, int]
    """Opening balances by currency, in small letters."""
    opening: int
    """Opening balance of any other currency."""
    _balances: defaultdict[str, dict[Account, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._balances = defaultdict(dict[Account, int])
        for currency in self.wallets:
            self._open(currency)

    def move(self, source: Account, target: Account, amount: int, currency: str) -> bool:
        """Move money; False, and nothing moves, if the source has too little."""
        self._open(currency)
        accounts = self._balances[currency]
        if source not in _OUTSIDE and accounts[source] < amount:
            return False
        accounts[source] -= amount
        accounts[target] += amount
        return True

    def balance(self, account: Account, currency: str) -> int:
        """Return the balance of an account."""
        self._open(currency)
        return self._balances[currency][account]

    def balances(self) -> dict[str, dict[str, int]]:
        """Return the balances of all accounts by currency, without currencies never used."""
        return {
            currency: {account.value: amount for account, amount in accounts.items()}
            for currency, accounts in self._balances.items()
        }

    def _open(self, currency: str) -> None:
        if currency in self._balances:
            return
        opening = self.wallets.get(currency, self.opening)
        accounts = dict.fromkeys(Account, 0)
        accounts[Account.FUNDING] = -opening
        accounts[Account.WALLET] = opening
        self._balances[currency] = accounts


@define(eq=False)
class Transfers:
    """Moves the money of items, and records what was finally paid or received."""

    ledger: Ledger
    record: Callable[[Name, Movement], None]
    id_mark: str = ""
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def reserve(self, item: Item) -> None:
        """Reserve a payout's money; if the wallet has too little, the payout will be declined."""
        if item.kind is not ItemKind.PAYOUT:
            return
        if self._move(item, Account.WALLET, Account.RESERVED, item.amount):
            item.reserved = item.amount
        else:
            # Documented: such a payout can't be completed. The code is the emulator's own.
            item.fate, item.code = Fate.DECLINE, INSUFFICIENT_FUNDS

    def hold(self, item: Item) -> None:
        """Hold a payment's money."""
        _ = self._move(item, Account.PAYERS, Account.HELD, item.amount)
        item.held = item.amount

    def settle(self, session_id: str, item: Item) -> None:
        """Pay a payout; capture a payment, and release what of it isn't captured."""
        match item.kind:
            case ItemKind.PAYOUT:
                amount, item.reserved = item.reserved, 0
                _ = self._move(item, Account.RESERVED, Account.PAID_OUT, amount)
                self._record(session_id, item, "payout", amount, item.name)
            case ItemKind.PAYMENT:
                if not item.held:
                    self.hold(item)
                amount = item.to_capture or item.held
                _ = self._move(item, Account.HELD, Account.TAKEN, amount)
                item.captured, item.held = amount, item.held - amount
                self.release(item)
                self._record(session_id, item, "capture", amount, item.name)
            case ItemKind.VERIFICATION:
                pass

    def release(self, item: Item) -> None:
        """Return the money that is reserved or held."""
        reserved, held = item.reserved, item.held
        item.reserved = item.held = 0
        _ = self._move(item, Account.RESERVED, Account.WALLET, reserved)
        _ = self._move(item, Account.HELD, Account.PAYERS, held)

    def chargeback(self, item: Item, now: datetime) -> ItemRefund:
        """Add a chargeback of what is left of a payment, and return it."""
        left = item.captured - item.refunded
        refund = ItemRefund(
            id=self.refund_id(),
            amount=left,
            name=item.name,
            created_at=now,
            extras={},
            is_chargeback=True,
        )
        item.refunds.append(refund)
        return refund

    def returned(self, session_id: str, item: Item, now: datetime) -> ItemRefund:
        """Pay a payout back into the wallet, and return the refund that says so."""
        refund = ItemRefund(
            id=self.refund_id(),
            amount=item.amount,
            name=item.name,
            created_at=now,
            extras={},
            is_return=True,
            status="accepted",
            finished_at=now,
        )
        _ = self._move(item, Account.PAID_OUT, Account.WALLET, refund.amount)
        self._record(session_id, item, "return", refund.amount, item.name)
        return refund

    def refund_id(self) -> str:
        """Return the next id."""
        return f"rf_{self.id_mark}{next(self._numbers)}"

    def refund(self, session_id: str, item: Item, refund: ItemRefund, now: datetime) -> None:
        """Pay a refund, or decline it."""
        refund.finished_at = now
        fate = outcome_of("refund", Traits(amount=refund.amount)).fate
        if fate is Fate.DECLINE and not refund.is_chargeback:
            refund.status = "declined"
            return
        refund.status = "accepted"
        _ = self._move(item, Account.TAKEN, Account.REFUNDED, refund.amount)
        kind = "chargeback" if refund.is_chargeback else "refund"
        self._record(session_id, item, kind, refund.amount, refund.name)

    def _move(self, item: Item, source: Account, target: Account, amount: int) -> bool:
        return not amount or self.ledger.move(source, target, amount, item.currency)

    def _record(self, session_id: str, item: Item, kind: str, amount: int, name: Name) -> None:
        moved = Movement(
            kind=kind,
            item_id=item.id,
            session_id=session_id,
            amount=amount,
            currency=item.currency,
            mark=_mark(item),
            payee=_digest(item.instrument),
        )
        self.record(name, moved)


def _mark(item: Item) -> PayoutMark | None:
    metadata = item.terms.get("metadata")
    if not is_object(metadata):
        return None
    journal, order = metadata.get(JOURNAL_FIELD), metadata.get(ORDER_FIELD)
    key = metadata.get(KEY_FIELD, item.name.text)  # A start has it as its idempotency key.
    if not (isinstance(journal, str) and isinstance(key, str)):
        return None
    return PayoutMark(journal=journal, key=key, order=order if isinstance(order, str) else None)


def _digest(instrument: JsonObject) -> str:
    text = canonical(instrument).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
