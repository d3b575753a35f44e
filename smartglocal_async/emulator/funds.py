"""The money of one operation after the other, in the books; no I/O."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime

from attrs import define, field

from .asks import INSUFFICIENT_FUNDS, Name
from .ledger import Account, Ledger
from .outcomes import Fate, Traits, outcome_of
from .records import Movement
from .sessions import Item, Kind, Refund


@define(eq=False)
class Funds:
    """Moves an item's money, and tells of what left or arrived for good."""

    ledger: Ledger
    record: Callable[[Name, Movement], None]
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def reserve(self, item: Item) -> None:
        """Set a payout's money aside; if the wallet lacks it, the payout will be declined."""
        if item.kind is not Kind.PAYOUT:
            return
        if self._move(item, Account.WALLET, Account.RESERVED, item.amount):
            item.reserved = item.amount
        else:
            # Documented: it can't be completed. The code is the emulator's invention.
            item.fate, item.code = Fate.DECLINE, INSUFFICIENT_FUNDS

    def hold(self, item: Item) -> None:
        """Block a payment's money."""
        _ = self._move(item, Account.PAYERS, Account.HELD, item.amount)
        item.held = item.amount

    def settle(self, session_id: str, item: Item) -> None:
        """Pay a payout out; take a payment's money, and let go what wasn't captured of it."""
        match item.kind:
            case Kind.PAYOUT:
                amount, item.reserved = item.reserved, 0
                _ = self._move(item, Account.RESERVED, Account.PAID_OUT, amount)
                self._tell(session_id, item, "payout", amount, item.name)
            case Kind.PAYMENT:
                if not item.held:
                    self.hold(item)
                amount = item.to_capture or item.held
                _ = self._move(item, Account.HELD, Account.TAKEN, amount)
                item.captured, item.held = amount, item.held - amount
                self.give_back(item)
                self._tell(session_id, item, "capture", amount, item.name)
            case Kind.VERIFICATION:
                pass

    def give_back(self, item: Item) -> None:
        """Undo what was reserved or held."""
        reserved, held = item.reserved, item.held
        item.reserved = item.held = 0
        _ = self._move(item, Account.RESERVED, Account.WALLET, reserved)
        _ = self._move(item, Account.HELD, Account.PAYERS, held)

    def chargeback(self, item: Item, now: datetime) -> Refund:
        """Note that what is left of a payment is claimed back."""
        left = item.captured - item.refunded
        refund = Refund(
            id=self.refund_id(),
            amount=left,
            name=item.name,
            created_at=now,
            extras={},
            is_chargeback=True,
        )
        item.refunds.append(refund)
        return refund

    def refund_id(self) -> str:
        """Give the next one."""
        return f"rf_{next(self._numbers)}"

    def refund(self, session_id: str, item: Item, refund: Refund, now: datetime) -> None:
        """Give the money of a refund back, or decline it."""
        refund.finished_at = now
        fate = outcome_of("refund", Traits(amount=refund.amount)).fate
        if fate is Fate.DECLINE and not refund.is_chargeback:
            refund.status = "declined"
            return
        refund.status = "accepted"
        _ = self._move(item, Account.TAKEN, Account.REFUNDED, refund.amount)
        kind = "chargeback" if refund.is_chargeback else "refund"
        self._tell(session_id, item, kind, refund.amount, refund.name)

    def _move(self, item: Item, source: Account, target: Account, amount: int) -> bool:
        return not amount or self.ledger.move(source, target, amount, item.currency)

    def _tell(self, session_id: str, item: Item, kind: str, amount: int, name: Name) -> None:
        moved = Movement(
            kind=kind,
            item_id=item.id,
            session_id=session_id,
            amount=amount,
            currency=item.currency,
        )
        self.record(name, moved)
